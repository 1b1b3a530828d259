//! Notices that a client has left while nobody reads what it has sent.
//!
//! hyper does not read on as long as bytes wait to be used: a body that nobody asked for yet, a pipelined request, a
//! stray line end. Behind them the end of the stream is not seen by reading, but the kernel tells of it (`man 2
//! epoll_ctl`: `EPOLLRDHUP`, `EPOLLERR`).

use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Most bodies are asked for at once, and need no lookout.
const BEGIN_AFTER: Duration = Duration::from_millis(10);

/// How a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It will send no more, and may still listen.
    Finished,
    /// The connection was reset.
    Reset,
}

/// Looks out for a client's departure, beginning a little later.
pub enum Lookout {
    Soon(Pin<Box<Sleep>>),
    /// With a descriptor of its own: waiting borrows the socket, and the other one belongs to the connection.
    Watching(Pin<Box<dyn Future<Output = Departure> + Send>>),
}

impl Lookout {
    pub fn begin() -> Self {
        Self::Soon(Box::pin(sleep(BEGIN_AFTER)))
    }

    /// Ready with a departure once; with `None` there is no descriptor to notice one by, and it is tried again.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<Option<Departure>> {
        if let Self::Soon(begin) = self {
            ready!(begin.as_mut().poll(cx));
            let copy = socket.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
            let Ok(copy) = copy.and_then(TcpStream::from_std) else { return Poll::Ready(None) };
            *self = Self::Watching(Box::pin(async move {
                // An error would mean that the runtime is being shut down: then nobody is listened to any more.
                copy.ready(Interest::PRIORITY | Interest::ERROR).await.map_or(Departure::Reset, Departure::of)
            }));
        }
        let Self::Watching(watching) = self else { return Poll::Pending };
        watching.as_mut().poll(cx).map(Some)
    }
}

impl Departure {
    fn of(end: Ready) -> Self {
        if end.is_error() { Self::Reset } else { Self::Finished }
    }
}
