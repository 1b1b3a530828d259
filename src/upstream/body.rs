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
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::gate::Gate;
use super::trailers::{self, Slot};

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
    nominated: Vec<HeaderName>,
    /// The length that the client announced.
    hint: SizeHint,
    allowance: Arc<Allowance>,
    replayable: bool,
    ended: bool,
    /// How many bytes may still come; `None` is any number.
    left: Option<u64>,
    /// Why the rest cannot be had: always the client's own mistake.
    fault: Option<Fault>,
    /// The upstream would take more, and the client has not sent it.
    awaits_client: bool,
    /// When the client last delivered something.
    progress: Instant,
    /// The client waits for the upstream to ask for the body.
    expects: bool,
    /// The body was asked for: the client has been told to send it.
    asked: bool,
    /// It shall not be asked for any more: the upstream has answered without it.
    unwanted: bool,
    /// Which reader may read: an abandoned one must not steal frames from its successor.
    reader: u32,
}

/// What a client did wrong with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It left, or its framing is broken.
    Broken,
    /// It is longer than it may be.
    TooLarge,
}

/// The first growth of what is kept, in bytes: most bodies are smaller.
const KEPT_LEAST: usize = 4 << 10;

/// For how long the rest of a body is read and thrown away after a request was answered without it. A connection that
/// is closed with bytes unread is reset, and the reset may overtake the answer: Traefik would say 502 instead.
const DRAIN_LONGEST: Duration = Duration::from_secs(5);

impl Tape {
    /// Nothing is read yet, and with `expects` not before the upstream asks for it. More than `longest` bytes are not.
    /// No trailers have a name of those that were `nominated`.
    pub fn new(
        source: Incoming,
        allowance: &Arc<Allowance>,
        expects: bool,
        longest: Option<u64>,
        nominated: Vec<HeaderName>,
    ) -> Self {
        if source.is_end_stream() {
            return Self { reel: None };
        }
        let hint = source.size_hint();
        let reel = Reel {
            source,
            kept: BytesMut::new(),
            charged: 0,
            trailers: None,
            nominated,
            hint,
            allowance: Arc::clone(allowance),
            replayable: true,
            ended: false,
            left: longest,
            fault: None,
            awaits_client: false,
            progress: Instant::now(),
            expects,
            asked: false,
            unwanted: false,
            reader: 0,
        };
        Self { reel: Some(Arc::new(Mutex::new(reel))) }
    }

    /// The body from its first byte. Readers that were made before read nothing any more. `slot` is that of the
    /// connection, if it speaks HTTP/1.1.
    pub fn play(&self, slot: Option<&Slot>) -> RequestBody {
        let reel = self.reel.as_ref().map(|reel| {
            let mut guard = lock(reel);
            guard.reader += 1;
            Reader {
                reel: Arc::clone(reel),
                reader: guard.reader,
                next: 0,
                trailed: false,
                hint: guard.hint,
                gate: (guard.expects && !guard.asked).then(Gate::shut),
                slot: slot.cloned(),
            }
        });
        RequestBody { reader: reel }
    }

    /// Whether [`Tape::play`] would still give the whole body.
    pub fn replayable(&self) -> bool {
        self.ask(true, |reel| reel.replayable)
    }

    /// Why the body could not be read, if that was the client's mistake.
    pub fn fault(&self) -> Option<Fault> {
        self.ask(None, |reel| reel.fault)
    }

    /// Whether the client has announced more than it may send.
    pub fn announces_too_much(&self) -> bool {
        self.ask(false, |reel| reel.left.is_some_and(|left| reel.hint.lower() > left))
    }

    /// Whether the whole body, by what the client announced, may be kept.
    pub fn fits(&self) -> bool {
        self.ask(true, |reel| reel.hint.upper().is_some_and(|bytes| bytes <= reel.allowance.each as u64))
    }

    /// When the client last delivered something of its body.
    pub fn progress(&self) -> Option<Instant> {
        self.ask(None, |reel| Some(reel.progress))
    }

    /// Whether the upstream waits for bytes that the client has yet to send.
    pub fn awaits_client(&self) -> bool {
        self.ask(false, |reel| reel.awaits_client)
    }

    /// Whether the client has sent everything, and it was read.
    pub fn is_over(&self) -> bool {
        self.ask(true, |reel| reel.ended || reel.source.is_end_stream())
    }

    /// Leaves a body unasked for that nobody has asked for yet. Says whether it stays so: then the client may or may
    /// not send it, and what it sends next means nothing without knowing which (RFC 9110 §10.1.1).
    pub fn stays_unasked(&self) -> bool {
        let Some(reel) = &self.reel else { return false };
        let mut reel = lock(reel);
        reel.unwanted = reel.expects && !reel.asked;
        reel.unwanted
    }

    /// Reads what is left and throws it away, for a while, in a task of its own.
    pub fn drain(self) {
        let Some(reel) = self.reel else { return };
        {
            let mut reel = lock(&reel);
            reel.reader += 1;
            reel.replayable = false;
            reel.let_go();
            // It is thrown away: its length does not matter.
            reel.left = None;
            if reel.ended || reel.fault == Some(Fault::Broken) {
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
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.asked = true;
        let read = Pin::new(&mut self.source).poll_frame(cx);
        self.awaits_client = read.is_pending();
        let mut read = ready!(read);
        self.progress = Instant::now();
        match &mut read {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::remove(trailers, &self.nominated);
                }
                if !self.admit(frame) {
                    self.fault = Some(Fault::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                // Nobody asks for what follows trailers.
                self.ended = frame.is_trailers();
                self.keep(frame);
            }
            Some(Err(_)) => self.fault = Some(Fault::Broken),
            None => self.ended = true,
        }
        Poll::Ready(read.map(|read| read.map_err(BodyError::Client)))
    }

    /// Counts what has come. Says whether it may be so much.
    fn admit(&mut self, frame: &Frame<Bytes>) -> bool {
        let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) else { return true };
        left.checked_sub(data.len() as u64).inspect(|less| *left = *less).is_some()
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
    /// Shut while the upstream has not asked for the body.
    gate: Option<Gate>,
    slot: Option<Slot>,
}

impl RequestBody {
    /// What holds the body back, if anything does.
    pub(super) fn gate(&self) -> Option<&Gate> {
        self.reader.as_ref()?.gate.as_ref()
    }
}

/// Says how a body without a length is framed, on a connection that speaks HTTP/1.1. For a GET or a HEAD hyper takes it
/// that there is none.
pub fn frame(request: &mut Request<RequestBody>) {
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Why a request's body could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client left or broke its framing.
    #[error("the client's body could not be read")]
    Client(#[source] hyper::Error),
    /// The client sent more than it may.
    #[error("the client's body is too large")]
    TooLarge,
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
        if let Some(gate) = &mut reader.gate {
            ready!(gate.poll_open(cx));
        }
        let mut reel = lock(&reader.reel);
        if reel.reader != reader.reader {
            return Poll::Ready(Some(Err(BodyError::TakenOver)));
        }
        if reel.unwanted {
            // The answer is being read: the connection is closed after it.
            return Poll::Pending;
        }
        if reader.next < reel.kept.len() {
            let again = Bytes::copy_from_slice(&reel.kept[reader.next..]);
            reader.next = reel.kept.len();
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        if reel.ended || reel.trailers.is_some() {
            let trailers = if reader.trailed { None } else { reel.trailers.clone() };
            reader.trailed = true;
            return Poll::Ready(trailers.and_then(|trailers| reader.end(trailers)));
        }
        let read = ready!(reel.poll_next(cx));
        reader.next = reel.kept.len();
        drop(reel);
        Poll::Ready(match read {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => {
                    reader.trailed = true;
                    reader.end(trailers)
                }
                Err(data) => Some(Ok(data)),
            },
        })
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

impl Reader {
    /// The end of a body that has trailers.
    fn end(&self, trailers: HeaderMap) -> Option<Result<Frame<Bytes>, BodyError>> {
        trailers::end(trailers, self.slot.as_ref(), &self.hint).map(Ok)
    }
}

/// Uncontended: a request's body is read by one connection at a time, on the request's own thread.
fn lock(reel: &Mutex<Reel>) -> MutexGuard<'_, Reel> {
    reel.lock().unwrap_or_else(PoisonError::into_inner)
}
