//! What is kept of a request's body, in the order in which it is played: memory, a file, what stands beyond, and then
//! the client itself.
//!
//! ```text
//! kept ─▶ roll ─▶ beyond ─▶ source
//! memory  a file  memory    the client
//! └──replayable─┘ └─────once─────┘
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::spool::{Job, PIECE, Roll, Spool};
use super::trailers;

/// How much may be kept, of one body and of all together.
#[derive(Debug)]
pub struct Allowance {
    each: usize,
    left: AtomicUsize,
    spool: Option<Arc<Spool>>,
}

/// Kept of all bodies together, in bytes: 64 bodies of the default size.
const ALL_TOGETHER: usize = 64 << 20;
/// The first growth of what is kept, in bytes: most bodies are smaller.
const KEPT_LEAST: usize = 4 << 10;

impl Allowance {
    /// `each` in bytes of memory; what is beyond that goes to `spool` while a request is held.
    pub fn new(each: usize, spool: Option<Arc<Spool>>) -> Self {
        Self { each, left: AtomicUsize::new(ALL_TOGETHER), spool }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why a body cannot be had to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its client left, or its framing is broken.
    Broken,
    /// It is longer than it may be.
    TooLarge,
    /// What was spooled of it cannot be read: our fault.
    Lost,
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
    /// The file with a part of it failed.
    #[error("what was spooled of the body could not be read")]
    Spool(#[source] std::io::Error),
    /// The request is being sent on another connection.
    #[error("the body was taken over by another attempt")]
    TakenOver,
}

/// What comes next of a body.
pub(super) type Next = Option<Result<Frame<Bytes>, BodyError>>;

pub(super) struct Reel {
    source: Incoming,
    /// Copied into one piece: a frame is a part of a read buffer, and many small ones would each keep a large one alive.
    kept: BytesMut,
    /// How much of the allowance is taken.
    charged: usize,
    /// What was spooled.
    roll: Option<Roll>,
    /// Read while the request was held, and not kept: yet to be spooled, or else to be played once. At most a piece and
    /// a frame.
    beyond: BytesMut,
    trailers: Option<HeaderMap>,
    nominated: Vec<HeaderName>,
    /// The length that the client announced.
    pub(super) hint: SizeHint,
    allowance: Arc<Allowance>,
    pub(super) replayable: bool,
    /// All of it was read.
    pub(super) ended: bool,
    /// How many bytes may still come; `None` is any number.
    pub(super) left: Option<u64>,
    /// Why the rest cannot be had.
    pub(super) fault: Option<Fault>,
    /// The upstream would take more, and the client has not sent it.
    pub(super) awaits_client: bool,
    /// When the client last delivered something, or the upstream took something of what was kept.
    pub(super) progress: Instant,
    /// The client waits for the upstream to ask for the body.
    expects: bool,
    /// The body was asked for: the client has been told to send it.
    asked: bool,
    /// It shall not be asked for any more: the upstream has answered without it.
    pub(super) unwanted: bool,
    /// Which reader may read: an abandoned one must not steal frames from its successor.
    pub(super) reader: u32,
    /// How many bytes of what is kept that reader has played, and whether it has played the trailers.
    next: u64,
    trailed: bool,
}

impl Reel {
    pub(super) fn new(
        source: Incoming,
        allowance: &Arc<Allowance>,
        expects: bool,
        longest: Option<u64>,
        nominated: Vec<HeaderName>,
    ) -> Self {
        Self {
            hint: source.size_hint(),
            source,
            kept: BytesMut::new(),
            charged: 0,
            roll: None,
            beyond: BytesMut::new(),
            trailers: None,
            nominated,
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
            next: 0,
            trailed: false,
        }
    }

    /// Begins again. Says which reader may read from now on.
    pub(super) fn rewind(&mut self) -> u32 {
        self.reader += 1;
        (self.next, self.trailed, self.awaits_client) = (0, false, false);
        self.reader
    }

    /// Whether nobody has asked for it yet whose client waits for that.
    pub(super) fn is_unasked(&self) -> bool {
        self.expects && !self.asked
    }

    /// Whether all of it, by what the client announced, may be kept.
    pub(super) fn fits(&self) -> bool {
        let Allowance { each, spool, .. } = &*self.allowance;
        let disk = match &self.roll {
            Some(roll) if roll.is_full() => None,
            // What it has taken already is its own.
            roll => spool.as_ref().map(|spool| spool.left() + roll.as_ref().map_or(0, Roll::length)),
        };
        fits(self.hint.upper(), *each as u64, disk)
    }

    /// Whether all of it was read and played.
    pub(super) fn is_over(&self) -> bool {
        let unplayed = self.next < self.length()
            || !self.beyond.is_empty()
            || self.roll.as_ref().is_some_and(Roll::is_writing)
            || self.trailers.is_some() && !self.trailed;
        !unplayed && (self.ended || self.source.is_end_stream())
    }

    /// How much is kept, in bytes.
    fn length(&self) -> u64 {
        self.kept.len() as u64 + self.roll.as_ref().map_or(0, Roll::length)
    }

    /// Reads while the request is held: into memory, then into a file. Ready when no more is to be read: at the end, at
    /// a bound, at a fault.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Of what can be sent only once, some may have been sent.
        if self.is_unasked() || !self.replayable {
            return Poll::Ready(());
        }
        loop {
            let over = self.ended || self.fault.is_some();
            if over || self.beyond.len() >= PIECE || self.roll.as_ref().is_some_and(Roll::is_writing) {
                ready!(self.poll_spool(cx));
            }
            let blocked = !self.beyond.is_empty() && self.roll.as_ref().is_none_or(Roll::is_full);
            if over || blocked {
                return Poll::Ready(());
            }
            if let Some(Ok(frame)) = ready!(self.poll_source(cx)) {
                self.take_in(&frame);
            }
        }
    }

    /// Plays what comes next. `reading` belongs to the reader.
    pub(super) fn poll_play(&mut self, cx: &mut Context<'_>, reading: &mut Option<Job<Bytes>>) -> Poll<Next> {
        if self.next == self.length() {
            ready!(self.poll_spool(cx));
        }
        let in_memory = usize::try_from(self.next).ok().and_then(|next| self.kept.get(next..));
        if let Some(rest) = in_memory.filter(|rest| !rest.is_empty()) {
            let again = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
            return Poll::Ready(Some(Ok(self.play_again(again))));
        }
        if let Some(roll) = self.roll.as_ref().filter(|_| self.next < self.length()) {
            let at = self.next - self.kept.len() as u64;
            let read = ready!(reading.get_or_insert_with(|| roll.read(at)).as_mut().poll(cx));
            *reading = None;
            return Poll::Ready(Some(match read {
                Ok(again) => Ok(self.play_again(again)),
                Err(error) => {
                    self.fault = Some(Fault::Lost);
                    Err(BodyError::Spool(error))
                }
            }));
        }
        if self.beyond.is_empty() && (self.ended || self.trailers.is_some()) {
            let trailers = if self.trailed { None } else { self.trailers.clone() };
            self.trailed = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let read = ready!(self.poll_next(cx));
        self.next = self.length();
        self.trailed = matches!(&read, Some(Ok(frame)) if frame.is_trailers());
        Poll::Ready(read)
    }

    fn play_again(&mut self, piece: Bytes) -> Frame<Bytes> {
        self.next += piece.len() as u64;
        // It flows, if not from the client.
        self.progress = Instant::now();
        Frame::data(piece)
    }

    /// What comes after that which is kept.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.beyond.is_empty() {
            self.progress = Instant::now();
            let frame = Frame::data(self.beyond.split().freeze());
            self.keep(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        let read = self.poll_source(cx);
        self.awaits_client = read.is_pending();
        let read = ready!(read);
        if let Some(Ok(frame)) = &read {
            self.keep(frame);
        }
        Poll::Ready(read)
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.asked = true;
        let mut read = ready!(Pin::new(&mut self.source).poll_frame(cx));
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
            }
            Some(Err(_)) => self.fault = Some(Fault::Broken),
            None => self.ended = true,
        }
        Poll::Ready(read.map(|read| read.map_err(BodyError::Client)))
    }

    fn poll_spool(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(roll) = &mut self.roll else { return Poll::Ready(()) };
        roll.poll_append(cx, &mut self.beyond)
    }

    /// Counts what has come. Says whether it may be so much.
    fn admit(&mut self, frame: &Frame<Bytes>) -> bool {
        let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) else { return true };
        left.checked_sub(data.len() as u64).inspect(|less| *left = *less).is_some()
    }

    /// Keeps what is not played yet, so that nothing of it may be lost.
    fn take_in(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref()
            && !self.append(data)
        {
            self.beyond.extend_from_slice(data);
            if self.roll.is_none() {
                self.roll = self.allowance.spool.as_ref().map(Roll::new);
            }
        }
        self.keep_trailers(frame);
    }

    /// Keeps what is being played, if it fits.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.replayable {
            return;
        }
        if let Some(data) = frame.data_ref()
            && !self.append(data)
        {
            self.replayable = false;
            self.let_go();
        }
        self.keep_trailers(frame);
    }

    fn keep_trailers(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
    }

    /// Appends to what is in memory. Says whether it could: nothing may stand behind it, and it has to fit.
    fn append(&mut self, data: &Bytes) -> bool {
        let fits = self.roll.is_none() && self.beyond.is_empty() && self.make_room(self.kept.len() + data.len());
        if fits {
            self.kept.extend_from_slice(data);
        }
        fits
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

    /// Forgets what is kept. Trailers stay: they may be yet to be played.
    pub(super) fn let_go(&mut self) {
        self.allowance.give_back(std::mem::take(&mut self.charged));
        self.kept = BytesMut::new();
        self.roll = None;
        self.beyond = BytesMut::new();
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Whether a body of at most so many bytes, if that is known, has room in memory and on the disk, if there is any.
fn fits(bytes: Option<u64>, memory: u64, disk: Option<u64>) -> bool {
    match bytes {
        Some(bytes) => bytes <= memory.saturating_add(disk.unwrap_or(0)),
        None => disk.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_fits_into_memory_and_disk_together_and_one_of_unknown_length_wherever_there_is_a_disk() {
        for (bytes, disk, expected) in [
            (Some(10), None, true),
            (Some(11), None, false),
            (Some(15), Some(5), true),
            (Some(16), Some(5), false),
            (Some(16), Some(u64::MAX), true),
            (None, None, false),
            (None, Some(5), true),
        ] {
            assert_eq!(fits(bytes, 10, disk), expected, "{bytes:?} {disk:?}");
        }
    }
}
