//! An answer's body on its way down: the upstream's, frame by frame as it comes, or one of our own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::record::Record;
use crate::conduit::{Conduit, Pipes};
use crate::upstream::Lease;
use crate::upstream::body::Tape;
use crate::upstream::haul::Haul;
use crate::upstream::trailers::{self, Slot};

/// Why an answer's body ends before its end. The client gets what came, and no end that looks like one.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection to the upstream broke.
    #[error("the upstream's answer broke off")]
    Broken(#[from] hyper::Error),
    /// The same, where hyper did not read it.
    #[error("the upstream's answer broke off")]
    Short(#[from] io::Error),
    /// An HTTP/2 upstream gave the answer up, with a code that means no error.
    #[error("the upstream gave its answer up")]
    GivenUp,
}

/// The body of an answer.
pub struct Body {
    kind: Kind,
    /// Where trailers go, if the client's connection speaks HTTP/1.1.
    trailers: Option<Slot>,
    unread: Unread,
    /// Nothing can follow the head (RFC 9110 §6.4.1), though over HTTP/2 the end may have a frame of its own.
    is_bodiless: bool,
    record: Option<Box<Record>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        let is_read = http_body::Body::is_end_stream(self);
        let is_whole = is_read || self.is_bodiless || http_body::Body::size_hint(self).exact() == Some(0);
        if let Some(record) = self.record.as_mut().filter(|_| is_whole) {
            record.is_whole();
        }
        // At its length, or where it has none, hyper asks an answer no more, though the upstream may have yet to end its stream.
        if is_whole && !is_read && self.request_is_over() {
            let kind = std::mem::replace(&mut self.kind, Kind::Own(None));
            if let Kind::Passed { incoming, lease: Some(lease), .. } = kind {
                lease.read_to_its_end(incoming);
            }
        }
    }
}

/// What the client has yet to send of its request. Once the answer is written it is read and thrown away for a while.
struct Unread(Option<Tape>);

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(tape) = self.0.take() {
            tape.drain();
        }
    }
}

enum Kind {
    /// Of our own making, or empty.
    Own(Option<Bytes>),
    /// The upstream's. Its connection goes back to the pool when the last frame was read, and is closed when the
    /// client leaves before: that cancels the upstream's work. It is also closed when the request is not over by then:
    /// the upstream has answered without the rest of it.
    Passed { incoming: Incoming, lease: Option<Lease>, nominated: Vec<HeaderName>, haul: Option<Box<Haul>> },
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Kind::Own(None))
    }

    /// A body of our own.
    pub fn own(text: String) -> Self {
        Self::new(Kind::Own(Some(text.into())))
    }

    /// The upstream's body, read over `lease`, in answer to a request that may not be over yet. No trailers have a name
    /// of those that were `nominated`.
    pub fn passed(incoming: Incoming, lease: Lease, request: Tape, nominated: Vec<HeaderName>) -> Self {
        // An answer without a body still tells its length: to a HEAD, that of the GET.
        let empty = http_body::Body::is_end_stream(&incoming);
        let body = Self::new(Kind::Passed { incoming, lease: Some(lease), nominated, haul: None }).after(request);
        if empty { body.without_lease() } else { body }
    }

    /// Reads what is left of a request when this body is written, so that it arrives: a connection that is closed with
    /// bytes unread is reset, and the reset may overtake the answer.
    pub fn after(mut self, request: Tape) -> Self {
        if !request.is_over() {
            self.unread = Unread(Some(request));
        }
        self
    }

    /// Of an answer to this method, with this status.
    pub fn in_answer(mut self, method: &Method, status: StatusCode) -> Self {
        self.is_bodiless =
            *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self
    }

    /// Sends trailers over the client's HTTP/1.1 connection, if there is a slot of one.
    pub fn with_trailers(mut self, slot: Option<Slot>) -> Self {
        self.trailers = slot;
        self
    }

    /// Goes around hyper, if it is large, into a client's connection that has a way for it.
    pub fn go_through(&mut self, conduit: &Conduit, pipes: &Pipes) {
        if let Kind::Passed { incoming, lease: Some(lease), haul, .. } = &mut self.kind
            && self.unread.0.is_none()
            && let Some(length) = http_body::Body::size_hint(incoming).exact()
        {
            *haul = lease.haul(length, conduit, pipes).map(Box::new);
        }
    }

    /// Whether it goes around hyper.
    pub fn is_around_hyper(&self) -> bool {
        matches!(&self.kind, Kind::Passed { haul: Some(_), .. })
    }

    /// Has the request's line written when this body has ended.
    pub fn recorded(mut self, record: Option<Box<Record>>) -> Self {
        self.record = record;
        self
    }

    fn new(kind: Kind) -> Self {
        Self { kind, trailers: None, unread: Unread(None), is_bodiless: false, record: None }
    }

    fn without_lease(mut self) -> Self {
        self.release();
        self
    }

    /// The answer was read to its end.
    fn release(&mut self) {
        let request_is_over = self.request_is_over();
        if let Kind::Passed { lease, haul, .. } = &mut self.kind
            && let Some(lease) = lease.take()
            && request_is_over
        {
            lease.give_back(haul.as_deref_mut());
        }
    }

    fn request_is_over(&self) -> bool {
        self.unread.0.as_ref().is_none_or(Tape::is_over)
    }
}

/// Whether what hyper takes for the end of an HTTP/2 answer is none: for it, a stream that is reset without an error has
/// ended. Who only wants no more of the request (RFC 9113 §8.1) has ended the answer before, and h2 does not forget that.
fn is_given_up(incoming: &Incoming, left: &SizeHint) -> bool {
    !http_body::Body::is_end_stream(incoming) && left.exact() != Some(0)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.next_frame(cx));
        if let Some(record) = &mut self.record {
            match &frame {
                Some(Ok(frame)) if !frame.is_trailers() => record.passed(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => record.is_broken(),
                // Nothing follows trailers, and nobody asks.
                Some(Ok(_)) | None => record.is_whole(),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Passed { haul: Some(haul), .. } => haul.left() == 0,
            Kind::Passed { incoming, .. } => http_body::Body::is_end_stream(incoming),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Passed { haul: Some(haul), .. } => SizeHint::with_exact(haul.left()),
            Kind::Passed { incoming, .. } => http_body::Body::size_hint(incoming),
        }
    }
}

impl Body {
    fn next_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.kind {
            Kind::Own(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Passed { haul: Some(haul), .. } if !haul.is_ahead() => {
                if haul.left() == 0 {
                    None
                } else {
                    Some(ready!(haul.poll_piece(cx)).map(Frame::data).map_err(BodyError::from))
                }
            }
            Kind::Passed { incoming, lease, nominated, haul } => {
                let length = http_body::Body::size_hint(incoming);
                let shared = lease.as_ref().is_some_and(Lease::is_shared);
                match ready!(http_body::Body::poll_frame(Pin::new(&mut *incoming), cx)) {
                    Some(Ok(frame)) => match frame.into_trailers() {
                        Ok(mut fields) => {
                            trailers::remove(&mut fields, nominated);
                            trailers::end(fields, self.trailers.as_ref(), &length).map(Ok)
                        }
                        Err(data) => {
                            if let (Some(haul), Some(piece)) = (haul, data.data_ref()) {
                                haul.came(piece);
                            }
                            Some(Ok(data))
                        }
                    },
                    Some(Err(error)) => Some(Err(error.into())),
                    None if shared && is_given_up(incoming, &length) => {
                        return Poll::Ready(Some(Err(BodyError::GivenUp)));
                    }
                    None => None,
                }
            }
        };
        let is_trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        if frame.is_none() || is_trailers || http_body::Body::is_end_stream(self) {
            self.release();
        }
        Poll::Ready(frame)
    }
}
