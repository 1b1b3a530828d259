//! A connection to the upstream that one request has taken.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::{self, Authority, Uri};
use http::{Request, Response, Version, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Pool;
use super::body::{self, RequestBody, Tape};
use super::gate;
use super::half_open::HalfOpen;
use super::haul::Haul;
use super::heads::Watcher;
use super::tasks::{Upload, Uploads};
use super::trailers::Slot;
use crate::conduit::{Conduit, Pipes};
use crate::evidence::Scheme;
use crate::retry;
use crate::spelling::Spelling;
use crate::tls::Stream;

/// How long the end of an exchange may take to be noticed; an upstream that does not read the last bytes of a request
/// that it has answered would be waited for without end.
const SETTLE_LONGEST: Duration = Duration::from_secs(5);

/// A connection that is taken. It goes back with [`Lease::give_back`]; one of HTTP/1.1 is closed when it is dropped
/// instead, and over one of HTTP/2 no more of the request is sent: its stream is reset once nobody has the answer either.
pub struct Lease {
    pub(super) way: Way,
    pub connection: retry::Connection,
    /// Whether it carries no further request.
    pub last: bool,
    pub(super) pool: Arc<Pool>,
    pub(super) run: u64,
    pub(super) scheme: Scheme,
}

/// What is spoken over it.
pub(super) enum Way {
    Alone(Alone),
    /// And what is being sent over it, if that has a body.
    Shared(Shared, Option<Upload>),
}

/// HTTP/1.1: one request at a time.
pub(super) struct Alone {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// For the trailers of what is sent over it.
    pub(super) trailers: Slot,
    /// What hyper was lent.
    pub(super) watcher: Watcher<HalfOpen<Stream>>,
    pub(super) peer: Option<IpAddr>,
    pub(super) task: Cut,
}

/// HTTP/2: requests side by side. Lives as long as somebody holds it.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<RequestBody>,
    peer: Option<IpAddr>,
    /// How many requests it carries at once, as the upstream last said.
    room: Arc<AtomicUsize>,
    uploads: Uploads,
    /// Held once by the pool, and once by each request. The connection ends with them.
    holders: Arc<Option<Cut>>,
}

/// Ends a connection's task when it is dropped, whatever the connection is doing: one that waits for an upstream which
/// does not read would otherwise not notice that nobody waits for it any more.
pub(super) struct Cut(Option<AbortHandle>);

impl Cut {
    pub(super) fn when_dropped(task: AbortHandle) -> Self {
        Self(Some(task))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Shared {
    pub(super) fn new(
        sender: http2::SendRequest<RequestBody>,
        peer: Option<IpAddr>,
        room: Arc<AtomicUsize>,
        uploads: Uploads,
        cut: Option<Cut>,
    ) -> Self {
        Self { sender, peer, room, uploads, holders: Arc::new(cut) }
    }

    /// How many requests run over it.
    pub(super) fn requests(&self) -> usize {
        Arc::strong_count(&self.holders).saturating_sub(1)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.holders, &other.holders)
    }

    pub(super) fn has_room(&self) -> bool {
        self.requests() < self.room.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Sends a request whose target is in origin form, with its body from the start, and its names written by `spelling`.
    pub fn send(
        &mut self,
        mut head: request::Parts,
        spelling: Option<&Spelling>,
        tape: &Tape,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        match &mut self.way {
            Way::Alone(Alone { sender, trailers, watcher, .. }) => {
                watcher.expect(spelling);
                let mut request = Request::from_parts(head, tape.play(Some(trailers)));
                body::frame(&mut request);
                gate::opened_by_upstream(&mut request);
                Either::Left(sender.try_send_request(request))
            }
            Way::Shared(Shared { sender, uploads, .. }, upload) => {
                write_for_http2(&mut head, self.scheme);
                let mut body = tape.play(None);
                *upload = body.upload(uploads);
                Either::Right(sender.try_send_request(Request::from_parts(head, body)))
            }
        }
    }

    /// Leaves with an answer that has just come how its names are written, if not as usual.
    pub fn keep_spelling(&self, answer: &mut Response<Incoming>) {
        if let Way::Alone(Alone { watcher, .. }) = &self.way
            && let Some(spelling) = watcher.take_unusual()
        {
            answer.extensions_mut().insert(spelling);
        }
    }

    /// Puts the connection back once request and answer are over; a `haul` has it, if the answer was one.
    pub fn give_back(self, haul: Option<&mut Haul>) {
        let (mut alone, pool, run) = match self {
            Self { way: Way::Alone(alone), last: false, pool, run, .. } => (alone, pool, run),
            Self { way: Way::Shared(shared, Some(mut upload)), .. } if !upload.is_over() => {
                // The upstream may yet read the end of what it has answered.
                tokio::spawn(async move {
                    let _ = timeout(SETTLE_LONGEST, upload.over()).await;
                    drop(shared);
                });
                return;
            }
            _ => return,
        };
        if let Some(haul) = haul {
            let anew = haul.take_source().and_then(|stream| pool.http1(stream, alone.peer));
            let Some(anew) = anew else { return };
            alone = anew;
        }
        alone.watcher.rest();
        if alone.sender.is_ready() {
            pool.put(alone, run);
        } else if !alone.sender.is_closed() {
            // The connection's own task has yet to notice that the exchange is over.
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE_LONGEST, alone.sender.ready()).await {
                    pool.put(alone, run);
                }
            });
        }
    }

    /// Keeps the stream of an answer of which only the end is missing, until that comes: given up, it would be reset, and the
    /// upstream's work on it with it.
    pub fn read_to_its_end(self, mut answer: Incoming) {
        tokio::spawn(async move {
            let rest = async { while let Some(Ok(_)) = answer.frame().await {} };
            if timeout(SETTLE_LONGEST, rest).await.is_ok() {
                self.give_back(None);
            }
        });
    }

    /// Takes the rest of an answer's body of this length around hyper, if that is worth it.
    pub fn haul(&self, length: u64, conduit: &Conduit, pipes: &Pipes) -> Option<Haul> {
        match &self.way {
            Way::Alone(alone) => Haul::begin(&alone.watcher, length, conduit, pipes),
            Way::Shared(..) => None,
        }
    }

    /// Where it leads.
    pub fn peer(&self) -> Option<IpAddr> {
        match &self.way {
            Way::Alone(alone) => alone.peer,
            Way::Shared(shared, _) => shared.peer,
        }
    }

    /// Whether other requests use the connection too.
    pub fn is_shared(&self) -> bool {
        matches!(self.way, Way::Shared(..))
    }

    /// The connection did not bring an answer in time. It may be dead without having said so: nobody else is to wait
    /// for it, and those who do already have their own time.
    pub fn forsake(self) {
        if let Way::Shared(shared, _) = &self.way {
            self.pool.forget(shared);
        }
    }

    /// Leaves the connection to the tunnel that it becomes.
    pub fn leave(self) {
        if let Way::Alone(mut alone) = self.way {
            alone.task.0 = None;
            alone.watcher.switch(HalfOpen::tunnel);
        }
    }
}

/// Writes a head as HTTP/2 has it: no fields of the connection, and the authority in the target (RFC 9113 §8.2.2,
/// §8.3.1).
pub fn write_for_http2(head: &mut request::Parts, scheme: Scheme) {
    for name in [CONNECTION, UPGRADE] {
        head.headers.remove(name);
    }
    // `Host` may be valid and yet none to the library that writes URIs: then it stays a field, which is valid too.
    let authority = head.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else { return };
    let mut target = uri::Parts::default();
    target.scheme = Some(match scheme {
        Scheme::Https => uri::Scheme::HTTPS,
        Scheme::Http | Scheme::H2c => uri::Scheme::HTTP,
    });
    target.authority = Some(authority);
    target.path_and_query = head.uri.path_and_query().cloned();
    if let Ok(target) = Uri::from_parts(target) {
        head.uri = target;
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
    }
}

/// Whether the upstream has said that it did nothing about a request (RFC 9113 §8.7): it may be sent again, whatever
/// it is.
pub fn is_unprocessed(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        // A stream hears of a GOAWAY only if it is newer than the last one that the upstream will answer.
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}
