//! What hyper has of an upstream's connection. Heads of requests and answers keep how their names are [written](spelling),
//! the rest of an answer can be [taken from hyper](super::haul), and only some connections may read much at once.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;
use crate::spelling::{self, Spelling, Writing};

/// In bytes: what is read at once by who may not read more. hyper makes its buffer larger when it gets as much as it has
/// room for, which is a power of two.
const NARROW: usize = (16 << 10) - 1;
/// How many of a worker's connections may read more at once. Two such pieces are kept for a client that takes nothing,
/// and that takes as much memory as a piece is large.
const WIDE_MOST: usize = 64;

/// The places of connections that may read much at once: each for as long as much comes at once.
#[derive(Clone, Debug)]
pub struct Wide(Arc<Semaphore>);

impl Default for Wide {
    fn default() -> Self {
        Self::new(WIDE_MOST)
    }
}

impl Wide {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }
}

/// A connection that is lent to hyper, whose answers are looked at. It can be taken back.
///
/// The lock is never contended: all who have to do with it are polled by the same worker.
#[derive(Debug)]
pub struct Watched<Io>(Arc<Mutex<Inner<Io>>>);

#[derive(Debug)]
struct Inner<Io> {
    /// `None` once it was taken back, or closed.
    io: Option<Io>,
    look: Look,
    writing: Writing,
    /// How the request is written that hyper begins to write next.
    spelling: Option<Spelling>,
    wide: Wide,
    /// It may read much at once, and did so last.
    place: Option<OwnedSemaphorePermit>,
    /// It speaks another protocol, and its reader says how much is read at once.
    is_tunnel: bool,
}

impl<Io> Inner<Io> {
    /// Whether so much may be read at once.
    fn may_read(&mut self, most: usize) -> bool {
        if most <= NARROW || self.is_tunnel {
            return true;
        }
        if self.place.is_none() {
            self.place = Arc::clone(&self.wide.0).try_acquire_owned().ok();
        }
        self.place.is_some()
    }
}

#[derive(Debug, Default)]
struct Look {
    /// What comes next is the head of an answer.
    awaited: bool,
    /// What has come of it.
    part: Vec<u8>,
    unusual: Option<Spelling>,
    /// How much has come after it, in bytes.
    beyond: u64,
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
            if !spelling::is_interim(head) {
                self.awaited = false;
                self.beyond = after.len() as u64;
                self.unusual = (!is_usual).then(|| Spelling(Bytes::copy_from_slice(head)));
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

impl<Io> Watched<Io> {
    /// One over which nothing was asked yet.
    pub fn new(io: Io, wide: &Wide) -> Self {
        let (look, writing, wide) = (Look::default(), Writing::default(), wide.clone());
        let (spelling, place, is_tunnel) = (None, None, false);
        Self(Arc::new(Mutex::new(Inner { io: Some(io), look, writing, spelling, wide, place, is_tunnel })))
    }

    /// What knows of it without keeping it open.
    pub fn watcher(&self) -> Watcher<Io> {
        Watcher(Arc::clone(&self.0))
    }

    /// Looks at what it stands before, if that was not taken back.
    pub fn with<T>(&self, look: impl FnOnce(&Io) -> T) -> Option<T> {
        lock(&self.0).io.as_ref().map(look)
    }
}

/// Whoever it was lent to has done with it, but what it brought last is yet to be asked for.
impl<Io> Drop for Watched<Io> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0);
        inner.io = None;
        inner.place = None;
    }
}

/// Knows of a [`Watched`] connection.
#[derive(Debug)]
pub struct Watcher<Io>(Arc<Mutex<Inner<Io>>>);

impl<Io> Watcher<Io> {
    /// A request comes next, written in a way of its own if it has a `spelling`, and the head of its answer is looked for.
    pub fn expect(&self, spelling: Option<&Spelling>) {
        let mut inner = lock(&self.0);
        inner.spelling = Some(spelling.cloned().unwrap_or_default());
        inner.place = None;
        inner.look = Look { awaited: true, ..Look::default() };
    }

    /// The answer is over.
    pub fn rest(&self) {
        lock(&self.0).place = None;
    }

    /// It becomes a tunnel, which what it stands before is to know.
    pub fn switch(&self, tell: impl FnOnce(&mut Io)) {
        let mut inner = lock(&self.0);
        inner.is_tunnel = true;
        inner.io.as_mut().map(tell);
    }

    /// How the head is written that has come, if not as usual.
    pub fn take_unusual(&self) -> Option<Spelling> {
        lock(&self.0).look.unusual.take()
    }

    /// Takes the connection back from hyper, which goes on waiting for the rest of an answer, if it has written all that
    /// was to be written, and `fits` says so; it is told how much hyper has read of the answer's body, in bytes.
    pub fn take_back(&self, fits: impl FnOnce(&Io, u64) -> bool) -> Option<Io> {
        let Inner { io, look, writing, place, .. } = &mut *lock(&self.0);
        let taken = io.take_if(|io| writing.is_flushed() && fits(io, look.beyond))?;
        *place = None;
        Some(taken)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.io.is_none() {
            return Poll::Pending;
        }
        let may_read_all = inner.may_read(buffer.remaining());
        let Inner { io: Some(io), look, place, .. } = &mut *inner else { return Poll::Pending };
        let before = buffer.filled().len();
        let polled = if may_read_all {
            Pin::new(io).poll_read(cx, buffer)
        } else {
            Pin::new(&mut io.take(NARROW as u64)).poll_read(cx, buffer)
        };
        let read = &buffer.filled()[before..];
        if read.len() <= NARROW {
            *place = None;
        }
        ready!(polled)?;
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
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Inner { io: Some(io), writing, spelling, .. } = &mut *lock(&self.0) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        writing.poll_write(io, cx, pieces, spelling.take())
    }

    fn is_write_vectored(&self) -> bool {
        self.with(Io::is_write_vectored).unwrap_or_default()
    }

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of one that was taken back nothing is left to be flushed, and hyper goes on waiting for the rest of the answer.
        let Inner { io: Some(io), writing, .. } = &mut *lock(&self.0) else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(io).poll_flush(cx))?;
        writing.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Inner { io: Some(io), .. } = &mut *lock(&self.0) else { return Poll::Ready(Ok(())) };
        Pin::new(io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_is_taken_back_only_if_all_is_written_and_hyper_may_still_ask_for_it() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut lent = Watched::new(ours, &Wide::default());
        let watcher = lent.watcher();
        watcher.expect(None);
        assert!(watcher.take_back(|_, _| false).is_none(), "it does not fit");
        let mut write = tokio::spawn(async move {
            lent.write_all(b"question").await.expect("it is read");
            lent.flush().await.expect("the same");
            lent
        });
        assert!(futures_util::poll!(&mut write).is_pending());
        tokio::task::yield_now().await;
        assert!(watcher.take_back(|_, _| true).is_none(), "half of it is not written");
        theirs.read_exact(&mut [0; 8]).await.expect("a question");
        let mut lent = write.await.expect("written");

        theirs.write_all(b"HTTP").await.expect("room");
        lent.read_exact(&mut [0; 4]).await.expect("a part");
        theirs.write_all(b" \n\nb").await.expect("room");
        lent.read_exact(&mut [0; 4]).await.expect("the end of the head, and a byte");
        theirs.write_all(b"ody").await.expect("room");
        lent.read_exact(&mut [0; 1]).await.expect("another byte");
        let mut ours = watcher.take_back(|_, read| read == 2).expect("it fits");
        let (mut rest, mut more) = ([0; 2], [0; 1]);
        assert!(futures_util::poll!(Box::pin(lent.read(&mut more))).is_pending());
        ours.read_exact(&mut rest).await.expect("what is left");
        assert_eq!(&rest, b"dy");
        lent.flush().await.expect("nothing is left to be written");
        lent.write(b"x").await.expect_err("it is not there any more");
        assert!(watcher.take_back(|_, _| true).is_none(), "nor a second time");
        drop(lent);
        ours.write_all(b"next").await.expect("it is open");
    }

    #[tokio::test]
    async fn names_are_not_put_into_a_head_that_another_ones_rest_stands_before() {
        let (one, other) = ("GET / HTTP/1.1\r\nA-B: 1\r\n\r\n", "GET /other HTTP/1.1\r\nA-B: 2\r\n\r\n");
        let (ours, mut theirs) = tokio::io::duplex(20);
        let mut lent = Watched::new(ours, &Wide::default());
        let watcher = lent.watcher();
        let spelling = |name| Spelling(one.replace("A-B", name).into());
        watcher.expect(Some(&spelling("a-b")));
        assert!(futures_util::poll!(Box::pin(lent.write(one.as_bytes()))).is_pending(), "a part is written");
        watcher.expect(Some(&spelling("a-B")));
        let both = one.to_owned() + other;
        let read = async {
            let mut read = vec![0; both.len()];
            theirs.read_exact(&mut read).await.expect("both");
            String::from_utf8(read).expect("text")
        };
        let (written, read) = tokio::join!(lent.write_all(both.as_bytes()), read);
        written.expect("it is read");
        assert_eq!(read, one.replace("A-B", "a-b") + other);
    }

    #[tokio::test]
    async fn a_connection_that_hyper_has_done_with_is_closed_and_its_last_head_can_be_asked_for() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut lent = Watched::new(ours, &Wide::default());
        let watcher = lent.watcher();
        watcher.expect(None);
        theirs.write_all(b"HTTP/1.1 200\nx: 1\n\n").await.expect("room");
        lent.read_exact(&mut [0; 19]).await.expect("a head");
        drop(lent);
        assert_eq!(theirs.read(&mut [0]).await.expect("an end"), 0);
        assert!(watcher.take_unusual().is_some());
    }

    /// A connection, and its other end.
    fn lent(wide: &Wide) -> (Watched<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (Watched::new(ours, wide), theirs)
    }

    #[tokio::test]
    async fn only_so_many_read_much_at_once_and_those_who_have_done_make_room() {
        let wide = Wide::new(1);
        let [mut one, mut other] = [(); 2].map(|()| lent(&wide));
        let mut room = vec![0; 3 * NARROW];
        let ask = async |(lent, theirs): &mut (Watched<_>, DuplexStream)| {
            lent.watcher().expect(None);
            theirs.write_all(b"HTTP/1.1 200\n\n").await.expect("room");
            // A head takes no place, however much might have come.
            assert_eq!(lent.read(&mut vec![0; 3 * NARROW]).await.expect("a head"), 14);
            theirs.write_all(&[b'x'; 6 * NARROW]).await.expect("room");
        };
        ask(&mut one).await;
        ask(&mut other).await;
        // Little is read by everybody.
        assert_eq!(one.0.read(&mut room[..NARROW]).await.expect("it is there"), NARROW);
        for (is_wide, is_one) in [(true, false), (false, true), (false, true), (true, false)] {
            let lent = if is_one { &mut one.0 } else { &mut other.0 };
            let read = lent.read(&mut room).await.expect("it is there");
            assert_eq!(read, if is_wide { 3 * NARROW } else { NARROW });
            assert!(room[..read].iter().all(|byte| *byte == b'x'));
            room.fill(0);
        }
        // Nobody keeps it who rests, or has ended, though somebody still knows of it.
        other.0.watcher().rest();
        assert!(futures_util::poll!(Box::pin(other.0.read(&mut room))).is_pending());
        assert_eq!(one.0.read(&mut room).await.expect("it is there"), room.len());
        let _watcher = one.0.watcher();
        drop(one);
        ask(&mut other).await;
        assert_eq!(other.0.read(&mut room).await.expect("it is there"), room.len());
        let watcher = other.0.watcher();
        let mut taken = watcher.take_back(|_, _| true).expect("it is flushed");
        assert!(futures_util::poll!(Box::pin(other.0.read(&mut room))).is_pending());
        assert_eq!(wide.0.available_permits(), 1, "hyper asks in vain, and has no place for that");
        assert_eq!(taken.read(&mut room).await.expect("it is there"), room.len());
        // A tunnel needs none.
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut tunnel = Watched::new(ours, &wide);
        tunnel.watcher().switch(|_| {});
        theirs.write_all(&[b'x'; 6 * NARROW]).await.expect("room");
        assert_eq!(tunnel.read(&mut room).await.expect("it is there"), room.len());
        assert_eq!(wide.0.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_comes_at_once_is_read_at_once_where_there_is_a_place() {
        let wide = Wide::new(1);
        let (mut one, mut its_end) = lent(&wide);
        let (mut other, mut others_end) = lent(&wide);
        let answer = [b"HTTP/1.1 200\n\n".as_slice(), &[b'x'; 2 * NARROW]].concat();
        for (lent, theirs) in [(&one, &mut its_end), (&other, &mut others_end)] {
            lent.watcher().expect(None);
            theirs.write_all(&answer).await.expect("room");
        }
        let mut room = vec![0; 3 * NARROW];
        assert_eq!(one.read(&mut room).await.expect("it is there"), answer.len());
        assert_eq!(other.read(&mut room).await.expect("it is there"), NARROW);
        one.watcher().rest();
        assert_eq!(other.read(&mut room).await.expect("it is there"), answer.len() - NARROW);
        assert_eq!(wide.0.available_permits(), 0, "more may follow");
    }

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
                        assert_eq!(found.is_some_and(|found| found.0 == head), is_found, "{cut}");
                        assert!(!look.awaited && look.part.is_empty(), "what follows is a body");
                    }
                }
            }
        }
    }
}
