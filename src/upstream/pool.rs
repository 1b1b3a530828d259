//! Idle connections to the upstream, one pool per worker thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::Dialer;
use super::body::RequestBody;
use super::half_open::HalfOpen;
use super::trailers::{Slot, Trailing};
use crate::evidence::Failure;
use crate::retry;
use crate::tls::Protocols;

/// More idle connections than this are closed: a burst should not be remembered for ever.
const IDLE_MOST: usize = 512;
/// Servers close idle connections after a minute or so; ours should go first, so that no request meets the closing.
const IDLE_LONGEST: Duration = Duration::from_secs(50);

/// What an upstream that speaks TLS may choose from.
const OFFERED: Protocols = Protocols::Http1;

/// In bytes: an answer's head beyond it is refused. As much as a client's may be.
const HEAD_MOST: usize = 64 << 10;
/// How long the end of an exchange may take to be noticed; an upstream that does not read the last bytes of a request
/// that it has answered would be waited for without end.
const SETTLE_LONGEST: Duration = Duration::from_secs(5);

/// Connections that wait for their next request.
///
/// The lock is private to one worker thread and never held across an await, so nobody ever waits for it; it is
/// there because tower's layers want what they wrap to be `Send`.
pub struct Pool {
    dialer: Dialer,
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    trailers: Slot,
    task: Cut,
    since: Instant,
    run: u64,
}

/// A connection that is taken: it goes back with [`Lease::give_back`], or is closed when it is dropped.
pub struct Lease {
    pub sender: SendRequest<RequestBody>,
    pub connection: retry::Connection,
    /// For the trailers of what is sent over it.
    pub trailers: Slot,
    /// Whether it carries no further request.
    pub last: bool,
    task: Cut,
    pool: Arc<Pool>,
    run: u64,
}

/// Ends a connection's task when it is dropped, whatever the connection is doing: one that waits for an upstream which
/// does not read would otherwise not notice that nobody waits for it any more.
struct Cut(Option<AbortHandle>);

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(dialer: Dialer) -> Arc<Self> {
        Arc::new(Self { dialer, idle: Mutex::default() })
    }

    /// Takes the connection that was used last, since it is the least likely to be closed by now. `run` is the
    /// target's: a connection to a former run is dead, even if nothing has said so yet.
    pub fn take(self: &Arc<Self>, run: u64) -> Option<Lease> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { sender, trailers, task, since, run: its }) = idle.pop_back() {
            if its == run && sender.is_ready() && since.elapsed() < IDLE_LONGEST {
                let pool = Arc::clone(self);
                let connection = retry::Connection::Pooled;
                return Some(Lease { sender, connection, trailers, last: false, task, pool, run });
            }
        }
        None
    }

    /// Makes a new connection.
    pub async fn connect(self: &Arc<Self>, run: u64) -> Result<Lease, Failure> {
        let stream = self.dialer.connect(OFFERED).await?;
        let trailers = Slot::default();
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_header_size(HEAD_MOST)
            .max_buf_size(HEAD_MOST)
            .handshake(TokioIo::new(Trailing::new(HalfOpen::new(stream), trailers.clone())))
            .await
            .map_err(|_| Failure::ClosedEarly)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let task = Cut(Some(task.abort_handle()));
        let (connection, pool) = (retry::Connection::New, Arc::clone(self));
        Ok(Lease { sender, connection, trailers, last: false, task, pool, run })
    }

    fn put(&self, Lease { sender, trailers, task, run, .. }: Lease) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(Idle { sender, trailers, task, since: now, run });
        while idle.len() > IDLE_MOST || idle.front().is_some_and(|oldest| now - oldest.since > IDLE_LONGEST) {
            idle.pop_front();
        }
    }
}

impl Lease {
    /// Puts the connection back once request and answer are over.
    pub fn give_back(mut self) {
        if self.last {
            return;
        }
        if self.sender.is_ready() {
            Arc::clone(&self.pool).put(self);
        } else if !self.sender.is_closed() {
            // The connection's own task has yet to notice that the exchange is over.
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE_LONGEST, self.sender.ready()).await {
                    Arc::clone(&self.pool).put(self);
                }
            });
        }
    }

    /// Leaves the connection to the tunnel that it becomes.
    pub fn leave(mut self) {
        self.task.0 = None;
    }
}
