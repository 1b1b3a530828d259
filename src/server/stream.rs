//! What an HTTP/2 connection does beside its requests' own work: it ends those whose clients take nothing of the
//! answer, and those whose tunnels broke.
//!
//! hyper polls an answer's body only when the client takes more of it, so the body cannot notice that nobody does. But
//! hyper runs each request as a task of its own, and the executor that it does so with is ours.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::telemetry::meter::{Limit, Meter};

tokio::task_local! {
    static CURRENT: Arc<Stream>;
}

/// A request, or the tunnel that it became.
#[derive(Debug)]
pub struct Stream {
    begun: Instant,
    /// Since when a part of the answer waits for the client to take it: so many milliseconds after the beginning, and
    /// one. 0 is that none does.
    waiting: AtomicU64,
    cut: Notify,
}

impl Stream {
    /// The one whose task this is, if it is one's.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// A part of the answer was handed over.
    pub fn waits_for_client(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.waiting.store(since.saturating_add(1), Ordering::Relaxed);
    }

    /// The client has taken it, and may have more.
    pub fn waits_for_upstream(&self) {
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// Resets the stream, whatever it is doing.
    pub fn cut(&self) {
        self.cut.notify_one();
    }

    /// Ends when the client has taken nothing for so long.
    async fn stalled(&self, limit: Duration) {
        let mut look = self.begun + limit;
        loop {
            sleep_until(look).await;
            let now = Instant::now();
            look = match self.waiting.load(Ordering::Relaxed) {
                0 => now + limit,
                since => self.begun + Duration::from_millis(since - 1) + limit,
            };
            if look <= now {
                return;
            }
        }
    }
}

/// Runs the requests of a connection.
#[derive(Clone, Debug)]
pub struct Streams {
    limit: Duration,
    meter: Arc<Meter>,
}

impl Streams {
    /// A client may take nothing of an answer for as long as `limit`.
    pub fn new(limit: Duration, meter: Arc<Meter>) -> Self {
        Self { limit, meter }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let begun = || Arc::new(Stream { begun: Instant::now(), waiting: AtomicU64::new(0), cut: Notify::new() });
        // A task that a request begins, as one does that becomes a tunnel, is about the same stream.
        let stream = Stream::current().unwrap_or_else(begun);
        let Self { limit, meter } = self.clone();
        // Boxed, or the task would hold it twice: it is large, and where it is captured is not where it is polled.
        let future = Box::pin(future);
        tokio::spawn(CURRENT.scope(Arc::clone(&stream), async move {
            // What is dropped here before it has ended resets its stream.
            tokio::select! {
                biased;
                () = stream.cut.notified() => {}
                () = future => {}
                () = stream.stalled(limit) => meter.reached(Limit::IdleTimeout),
            }
        }));
    }
}
