//! The tasks that hyper runs an HTTP/2 connection to the upstream in: one has the socket, and for each request one waits
//! for the answer, and another one sends the body.
//!
//! There alone can be known and done what hyper leaves out. The part of a connection that can be asked how many requests
//! it carries does not hear of a change. Who waits for room to send more of a body looks at nothing else, not even whether
//! anybody still waits for the answer; and who waits for the upstream to read, not whether anybody still has a request.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::lease::Cut;
use super::places::Place;
use crate::lock::lock;

/// Runs the tasks of one connection.
#[derive(Clone)]
pub(super) struct Tasks {
    /// How many requests the connection carries at once, as the upstream last said; 0 before it has.
    pub(super) room: Arc<AtomicUsize>,
    /// Who has that from hyper.
    pub(super) hears: Arc<AtomicWaker>,
    pub(super) uploads: Uploads,
    first: Arc<OnceLock<AbortHandle>>,
    /// Kept by each of them, of which one has the socket.
    _place: Arc<Place>,
}

impl Tasks {
    /// None runs yet.
    pub(super) fn new(place: Place) -> Self {
        Self {
            room: Arc::default(),
            hears: Arc::default(),
            uploads: Uploads::default(),
            first: Arc::default(),
            _place: Arc::new(place),
        }
    }

    /// Whether the upstream has said how many requests it takes.
    pub(super) fn know_room(&self) -> bool {
        self.room.load(Ordering::Relaxed) > 0
    }

    /// Has the room looked at again.
    fn have_run(&self) {
        self.hears.wake();
    }

    /// Closes the connection when it is dropped, after the handshake. The other tasks end then by themselves.
    pub(super) fn cut(&self) -> Option<Cut> {
        // hyper begins with the one that has the socket.
        self.first.get().map(|task| Cut::when_dropped(task.clone()))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        // A body that could be sent at once has no task; then this one waits for its answer, and whoever gives up the one has
        // no use for the other. All of `tasks` is to go into the task, with the place, and not only what is used there.
        let (tasks, mut given_up) = (self.clone(), lock(&self.uploads.0).take());
        let task = tokio::spawn(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if given_up.as_mut().is_some_and(|given_up| given_up.poll_unpin(cx).is_ready()) {
                    return Poll::Ready(());
                }
                let ended = future.as_mut().poll(cx);
                tasks.have_run();
                ended
            })
            .await;
        });
        // An error means that it is not the first.
        let _ = self.first.set(task.abort_handle());
    }
}

/// Where a body says how it can be given up: to the task that hyper begins next, which is the one that sends it. Never
/// contended: a connection lives on one thread.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<Option<oneshot::Receiver<Infallible>>>>);

/// A body on its way to the upstream, which is given up when this is dropped: its stream is reset as soon as nobody reads
/// the answer either.
pub(super) struct Upload(oneshot::Sender<Infallible>);

/// For the body itself, which has to say so when it is first asked for a piece.
pub(super) struct Notice {
    uploads: Uploads,
    given_up: oneshot::Receiver<Infallible>,
}

impl Uploads {
    /// One more.
    pub(super) fn begin(&self) -> (Upload, Notice) {
        let (upload, given_up) = oneshot::channel();
        (Upload(upload), Notice { uploads: self.clone(), given_up })
    }
}

impl Notice {
    pub(super) fn give(self) {
        *lock(&self.uploads.0) = Some(self.given_up);
    }
}

impl Upload {
    /// Whether hyper has the whole body.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    /// Ends when it has.
    pub(super) async fn over(&mut self) {
        self.0.closed().await;
    }
}
