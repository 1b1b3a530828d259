//! Idle connections to the upstream, one pool per worker thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::Dialer;
use super::body::RequestBody;
use crate::evidence::Failure;
use crate::retry;

/// More idle connections than this are closed: a burst should not be remembered for ever.
const IDLE_MOST: usize = 512;
/// Servers close idle connections after a minute or so; ours should go first, so that no request meets the closing.
const IDLE_LONGEST: Duration = Duration::from_secs(50);

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
    since: Instant,
    run: u64,
}

/// A connection that is taken: it goes back with [`Lease::give_back`], or is closed when it is dropped.
pub struct Lease {
    pub sender: SendRequest<RequestBody>,
    pub connection: retry::Connection,
    pool: Arc<Pool>,
    run: u64,
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
        while let Some(Idle { sender, since, run: its }) = idle.pop_back() {
            if its == run && sender.is_ready() && since.elapsed() < IDLE_LONGEST {
                return Some(Lease { sender, connection: retry::Connection::Pooled, pool: Arc::clone(self), run });
            }
        }
        None
    }

    /// Makes a new connection.
    pub async fn connect(self: &Arc<Self>, run: u64) -> Result<Lease, Failure> {
        let stream = self.dialer.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::ClosedEarly)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Lease { sender, connection: retry::Connection::New, pool: Arc::clone(self), run })
    }

    fn put(&self, sender: SendRequest<RequestBody>, run: u64) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(Idle { sender, since: now, run });
        while idle.len() > IDLE_MOST || idle.front().is_some_and(|oldest| now - oldest.since > IDLE_LONGEST) {
            idle.pop_front();
        }
    }
}

impl Lease {
    /// Puts the connection back once its answer was read to the end.
    pub fn give_back(mut self) {
        if self.sender.is_ready() {
            self.pool.put(self.sender, self.run);
        } else if !self.sender.is_closed() {
            // The connection's own task has yet to notice that the exchange is over.
            tokio::spawn(async move {
                if self.sender.ready().await.is_ok() {
                    self.pool.put(self.sender, self.run);
                }
            });
        }
    }
}
