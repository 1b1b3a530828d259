//! Looks at the heads of the answers that come over a connection, for names that are not written [as
//! usual](crate::spelling).

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::spelling;

/// What a connection and its lease let each other know.
///
/// The lock is never contended: both are polled by the same worker.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<Look>>);

#[derive(Debug, Default)]
struct Look {
    /// What comes next is the head of an answer.
    awaited: bool,
    /// What has come of it.
    part: Vec<u8>,
    unusual: Option<Bytes>,
}

impl Heads {
    /// From here on a head is looked for.
    pub fn await_answer(&self) {
        *self.lock() = Look { awaited: true, ..Look::default() };
    }

    /// The head that has come, if its names are written otherwise than usual.
    pub fn take_unusual(&self) -> Option<Bytes> {
        self.lock().unusual.take()
    }

    fn lock(&self) -> MutexGuard<'_, Look> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// A connection whose answers are looked at.
#[derive(Debug)]
pub struct Watched<Io> {
    inner: Io,
    heads: Heads,
}

impl<Io> Watched<Io> {
    /// `heads` learns of them.
    pub fn new(inner: Io, heads: Heads) -> Self {
        Self { inner, heads }
    }

    /// What it stands before.
    pub fn get_ref(&self) -> &Io {
        &self.inner
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let mut look = self.heads.lock();
        if look.awaited {
            look.look_at(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
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
                        let heads = Heads::default();
                        heads.await_answer();
                        for piece in pieces {
                            heads.lock().look_at(piece.as_bytes());
                        }
                        let found = heads.take_unusual();
                        assert_eq!(found.as_deref(), is_found.then_some(head.as_bytes()), "{cut}");
                        let look = heads.lock();
                        assert!(!look.awaited && look.part.is_empty(), "what follows is a body");
                    }
                }
            }
        }
    }
}
