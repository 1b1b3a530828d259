//! An answer's body, at the pace at which its client takes it.
//!
//! hyper takes up to 64 KiB of a body beside what it has yet to write, and that of each client that takes little. So a
//! body has nothing for it until all that came before is written, over TLS as far as TLS takes it.

use std::task::{Context, Poll};

use super::notes::Notes;

/// Of one answer over HTTP/1.1.
#[derive(Debug, Default)]
pub struct Pace {
    has_waited: bool,
}

impl Pace {
    /// What is `next` in the body, when it may be. Nobody is woken then: hyper asks again when it has written.
    pub fn poll<T>(
        &mut self,
        notes: &Notes,
        cx: &mut Context<'_>,
        next: impl FnOnce(&mut Context<'_>) -> Poll<Option<T>>,
    ) -> Poll<Option<T>> {
        if notes.is_unwritten() {
            self.has_waited = true;
            return Poll::Pending;
        }
        let polled = next(cx);
        if self.has_waited && matches!(polled, Poll::Ready(None)) {
            // Only when it flushes does hyper see that a connection is over, and when it has asked again it does so if there
            // are bytes to be written (1.12, `poll_loop`). The end of a body that the connection's end tells has none.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

    use super::*;

    const FRAME: usize = 1000;

    /// Writes notes as a client's connection does.
    struct Noting(DuplexStream, Arc<Notes>);

    impl AsyncRead for Noting {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Noting {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.1.unwritten.store(true, Relaxed);
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.1.unwritten.store(false, Relaxed);
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Answers with so many frames, each a turn after the one before, and counts those that hyper has taken.
    async fn serve(io: Noting, frames: usize, taken: Arc<AtomicUsize>) {
        let notes = Arc::clone(&io.1);
        let service = service_fn(move |_: Request<Incoming>| {
            let (notes, taken, mut pace, mut comes) = (Arc::clone(&notes), Arc::clone(&taken), Pace::default(), true);
            let body = stream::poll_fn(move |cx| {
                pace.poll(&notes, cx, |cx| {
                    comes = !comes;
                    if comes {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; FRAME])));
                    Poll::Ready((taken.fetch_add(1, Relaxed) < frames).then(frame))
                })
            });
            async { Ok::<_, Infallible>(Response::new(StreamBody::new(body))) }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
    }

    #[tokio::test]
    async fn a_body_waits_for_its_client_and_the_end_of_its_connection_does_not() {
        for room in (1..FRAME).step_by(7) {
            for version in ["1.0", "1.1"] {
                let (ours, mut client) = duplex(room);
                let taken = Arc::default();
                tokio::spawn(serve(Noting(ours, Arc::default()), 3, Arc::clone(&taken)));
                let request = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
                client.write_all(request.as_bytes()).await.expect("room");
                let mut answer = vec![0; 1];
                client.read_exact(&mut answer).await.expect("a head");
                assert_eq!(taken.load(Relaxed), 1, "the first is not written");
                let rest = client.read_to_end(&mut answer);
                tokio::time::timeout(Duration::from_secs(20), rest).await.expect("an end").expect("no reset");
                assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), 3 * FRAME);
            }
        }
    }
}
