//! A request from its connection's point of view: answered, or suspended until it can be.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{FutureExt, poll};
use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tower::{Service, service_fn};

use super::connection::{Conversation, PIECE};
use super::http1::Lent;
use super::stream;
use super::suspended::{Handover, Suspended};
use crate::headers;
use crate::proxy::body::BodyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::upgrade::Reset;
use crate::proxy::{self, Call, answer};
use crate::upstream::trailers::Trailing;
use crate::watch::Snapshot;

/// Closes an HTTP/1.1 connection with a reset instead of an end.
fn reset_connection(upgraded: Upgraded) {
    if let Ok(parts) = upgraded.downcast::<TokioIo<Trailing<Lent>>>() {
        parts.io.inner().get_ref().lock().reset_when_closed();
    }
}

/// Answers the requests of one connection, or suspends them.
pub(super) fn service(
    conversation: &Arc<Conversation>,
    handover: &Arc<Handover>,
) -> impl Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future: Send + 'static> + Clone + 'static
{
    let (conversation, handover) = (Arc::clone(conversation), Arc::clone(handover));
    service_fn(move |request| match handover.take_resumed() {
        Some(answer) => Either::Left(ready(Ok(*answer))),
        None => Either::Right(Open::new(&conversation).answer(request, &handover)),
    })
}

/// A service for hyper, which does not ask whether it is ready. Ours is, always, so no future has to carry the request
/// until then.
pub(super) struct AlwaysReady<S>(pub(super) S);

impl<S: Service<Request<Incoming>> + Clone> hyper::service::Service<Request<Incoming>> for AlwaysReady<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.0.clone().call(request)
    }
}

/// A request whose answer has not ended.
struct Open {
    conversation: Arc<Conversation>,
    /// The first of a connection is 1.
    number: usize,
    /// What it is in HTTP/2.
    stream: Option<Arc<stream::Stream>>,
    in_crowd: Option<InCrowd>,
}

/// Counts a request of an HTTP/2 connection, or the tunnel that it has become, until it is dropped.
struct InCrowd(Arc<Conversation>);

impl InCrowd {
    fn of(conversation: &Arc<Conversation>) -> Self {
        if let Some(crowd) = &conversation.crowd {
            crowd.began();
        }
        Self(Arc::clone(conversation))
    }
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        if let Some(crowd) = &self.0.crowd {
            crowd.ended();
        }
    }
}

impl Open {
    fn new(conversation: &Arc<Conversation>) -> Self {
        let number = conversation.notes.begin();
        Self { conversation: Arc::clone(conversation), number, stream: None, in_crowd: None }
    }

    /// Answers a request, or suspends it.
    fn answer(
        self,
        mut request: Request<Incoming>,
        handover: &Arc<Handover>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
        let handover = Arc::clone(handover);
        let version = request.version();
        let upgrade = request.headers().contains_key(UPGRADE);
        // Now, or the future would have room for a request beside what becomes of it.
        let mut call = catch_unwind(AssertUnwindSafe(|| {
            let Conversation { host, client, notes, .. } = &*self.conversation;
            if let Some(spelling) = notes.take_unusual(self.number) {
                request.extensions_mut().insert(spelling);
            }
            host.proxy.receive(client, request)
        }));
        async move {
            let known = self.conversation.host.proxy.open();
            let waits = known.is_none() && !self.conversation.host.proxy.is_down();
            if waits && version == Version::HTTP_11 && !upgrade && self.has_all() {
                call = match call {
                    Ok(Call::Forward(exchange)) if exchange.is_all_here() => {
                        let mut suspended = self.suspend(exchange);
                        if let Poll::Ready(answer) = poll!(&mut suspended.answer) {
                            return Ok(answer);
                        }
                        handover.suspend(suspended);
                        return pending().await;
                    }
                    other => other,
                };
            }
            // What follows an offer to switch protocols was not looked at by the scanner.
            // Pinned where it is made: what is awaited at once is copied twice before.
            let answer = pin!(self.conclude(&mut call, known, version, upgrade));
            Ok(answer.await)
        }
    }

    /// Whether hyper has nothing of what its client sent but this request, which it may be relieved of.
    fn has_all(&self) -> bool {
        // Over TLS, the client's end may stand in what nobody has read.
        self.conversation.host.tls.is_none() && self.conversation.notes.has_just(self.number)
    }

    /// Makes of a request what can do without hyper.
    fn suspend(self, exchange: Exchange) -> Suspended {
        let (is_head, last) = (exchange.head.method == Method::HEAD, exchange.closes);
        let mut call = Ok(Call::Forward(exchange));
        let answer = Box::pin(async move { self.conclude(&mut call, None, Version::HTTP_11, last).await });
        Suspended { answer, is_head }
    }

    /// Answers what was received, whatever happens: a panic is a bug of ours, and costs one answer and no connection. It
    /// is the `last` answer that an HTTP/1.1 connection carries, or one of several. For `known` see [`Proxy::answer`].
    async fn conclude(
        mut self,
        call: &mut thread::Result<Call>,
        known: Option<Arc<Snapshot>>,
        version: Version,
        last: bool,
    ) -> Response<Answer> {
        if version == Version::HTTP_2 {
            self.in_crowd = Some(InCrowd::of(&self.conversation));
            self.stream = stream::Stream::current();
        }
        let Conversation { host, notes, trailers, .. } = &*self.conversation;
        let full = self.conversation.is_full(self.number);
        let mut answer = match call {
            Ok(call) => {
                if let Call::Forward(Exchange { switch: Some(switch), .. }) = call {
                    switch.reset = Some(self.reset());
                }
                // Pinned, since what catches panics would have it copied more than once.
                let answer = pin!(host.proxy.answer(call, known, version, notes.is_broken(self.number)));
                AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| answer::panicked())
            }
            Err(_) => host.proxy.panicked(),
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            notes.switch();
        } else if version < Version::HTTP_2 && (full || last || host.proxy.stops()) {
            headers::close(answer.headers_mut());
        }
        let spelling = answer.extensions_mut().remove().unwrap_or_default();
        if version < Version::HTTP_2 {
            notes.spell_answer(spelling);
            if host.tls.is_none() {
                answer.body_mut().go_through(&notes.conduit, &host.pipes);
            }
        }
        // HTTP/1.0 has no chunks, so no trailers; HTTP/2 has frames for them.
        let trailers = (version == Version::HTTP_11).then(|| trailers.clone());
        // For the head.
        self.waits(true);
        answer.map(|body| Answer { body: body.with_trailers(trailers), left: Bytes::new(), open: self })
    }

    /// How the tunnel that a request may become is reset. For as long as it may be, an HTTP/2 connection has a request open.
    fn reset(&self) -> Reset {
        let Some(stream) = self.stream.clone() else { return Reset::new(reset_connection) };
        let in_crowd = InCrowd::of(&self.conversation);
        Reset::new(move |_| {
            let _until_it_is_over = &in_crowd;
            stream.cut();
        })
    }

    /// Notes whom a part of the answer waits for.
    fn waits(&self, for_client: bool) {
        match &self.stream {
            Some(stream) if for_client => stream.waits_for_client(),
            Some(stream) => stream.waits_for_upstream(),
            None => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.conversation.notes.answered();
        if self.stream.is_some() {
            self.waits(false);
        }
    }
}

/// An answer's body that keeps its request open.
pub(super) struct Answer {
    body: proxy::Body,
    /// Of an HTTP/2 stream: what is left of a frame that was too large to be handed over whole.
    left: Bytes,
    open: Open,
}

impl Answer {
    /// Cuts a frame, so that it is seen at each of the pieces whether the client takes anything.
    fn cut(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if self.open.stream.is_some() && data.len() > PIECE {
            self.left = data.split_off(PIECE);
        }
        Frame::data(data)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, left, open } = &mut *self;
        let frame = if open.stream.is_none() && !body.is_around_hyper() {
            open.conversation.notes.pace.poll(cx, |cx| Pin::new(body).poll_frame(cx))
        } else if left.is_empty() {
            Pin::new(body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(left)))))
        };
        // Whoever asks has room for it.
        self.open.waits(frame.is_ready());
        frame.map_ok(|frame| match frame.into_data() {
            Ok(data) => self.cut(data),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, mut hint) = (self.left.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(hint.lower() + left);
        hint
    }
}
