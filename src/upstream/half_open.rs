//! A connection that is heard out after it has stopped listening.
//!
//! An upstream may answer before it has read the whole request, and close (RFC 9112 §9.6). What we go on sending is
//! then answered by a reset, and hyper gives a connection up at the first write that fails, though the answer waits
//! to be read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::places::Place;
use super::tongue;

/// For so long what a tunnel writes in vain is swallowed after something was read: that may be on its way to a reader who takes
/// his time, and to whom a tunnel that breaks is reset.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Swallows what is written once a write has failed, so that everything that was received is read. Some time after that a
/// [tunnel](Self::tunnel) is told.
#[derive(Debug)]
pub struct HalfOpen<Io> {
    inner: Io,
    is_tunnel: bool,
    /// The kernel tells of a reset only once, to the first who asks: the reader is told at the end.
    failed: Option<Failed>,
    /// Nothing was read yet.
    is_new: bool,
    _place: Option<Place>,
}

/// How a write has failed, and when something was read last since.
#[derive(Clone, Copy, Debug)]
struct Failed {
    kind: io::ErrorKind,
    heard: Instant,
}

impl Failed {
    fn now(error: &io::Error) -> Option<Self> {
        Some(Self { kind: error.kind(), heard: Instant::now() })
    }
}

impl<Io> HalfOpen<Io> {
    /// What it stands before.
    pub fn get_ref(&self) -> &Io {
        &self.inner
    }

    /// Whether a write has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Nothing has failed yet.
    pub fn new(inner: Io) -> Self {
        Self { inner, is_tunnel: false, failed: None, is_new: true, _place: None }
    }

    /// It speaks another protocol from now on, in which each direction ends by itself: what is written in vain is told, once
    /// nothing was read for a while.
    pub fn tunnel(&mut self) {
        self.is_tunnel = true;
    }

    /// Keeps this place for as long as it is there.
    pub fn with_place(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for HalfOpen<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.failed.is_none() {
            match ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => self.failed = Failed::now(&error),
            }
        }
        if let Some(failed) = self.failed.filter(|failed| self.is_tunnel && failed.heard.elapsed() >= LAST_WORDS) {
            return Poll::Ready(Err(failed.kind.into()));
        }
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_none()
            // TLS takes what it is to write, and writes it later.
            && let Err(error) = ready!(Pin::new(&mut self.inner).poll_flush(cx))
        {
            self.failed = Failed::now(&error);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for HalfOpen<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (room, before) = (buffer.remaining(), buffer.filled().len());
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if std::mem::take(&mut self.is_new) {
            tongue::check(&buffer.filled()[before..])?;
        }
        if let Some(failed) = &mut self.failed {
            // Not a clean end: an answer that ends with its connection would look complete.
            if buffer.remaining() == room {
                return Poll::Ready(Err(failed.kind.into()));
            }
            failed.heard = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A peer that has said something, and has reset the connection.
    struct Reset(&'static [u8]);

    impl AsyncWrite for Reset {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Reset {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    /// The same, behind something that takes what is written and writes it when it is flushed.
    struct Late(Reset);

    impl AsyncWrite for Late {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl AsyncRead for Late {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    #[tokio::test]
    async fn what_was_received_is_read_after_a_write_has_failed_and_then_the_failure_is_told() {
        let mut connection = HalfOpen::new(Reset(b"HTTP/1"));
        connection.write_all(b"request").await.expect("swallowed");
        connection.flush().await.expect("nothing to flush");
        let mut answer = [0; 6];
        connection.read_exact(&mut answer).await.expect("it was received");
        assert_eq!(&answer, b"HTTP/1");
        let end = connection.read(&mut answer).await.expect_err("no clean end");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_was_received_is_read_after_a_write_has_failed_that_was_put_off() {
        let mut connection = HalfOpen::new(Late(Reset(b"HTTP/1")));
        connection.write_all(b"request").await.expect("put off");
        connection.flush().await.expect("swallowed");
        assert!(connection.has_failed());
        let mut answer = [0; 6];
        connection.read_exact(&mut answer).await.expect("it was received");
        let end = connection.read(&mut answer).await.expect_err("no clean end");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tunnel_writes_in_vain_is_told_once_nothing_was_read_for_a_while() {
        let mut connection = HalfOpen::new(Reset(b"HTTP/1"));
        connection.tunnel();
        connection.write_all(b"up").await.expect("what was received is not lost for it");
        for _ in 0..3 {
            tokio::time::advance(LAST_WORDS - Duration::from_secs(1)).await;
            connection.read_exact(&mut [0; 2]).await.expect("it was received");
        }
        connection.write_all(b"up").await.expect("more may be on its way");
        tokio::time::advance(LAST_WORDS).await;
        let error = connection.write_all(b"up").await.expect_err("nobody has it");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_clean_end_stays_one() {
        assert_eq!(HalfOpen::new(Reset(b"")).read(&mut [0]).await.expect("an end"), 0);
    }
}
