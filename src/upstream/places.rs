//! How many connections to the upstream there may be at once, in all workers' pools together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The place of one connection. To be kept as long as its socket.
pub type Place = OwnedSemaphorePermit;

/// All of them.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    /// How many wait for one.
    waiting: AtomicUsize,
}

/// Somebody who waits, and is counted.
pub struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    /// Counts one more, until it is dropped.
    pub fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// So many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(most)), waiting: AtomicUsize::new(0) })
    }

    /// One that is free.
    pub fn try_take(&self) -> Option<Place> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// One, as soon as it is free.
    pub async fn take(&self) -> Place {
        let _waits = Waits::begin(&self.waiting);
        Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// How many wait for one, so that no connection should rest.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
