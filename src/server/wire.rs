//! A client's connection as hyper gets to see it: without what [`grammar`](super::grammar) refuses, and with the
//! deadlines that hyper does not keep.
//!
//! | what happens | what hyper sees |
//! |---|---|
//! | a bare LF or a second framing in a head | a NUL, which it answers with 400 |
//! | broken framing of a body | an error, which the request answers with 400 |
//! | a head that is not complete in time | an error: the connection is closed |
//! | a client that takes nothing of its answer for too long | an error: the connection is closed |
//! | the end of the client's stream | the end, but `LINGER` later |
//!
//! A timer exists only while one of these is under way, so an ordinary request costs none.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::Place;
use super::grammar::{Broken, Scanner};
use crate::config::Limits;
use crate::telemetry::meter::{Limit, Meter};

/// A client that closes its sending half may still listen, and one that has left looks the same until something is
/// written to it. So the answer may come for this long after the end, and for as long as it flows; then the client is
/// taken to have left, which cancels the upstream's work.
const LINGER: Duration = Duration::from_millis(75);

/// A client's connection.
pub struct Wire<S> {
    inner: S,
    /// `None` where the bytes are those of HTTP/2, which has frames instead of lines.
    scanner: Option<Scanner>,
    head_timeout: Duration,
    stall_timeout: Duration,
    meter: Arc<Meter>,
    /// For the rest of a head, or for an answer after the client's end.
    reading: Option<Pin<Box<Sleep>>>,
    /// For room to write.
    writing: Option<Pin<Box<Sleep>>>,
    ended: bool,
    /// What was well has been handed on; nothing after it can be believed.
    broken: Option<Broken>,
    _place: Place,
}

impl<S> Wire<S> {
    /// With `scanner` looking at what the client sends, if that is HTTP/1.1.
    pub fn new(inner: S, scanner: Option<Scanner>, place: Place, limits: &Limits, meter: Arc<Meter>) -> Self {
        let (head_timeout, stall_timeout) = (limits.header_timeout, limits.idle_timeout);
        let (reading, writing, ended, broken) = (None, None, false, None);
        Self { inner, scanner, head_timeout, stall_timeout, meter, reading, writing, ended, broken, _place: place }
    }

    /// Looks at what was read after the first `before` bytes.
    fn received(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(scanner) = &mut self.scanner else { return Ok(()) };
        if let Err((well, broken)) = scanner.scan(&mut buf.filled_mut()[before..]) {
            buf.set_filled(before + well);
            self.broken = Some(broken);
            if well == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, broken));
            }
        }
        if !scanner.in_head() {
            self.reading = None;
        } else if self.reading.is_none() {
            // It is not extended by what comes: one byte a second is what the deadline is for.
            self.reading = Some(Box::pin(sleep(self.head_timeout)));
        }
        Ok(())
    }

    /// The client's end: at once if it owes a rest, or if the protocol has its own ways to end.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.scanner.as_ref().is_none_or(|scanner| scanner.in_head() || scanner.is_opaque()) {
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut self.ended, true) {
            self.reading = Some(Box::pin(sleep(LINGER)));
        }
        self.reading.as_mut().map_or(Poll::Ready(Ok(())), |linger| linger.as_mut().poll(cx).map(Ok))
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(_) => {
                self.writing = None;
                if self.ended
                    && let Some(linger) = &mut self.reading
                {
                    linger.as_mut().reset(Instant::now() + LINGER);
                }
                written
            }
            // A tunnel may be silent, and its reader slow, for as long as its ends like.
            Poll::Pending if self.scanner.as_ref().is_some_and(Scanner::is_opaque) => written,
            Poll::Pending => {
                let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(self.stall_timeout)));
                timer.as_mut().poll(cx).map(|()| {
                    self.meter.reached(Limit::IdleTimeout);
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer"))
                })
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if let Some(broken) = wire.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, broken)));
        }
        if wire.ended {
            return wire.end(cx);
        }
        let before = buf.filled().len();
        match Pin::new(&mut wire.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => wire.end(cx),
            Poll::Ready(Ok(())) => Poll::Ready(wire.received(buf, before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match &mut wire.reading {
                None => Poll::Pending,
                Some(timer) => timer.as_mut().poll(cx).map(|()| {
                    wire.meter.reached(Limit::HeaderTimeout);
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the rest of a head did not come"))
                }),
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.wrote(cx, written)
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
