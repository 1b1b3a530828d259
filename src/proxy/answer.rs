//! Answers of our own, and what is remembered of a request until it has one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, VARY};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::body::Body;
use super::exchange::Exchange;
use super::head::{Asked, Head};
use super::journey::Toll;
use super::pages::{Made, Pages, Question};
use super::record::{Id, Known, Record, cut};
use crate::admission::{self, Refusal};
use crate::config::{Config, Detail};
use crate::diagnosis::Code;
use crate::evidence::{Bound, Failure};
use crate::headers::{self, PROXY_STATUS, proxy_status, proxy_status_without_error};
use crate::page::{self, Audience, Brand, Language, Page, STATE, negotiate};
use crate::readiness::State;
use crate::telemetry::meter::{Fate, Ledger};
use crate::watch::Snapshot;

/// Asks for our own view of the upstream instead of the upstream's answer; pages update themselves with it. A header
/// rather than a path: no path of the upstream is taken away, and forward-auth covers it like the page itself.
const STATUS_QUERY: HeaderName = HeaderName::from_static("x-anteroom");
/// What a bug of ours is answered with.
const BUG: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// Whether a request asks for our own view of the upstream.
pub fn is_status_query(headers: &HeaderMap) -> bool {
    headers.get(STATUS_QUERY).is_some_and(|value| value == "status")
}

/// What is remembered of a request from its arrival to its answer.
pub struct Ticket<'a> {
    pub started: Instant,
    pub toll: Toll,
    /// Unique among the requests of this process.
    pub id: u64,
    detail: Detail,
    brand: &'a Brand,
    /// In which the client speaks; the upstream may hear another.
    version: Version,
    ledger: &'a Ledger,
    pages: &'a Pages,
    /// Whether it is in the ledger. Atomic only since others may look at it while its request waits.
    settled: AtomicBool,
}

/// A request that is dropped without an answer: its client has left, or we have a bug, which is answered by others.
impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.is_open() {
            self.settle(Fate::Left, None);
        } else if !self.settled.load(Relaxed) {
            self.settle(Fate::Refused, Some(BUG));
        }
    }
}

/// A request on its way, with its ticket. Dropped without an answer, as when its client leaves, it has its line all the
/// same.
pub struct Trip<'a> {
    pub ticket: Ticket<'a>,
    pub exchange: &'a mut Exchange,
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        let Self { ticket, exchange } = self;
        if ticket.is_open() {
            ticket.toll.end();
            drop(ticket.record(&exchange.head, None, Fate::Left, None));
        }
    }
}

impl<'a> Ticket<'a> {
    pub fn new(
        id: u64,
        config: &'a Config,
        brand: &'a Brand,
        version: Version,
        ledger: &'a Ledger,
        pages: &'a Pages,
    ) -> Self {
        let (toll, settled) = (Toll::default(), AtomicBool::new(false));
        let detail = config.detail;
        Self { started: Instant::now(), toll, id, detail, brand, version, ledger, pages, settled }
    }

    /// Explains why the request did not pass. A snapshot that knows of no reason, as where we stop before it is a request's
    /// turn, is no reason to say that all is well: with a 200 our page would be taken for what was asked for.
    pub fn diagnose(
        &self,
        head: &Head,
        snapshot: &Snapshot,
        failure: Option<Failure>,
        bound: Option<Bound>,
    ) -> Response<Body> {
        let is_unexplained = failure.is_none() && matches!(snapshot.state, State::Ready { .. });
        let bound = bound.or_else(|| is_unexplained.then(|| Bound::Patience { held: in_tenths(self.toll.held) }));
        let Made { page, finding } = self.render(&head.method, &head.fields(), snapshot, failure, bound);
        if let Some(code) = finding {
            self.ledger.diagnosed(code);
        }
        let code = finding.map_or("unknown", Code::as_str);
        let status = page.status;
        let record = self.record(head, Some(status), Fate::Diagnosed, Some(code));
        let mut answer = respond(page, &head.method).map(|body| body.recorded(record));
        answer.headers_mut().insert(PROXY_STATUS, proxy_status(status, code));
        answer
    }

    /// Answers a status query. It is about the upstream and not in its place, so it is a 200: a page that asks
    /// every second would fill the browser's console with errors otherwise.
    pub fn status(&self, head: &Parts, snapshot: &Snapshot) -> Response<Body> {
        let Made { mut page, .. } = self.render(&head.method, &head.headers, snapshot, None, None);
        page.status = StatusCode::OK;
        page.retry_after = None;
        self.settle(Fate::Own, Some(page.status));
        let mut answer = respond(page, &head.method);
        answer.headers_mut().insert(STATE, HeaderValue::from_static(snapshot.state.name()));
        answer.headers_mut().append(VARY, HeaderValue::from_static("x-anteroom"));
        answer.headers_mut().insert(PROXY_STATUS, proxy_status_without_error());
        answer
    }

    /// Refuses a request, for the client's own mistake as a rule, and closes the connection.
    pub fn refuse(&self, asked: Asked<'_>, refusal: Refusal) -> Response<Body> {
        let (status, reason) = (refusal.status(), refusal.reason());
        self.settle(Fate::Refused, Some(status));
        let (method, path) = (cut(asked.0.as_str()), cut(asked.1.path()));
        tracing::debug!(id = %self.id(), method, path, status = status.as_u16(), reason, "refused");
        let known = self.known(Some(status), Fate::Refused, None);
        // Whoever scans for open ports would fill the log with what is no HTTP. A body that breaks off is most often a client
        // that leaves, and its request may have been held, or sent.
        let is_no_http = status == StatusCode::BAD_REQUEST && refusal != Refusal::BodyBroken;
        let record = if is_no_http { None } else { Record::of(asked, known) };
        let mut answer = bare(status, proxy_status(status, reason)).map(|body| body.recorded(record));
        if self.version < Version::HTTP_2 {
            // What follows on the connection may be a part of what was refused. HTTP/2 has its frames.
            headers::close(answer.headers_mut());
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, admission::ALLOW);
        }
        answer
    }

    /// Answers an OPTIONS request that may go no further (RFC 9110 §9.3.7).
    pub fn options(&self, target: &Uri) -> Response<Body> {
        tracing::debug!(id = %self.id(), path = cut(target.path()), "answered OPTIONS in the upstream's place");
        self.settle(Fate::Own, Some(StatusCode::NO_CONTENT));
        let mut answer = bare(StatusCode::NO_CONTENT, proxy_status_without_error());
        answer.headers_mut().insert(ALLOW, admission::ALLOW);
        answer
    }

    /// Counts the request, and has its line written when what the record is given to has ended.
    pub fn record(
        &self,
        head: &Head,
        status: Option<StatusCode>,
        outcome: Fate,
        finding: Option<&'static str>,
    ) -> Option<Box<Record>> {
        let outcome = match outcome {
            Fate::Passed if self.toll.retries > 0 => Fate::Retried,
            Fate::Passed if !self.toll.held.is_zero() => Fate::Held,
            outcome => outcome,
        };
        self.settle(outcome, status);
        Record::of(head.asked(), self.known(status, outcome, finding))
    }

    fn known(&self, status: Option<StatusCode>, outcome: Fate, finding: Option<&'static str>) -> Known {
        let Self { id, started, toll, .. } = *self;
        Known { id, started, toll, status, outcome, finding }
    }

    /// Whether it may still have an answer.
    fn is_open(&self) -> bool {
        !self.settled.load(Relaxed) && !std::thread::panicking()
    }

    /// Counts the request, once.
    fn settle(&self, fate: Fate, status: Option<StatusCode>) {
        self.settled.store(true, Relaxed);
        self.ledger.ended(fate, status, self.started.elapsed());
        if !self.toll.held.is_zero() {
            self.ledger.held(self.toll.held);
        }
    }

    fn render(
        &self,
        method: &Method,
        fields: &HeaderMap,
        snapshot: &Snapshot,
        failure: Option<Failure>,
        bound: Option<Bound>,
    ) -> Made {
        let (language, format) = (Language::of(fields), negotiate::format(fields));
        // What a client calls a method may be anything, and makes no page of its own.
        let repeatable = matches!(*method, Method::GET | Method::HEAD);
        let question = Question {
            sequence: snapshot.sequence,
            failure: failure.clone(),
            bound,
            repeatable,
            format,
            language: language.tag(),
        };
        self.pages.get(question, self.id, |request_id| {
            let diagnosis = snapshot.diagnose(failure, bound);
            let Self { detail, brand, .. } = *self;
            let audience = Audience { detail, repeatable, request_id, language, brand };
            let finding = diagnosis.findings.first().map(|finding| finding.code);
            Made { page: page::render(&diagnosis, &audience, format), finding }
        })
    }

    fn id(&self) -> impl fmt::Display {
        Id(self.id)
    }
}

/// To a tenth of a second, so that those who waited together get the same page; up, since it was not nothing.
pub fn in_tenths(held: Duration) -> Duration {
    let tenths = u64::try_from(held.as_millis().div_ceil(100)).unwrap_or(u64::MAX);
    Duration::from_millis(tenths.saturating_mul(100))
}

fn respond(page: Page, method: &Method) -> Response<Body> {
    let mut answer = Response::new(());
    *answer.status_mut() = page.status;
    page.describe(answer.headers_mut());
    if *method == Method::HEAD {
        // With the length alone. hyper sees to that over HTTP/1.1 only.
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(page.body.len()));
        return answer.map(|()| Body::empty());
    }
    answer.map(|()| Body::own(page.body))
}

/// An answer of ours without a body.
fn bare(status: StatusCode, proxy_status: HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(PROXY_STATUS, proxy_status);
    answer
}

/// The answer to a request whose handling panicked: a bug of ours, which costs one answer and no connection.
pub fn panicked() -> Response<Body> {
    tracing::error!("a request's handler panicked; this is a bug in anteroom");
    let mut answer = bare(BUG, proxy_status(BUG, "a bug in anteroom"));
    headers::close(answer.headers_mut());
    answer
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::config::{self, Input};
    use crate::telemetry::meter::{Exposition, Meter};

    #[test]
    fn a_request_whose_handler_panics_is_counted() {
        let flags = [("upstream".to_owned(), "http://grafana".to_owned())];
        let input = Input { flags: &flags, environment: &[], cores: NonZeroUsize::MIN, check_log: |_| Ok(()) };
        let (config, _) = config::parse(input).expect("it is right");
        let (meter, brand, pages) = (Meter::default(), Brand::default(), Pages::default());
        let ledger = meter.ledger();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _ticket = Ticket::new(1, &config, &brand, Version::HTTP_11, &ledger, &pages);
            panic!("a bug");
        }));
        assert!(caught.is_err());
        let told = meter.tell(Exposition::Text);
        for series in ["outcome=\"refused\",status=\"5xx\"} 1\n", "outcome=\"left\",status=\"none\"} 0\n"] {
            assert!(told.contains(series), "{series} in {told}");
        }
    }
}
