//! One connection of a client: which HTTP it speaks, and how it ends.

use std::error::Error;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Place;
use super::grammar::Scanner;
use super::http1::{self, AtHand, Lent};
use super::notes::Notes;
use super::request::{AlwaysReady, service};
use super::stream::Streams;
use super::suspended::Handover;
use super::turns::Turns;
use super::wire::Wire;
use crate::conduit::Pipes;
use crate::config::Limits;
use crate::headers::Sender;
use crate::proxy::Proxy;
use crate::telemetry::meter::{Limit, Meter};
use crate::tls::{Served, Stream};
use crate::upstream::trailers::Slot;

/// What a client says first that speaks HTTP/2 without asking (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
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
pub(super) const PIECE: usize = 16 << 10;
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
    pub turns: Turns,
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
    pub(super) client: Sender,
    pub(super) notes: Arc<Notes>,
    /// For the trailers of the answers, where the connection speaks HTTP/1.1.
    pub(super) trailers: Slot,
    /// Where it speaks HTTP/2.
    pub(super) crowd: Option<Crowd>,
}

/// What the requests of an HTTP/2 connection tell it.
pub(super) struct Crowd {
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
        let protocol = sniff(&stream, host).await?;
        return Ok((Stream::Plain(stream), protocol));
    };
    // The newest: the files may have changed since the last connection.
    let newest = Arc::clone(&served.borrow());
    // Boxed, or the task of every plain connection would have room for a handshake.
    let handshake = Box::pin(TlsAcceptor::from(newest).accept(stream));
    let stream = within(host, Limit::HeaderTimeout, handshake).await?;
    let stream = Stream::Tls(Box::new(stream.into()));
    let protocol = if stream.is_h2() { Protocol::Http2 } else { Protocol::Http1 };
    Ok((stream, protocol))
}

/// Waits for as long as a limit allows. No async function, which would have room for the result twice.
fn within<T>(
    host: &Host,
    limit: Limit,
    result: impl Future<Output = io::Result<T>>,
) -> impl Future<Output = io::Result<T>> {
    let Limits { header_timeout, idle_timeout, .. } = host.limits;
    let longest = if limit == Limit::HeaderTimeout { header_timeout } else { idle_timeout };
    timeout(longest, result).map(move |ended| {
        ended.unwrap_or_else(|late| {
            host.meter.reached(limit);
            Err(late.into())
        })
    })
}

/// What a client without TLS speaks. HTTP/2 is known by its preface alone (RFC 9113 §3.3).
async fn sniff(stream: &TcpStream, host: &Host) -> io::Result<Protocol> {
    let mut start = [0; PREFACE.len()];
    // The first byte may come late, as between two requests; the rest of a preface may not.
    let mut read = within(host, Limit::IdleTimeout, stream.peek(&mut start)).await?;
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
    within(host, Limit::HeaderTimeout, rest).await
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
        // Lent here: what a future is given, it has room for twice.
        None => http1::serve(Lent::new(wire), &conversation, stopping).await,
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
            .serve_connection(TokioIo::new(wire), AlwaysReady(service(conversation, &Arc::new(Handover::of(None)))))
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
    pub(super) fn is_full(&self, number: usize) -> bool {
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

    /// A request is open.
    pub(super) fn began(&self) {
        // Whoever waits for there to be none is told of the first and of the last alone: the others are many.
        self.open.send_if_modified(|open| {
            *open += 1;
            *open == 1
        });
    }

    /// One is not open any more.
    pub(super) fn ended(&self) {
        self.open.send_if_modified(|open| {
            *open -= 1;
            *open == 0
        });
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
