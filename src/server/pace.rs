//! What is between hyper and a client that takes little at a time.
//!
//! hyper takes up to 64 KiB of a body beside what it has yet to write, and that of each client that takes little. So a
//! body has nothing for it until all that came before is written, over TLS as far as TLS takes it. hyper then asks again in
//! the turn in which it has written (`poll_loop` in its dispatcher), and whatever it learns then is lost if it has nothing to
//! wait for: that the connection is over, or that a request waits in what it has read. So it is woken once more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Of one connection. All who have to do with it are polled by the same worker, so nothing is read and written at once.
#[derive(Debug, Default)]
pub struct Pace {
    /// hyper has something left to write.
    unwritten: AtomicBool,
    /// The client was waited for since all was written last.
    waited: AtomicBool,
}

impl Pace {
    /// Whether hyper has something left that its client, or TLS, has yet to make room for.
    pub fn is_behind(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// What is `next` in a body, when it may be. Nobody is woken then: hyper asks again when it has written.
    pub fn poll<T>(&self, cx: &mut Context<'_>, next: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if self.is_behind() { Poll::Pending } else { next(cx) }
    }

    /// hyper writes something, which can be done or not.
    pub fn writes<T>(&self, can: &Poll<T>) {
        self.unwritten.store(true, Ordering::Relaxed);
        self.waits(can);
    }

    /// hyper has nothing left to write, and wants it flushed, which `flush` does.
    pub fn flushes<T>(&self, cx: &mut Context<'_>, flush: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.unwritten.store(false, Ordering::Relaxed);
        let flushed = flush(cx);
        self.waits(&flushed);
        if flushed.is_ready() && self.waited.load(Ordering::Relaxed) {
            self.waited.store(false, Ordering::Relaxed);
            cx.waker().wake_by_ref();
        }
        flushed
    }

    fn waits<T>(&self, can: &Poll<T>) {
        if can.is_pending() {
            self.waited.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Request, Response};
    use http_body::{Body, Frame, SizeHint};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioIo, TokioTimer};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A connection whose pace is kept.
    struct Paced(DuplexStream, Arc<Pace>);

    impl AsyncRead for Paced {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Paced {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let written = Pin::new(&mut self.0).poll_write(cx, bytes);
            self.1.writes(&written);
            written
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let Self(io, pace) = &mut *self;
            pace.flushes(cx, |cx| Pin::new(io).poll_flush(cx))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// How an answer's body ends.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Ends {
        /// It has a length.
        Length,
        /// There is nothing more.
        Nothing,
        Trailers,
    }

    /// Some frames, each a turn after the one before; the end comes with the last one.
    struct Frames {
        left: Vec<usize>,
        ends: Ends,
        comes: bool,
        taken: Arc<AtomicUsize>,
        pace: Arc<Pace>,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            let pace = Arc::clone(&self.pace);
            pace.poll(cx, |cx| {
                self.comes = !self.comes;
                let Some(length) = self.left.pop() else {
                    let ends = std::mem::replace(&mut self.ends, Ends::Nothing);
                    return Poll::Ready((ends == Ends::Trailers).then(|| Ok(Frame::trailers(HeaderMap::new()))));
                };
                if self.comes {
                    self.left.push(length);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.taken.fetch_add(1, Relaxed);
                Poll::Ready(Some(Ok(Frame::data(vec![b'x'; length].into()))))
            })
        }

        fn is_end_stream(&self) -> bool {
            self.ends == Ends::Length && self.left.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            match self.ends {
                Ends::Length => SizeHint::with_exact(self.left.iter().sum::<usize>() as u64),
                Ends::Nothing | Ends::Trailers => SizeHint::default(),
            }
        }
    }

    /// Answers each request with these frames, the last one first. Says how many hyper has taken.
    fn serve(room: usize, frames: &'static [usize], ends: Ends) -> (DuplexStream, Arc<AtomicUsize>) {
        let (ours, client) = duplex(room);
        let (taken, pace) = (Arc::<AtomicUsize>::default(), Arc::<Pace>::default());
        let (counted, kept) = (Arc::clone(&taken), Arc::clone(&pace));
        let service = service_fn(move |_: Request<Incoming>| {
            let (taken, pace) = (Arc::clone(&counted), Arc::clone(&kept));
            let body = Frames { left: frames.to_vec(), ends, comes: true, taken, pace };
            async { Ok::<_, io::Error>(Response::new(body)) }
        });
        let mut http1 = http1::Builder::new();
        http1.half_close(true).timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5));
        tokio::spawn(http1.serve_connection(TokioIo::new(Paced(ours, pace)), service));
        (client, taken)
    }

    /// All that comes until the end, which is soon.
    async fn rest(client: &mut DuplexStream) -> String {
        let mut rest = String::new();
        let read = tokio::time::timeout(Duration::from_secs(8), client.read_to_string(&mut rest)).await;
        read.expect("an end").expect("text, and no reset");
        rest
    }

    #[tokio::test]
    async fn a_body_waits_for_its_client() {
        for ends in [Ends::Length, Ends::Nothing] {
            let (mut client, taken) = serve(999, &[1000; 3], ends);
            client.write_all(GET.as_bytes()).await.expect("room");
            client.read_exact(&mut [0]).await.expect("a head");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(taken.load(Relaxed), 1, "it is not written");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_hyper_learns_when_it_has_written_is_not_lost() {
        for room in (1..2000).step_by(7).chain([1000]) {
            for ends in [Ends::Length, Ends::Nothing, Ends::Trailers] {
                // The end of a connection, by the client's wish or since a body ends with it.
                for request in [GET.replace("1.1", "1.0"), GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")] {
                    let (mut client, _) = serve(room, &[500, 1000], ends);
                    client.write_all(request.as_bytes()).await.expect("room");
                    assert_eq!(rest(&mut client).await.matches('x').count(), 1500, "{room} {ends:?} {request}");
                }
                // Another request, and that there is none for too long.
                let (mut client, _) = serve(room, &[500, 1000], ends);
                let (mut read, mut write) = tokio::io::split(&mut client);
                let both = [GET, GET].concat();
                let (_, read) = tokio::join!(write.write_all(both.as_bytes()), async {
                    let mut answers = String::new();
                    let read = tokio::time::timeout(Duration::from_secs(8), read.read_to_string(&mut answers)).await;
                    read.expect("an end").map(|_| answers)
                });
                assert_eq!(read.expect("text").matches("HTTP/1.1 200").count(), 2, "{room} {ends:?}");
            }
        }
    }
}
