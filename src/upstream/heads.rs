//! Looks at the heads of the answers that come over a connection, for names that are not written [as
//! usual](crate::spelling).

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::spelling;

/// A connection that is lent to hyper, whose answers are looked at. It is closed when nobody has it any more.
///
/// The lock is never contended: all who have to do with it are polled by the same worker.
#[derive(Debug)]
pub struct Watched<Io>(Arc<Mutex<Inner<Io>>>);

#[derive(Debug)]
struct Inner<Io> {
    io: Io,
    look: Look,
}

#[derive(Debug, Default)]
struct Look {
    /// What comes next is the head of an answer.
    awaited: bool,
    /// What has come of it.
    part: Vec<u8>,
    unusual: Option<Bytes>,
    /// How much has come after it, in bytes.
    beyond: u64,
    /// hyper reads nothing more: somebody else does.
    is_taken: bool,
}

impl Look {
    /// Looks at what was read. A head that is cut is kept until it is whole: hyper, which does so too, bounds its length.
    fn look_at(&mut self, read: &[u8]) {
        let mut part = mem::take(&mut self.part);
        // Where it was looked at already, it does not end; the end itself may have been cut.
        let looked_at = part.len().saturating_sub(END_LONGEST - 1);
        let mut rest = if part.is_empty() {
            read
        } else {
            part.extend_from_slice(read);
            if !may_end(&part[looked_at..]) {
                self.part = part;
                return;
            }
            &part
        };
        while self.awaited {
            rest = spelling::without_empty_lines(rest);
            let Some((end, is_usual)) = spelling::head(rest) else {
                self.part = rest.to_vec();
                return;
            };
            let (head, after) = rest.split_at(end);
            if !is_interim(head) {
                self.awaited = false;
                self.beyond = after.len() as u64;
                self.unusual = (!is_usual).then(|| Bytes::copy_from_slice(head));
            }
            rest = after;
        }
    }
}

/// Bytes of a line end and an empty line.
const END_LONGEST: usize = 3;

/// Whether a head may end here.
fn may_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// Whether another head follows (RFC 9110 §15.2). The code stands after `HTTP/1.1` and a space.
fn is_interim(head: &[u8]) -> bool {
    head.get(9..12).is_some_and(|code| code[0] == b'1' && code != b"101")
}

impl<Io> Clone for Watched<Io> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Io> Watched<Io> {
    /// One that has yet to be asked anything.
    pub fn new(io: Io) -> Self {
        Self(Arc::new(Mutex::new(Inner { io, look: Look::default() })))
    }

    /// What knows of it without keeping it open.
    pub fn watcher(&self) -> Watcher<Io> {
        Watcher(Arc::downgrade(&self.0))
    }

    /// How much has come of the answer's body, in bytes.
    pub fn beyond(&self) -> u64 {
        self.lock().look.beyond
    }

    /// Whoever it is lent to reads nothing more of it.
    pub fn take_away(&self) {
        self.lock().look.is_taken = true;
    }

    /// It may be lent anew.
    pub fn bring_back(&self) {
        self.lock().look.is_taken = false;
    }

    /// Looks at what it stands before.
    pub fn with<T>(&self, look: impl FnOnce(&Io) -> T) -> T {
        look(&self.lock().io)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<Io>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows of a [`Watched`] connection.
#[derive(Debug)]
pub struct Watcher<Io>(Weak<Mutex<Inner<Io>>>);

impl<Io> Watcher<Io> {
    /// From here on a head is looked for.
    pub fn await_answer(&self) {
        if let Some(watched) = self.watched() {
            watched.lock().look = Look { awaited: true, ..Look::default() };
        }
    }

    /// The head that has come, if its names are written otherwise than usual.
    pub fn take_unusual(&self) -> Option<Bytes> {
        self.watched()?.lock().look.unusual.take()
    }

    /// The connection, if it has not ended.
    pub fn watched(&self) -> Option<Watched<Io>> {
        self.0.upgrade().map(Watched)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Inner { io, look } = &mut *self.lock();
        if look.is_taken {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(io).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if look.awaited {
            look.look_at(read);
        } else {
            look.beyond += read.len() as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lock().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lock().io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_after_interim_ones_is_looked_at_however_it_is_cut() {
        let interim = "HTTP/1.1 103 Early Hints\r\nlInK: </a>\r\n\r\n";
        let odd = "HTTP/1.1 200\r\nContent-Length: 20\r\neTag: 1\r\n\r\n";
        let usual = odd.replace("eTag", "Etag");
        let switched = odd.replace("200", "101");
        for (head, is_found) in [(odd, true), (&usual, false), (&switched, true)] {
            let text = format!("\r\n{interim}{interim}{head}HTTP/1.1 200 OK\r\nx: 1\r\n\r\n");
            for (text, head) in [(text.replace('\r', ""), head.replace('\r', "")), (text, head.to_owned())] {
                for cut in 0..text.len() {
                    let (one, two) = text.split_at(cut);
                    for pieces in [vec![one, two], text.split_inclusive('\n').collect(), text.split("").collect()] {
                        let mut look = Look { awaited: true, ..Look::default() };
                        for piece in pieces {
                            look.look_at(piece.as_bytes());
                        }
                        let found = look.unusual.take();
                        assert_eq!(found.as_deref(), is_found.then_some(head.as_bytes()), "{cut}");
                        assert!(!look.awaited && look.part.is_empty(), "what follows is a body");
                    }
                }
            }
        }
    }
}
