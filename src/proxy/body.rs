//! An answer's body on its way down: the upstream's, frame by frame as it comes, or one of our own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::upstream::pool::Lease;

/// The body of an answer.
pub struct Body(Kind);

enum Kind {
    /// Of our own making, or empty.
    Own(Option<Bytes>),
    /// The upstream's. Its connection goes back to the pool when the last frame was read, and is closed when the
    /// client leaves before: that cancels the upstream's work.
    Passed { incoming: Incoming, lease: Option<Lease> },
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Own(None))
    }

    /// A body of our own.
    pub fn own(text: String) -> Self {
        Self(Kind::Own(Some(text.into())))
    }

    /// The upstream's body, read over `lease`.
    pub fn passed(incoming: Incoming, lease: Lease) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            lease.give_back();
            return Self::empty_like(incoming);
        }
        Self(Kind::Passed { incoming, lease: Some(lease) })
    }

    /// An answer without a body still tells its length: to a HEAD, that of the GET.
    fn empty_like(incoming: Incoming) -> Self {
        Self(Kind::Passed { incoming, lease: None })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Kind::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Passed { incoming, lease } => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                let over = match &frame {
                    None => true,
                    Some(Ok(_)) => http_body::Body::is_end_stream(incoming),
                    Some(Err(_)) => false,
                };
                if over && let Some(lease) = lease.take() {
                    lease.give_back();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(text) => text.is_none(),
            Kind::Passed { incoming, .. } => http_body::Body::is_end_stream(incoming),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Passed { incoming, .. } => http_body::Body::size_hint(incoming),
        }
    }
}
