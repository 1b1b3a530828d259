//! A request's body on its way up: passed on as it is read, and kept, up to a bound, so that it can be sent again.
//!
//! Nothing is read from the client before a connection to the upstream asks for it. What was read is kept on a
//! [`Tape`] until it grows beyond its bound (then it is let go, and the request can be sent only once).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

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
    /// Copied into one piece: a frame is a part of a read buffer, and many small ones would each keep a large one alive.
    kept: BytesMut,
    /// How much of the allowance is taken.
    charged: usize,
    trailers: Option<HeaderMap>,
    /// The length that the client announced.
    hint: SizeHint,
    allowance: Arc<Allowance>,
    replayable: bool,
    ended: bool,
    /// The client's own fault: it left, or its framing is broken.
    client_failed: bool,
    /// The upstream would take more, and the client has not sent it.
    awaits_client: bool,
    /// When the client last delivered something.
    progress: Instant,
    /// Which reader may read: an abandoned one must not steal frames from its successor.
    reader: u32,
}

/// The first growth of what is kept, in bytes: most bodies are smaller.
const KEPT_LEAST: usize = 4 << 10;

/// For how long the rest of a body is read and thrown away after a request was answered without it. A connection that
/// is closed with bytes unread is reset, and the reset may overtake the answer: Traefik would say 502 instead.
const DRAIN_LONGEST: Duration = Duration::from_secs(5);

impl Tape {
    /// Nothing is read yet.
    pub fn new(source: Incoming, allowance: &Arc<Allowance>) -> Self {
        if source.is_end_stream() {
            return Self { reel: None };
        }
        let hint = source.size_hint();
        let reel = Reel {
            source,
            kept: BytesMut::new(),
            charged: 0,
            trailers: None,
            hint,
            allowance: Arc::clone(allowance),
            replayable: true,
            ended: false,
            client_failed: false,
            awaits_client: false,
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
            Reader { reel: Arc::clone(reel), reader: guard.reader, next: 0, trailed: false, hint: guard.hint }
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

    /// When the client last delivered something of its body.
    pub fn progress(&self) -> Option<Instant> {
        self.ask(None, |reel| Some(reel.progress))
    }

    /// Whether the upstream waits for bytes that the client has yet to send.
    pub fn awaits_client(&self) -> bool {
        self.ask(false, |reel| reel.awaits_client)
    }

    /// Reads what is left and throws it away, for a while, in a task of its own.
    pub fn drain(self) {
        let Some(reel) = self.reel else { return };
        {
            let mut reel = lock(&reel);
            reel.reader += 1;
            reel.replayable = false;
            reel.let_go();
            if reel.ended || reel.client_failed {
                return;
            }
        }
        tokio::spawn(async move {
            let rest = async { while let Some(Ok(_)) = poll_fn(|cx| lock(&reel).poll_next(cx)).await {} };
            // An upload that takes longer is cut: the client has its answer by then, or does not listen.
            let _ = timeout(DRAIN_LONGEST, rest).await;
        });
    }

    fn ask<T>(&self, without_body: T, question: impl FnOnce(&Reel) -> T) -> T {
        self.reel.as_ref().map_or(without_body, |reel| question(&lock(reel)))
    }
}

impl Reel {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let read = Pin::new(&mut self.source).poll_frame(cx);
        self.awaits_client = read.is_pending();
        let read = ready!(read);
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
            if self.make_room(self.kept.len() + data.len()) {
                self.kept.extend_from_slice(data);
            } else {
                self.replayable = false;
                self.let_go();
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
    }

    /// Grows what is kept to hold `bytes`, if the allowance lets it. What is taken is what is allocated.
    fn make_room(&mut self, bytes: usize) -> bool {
        let capacity = self.kept.capacity();
        if bytes <= capacity {
            return true;
        }
        let grown = bytes.next_power_of_two().max(KEPT_LEAST).min(self.allowance.each);
        if bytes > grown || !self.allowance.take(grown - self.charged) {
            return false;
        }
        self.charged = grown;
        let mut larger = BytesMut::with_capacity(grown);
        larger.extend_from_slice(&self.kept);
        self.kept = larger;
        true
    }

    fn let_go(&mut self) {
        self.allowance.give_back(std::mem::take(&mut self.charged));
        self.kept = BytesMut::new();
        self.trailers = None;
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
    /// How many of the kept bytes were sent again.
    next: usize,
    /// Whether the trailers were sent.
    trailed: bool,
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
        if reader.next < reel.kept.len() {
            let again = Bytes::copy_from_slice(&reel.kept[reader.next..]);
            reader.next = reel.kept.len();
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        if reel.ended || reel.trailers.is_some() {
            let trailers = if reader.trailed { None } else { reel.trailers.clone() };
            reader.trailed = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let read = ready!(reel.poll_next(cx));
        reader.next = reel.kept.len();
        reader.trailed = read.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(read.map(|frame| frame.map_err(BodyError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| {
            let reel = lock(&reader.reel);
            let untrailed = reel.trailers.is_some() && !reader.trailed;
            reader.next >= reel.kept.len() && !untrailed && (reel.ended || reel.source.is_end_stream())
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
