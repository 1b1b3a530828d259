//! The life of one request, in the order in which it happens.
//!
//! [`Proxy::answer`] never fails: an error would drop the client's connection without an answer. It reads the newest
//! snapshot, holds the request while the upstream may become ready, sends it, and either streams the answer back
//! untouched or explains why there is none.

pub mod answer;
pub mod body;
pub mod budget;
mod call;
mod dispatch;
pub mod exchange;
pub mod head;
pub mod hold;
pub mod journey;
pub mod pages;
pub mod record;
pub mod upgrade;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

use self::answer::{Ticket, Trip, in_tenths};
pub use self::body::Body;
use self::budget::Budget;
pub use self::call::Call;
use self::dispatch::Dispatch;
use self::exchange::Exchange;
use self::head::{Caller, Head};
use self::hold::Door;
use self::journey::{Outcome, Way};
use self::pages::Pages;
use self::upgrade::{Switch, Tunnels};
use crate::admission::{self, Refusal};
use crate::config::{Config, HostHeader};
use crate::evidence::{Bound, Failure};
use crate::headers::{self, MaxForwards, PROXY_STATUS, Sender, Via};
use crate::line::Place;
use crate::page::Brand;
use crate::readiness::State;
use crate::room::Room;
use crate::telemetry::meter::{Fate, Ledger, Limit, Meter};
use crate::upstream::body::Tape;
use crate::upstream::reel::Allowance;
use crate::upstream::spool::Spool;
use crate::upstream::{Lease, Pool, gate};
use crate::watch::{Report, Snapshot};

/// What all workers share.
pub struct Shared {
    config: Config,
    brand: Brand,
    room: Arc<Room>,
    reports: mpsc::Sender<Report>,
    allowance: Arc<Allowance>,
    budget: Budget,
    /// Our name in `Via`.
    via: Via,
    /// Sent upstream in place of the client's `Host`, where that is configured or the client has none.
    upstream_host: HeaderValue,
    meter: Arc<Meter>,
    /// The newest run of the upstream that has answered other than 502, 503, 504.
    proven: AtomicU64,
    /// Numbers requests; starts at random so that ids of two runs of anteroom differ.
    ids: AtomicU64,
}

impl Shared {
    /// `reports` leads to the watcher.
    pub fn new(
        config: Config,
        brand: Brand,
        room: Arc<Room>,
        reports: mpsc::Sender<Report>,
        meter: Arc<Meter>,
    ) -> Arc<Self> {
        let spool = config.spool.as_ref().map(Spool::new);
        let allowance = Arc::new(Allowance::new(config.replay_bytes, spool));
        let upstream_host = host_of(&config);
        Arc::new(Self {
            config,
            brand,
            room,
            reports,
            allowance,
            budget: Budget::default(),
            via: Via::new(fastrand::u32(..)),
            upstream_host,
            meter,
            proven: AtomicU64::new(0),
            ids: AtomicU64::new(fastrand::u64(..) << 24),
        })
    }
}

/// The upstream's own name, as a `Host` header spells it.
pub fn host_of(config: &Config) -> HeaderValue {
    HeaderValue::try_from(config.upstream.host_field()).expect("a host that was configured is a valid header value")
}

/// Handles the requests of one worker thread.
pub struct Proxy {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    door: Door,
    tunnels: Tunnels,
    ledger: Arc<Ledger>,
    pages: Pages,
}

impl Proxy {
    /// One for each worker thread: the pool belongs to it.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let door = Door::new(snapshots, Arc::clone(&shared.room));
        let ledger = shared.meter.ledger();
        Self { shared, pool, door, tunnels: Tunnels::default(), ledger, pages: Pages::default() }
    }

    /// A client, as its requests are forwarded. `tls` says whether the connection to us is encrypted.
    pub fn client(&self, peer: IpAddr, tls: bool) -> Sender {
        Sender::new(peer, tls, self.shared.config.trusted_peers.contains(peer))
    }

    /// Closes connections that lead nowhere as soon as the watcher says so, until it says nothing any more.
    pub async fn follow(self: Arc<Self>) {
        let mut snapshots = self.door.snapshots();
        while snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            self.pool.keep_only(snapshot.run);
            match snapshot.state {
                State::Warming { .. } | State::Down { .. } => self.pool.clear(),
                State::Unknown | State::Ready { .. } | State::Suspect { .. } => {}
            }
        }
    }

    /// The connections to the upstream that wait for a request.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The connections that have switched protocols.
    pub fn tunnels(&self) -> Tunnels {
        self.tunnels.clone()
    }

    /// What is to be done about a request of `client`.
    pub fn receive(&self, client: &Sender, mut request: Request<Incoming>) -> Call {
        upgrade::out_of_connect(&mut request);
        // These are refused whoever is behind us.
        let refusal = admission::refuse(request.method(), request.uri(), request.version(), request.headers());
        if let Some(refusal) = refusal {
            let (mut head, tape) = self.recorded(request);
            // For the log.
            headers::forward(&mut head.headers, client);
            let caller = Caller::of(&head.headers, |address| self.shared.config.trusted_peers.contains(address));
            Call::Refuse(head, tape, caller, refusal)
        } else if answer::is_status_query(request.headers()) {
            let (head, tape) = self.recorded(request);
            Call::TellStatus(head, tape)
        } else if self.shared.via.passed_here(request.headers()) {
            Call::ExplainLoop(self.prepare(client, request))
        } else if MaxForwards::of(request.method(), request.headers()) == MaxForwards::Spent {
            let (head, tape) = self.recorded(request);
            Call::TellOptions(head, tape)
        } else {
            Call::Forward(self.prepare(client, request))
        }
    }

    /// What is known now, if a request may pass at once by it.
    pub fn open(&self) -> Option<Arc<Snapshot>> {
        self.door.open()
    }

    /// Whether a request would wait in vain, by what is known now.
    pub fn is_down(&self) -> bool {
        self.door.is_closed()
    }

    /// Whether we are about to stop, so that whoever is answered asks nothing more on its connection. Who was held hears of it
    /// here first.
    pub fn stops(&self) -> bool {
        self.door.is_abandoned()
    }

    /// Answers a request that came in HTTP of this `version`, and whose body may have turned out to be `broken` before it
    /// was looked at. It passes at once where that is `known`, from [`open`](Self::open), to be possible.
    pub async fn answer(
        &self,
        call: &mut Call,
        known: Option<Arc<Snapshot>>,
        version: Version,
        broken: bool,
    ) -> Response<Body> {
        let ticket = self.ticket(version);
        match call {
            Call::Refuse(head, tape, caller, refusal) => {
                unwanted(tape, ticket.refuse((&head.method, &head.uri, *caller), *refusal))
            }
            _ if broken => ticket.refuse(call.asked(), Refusal::BodyBroken),
            Call::TellStatus(head, tape) => {
                self.shared.room.watch();
                unwanted(tape, ticket.status(head, &self.door.newest()))
            }
            Call::ExplainLoop(exchange) => explain(&ticket, exchange, &self.door.newest(), Some(Failure::Loop), None),
            Call::TellOptions(head, tape) => unwanted(tape, ticket.options(&head.uri)),
            Call::Forward(exchange) => {
                self.shared.budget.count_request(ticket.started);
                self.serve(Trip { ticket, exchange }, known).await
            }
        }
    }

    /// Answers a request that could not even be looked at, for a bug of ours.
    pub fn panicked(&self) -> Response<Body> {
        // A ticket is counted when it is dropped, but there is none yet.
        let answer = answer::panicked();
        self.ledger.ended(Fate::Refused, Some(answer.status()), Duration::ZERO);
        answer
    }

    fn ticket(&self, version: Version) -> Ticket<'_> {
        let Shared { ids, config, brand, .. } = &*self.shared;
        Ticket::new(ids.fetch_add(1, Ordering::Relaxed), config, brand, version, &self.ledger, &self.pages)
    }

    async fn serve(&self, mut trip: Trip<'_>, known: Option<Arc<Snapshot>>) -> Response<Body> {
        let Trip { ticket, exchange } = &mut trip;
        if exchange.tape.announces_too_much() {
            return self.refuse_large(ticket, exchange);
        }
        if known.is_none() && !self.is_down() {
            // What waits has no table; and without hyper, nothing of what it was read into.
            exchange.head.compact();
        }
        let Shared { budget, reports, .. } = &*self.shared;
        let way = Way { door: &self.door, budget, reports };
        let place = Place { arrived: ticket.started.into_std(), id: ticket.id };
        let outcome = way.travel(known, &mut Dispatch::new(self, place, exchange), &mut ticket.toll).await;
        match outcome {
            Outcome::Answered((answer, lease)) => self.pass_on(ticket, exchange, answer, lease),
            Outcome::Refused(Refusal::BodyTooLarge) => self.refuse_large(ticket, exchange),
            Outcome::Refused(refusal) => {
                let answer = ticket.refuse(exchange.head.asked(), refusal);
                unwanted(&mut exchange.tape, answer)
            }
            Outcome::Stranded(snapshot, failure, bound) => {
                if let Some(limit) = limit(bound, failure.as_ref()) {
                    self.shared.meter.reached(limit);
                }
                let bound = bound.and_then(|bound| said(bound, ticket));
                explain(ticket, exchange, &snapshot, failure, bound)
            }
        }
    }

    /// Refuses a body that is too large.
    fn refuse_large(&self, ticket: &Ticket<'_>, exchange: &mut Exchange) -> Response<Body> {
        self.shared.meter.reached(Limit::BodySize);
        let answer = ticket.refuse(exchange.head.asked(), Refusal::BodyTooLarge);
        unwanted(&mut exchange.tape, answer)
    }

    /// A request whose body nobody is sent.
    fn recorded(&self, request: Request<Incoming>) -> (request::Parts, Tape) {
        let (head, incoming) = request.into_parts();
        let tape = self.tape(&head, incoming, Vec::new());
        (head, tape)
    }

    fn tape(&self, head: &request::Parts, incoming: Incoming, nominated: Vec<HeaderName>) -> Tape {
        let Shared { allowance, config, .. } = &*self.shared;
        Tape::new(incoming, allowance, gate::is_expected(&head.headers), config.limits.body_bytes, nominated)
    }

    /// Turns what the client sent into what the upstream shall get.
    fn prepare(&self, client: &Sender, mut request: Request<Incoming>) -> Exchange {
        if request.version() < Version::HTTP_11 {
            // It cannot switch: an offer in it is to be ignored (RFC 9110 §7.8).
            request.headers_mut().remove(UPGRADE);
        }
        let upgraded = headers::upgrade_token(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, incoming) = request.into_parts();
        let nominated = self.rewrite(client, &mut head);
        let spelling = head.extensions.remove();
        let switch = upgraded.and_then(|client| Switch::offered(client, &mut head));
        let closes = headers::closes(&nominated);
        let tape = self.tape(&head, incoming, nominated);
        let head = Head::of(head, |address| self.shared.config.trusted_peers.contains(address));
        Exchange { head, spelling, tape, switch, closes }
    }

    /// The order matters: what belongs to one connection goes before anything is added, and `X-Forwarded-Host` is the
    /// client's `Host` before ours takes its place.
    fn rewrite(&self, client: &Sender, head: &mut request::Parts) -> Vec<HeaderName> {
        let Shared { config, via, upstream_host, .. } = &*self.shared;
        headers::set_host(&mut head.headers, &head.uri);
        let nominated = headers::strip_hop_by_hop(&mut head.headers);
        headers::forward(&mut head.headers, client);
        if config.host_header == HostHeader::Upstream || !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, upstream_host.clone());
        }
        if head.version >= Version::HTTP_2 {
            headers::join_cookie_crumbs(&mut head.headers);
        }
        MaxForwards::of(&head.method, &head.headers).write(&mut head.headers);
        via.append(&mut head.headers, head.version);
        head.uri = Uri::from(admission::target(&head.method, &head.uri, head.version));
        head.version = Version::HTTP_11;
        nominated
    }

    /// Whether what a run of the upstream answers is its own affair.
    fn is_proven(&self, run: u64) -> bool {
        self.shared.config.upstream.ready_path.is_some() || self.shared.proven.load(Ordering::Relaxed) >= run
    }

    /// Whether an answer comes from an upstream that connects, but has yet to give its first good answer.
    fn premature(&self, status: StatusCode, run: u64) -> bool {
        if self.is_proven(run) {
            return false;
        }
        let unready =
            matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        if !unready && self.shared.proven.fetch_max(run, Ordering::Relaxed) < run {
            self.shared.room.call_back();
        }
        unready
    }

    fn pass_on(
        &self,
        ticket: &Ticket<'_>,
        exchange: &mut Exchange,
        mut answer: Response<Incoming>,
        mut lease: Lease,
    ) -> Response<Body> {
        // What is sent next would have to be HTTP/1.0 too, and that has no bodies of unknown length.
        let is_1_0 = answer.version() == Version::HTTP_10;
        let nominated = self.rewrite_answer(&mut answer);
        // hyper knows of that too, but not where an answer goes around it.
        lease.last = is_1_0 || headers::closes(&nominated);
        let record = ticket.record(&exchange.head, Some(answer.status()), Fate::Passed, None);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(switch) = exchange.switch.take()
        {
            lease.leave();
            // A tunnel may last for days, and its line is of interest before.
            if let Some(mut record) = record {
                record.is_whole();
            }
            let upstream = hyper::upgrade::on(&mut answer);
            switch.tell(&mut answer);
            tokio::spawn(upgrade::splice(switch, upstream, self.tunnels.open(&self.shared.meter)));
            return answer.map(|_| Body::empty());
        }
        close_if_unasked(&exchange.tape, &mut answer);
        let status = answer.status();
        answer.map(|incoming| {
            let body = Body::passed(incoming, lease, exchange.tape.take(), nominated);
            body.in_answer(&exchange.head.method, status).recorded(record)
        })
    }

    fn rewrite_answer(&self, answer: &mut Response<Incoming>) -> Vec<HeaderName> {
        let (status, received) = (answer.status(), answer.version());
        let headers = answer.headers_mut();
        let nominated = headers::strip_hop_by_hop_of_answer(status, headers);
        if status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6 forbids it, and over HTTP/2 a client would miss what it announces.
            headers.remove(CONTENT_LENGTH);
        }
        self.shared.via.append(headers, received);
        // RFC 9209 §2: for those who look. Where nobody before us has written one, nobody does.
        if headers.contains_key(PROXY_STATUS) {
            headers.append(PROXY_STATUS, headers::received(status));
        }
        // RFC 9110 §6.2: each connection has its own version. hyper lowers it for a client that speaks HTTP/1.0.
        *answer.version_mut() = Version::HTTP_11;
        nominated
    }
}

/// Answers a request of which nobody wants any more, and reads what comes of it for a while, so that the answer arrives.
fn unwanted(request: &mut Tape, mut answer: Response<Body>) -> Response<Body> {
    close_if_unasked(request, &mut answer);
    answer.map(|body| body.after(request.take()))
}

/// A client whose body nobody asked for may or may not send it, so that its next bytes can not be told apart.
fn close_if_unasked<B>(request: &Tape, answer: &mut Response<B>) {
    if request.stays_unasked() {
        headers::close(answer.headers_mut());
    }
}

/// What to say of a bound. Nothing of a patience that had ended before it began: who asked knows why.
fn said(bound: Bound, ticket: &Ticket<'_>) -> Option<Bound> {
    match bound {
        Bound::Number { .. } | Bound::Bytes { .. } => Some(bound),
        Bound::Patience { .. } if ticket.toll.held.is_zero() => None,
        Bound::Patience { .. } => Some(Bound::Patience { held: in_tenths(ticket.toll.held) }),
    }
}

fn limit(bound: Option<Bound>, failure: Option<&Failure>) -> Option<Limit> {
    match bound {
        Some(Bound::Number { .. }) => Some(Limit::Held),
        Some(Bound::Bytes { .. }) => Some(Limit::HeldBytes),
        Some(Bound::Patience { .. }) => Some(Limit::Patience),
        None => (failure == Some(&Failure::RetryBudgetSpent)).then_some(Limit::RetryBudget),
    }
}

/// Answers with a diagnosis.
fn explain(
    ticket: &Ticket<'_>,
    exchange: &mut Exchange,
    snapshot: &Snapshot,
    failure: Option<Failure>,
    bound: Option<Bound>,
) -> Response<Body> {
    unwanted(&mut exchange.tape, ticket.diagnose(&exchange.head, snapshot, failure, bound))
}
