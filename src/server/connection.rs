//! One connection of a client: which HTTP it speaks, and how it ends.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::{Service, service_fn};

use super::Place;
use super::grammar::Scanner;
use super::http1::{self, AtHand, Lent};
use super::stream::{self, Streams};
use super::wire::{Notes, Wire};
use crate::conduit::Pipes;
use crate::config::Limits;
use crate::headers::Sender;
use crate::proxy::body::BodyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::upgrade::Reset;
use crate::proxy::{self, Call, Proxy, answer};
use crate::telemetry::meter::{Limit, Meter};
use crate::tls::{Served, Stream};
use crate::upstream::trailers::{Slot, Trailing};

/// What a client says first that speaks HTTP/2 without asking (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A preface comes in one piece. If it does not, the rest is looked for this much later, and then more and more seldom:
/// the kernel does not say whether anything follows what was only looked at.
const PREFACE_AGAIN: Duration = Duration::from_millis(5);
const PREFACE_SELDOM: Duration = Duration::from_millis(100);
/// Requests that one HTTP/2 connection may have open at once; Traefik opens further connections for more.
const STREAMS_MOST: u32 = 128;
/// Of one stream's answer that waits for the client to take it, in bytes: with all streams, 8 MiB a connection. Beside it
/// there is what is left of the piece that was read last.
const STREAM_BUFFER: usize = 64 << 10;
/// Of that, what is handed over at once, in bytes: as much as goes into one frame by default.
const PIECE: usize = 16 << 10;
/// Of one request's body that the upstream has yet to take, in bytes. The connection has room for that of all its
/// streams, or one upload that is held would keep those of others from coming.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MOST;
/// An HTTP/2 client that is gone without a word is noticed by a ping: this long after it was last heard of, and so
/// much later.
const PING_AFTER: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What all connections of one worker share.
pub struct Host {
    pub proxy: Arc<Proxy>,
    pub limits: Limits,
    pub meter: Arc<Meter>,
    /// What TLS is served with; `None` is plain HTTP.
    pub tls: Option<Served>,
    pub at_hand: AtHand,
    pub pipes: Pipes,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A connection, from its requests' point of view.
pub(super) struct Conversation {
    pub(super) host: Arc<Host>,
    client: Sender,
    pub(super) notes: Arc<Notes>,
    /// For the trailers of the answers, where the connection speaks HTTP/1.1.
    pub(super) trailers: Slot,
    /// Where it speaks HTTP/2.
    crowd: Option<Crowd>,
}

/// What the requests of an HTTP/2 connection tell it.
struct Crowd {
    /// Requests whose answer has not ended, and whether there may be more.
    open: watch::Sender<usize>,
    spent: watch::Sender<bool>,
    /// There are more than there may be, however little its client hears of that.
    overrun: Notify,
}

/// Finds out what a client speaks, after the handshake where TLS is served.
///
/// # Errors
/// The connection broke, or nothing came in time.
pub async fn open(stream: TcpStream, host: &Host) -> io::Result<(Stream, Protocol)> {
    let Some(served) = &host.tls else {
        let protocol = sniff(&stream, &host.limits).await?;
        return Ok((Stream::Plain(stream), protocol));
    };
    // The newest: the files may have changed since the last connection.
    let newest = Arc::clone(&served.borrow());
    // Boxed, or the task of every plain connection would have room for a handshake.
    let handshake = Box::pin(TlsAcceptor::from(newest).accept(stream));
    let stream = Stream::Tls(Box::new(timeout(host.limits.header_timeout, handshake).await??.into()));
    let protocol = if stream.is_h2() { Protocol::Http2 } else { Protocol::Http1 };
    Ok((stream, protocol))
}

/// What a client without TLS speaks. HTTP/2 is known by its preface alone (RFC 9113 §3.3).
async fn sniff(stream: &TcpStream, limits: &Limits) -> io::Result<Protocol> {
    let mut start = [0; PREFACE.len()];
    // The first byte may come late, as between two requests; the rest of a preface may not.
    let mut read = timeout(limits.idle_timeout, stream.peek(&mut start)).await??;
    let rest = async {
        let mut pause = PREFACE_AGAIN;
        loop {
            if read == 0 || start[..read] != PREFACE[..read] {
                return Ok(Protocol::Http1);
            }
            if read == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PREFACE_SELDOM);
            read = stream.peek(&mut start).await?;
        }
    };
    timeout(limits.header_timeout, rest).await?
}

/// Serves a connection until it ends; once `stopping` changes, until the requests that run have ended.
pub async fn serve(
    stream: Stream,
    protocol: Protocol,
    client: Sender,
    place: Place,
    host: &Arc<Host>,
    stopping: watch::Receiver<bool>,
) {
    let conversation = Arc::new(Conversation {
        host: Arc::clone(host),
        client,
        notes: Arc::default(),
        trailers: Slot::default(),
        crowd: (protocol == Protocol::Http2).then(Crowd::new),
    });
    let scanner = (protocol == Protocol::Http1).then(Scanner::default);
    let notes = Arc::clone(&conversation.notes);
    let wire = Wire::new(stream, scanner, place, &host.limits, Arc::clone(&host.meter), notes);
    let ended = match &conversation.crowd {
        None => http1::serve(wire, &conversation, stopping).await,
        // Boxed, or every connection of HTTP/1.1 would have room for one of HTTP/2.
        Some(crowd) => Box::pin(http2(wire, &conversation, crowd, stopping)).await,
    };
    if let Err(error) = ended {
        if let Some(limit) = limit(&error) {
            host.meter.reached(limit);
        }
        // A client that left or sent what is no HTTP: its own affair.
        tracing::debug!(%error, "connection ended");
    }
}

async fn http2(
    wire: Wire,
    conversation: &Arc<Conversation>,
    crowd: &Crowd,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let Host { limits, meter, .. } = &*conversation.host;
    // Floods of resets, settings, pings and continuations are bounded by the library's own defaults: tests/floods.rs.
    let mut connection = pin!(
        http2::Builder::new(Streams::new(limits.idle_timeout, Arc::clone(meter)))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MOST)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(STREAM_BUFFER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_connect_protocol()
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(wire), AlwaysReady(service(conversation)))
    );
    let mut spent = crowd.spent.subscribe();
    let over = async {
        tokio::select! {
            _ = stopping.changed() => {}
            _ = spent.changed() => {}
            () = crowd.idle(limits.idle_timeout) => meter.reached(Limit::IdleTimeout),
        }
    };
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = over => {
            connection.as_mut().graceful_shutdown();
            // For the client to agree, or for what it has not taken yet of answers that are over for us.
            tokio::select! {
                ended = connection => ended,
                () = crowd.overrun.notified() => Ok(()),
                () = crowd.idle(limits.idle_timeout) => Ok(()),
            }
        }
    }
}

/// Which limit a connection ended at, if at any.
fn limit(error: &hyper::Error) -> Option<Limit> {
    let flood = |error: &h2::Error| error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    if error.is_parse_too_large() {
        Some(Limit::HeaderSize)
    } else if error.is_timeout() {
        Some(Limit::IdleTimeout)
    } else {
        error.source().and_then(|source| source.downcast_ref()).is_some_and(flood).then_some(Limit::Flood)
    }
}

impl Conversation {
    /// Whether a request is the last that the connection may have.
    fn is_full(&self, number: usize) -> bool {
        let most = self.host.limits.requests.map_or(usize::MAX, NonZeroUsize::get);
        if number == most {
            self.host.meter.reached(Limit::Requests);
        }
        if let Some(crowd) = self.crowd.as_ref().filter(|_| number >= most) {
            crowd.spent.send_replace(true);
            // Those that were under way when the client was told are well.
            if number >= most.saturating_add(STREAMS_MOST as usize) {
                crowd.overrun.notify_one();
            }
        }
        number >= most
    }
}

impl Crowd {
    fn new() -> Self {
        Self { open: watch::Sender::new(0), spent: watch::Sender::new(false), overrun: Notify::new() }
    }

    /// Ends when no request has been open for so long.
    async fn idle(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // Errors would mean that the sender is gone, which is ours.
            let _ = open.wait_for(|open| *open == 0).await;
            if timeout(limit, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Closes an HTTP/1.1 connection with a reset instead of an end.
fn reset_connection(upgraded: Upgraded) {
    if let Ok(parts) = upgraded.downcast::<TokioIo<Trailing<Lent>>>() {
        parts.io.inner().get_ref().lock().reset_when_closed();
    }
}

/// Answers the requests of one connection.
pub(super) fn service(
    conversation: &Arc<Conversation>,
) -> impl Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future: Send + 'static> + Clone + 'static
{
    let conversation = Arc::clone(conversation);
    service_fn(move |request| Open::new(&conversation).answer(request))
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
}

impl Open {
    fn new(conversation: &Arc<Conversation>) -> Self {
        let number = conversation.notes.begin();
        Self { conversation: Arc::clone(conversation), number, stream: None }
    }

    /// Answers a request, whatever happens: a panic is a bug of ours, and costs one answer and no connection.
    fn answer(mut self, mut request: Request<Incoming>) -> impl Future<Output = Result<Response<Answer>, Infallible>> {
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
            if version == Version::HTTP_2 {
                if let Some(crowd) = &self.conversation.crowd {
                    crowd.open.send_modify(|open| *open += 1);
                }
                self.stream = stream::Stream::current();
            }
            let Conversation { host, notes, trailers, .. } = &*self.conversation;
            let full = self.conversation.is_full(self.number);
            let mut answer = match &mut call {
                Ok(call) => {
                    if let Call::Forward(Exchange { switch: Some(switch), .. }) = call {
                        switch.reset = Some(self.reset());
                    }
                    // Pinned, since what catches panics would have it copied more than once.
                    let answer = pin!(host.proxy.answer(call, version, notes.is_broken(self.number)));
                    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| answer::panicked())
                }
                Err(_) => answer::panicked(),
            };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                notes.switch();
            } else if version < Version::HTTP_2 && (full || upgrade) {
                // What follows an offer to switch protocols was not looked at by the scanner.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(spelling) = answer.extensions_mut().remove().filter(|_| version < Version::HTTP_2) {
                notes.spell_answer(spelling);
            }
            if version < Version::HTTP_2 && host.tls.is_none() {
                answer = answer.map(|body| body.through(&notes.conduit, &host.pipes));
            }
            // HTTP/1.0 has no chunks, so no trailers; HTTP/2 has frames for them.
            let trailers = (version == Version::HTTP_11).then(|| trailers.clone());
            // For the head.
            self.waits(true);
            Ok(answer.map(|body| Answer { body: body.with_trailers(trailers), left: Bytes::new(), open: self }))
        }
    }

    /// How the tunnel that a request may become is reset.
    fn reset(&self) -> Reset {
        match self.stream.clone() {
            None => Reset::new(reset_connection),
            Some(stream) => Reset::new(move |_| stream.cut()),
        }
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
            if let Some(crowd) = &self.conversation.crowd {
                crowd.open.send_modify(|open| *open -= 1);
            }
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
        let frame = if self.left.is_empty() {
            Pin::new(&mut self.body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.left)))))
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
