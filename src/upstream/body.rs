//! A request's body on its way up: passed on as it is read, and kept, up to a bound, so that it can be sent again.
//!
//! Nothing is read from the client before a connection to the upstream asks for it. What was read is kept on a
//! [`Tape`] until it grows beyond its bound (then it is let go, and the request can be sent only once).

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// How much may be kept, of one body and of all together.
#[derive(Debug)]
pub struct Allowance {
    each: usize,
    left: AtomicUsize,
}

/// Kept of all bodies together, in bytes: 64 bodies of the default size.
const ALL_TOGETHER: usize = 64 << 20;

impl Allowance {
    /// `each` in bytes.
    pub fn new(each: usize) -> Self {
        Self { each, left: AtomicUsize::new(ALL_TOGETHER) }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The client's body and what is kept of it.
pub struct Tape {
    /// `None` for a request without a body: most of them.
    reel: Option<Arc<Mutex<Reel>>>,
}

struct Reel {
    source: Incoming,
    kept: Vec<Kept>,
    kept_bytes: usize,
    allowance: Arc<Allowance>,
    replayable: bool,
    ended: bool,
    /// The client's own fault: it left, or its framing is broken.
    client_failed: bool,
    /// When the client last delivered something.
    progress: Instant,
    /// Which reader may read: an abandoned one must not steal frames from its successor.
    reader: u32,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Tape {
    /// Nothing is read yet.
    pub fn new(source: Incoming, allowance: &Arc<Allowance>) -> Self {
        if source.is_end_stream() {
            return Self { reel: None };
        }
        let reel = Reel {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            allowance: Arc::clone(allowance),
            replayable: true,
            ended: false,
            client_failed: false,
            progress: Instant::now(),
            reader: 0,
        };
        Self { reel: Some(Arc::new(Mutex::new(reel))) }
    }

    /// The body from its first byte. Readers that were made before read nothing any more.
    pub fn play(&self) -> RequestBody {
        let reel = self.reel.as_ref().map(|reel| {
            let mut guard = lock(reel);
            guard.reader += 1;
            Reader { reel: Arc::clone(reel), reader: guard.reader, next: 0, hint: guard.source.size_hint() }
        });
        RequestBody { reader: reel }
    }

    /// Whether [`Tape::play`] would still give the whole body.
    pub fn replayable(&self) -> bool {
        self.ask(true, |reel| reel.replayable)
    }

    /// Whether the body could not be read because of the client.
    pub fn client_failed(&self) -> bool {
        self.ask(false, |reel| reel.client_failed)
    }

    /// While the client still sends: when it last did.
    pub fn progress(&self) -> Option<Instant> {
        self.ask(None, |reel| (!reel.ended).then_some(reel.progress))
    }

    fn ask<T>(&self, without_body: T, question: impl FnOnce(&Reel) -> T) -> T {
        self.reel.as_ref().map_or(without_body, |reel| question(&lock(reel)))
    }
}

impl Reel {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let read = ready!(Pin::new(&mut self.source).poll_frame(cx));
        self.progress = Instant::now();
        match &read {
            Some(Ok(frame)) => self.keep(frame),
            Some(Err(_)) => self.client_failed = true,
            None => self.ended = true,
        }
        Poll::Ready(read)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.replayable {
            return;
        }
        if let Some(data) = frame.data_ref() {
            let fits = self.kept_bytes + data.len() <= self.allowance.each && self.allowance.take(data.len());
            if fits {
                self.kept_bytes += data.len();
                self.kept.push(Kept::Data(data.clone()));
            } else {
                self.replayable = false;
                self.let_go();
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Kept::Trailers(trailers.clone()));
        }
    }

    fn let_go(&mut self) {
        self.allowance.give_back(std::mem::take(&mut self.kept_bytes));
        self.kept = Vec::new();
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What a connection reads and sends.
pub struct RequestBody {
    reader: Option<Reader>,
}

struct Reader {
    reel: Arc<Mutex<Reel>>,
    reader: u32,
    /// Index of the next kept frame to send again.
    next: usize,
    hint: SizeHint,
}

/// Why a request's body could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client left or broke its framing.
    #[error("the client's body could not be read")]
    Client(#[source] hyper::Error),
    /// The request is being sent on another connection.
    #[error("the body was taken over by another attempt")]
    TakenOver,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &mut self.reader else {
            return Poll::Ready(None);
        };
        let mut reel = lock(&reader.reel);
        if reel.reader != reader.reader {
            return Poll::Ready(Some(Err(BodyError::TakenOver)));
        }
        if let Some(kept) = reel.kept.get(reader.next).cloned() {
            reader.next += 1;
            return Poll::Ready(Some(Ok(match kept {
                Kept::Data(data) => Frame::data(data),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if reel.ended {
            return Poll::Ready(None);
        }
        let read = ready!(reel.poll_next(cx));
        reader.next = reel.kept.len();
        Poll::Ready(read.map(|frame| frame.map_err(BodyError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| {
            let reel = lock(&reader.reel);
            reader.next >= reel.kept.len() && (reel.ended || reel.source.is_end_stream())
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.reader.as_ref().map_or(SizeHint::with_exact(0), |reader| reader.hint)
    }
}

/// Uncontended: a request's body is read by one connection at a time, on the request's own thread.
fn lock(reel: &Mutex<Reel>) -> MutexGuard<'_, Reel> {
    reel.lock().unwrap_or_else(PoisonError::into_inner)
}
