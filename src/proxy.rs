//! The life of one request, in the order in which it happens.
//!
//! [`Proxy::handle`] never fails: an error would drop the client's connection without an answer. It reads the newest
//! snapshot, holds the request while the upstream may become ready, sends it, and either streams the answer back
//! untouched or explains why there is none.

pub mod answer;
pub mod body;
pub mod budget;
pub mod exchange;
pub mod hold;
pub mod upgrade;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version, request};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use self::answer::{Outcome, Ticket};
pub use self::body::Body;
use self::budget::Budget;
use self::exchange::{Exchange, Sent, Setback};
use self::hold::{Door, End, Stay};
use self::upgrade::{Switch, Tunnels};
use crate::admission::{self, Refusal};
use crate::backoff;
use crate::config::{Config, HostHeader};
use crate::evidence::{Bound, Failure, Upstream};
use crate::headers::{self, MaxForwards, PROXY_STATUS, Sender, Via};
use crate::line::Place;
use crate::patience;
use crate::retry::{self, Reach, Verdict};
use crate::room::{Held, Room};
use crate::telemetry::meter::{Limit, Meter};
use crate::upstream::body::{Allowance, Fault, Tape};
use crate::upstream::{Lease, Pool, gate};
use crate::watch::{Report, Snapshot};

/// What all workers share.
pub struct Shared {
    config: Config,
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
    pub fn new(config: Config, room: Arc<Room>, reports: mpsc::Sender<Report>, meter: Arc<Meter>) -> Arc<Self> {
        let allowance = Arc::new(Allowance::new(config.replay_bytes));
        let upstream_host = host_of(&config);
        Arc::new(Self {
            config,
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
        let door = Door::new(snapshots, Arc::clone(&shared.room));
        Self { shared, pool, door, tunnels: Tunnels::default() }
    }

    /// A client, as its requests are forwarded. `tls` says whether the connection to us is encrypted.
    pub fn client(&self, peer: IpAddr, tls: bool) -> Sender {
        Sender::new(peer, tls, self.shared.config.trusted_peers.contains(peer))
    }

    /// The connections that have switched protocols.
    pub fn tunnels(&self) -> Tunnels {
        self.tunnels.clone()
    }

    /// Answers a request of `client`, whatever happens.
    pub async fn handle(&self, client: &Sender, mut request: Request<Incoming>) -> Response<Body> {
        let ticket = self.ticket(request.version());
        upgrade::out_of_connect(&mut request);
        if let Some(refusal) = refused(&request) {
            return ticket.refuse(&request.into_parts().0, refusal);
        }
        if answer::is_status_query(request.headers()) {
            return ticket.status(&request.into_parts().0, &self.door.newest());
        }
        if self.shared.via.passed_here(request.headers()) {
            let exchange = self.prepare(client, request);
            return explain(&ticket, exchange, &self.door.newest(), Some(Failure::Loop), None);
        }
        if MaxForwards::of(request.method(), request.headers()) == MaxForwards::Spent {
            return ticket.options(&request.into_parts().0);
        }
        self.shared.budget.count_request(ticket.started);
        self.serve(ticket, client, request).await
    }

    /// Answers a request whose body has turned out to be broken before it was looked at.
    pub fn refuse_broken(&self, request: Request<Incoming>) -> Response<Body> {
        let ticket = self.ticket(request.version());
        let refusal = refused(&request).unwrap_or(Refusal::BodyBroken);
        ticket.refuse(&request.into_parts().0, refusal)
    }

    fn ticket(&self, version: Version) -> Ticket {
        Ticket::new(self.shared.ids.fetch_add(1, Ordering::Relaxed), self.shared.config.detail, version)
    }

    async fn serve(&self, mut ticket: Ticket, client: &Sender, request: Request<Incoming>) -> Response<Body> {
        let mut exchange = self.prepare(client, request);
        if exchange.tape.announces_too_much() {
            return self.refuse_large(&ticket, exchange);
        }
        let mut last_failure: Option<Failure> = None;
        let mut refuted: Option<u64> = None;
        let mut held: Option<Held> = None;
        let mut pooled = true;
        loop {
            let hold = self.door.pass(&mut held, refuted, || self.stay(&ticket, &exchange)).await;
            ticket.held += hold.waited;
            let snapshot = hold.snapshot;
            match hold.end {
                End::Passed => {}
                End::Pointless => return explain(&ticket, exchange, &snapshot, last_failure, None),
                End::Bounded(bound) => {
                    self.shared.meter.reached(limit(bound));
                    return explain(&ticket, exchange, &snapshot, last_failure, said(bound, &ticket));
                }
            }
            let sending = exchange.send(&self.pool, snapshot.run, pooled, self.shared.config.response_timeout);
            let sent = match &held {
                None => sending.await,
                Some(held) => held.on_the_way(sending).await,
            };
            let (setback, premature) = match sent {
                Sent::Answered(answer, lease) if self.premature(answer.status(), snapshot.run) => {
                    let failure = Failure::NotReady { status: answer.status().as_u16() };
                    (Setback { failure, connection: lease.connection, reach: Reach::Sent }, Some((answer, lease)))
                }
                Sent::Answered(answer, lease) => {
                    if let Some(held) = held {
                        held.answered();
                    }
                    return self.pass_on(&ticket, exchange, answer, lease);
                }
                Sent::Failed(setback) => (setback, None),
            };
            match exchange.tape.fault() {
                None => {}
                Some(Fault::Broken) => return ticket.refuse(&exchange.head, Refusal::BodyBroken),
                Some(Fault::TooLarge) => return self.refuse_large(&ticket, exchange),
            }
            if setback.failure == Failure::NoAnswer && exchange.tape.awaits_client() {
                return ticket.refuse(&exchange.head, Refusal::BodyTooSlow);
            }
            match self.next(&ticket, &exchange, &setback) {
                Next::AtOnce => pooled = false,
                Next::After(pause) => sleep(pause).await,
                Next::OnNews => {
                    let report = Report { sequence: snapshot.sequence, failure: setback.failure.clone() };
                    // An error means that the watcher is gone: then nobody waits for its news either.
                    let _ = self.shared.reports.send(report).await;
                    refuted = Some(snapshot.sequence);
                }
                Next::GiveUp(failure) => {
                    return match premature {
                        Some((answer, lease)) => self.pass_on(&ticket, exchange, answer, lease),
                        None => explain(&ticket, exchange, &self.door.newest(), Some(failure), None),
                    };
                }
            }
            last_failure = Some(setback.failure);
            ticket.retries += 1;
        }
    }

    /// Refuses a body that is too large, and reads what comes of it for a while, so that the answer arrives.
    fn refuse_large(&self, ticket: &Ticket, exchange: Exchange) -> Response<Body> {
        self.shared.meter.reached(Limit::BodySize);
        let answer = ticket.refuse(&exchange.head, Refusal::BodyTooLarge);
        // A client that waits for a word before it sends the body has it now.
        let _ = exchange.tape.stays_unasked();
        answer.map(|body| body.after(exchange.tape))
    }

    /// Looks the setback up in the retry table, and bounds what it allows by the budget and by the client's patience.
    fn next(&self, ticket: &Ticket, exchange: &Exchange, setback: &Setback) -> Next {
        let Setback { failure, connection, reach } = setback;
        let idempotent = retry::idempotent(&exchange.head.method);
        let request = retry::Request { idempotent, reach: *reach, replayable: exchange.tape.replayable() };
        let verdict = retry::verdict(failure, *connection, request);
        let now = Instant::now();
        let pause = match reach {
            Reach::Unsent => Duration::ZERO,
            Reach::Refused | Reach::Sent => backoff::delay(ticket.retries + 1, fastrand::f64()),
        };
        match verdict {
            Verdict::GiveUp => Next::GiveUp(failure.clone()),
            Verdict::WithinPatience if now + pause > self.deadline(ticket, exchange) => Next::GiveUp(failure.clone()),
            // Nothing was sent, so going back to the waiting room is no load on anyone.
            Verdict::WithinPatience if *reach == Reach::Unsent => Next::OnNews,
            Verdict::AtOnce | Verdict::WithinPatience if !self.shared.budget.spend(now) => {
                Next::GiveUp(Failure::RetryBudgetSpent)
            }
            Verdict::AtOnce => Next::AtOnce,
            Verdict::WithinPatience => Next::After(pause),
        }
    }

    /// What a request brings into the waiting room. Asked for only when it cannot pass at once.
    fn stay(&self, ticket: &Ticket, exchange: &Exchange) -> Stay {
        let place = Place { arrived: ticket.started.into_std(), id: ticket.id };
        Stay { place, bytes: exchange.size(), deadline: self.deadline(ticket, exchange) }
    }

    /// When a request's patience ends.
    fn deadline(&self, ticket: &Ticket, exchange: &Exchange) -> Instant {
        let head = &exchange.head;
        let kind = patience::kind(&head.method, &head.headers, exchange.tape.fits());
        ticket.started + patience::patience(kind, &head.headers, &self.shared.config.patience)
    }

    /// Turns what the client sent into what the upstream shall get.
    fn prepare(&self, client: &Sender, mut request: Request<Incoming>) -> Exchange {
        let upgraded = headers::upgrade_token(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, incoming) = request.into_parts();
        let nominated = self.rewrite(client, &mut head);
        let switch = upgraded.and_then(|client| Switch::offered(client, &mut head));
        let Shared { allowance, config, .. } = &*self.shared;
        let expects = gate::is_expected(&head.headers);
        let tape = Tape::new(incoming, allowance, expects, config.limits.body_bytes, nominated);
        Exchange { head, tape, switch }
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
        mut lease: Lease,
    ) -> Response<Body> {
        // What is sent next would have to be HTTP/1.0 too, and that has no bodies of unknown length.
        lease.last = answer.version() == Version::HTTP_10;
        let nominated = self.rewrite_answer(&mut answer);
        ticket.log(&exchange.head, answer.status(), Outcome::Passed, None);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(switch) = exchange.switch
        {
            lease.leave();
            let upstream = hyper::upgrade::on(&mut answer);
            switch.tell(&mut answer);
            tokio::spawn(upgrade::splice(switch, upstream, self.tunnels.open(&self.shared.meter)));
            return answer.map(|_| Body::empty());
        }
        close_if_unasked(&exchange.tape, &mut answer);
        answer.map(|incoming| Body::passed(incoming, lease, exchange.tape, nominated))
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
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What to say of a bound. Nothing of a patience that had ended before it began: who asked knows why.
fn said(bound: Bound, ticket: &Ticket) -> Option<Bound> {
    match bound {
        Bound::Number { .. } | Bound::Bytes { .. } => Some(bound),
        Bound::Patience { .. } if ticket.held.is_zero() => None,
        Bound::Patience { .. } => Some(Bound::Patience { held: ticket.held }),
    }
}

fn limit(bound: Bound) -> Limit {
    match bound {
        Bound::Number { .. } => Limit::Held,
        Bound::Bytes { .. } => Limit::HeldBytes,
        Bound::Patience { .. } => Limit::Patience,
    }
}

/// Answers with a diagnosis, and reads what is left of the request so that the answer arrives.
fn explain(
    ticket: &Ticket,
    exchange: Exchange,
    snapshot: &Snapshot,
    failure: Option<Failure>,
    bound: Option<Bound>,
) -> Response<Body> {
    let mut answer = ticket.diagnose(&exchange.head, snapshot, failure, bound);
    close_if_unasked(&exchange.tape, &mut answer);
    answer.map(|body| body.after(exchange.tape))
}

/// What is refused whoever is behind us.
fn refused(request: &Request<Incoming>) -> Option<Refusal> {
    admission::refuse(request.method(), request.uri(), request.version(), request.headers())
}
