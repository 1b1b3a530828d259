//! A connection that speaks HTTP/1.1: hyper's for as long as there is something to serve, and otherwise at rest, or with a
//! request that is [held](super::suspended).
//!
//! hyper keeps two buffers of 8 KiB, and room for a request and its answer, for as long as it has a connection. Most
//! connections rest most of the time. A few that have just been served stay hyper's for a while, since to make all of
//! that anew takes a sixth of what an ordinary request does, unless there is a [crowd](super::turns).

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

use super::connection::{Conversation, Host};
use super::request::{AlwaysReady, service};
use super::suspended::{Handover, Resumed, Suspended};
use super::wire::Wire;
use crate::lock::lock;
use crate::telemetry::meter::Limit;
use crate::upstream::trailers::Trailing;

/// hyper's own limit, which it keeps without an allocation.
const MAX_HEADERS: usize = 100;

/// How many connections of a worker may rest and still be hyper's, and for how long. With ordinary heads they take 1 MiB.
const AT_HAND_MOST: usize = 64;
const AT_HAND_LONGEST: Duration = Duration::from_secs(1);

/// The places of those connections.
pub struct AtHand(Semaphore);

impl AtHand {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self(Semaphore::new(most))
    }
}

impl Default for AtHand {
    fn default() -> Self {
        Self::new(AT_HAND_MOST)
    }
}

/// Since when a connection has had nothing to answer, and after how many requests.
#[derive(Clone, Copy)]
struct Rest {
    since: Instant,
    after: usize,
}

/// Why hyper has a connection no more.
enum Pause {
    Rest(Rest),
    Hold(Suspended),
}

/// Serves a connection until it ends, has rested for too long, or is to stop.
pub(super) async fn serve(
    wire: Lent,
    conversation: &Arc<Conversation>,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let Host { limits, meter, .. } = &*conversation.host;
    let is_tls = wire.lock().is_tls();
    let mut stop = pin!(stopping.changed().fuse());
    let mut rest = Rest { since: Instant::now(), after: 0 };
    // Set anew only when it rings: most rests are short.
    let mut alarm = pin!(sleep(limits.idle_timeout));
    loop {
        let end = rest.since + limits.idle_timeout;
        tokio::select! {
            biased;
            // What is asked over TLS may be here already, read with the end of the handshake.
            () = poll_fn(|cx| if is_tls { Poll::Ready(()) } else { wire.lock().poll_asked(cx) }) => {}
            _ = stop.as_mut() => return Ok(()),
            () = alarm.as_mut() => {
                if end <= Instant::now() {
                    meter.reached(Limit::IdleTimeout);
                    return Ok(());
                }
                alarm.as_mut().reset(end);
                continue;
            }
        }
        conversation.host.turns.begin().await;
        let mut resumed = None;
        loop {
            // Boxed, or every connection that rests would have room for a request.
            match Box::pin(talk(wire.clone(), conversation, stop.as_mut(), alarm.as_mut(), rest, resumed.take())).await
            {
                ControlFlow::Continue(Pause::Rest(again)) => {
                    if stop.is_terminated() {
                        return Ok(());
                    }
                    rest = again;
                    break;
                }
                ControlFlow::Continue(Pause::Hold(suspended)) => match suspended.resume(&wire, stop.as_mut()).await {
                    Ok(answer) => resumed = Some(answer),
                    Err(left) => {
                        tracing::debug!(error = %left, "connection ended");
                        return Ok(());
                    }
                },
                ControlFlow::Break(ended) => return ended,
            }
        }
    }
}

/// Answers requests until the connection ends, or hyper is not needed: then it goes on. `rest` is the last one. It begins
/// with the answer to a request that was held, if one was `resumed`.
async fn talk(
    wire: Lent,
    conversation: &Arc<Conversation>,
    mut stop: Pin<&mut impl FusedFuture>,
    mut alarm: Pin<&mut Sleep>,
    mut rest: Rest,
    resumed: Option<Resumed>,
) -> ControlFlow<hyper::Result<()>, Pause> {
    let Host { limits, tls, at_hand, turns, .. } = &*conversation.host;
    let is_tls = tls.is_some();
    let mut builder = http1::Builder::new();
    if limits.headers != MAX_HEADERS {
        builder.max_headers(limits.headers);
    }
    if is_tls {
        // Of such a connection nobody knows whether it rests. `Wire` watches over a head that has begun.
        builder.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
    }
    let handover = Arc::new(Handover::of(resumed));
    let connection = builder
        // The buffer alone would let a head pass that ends within the read that fills it.
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes)
        // `Wire` notices a client that leaves, without a second buffer to read into while an answer is awaited. The end
        // of TLS stands in what is read.
        .half_close(!is_tls)
        // The upstream's `Date` passes; where it sends none, none is invented.
        .auto_date_header(false)
        .serve_connection(
            TokioIo::new(Trailing::new(wire.clone(), conversation.trailers.clone())),
            AlwaysReady(service(conversation, &handover)),
        )
        .with_upgrades();
    let mut connection = pin!(connection);
    let longest = limits.idle_timeout.min(AT_HAND_LONGEST);
    let mut place = None;
    poll_fn(|cx| {
        let answered = loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ControlFlow::Break(ended));
            }
            let rests = wire.lock().rests();
            if let Some(suspended) = handover.take_suspended() {
                return Poll::Ready(ControlFlow::Continue(Pause::Hold(suspended)));
            }
            if stop.as_mut().poll(cx).is_pending() {
                break rests;
            }
            if rests.is_some() {
                return Poll::Ready(ControlFlow::Break(Ok(())));
            }
            connection.as_mut().graceful_shutdown();
        };
        let Some(answered) = answered else {
            place = None;
            return Poll::Pending;
        };
        if rest.after != answered {
            rest = Rest { since: Instant::now(), after: answered };
        }
        // In a crowd nobody stays who may ask next: that would be served before those who wait.
        place = place.take().or_else(|| at_hand.0.try_acquire().ok()).filter(|_| !turns.is_crowded());
        if place.is_none() {
            return Poll::Ready(ControlFlow::Continue(Pause::Rest(rest)));
        }
        let end = rest.since + longest;
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if end <= Instant::now() {
                return Poll::Ready(ControlFlow::Continue(Pause::Rest(rest)));
            }
            alarm.as_mut().reset(end);
        }
        Poll::Pending
    })
    .await
}

/// A [`Wire`] that is lent to hyper, and outlives what reads and writes it there.
///
/// The lock is never contended: one task at a time has to do with it, that of the connection or of its tunnel.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<Wire>>);

impl Lent {
    /// To be lent from now on.
    pub(super) fn new(wire: Wire) -> Self {
        Self(Arc::new(Mutex::new(wire)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Wire> {
        lock(&self.0)
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
