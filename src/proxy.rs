//! The life of one request, in the order in which it happens.
//!
//! [`Proxy::handle`] never fails: an error would drop the client's connection without an answer. It reads the newest
//! snapshot, holds the request while the upstream may become ready, sends it, and either streams the answer back
//! untouched or explains why there is none.

pub mod answer;
pub mod body;
pub mod budget;
pub mod hold;
pub mod upgrade;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use self::answer::{Outcome, Ticket};
use self::body::Body;
use self::budget::Budget;
use self::hold::{Hold, Room};
use self::upgrade::Tunnels;
use crate::backoff;
use crate::config::{Config, HostHeader};
use crate::evidence::Failure;
use crate::headers;
use crate::page::negotiate;
use crate::probe::failure as exchange_failure;
use crate::retry::{self, Verdict};
use crate::upstream::body::{Allowance, Tape};
use crate::upstream::pool::{Lease, Pool};
use crate::watch::{Demand, Report, Snapshot};

/// What all workers share.
pub struct Shared {
    config: Config,
    demand: Arc<Demand>,
    reports: mpsc::Sender<Report>,
    allowance: Arc<Allowance>,
    budget: Budget,
    /// Sent upstream in place of the client's `Host`, where that is configured or the client has none.
    upstream_host: HeaderValue,
    /// The newest run of the upstream that has answered other than 502, 503, 504.
    proven: AtomicU64,
    /// Numbers requests; starts at random so that ids of two runs of anteroom differ.
    ids: AtomicU64,
}

impl Shared {
    /// `reports` leads to the watcher.
    pub fn new(config: Config, demand: Arc<Demand>, reports: mpsc::Sender<Report>) -> Arc<Self> {
        let allowance = Arc::new(Allowance::new(config.replay_bytes));
        let upstream_host = host_of(&config);
        Arc::new(Self {
            config,
            demand,
            reports,
            allowance,
            budget: Budget::default(),
            upstream_host,
            proven: AtomicU64::new(0),
            ids: AtomicU64::new(fastrand::u64(..) << 24),
        })
    }
}

/// The upstream's own name, as a `Host` header spells it.
pub fn host_of(config: &Config) -> HeaderValue {
    let host = &config.upstream.host;
    let text = match (host.contains(':'), config.upstream.port) {
        (true, 80) => format!("[{host}]"),
        (true, port) => format!("[{host}]:{port}"),
        (false, 80) => host.to_string(),
        (false, port) => format!("{host}:{port}"),
    };
    HeaderValue::try_from(text).expect("a host that was configured is a valid header value")
}

/// Handles the requests of one worker thread.
pub struct Proxy {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    room: Room,
    tunnels: Tunnels,
}

/// A request that is sent as often as it takes.
struct Exchange {
    head: request::Parts,
    tape: Tape,
    client: Option<OnUpgrade>,
    offered: Option<HeaderValue>,
}

/// What came of sending it once.
enum Sent {
    Answered(Response<Incoming>, Lease),
    Failed(Setback),
}

/// Why an attempt did not bring an answer, and what it leaves open.
struct Setback {
    failure: Failure,
    connection: retry::Connection,
    /// Whether any byte of the request may have reached the upstream.
    sent: bool,
}

/// What to do after a setback.
enum Next {
    /// Send again on a new connection.
    AtOnce,
    /// Send again after a pause.
    After(Duration),
    /// Let the watcher look into it, and send again when it has found the upstream ready.
    OnNews,
    /// Answer.
    GiveUp(Failure),
}

impl Proxy {
    /// One for each worker thread: the pool belongs to it.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let room = Room::new(snapshots, Arc::clone(&shared.demand), shared.config.max_held);
        Self { shared, pool, room, tunnels: Tunnels::default() }
    }

    /// The connections that have switched protocols.
    pub fn tunnels(&self) -> Tunnels {
        self.tunnels.clone()
    }

    /// Answers a request, whatever happens.
    pub async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let ticket = Ticket::new(self.shared.ids.fetch_add(1, Ordering::Relaxed), self.shared.config.detail);
        if answer::is_status_query(request.headers()) {
            return Ok(ticket.status(&request.into_parts().0, &self.room.newest()));
        }
        if let Some(status) = refused(&request) {
            return Ok(ticket.refuse(status));
        }
        self.shared.budget.count_request(ticket.started);
        Ok(self.serve(ticket, request).await)
    }

    async fn serve(&self, mut ticket: Ticket, request: Request<Incoming>) -> Response<Body> {
        let exchange = self.prepare(request);
        let mut last_failure: Option<Failure> = None;
        let mut news_since: Option<u64> = None;
        let mut pooled = true;
        loop {
            let deadline = || self.deadline(&ticket, &exchange);
            let snapshot = match self.room.pass(news_since, deadline).await {
                Hold::Passed(snapshot, held) => {
                    ticket.held += held;
                    snapshot
                }
                Hold::Pointless(snapshot, held) | Hold::OutOfPatience(snapshot, held) => {
                    ticket.held += held;
                    return explain(&ticket, exchange, &snapshot, last_failure);
                }
                Hold::Full(snapshot, held) => {
                    return explain(&ticket, exchange, &snapshot, Some(Failure::WaitingRoomFull { held }));
                }
            };
            let (setback, premature) = match self.send(&exchange, snapshot.run, pooled).await {
                Sent::Answered(answer, lease) if self.premature(answer.status(), snapshot.run) => {
                    let failure = Failure::NotReady { status: answer.status().as_u16() };
                    (Setback { failure, connection: lease.connection, sent: true }, Some((answer, lease)))
                }
                Sent::Answered(answer, lease) => return self.pass_on(&ticket, exchange, answer, lease),
                Sent::Failed(setback) => (setback, None),
            };
            if exchange.tape.client_failed() {
                return ticket.refuse(StatusCode::BAD_REQUEST);
            }
            if setback.failure == Failure::NoAnswer && exchange.tape.awaits_client() {
                return ticket.refuse(StatusCode::REQUEST_TIMEOUT);
            }
            match self.next(&ticket, &exchange, &setback) {
                Next::AtOnce => pooled = false,
                Next::After(pause) => sleep(pause).await,
                Next::OnNews => {
                    let report = Report { sequence: snapshot.sequence, failure: setback.failure.clone() };
                    // An error means that the watcher is gone: then nobody waits for its news either.
                    let _ = self.shared.reports.send(report).await;
                    news_since = Some(snapshot.sequence);
                }
                Next::GiveUp(failure) => {
                    return match premature {
                        Some((answer, lease)) => self.pass_on(&ticket, exchange, answer, lease),
                        None => explain(&ticket, exchange, &self.room.newest(), Some(failure)),
                    };
                }
            }
            last_failure = Some(setback.failure);
            ticket.retries += 1;
        }
    }

    /// Looks the setback up in the retry table, and bounds what it allows by the budget and by the client's patience.
    fn next(&self, ticket: &Ticket, exchange: &Exchange, setback: &Setback) -> Next {
        let Setback { failure, connection, sent } = setback;
        let idempotent = retry::idempotent(&exchange.head.method);
        let request = retry::Request { idempotent, sent: *sent, replayable: exchange.tape.replayable() };
        let verdict = retry::verdict(failure, *connection, request);
        let now = Instant::now();
        let pause = if *sent { backoff::delay(ticket.retries + 1, fastrand::f64()) } else { Duration::ZERO };
        match verdict {
            Verdict::GiveUp => Next::GiveUp(failure.clone()),
            Verdict::WithinPatience if now + pause > self.deadline(ticket, exchange) => Next::GiveUp(failure.clone()),
            // Nothing was sent, so going back to the waiting room is no load on anyone.
            Verdict::WithinPatience if !sent => Next::OnNews,
            Verdict::AtOnce | Verdict::WithinPatience if !self.shared.budget.spend(now) => {
                Next::GiveUp(Failure::RetryBudgetSpent)
            }
            Verdict::AtOnce => Next::AtOnce,
            Verdict::WithinPatience => Next::After(pause),
        }
    }

    /// When a request's patience ends. Asked for only when a request cannot pass at once.
    fn deadline(&self, ticket: &Ticket, exchange: &Exchange) -> Instant {
        let patience = &self.shared.config.patience;
        let is_navigation = negotiate::is_navigation(&exchange.head.method, &exchange.head.headers);
        ticket.started + if is_navigation { patience.navigation } else { patience.request }
    }

    /// Turns what the client sent into what the upstream shall get.
    fn prepare(&self, mut request: Request<Incoming>) -> Exchange {
        let client = headers::upgrade_token(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, incoming) = request.into_parts();
        let replacement = match self.shared.config.host_header {
            HostHeader::Preserve => None,
            HostHeader::Upstream => Some(&self.shared.upstream_host),
        };
        headers::set_host(&mut head.headers, &head.uri, replacement);
        if !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, self.shared.upstream_host.clone());
        }
        headers::strip_hop_by_hop(&mut head.headers);
        let offered = headers::upgrade_token(&head.headers).cloned();
        let target = head.uri.path_and_query().cloned();
        head.uri = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
        head.version = Version::HTTP_11;
        Exchange { head, tape: Tape::new(incoming, &self.shared.allowance), client, offered }
    }

    async fn send(&self, exchange: &Exchange, run: u64, pooled: bool) -> Sent {
        let lease = if pooled { self.pool.take(run) } else { None };
        let mut lease = match lease {
            Some(lease) => lease,
            None => match self.pool.connect(run).await {
                Ok(lease) => lease,
                Err(failure) => {
                    return Sent::Failed(Setback { failure, connection: retry::Connection::New, sent: false });
                }
            },
        };
        let connection = lease.connection;
        let request = Request::from_parts(exchange.head.clone(), exchange.tape.play());
        let sending = lease.sender.try_send_request(request);
        let answer = tokio::select! {
            biased;
            answer = sending => answer,
            () = self.silence(&exchange.tape) => {
                return Sent::Failed(Setback { failure: Failure::NoAnswer, connection, sent: true });
            }
        };
        match answer {
            Ok(answer) => match switches_rightly(exchange, &answer) {
                Ok(()) => Sent::Answered(answer, lease),
                Err(reason) => {
                    let failure = Failure::NotHttp { reason: reason.into() };
                    Sent::Failed(Setback { failure, connection, sent: true })
                }
            },
            Err(mut error) => {
                let sent = error.take_message().is_none();
                Sent::Failed(Setback { failure: exchange_failure(error.error()), connection, sent })
            }
        }
    }

    /// Ends when the upstream has kept silent for too long. An upload that still flows is not silence.
    async fn silence(&self, tape: &Tape) {
        let limit = self.shared.config.response_timeout;
        let mut end = Instant::now() + limit;
        loop {
            sleep_until(end).await;
            match tape.progress().map(|progress| progress + limit) {
                Some(later) if later > Instant::now() => end = later,
                Some(_) | None => return,
            }
        }
    }

    /// Whether an answer comes from an upstream that connects, but has yet to give its first good answer.
    fn premature(&self, status: StatusCode, run: u64) -> bool {
        if self.shared.config.upstream.ready_path.is_some() || self.shared.proven.load(Ordering::Relaxed) >= run {
            return false;
        }
        let unready =
            matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        if !unready {
            self.shared.proven.fetch_max(run, Ordering::Relaxed);
        }
        unready
    }

    fn pass_on(
        &self,
        ticket: &Ticket,
        exchange: Exchange,
        mut answer: Response<Incoming>,
        lease: Lease,
    ) -> Response<Body> {
        headers::strip_hop_by_hop(answer.headers_mut());
        ticket.log(&exchange.head, answer.status(), Outcome::Passed, None);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client) = exchange.client
        {
            tokio::spawn(upgrade::splice(client, hyper::upgrade::on(&mut answer), self.tunnels.open()));
            return answer.map(|_| Body::empty());
        }
        answer.map(|incoming| Body::passed(incoming, lease))
    }
}

/// Answers with a diagnosis, and reads what is left of the request so that the answer arrives.
fn explain(ticket: &Ticket, exchange: Exchange, snapshot: &Snapshot, failure: Option<Failure>) -> Response<Body> {
    exchange.tape.drain();
    ticket.diagnose(&exchange.head, snapshot, failure)
}

/// What is refused whoever is behind us.
fn refused(request: &Request<Incoming>) -> Option<StatusCode> {
    if request.method() == Method::CONNECT {
        // A tunnel to anywhere is not what a reverse proxy is for.
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    // RFC 9112 §3.2: one `Host`, unless the client speaks HTTP/1.0.
    let hosts = request.headers().get_all(HOST).iter().count();
    let wrong = hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11;
    wrong.then_some(StatusCode::BAD_REQUEST)
}

/// An upstream may switch protocols only if the client offered to, and only to what it offered (RFC 9110 §7.8).
fn switches_rightly(exchange: &Exchange, answer: &Response<Incoming>) -> Result<(), &'static str> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    match (&exchange.offered, headers::upgrade_token(answer.headers())) {
        (Some(offered), Some(accepted)) if headers::agrees(offered, accepted) => Ok(()),
        (Some(_), _) => Err("it switched to a protocol that was not offered"),
        (None, _) => Err("it switched protocols unasked"),
    }
}
