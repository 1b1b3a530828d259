//! A request that is held, and whose connection is not hyper's meanwhile.
//!
//! hyper has two buffers of 8 KiB for a connection, and a request refers to the one that it was read into. So a request that
//! waits takes its head with it, hyper gives the connection back, and it is made anew once there is an answer. To write
//! that, hyper wants to have read a request: it reads one that differs from the other only in what does not matter any more.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Mutex;

use futures_util::future::FusedFuture;
use http::Response;

use super::http1::Lent;
use super::request::Answer;
use crate::headers;
use crate::lock::lock;

/// What an answer stands for of the request that hyper has read: whether it has a body (RFC 9110 §9.3.2).
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\n\r\n";
const OTHER: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// What hyper's service and whoever has the connection without hyper leave each other.
pub(super) struct Handover {
    /// What hyper is to be relieved of.
    suspended: Mutex<Option<Suspended>>,
    /// What the next request that hyper reads is answered with.
    resumed: Mutex<Option<Resumed>>,
}

impl Handover {
    pub fn of(resumed: Option<Resumed>) -> Self {
        Self { suspended: Mutex::new(None), resumed: Mutex::new(resumed) }
    }

    pub fn suspend(&self, request: Suspended) {
        *lock(&self.suspended) = Some(request);
    }

    pub fn take_suspended(&self) -> Option<Suspended> {
        lock(&self.suspended).take()
    }

    pub fn take_resumed(&self) -> Option<Resumed> {
        lock(&self.resumed).take()
    }
}

/// A request of HTTP/1.1 without a body, all that hyper has read of its connection.
pub(super) struct Suspended {
    pub answer: Pin<Box<dyn Future<Output = Response<Answer>> + Send>>,
    pub is_head: bool,
}

/// Its answer, which takes little room until it is written.
pub(super) type Resumed = Box<Response<Answer>>;

impl Suspended {
    /// Waits for the answer, which hyper can write as one to what it reads next, and is the last one if that is to `stop`.
    ///
    /// # Errors
    /// The client has left.
    pub async fn resume(self, wire: &Lent, mut stop: Pin<&mut impl FusedFuture>) -> io::Result<Resumed> {
        let Self { mut answer, is_head } = self;
        let mut answer = loop {
            tokio::select! {
                biased;
                // First, since it may be why there is an answer.
                _ = stop.as_mut(), if !stop.is_terminated() => {}
                answer = &mut answer => break Box::new(answer),
                left = poll_fn(|cx| wire.lock().poll_left(cx)) => return Err(left),
            }
        };
        if stop.is_terminated() {
            headers::close(answer.headers_mut());
        }
        wire.lock().read_again(if is_head { HEAD } else { OTHER });
        Ok(answer)
    }
}
