//! The life of one request, in the order in which it happens.
//!
//! [`Proxy::answer`] never fails: an error would drop the client's connection without an answer. It reads the newest
//! snapshot, holds the request while the upstream may become ready, sends it, and either streams the answer back
//! untouched or explains why there is none.

pub mod answer;
pub mod body;
pub mod budget;
mod call;
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

use http::header::{HOST, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::answer::Ticket;
pub use self::body::Body;
use self::budget::Budget;
pub use self::call::Call;
use self::exchange::Exchange;
use self::head::Head;
use self::hold::{Door, Stay};
use self::journey::{Errand, Outcome, Sent, Setback, Toll, Way};
use self::pages::Pages;
use self::upgrade::{Switch, Tunnels};
use crate::admission::{self, Refusal};
use crate::config::{Config, HostHeader};
use crate::evidence::{Bound, Failure, Upstream};
use crate::headers::{self, MaxForwards, PROXY_STATUS, Sender, Via};
use crate::line::Place;
use crate::page::Brand;
use crate::patience::{self, Kind};
use crate::readiness::State;
use crate::retry::{self, Reach};
use crate::room::Room;
use crate::telemetry::meter::{Fate, Ledger, Limit, Meter};
use crate::upstream::body::Tape;
use crate::upstream::reel::{Allowance, Fault};
use crate::upstream::spool::Spool;
use crate::upstream::{Lease, Pool, gate};
use crate::warmup::patience_for_page_view;
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
    let Upstream { scheme, host, port, .. } = &config.upstream;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let text = if *port == scheme.default_port() { host } else { format!("{host}:{port}") };
    HeaderValue::try_from(text).expect("a host that was configured is a valid header value")
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
            let (head, body) = request.into_parts();
            Call::Refuse(head, body, refusal)
        } else if answer::is_status_query(request.headers()) {
            let (head, body) = request.into_parts();
            Call::TellStatus(head, body)
        } else if self.shared.via.passed_here(request.headers()) {
            Call::ExplainLoop(self.prepare(client, request))
        } else if MaxForwards::of(request.method(), request.headers()) == MaxForwards::Spent {
            let (head, body) = request.into_parts();
            Call::TellOptions(head, body)
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
            Call::Refuse(head, _, refusal) => ticket.refuse((&head.method, &head.uri), *refusal),
            _ if broken => ticket.refuse(call.asked(), Refusal::BodyBroken),
            Call::TellStatus(head, _) => {
                self.shared.room.watch();
                ticket.status(head, &self.door.newest())
            }
            Call::ExplainLoop(exchange) => explain(&ticket, exchange, &self.door.newest(), Some(Failure::Loop), None),
            Call::TellOptions(head, _) => ticket.options(&head.uri),
            Call::Forward(exchange) => {
                self.shared.budget.count_request(ticket.started);
                self.serve(ticket, exchange, known).await
            }
        }
    }

    fn ticket(&self, version: Version) -> Ticket<'_> {
        let Shared { ids, config, brand, .. } = &*self.shared;
        Ticket::new(ids.fetch_add(1, Ordering::Relaxed), config, brand, version, &self.ledger, &self.pages)
    }

    async fn serve(
        &self,
        mut ticket: Ticket<'_>,
        exchange: &mut Exchange,
        known: Option<Arc<Snapshot>>,
    ) -> Response<Body> {
        if exchange.tape.announces_too_much() {
            return self.refuse_large(&ticket, exchange);
        }
        if known.is_none() && !self.is_down() {
            // What waits has no table; and without hyper, nothing of what it was read into.
            exchange.head.compact();
        }
        let Shared { budget, reports, .. } = &*self.shared;
        let way = Way { door: &self.door, budget, reports };
        let mut toll = Toll::default();
        let outcome = way.travel(known, &mut Dispatch { proxy: self, ticket: &ticket, exchange }, &mut toll).await;
        ticket.toll = toll;
        match outcome {
            Outcome::Answered((answer, lease)) => self.pass_on(&ticket, exchange, answer, lease),
            Outcome::Refused(Refusal::BodyTooLarge) => self.refuse_large(&ticket, exchange),
            Outcome::Refused(refusal) => ticket.refuse(exchange.asked(), refusal),
            Outcome::Stranded(snapshot, failure, bound) => {
                if let Some(limit) = limit(bound, failure.as_ref()) {
                    self.shared.meter.reached(limit);
                }
                let bound = bound.and_then(|bound| said(bound, &ticket));
                explain(&ticket, exchange, &snapshot, failure, bound)
            }
        }
    }

    /// Refuses a body that is too large, and reads what comes of it for a while, so that the answer arrives.
    fn refuse_large(&self, ticket: &Ticket<'_>, exchange: &mut Exchange) -> Response<Body> {
        self.shared.meter.reached(Limit::BodySize);
        let answer = ticket.refuse(exchange.asked(), Refusal::BodyTooLarge);
        // A client that waits for a word before it sends the body has it now.
        let _ = exchange.tape.stays_unasked();
        answer.map(|body| body.after(exchange.tape.take()))
    }

    /// Turns what the client sent into what the upstream shall get.
    fn prepare(&self, client: &Sender, mut request: Request<Incoming>) -> Exchange {
        let upgraded = headers::upgrade_token(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, incoming) = request.into_parts();
        let nominated = self.rewrite(client, &mut head);
        let spelling = head.extensions.remove();
        let switch = upgraded.and_then(|client| Switch::offered(client, &mut head));
        let Shared { allowance, config, .. } = &*self.shared;
        let expects = gate::is_expected(&head.headers);
        let head = Head::of(head, |address| config.trusted_peers.contains(address));
        let closes = headers::closes(&nominated);
        let tape = Tape::new(incoming, allowance, expects, config.limits.body_bytes, nominated);
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
        let record = ticket.record(&exchange.head, answer.status(), Fate::Passed, None);
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
        answer.map(|incoming| Body::passed(incoming, lease, exchange.tape.take(), nominated).recorded(record))
    }

    fn rewrite_answer(&self, answer: &mut Response<Incoming>) -> Vec<HeaderName> {
        let (status, received) = (answer.status(), answer.version());
        let headers = answer.headers_mut();
        let nominated = headers::strip_hop_by_hop_of_answer(status, headers);
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
        // To a tenth of a second, so that those who waited together get the same page.
        Bound::Patience { .. } => {
            let tenths = u64::try_from(ticket.toll.held.as_millis() / 100).unwrap_or(u64::MAX);
            Some(Bound::Patience { held: Duration::from_millis(tenths.saturating_mul(100)) })
        }
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

/// Answers with a diagnosis, and reads what is left of the request so that the answer arrives.
fn explain(
    ticket: &Ticket<'_>,
    exchange: &mut Exchange,
    snapshot: &Snapshot,
    failure: Option<Failure>,
    bound: Option<Bound>,
) -> Response<Body> {
    let mut answer = ticket.diagnose(&exchange.head, snapshot, failure, bound);
    close_if_unasked(&exchange.tape, &mut answer);
    answer.map(|body| body.after(exchange.tape.take()))
}

/// An exchange, as often as it is sent.
struct Dispatch<'a> {
    proxy: &'a Proxy,
    ticket: &'a Ticket<'a>,
    exchange: &'a mut Exchange,
}

impl Errand for Dispatch<'_> {
    type Answer = (Response<Incoming>, Lease);

    async fn send(&mut self, known: &Arc<Snapshot>, pooled: bool) -> Sent<Self::Answer> {
        let Proxy { shared, pool, door, .. } = self.proxy;
        let (run, patience) = (known.run, shared.config.response_timeout);
        let lost = |peer| door.loses(known, peer);
        let setback = match self.exchange.send(pool, run, pooled, patience, lost).await {
            Ok((answer, lease)) if self.proxy.premature(answer.status(), run) => {
                let failure = Failure::NotReady { status: answer.status().as_u16() };
                let setback = Setback { failure, connection: lease.connection, reach: Reach::Sent };
                return self.mistake().map_or_else(|| Sent::Premature((answer, lease), setback), Sent::Refused);
            }
            Ok(answered) => return Sent::Answered(answered),
            Err(setback) => setback,
        };
        if setback.connection == retry::Connection::New && setback.reach == Reach::Unsent {
            self.proxy.ledger.did_not_connect(&setback.failure);
        }
        let stalls = setback.failure == Failure::NoAnswer && self.exchange.tape.awaits_client();
        match self.mistake() {
            Some(mistake) => Sent::Refused(mistake),
            None if stalls => Sent::Refused(Refusal::BodyTooSlow),
            None => Sent::Failed(setback),
        }
    }

    fn is_idempotent(&self) -> bool {
        retry::idempotent(&self.exchange.head.method)
    }

    fn is_replayable(&self) -> bool {
        self.exchange.tape.replayable()
    }

    async fn while_held(&self) -> Refusal {
        self.exchange.tape.fill().await;
        match self.mistake() {
            Some(mistake) => mistake,
            None => std::future::pending().await,
        }
    }

    fn is_retried(&self, because: &Failure) {
        self.proxy.ledger.retried(because);
    }

    fn is_target_proven(&self, run: u64) -> bool {
        self.proxy.is_proven(run)
    }

    fn stay(&self) -> Stay {
        let Self { ticket, exchange: Exchange { head, tape, .. }, proxy } = self;
        let fields = head.fields();
        let kind = patience::kind(&head.method, &fields, tape.fits());
        let configured = patience::patience(kind, &fields, &proxy.shared.config.patience);
        let patience = if kind == Kind::PageView && patience::preferred_wait(&fields).is_none() {
            let Snapshot { began, usual, .. } = &*proxy.door.newest();
            patience_for_page_view(configured, ticket.started.into_std(), began.map(Instant::into_std), *usual)
        } else {
            configured
        };
        Stay {
            place: Place { arrived: ticket.started.into_std(), id: ticket.id },
            bytes: self.exchange.size(),
            deadline: ticket.started + patience,
        }
    }
}

impl Dispatch<'_> {
    /// What is wrong with the body, as far as it was read.
    fn mistake(&self) -> Option<Refusal> {
        self.exchange.tape.fault().map(|fault| match fault {
            Fault::Broken => Refusal::BodyBroken,
            Fault::TooLarge => Refusal::BodyTooLarge,
            Fault::Lost => Refusal::BodyLost,
        })
    }
}
