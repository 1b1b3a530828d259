//! A request's body on its way up: passed on as it is read, and kept, up to a bound, so that it can be sent again.
//!
//! While a request is held, its body is read into what is kept, and no further. What is kept is on a [`Tape`] until it
//! grows beyond its bound as it is sent; then it is let go, and the request can be sent only once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::gate::Gate;
use super::reel::{Allowance, BodyError, Fault, Reel};
use super::spool::Job;
use super::tasks::{Notice, Upload, Uploads};
use super::trailers::{self, Slot};
use crate::lock::lock;

/// The client's body and what is kept of it.
pub struct Tape {
    /// `None` for a request without a body: most of them. Never contended: a body is read by one connection at a time, on
    /// the request's own thread.
    reel: Option<Arc<Mutex<Reel>>>,
}

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
        let has_body = !source.is_end_stream();
        let reel = has_body.then(|| Reel::new(source, allowance, expects, longest, nominated));
        Self { reel: reel.map(|reel| Arc::new(Mutex::new(reel))) }
    }

    /// Whether there is a body.
    pub fn has_body(&self) -> bool {
        self.reel.is_some()
    }

    /// Leaves a tape without a body behind.
    pub fn take(&mut self) -> Self {
        Self { reel: self.reel.take() }
    }

    /// Reads what can be kept, while the request is held; readers that were made before read nothing any more. Ends
    /// when no more is to be read: at the end, at a bound, at a fault. What was read when it is dropped is kept.
    pub async fn fill(&self) {
        let Some(reel) = &self.reel else { return };
        lock(reel).rewind();
        poll_fn(|cx| lock(reel).poll_fill(cx)).await;
    }

    /// The body from its first byte. Readers that were made before read nothing any more. `slot` is that of the
    /// connection, if it speaks HTTP/1.1.
    pub fn play(&self, slot: Option<&Slot>) -> RequestBody {
        let reel = self.reel.as_ref().map(|reel| {
            let mut guard = lock(reel);
            Reader {
                reel: Arc::clone(reel),
                number: guard.rewind(),
                reading: None,
                hint: guard.hint,
                gate: guard.is_unasked().then(Gate::shut),
                slot: slot.cloned(),
                notice: None,
            }
        });
        RequestBody { reader: reel }
    }

    /// Whether [`Tape::play`] would still give the whole body.
    pub fn replayable(&self) -> bool {
        self.ask(true, |reel| reel.replayable)
    }

    /// Why the body could not be read.
    pub fn fault(&self) -> Option<Fault> {
        self.ask(None, |reel| reel.fault)
    }

    /// Whether the client has announced more than it may send.
    pub fn announces_too_much(&self) -> bool {
        self.ask(false, |reel| reel.left.is_some_and(|left| reel.hint.lower() > left))
    }

    /// Whether the whole body, by what the client announced, may be taken in while the request is held.
    pub fn fits(&self) -> bool {
        self.ask(true, Reel::fits)
    }

    /// When something of the body last flowed, from the client or from what was kept.
    pub fn progress(&self) -> Option<Instant> {
        self.ask(None, |reel| Some(reel.progress))
    }

    /// Whether the upstream waits for bytes that the client has yet to send.
    pub fn awaits_client(&self) -> bool {
        self.ask(false, |reel| reel.awaits_client)
    }

    /// Whether the client has sent everything, and all of it was passed on.
    pub fn is_over(&self) -> bool {
        self.ask(true, Reel::is_over)
    }

    /// Leaves a body unasked for that nobody has asked for yet. Says whether it stays so: then the client may or may
    /// not send it, and what it sends next means nothing without knowing which (RFC 9110 §10.1.1).
    pub fn stays_unasked(&self) -> bool {
        let Some(reel) = &self.reel else { return false };
        let mut reel = lock(reel);
        reel.unwanted = reel.is_unasked();
        reel.unwanted
    }

    /// Reads what is left and throws it away, for a while, in a task of its own.
    pub fn drain(self) {
        let Some(reel) = self.reel else { return };
        {
            let mut reel = lock(&reel);
            reel.rewind();
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

/// What a connection reads and sends.
pub struct RequestBody {
    reader: Option<Reader>,
}

struct Reader {
    reel: Arc<Mutex<Reel>>,
    number: u32,
    /// A piece of what was spooled, on its way.
    reading: Option<Job<Bytes>>,
    hint: SizeHint,
    /// Shut while the upstream has not asked for the body.
    gate: Option<Gate>,
    slot: Option<Slot>,
    /// Over HTTP/2, until it is sent.
    notice: Option<Box<Notice>>,
}

impl RequestBody {
    /// Makes it one of `uploads`, if there is anything to send.
    pub(super) fn upload(&mut self, uploads: &Uploads) -> Option<Upload> {
        let reader = self.reader.as_mut()?;
        let (upload, notice) = uploads.begin();
        reader.notice = Some(Box::new(notice));
        Some(upload)
    }

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

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &mut self.reader else {
            return Poll::Ready(None);
        };
        if let Some(notice) = reader.notice.take() {
            notice.give();
        }
        if let Some(gate) = &mut reader.gate {
            ready!(gate.poll_open(cx));
        }
        let mut reel = lock(&reader.reel);
        if reel.reader != reader.number {
            return Poll::Ready(Some(Err(BodyError::TakenOver)));
        }
        if reel.unwanted {
            // The answer is being read: the connection is closed after it.
            return Poll::Pending;
        }
        let next = ready!(reel.poll_play(cx, &mut reader.reading));
        drop(reel);
        Poll::Ready(match next {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => reader.end(trailers),
                Err(data) => Some(Ok(data)),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| {
            let reel = lock(&reader.reel);
            reel.reader == reader.number && reel.is_over()
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
