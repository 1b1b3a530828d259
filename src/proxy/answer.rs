//! Answers of our own, and the one log line that every request gets.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Version};
use tokio::time::Instant;

use super::body::Body;
use super::journey::Toll;
use crate::admission::{self, Refusal};
use crate::config::Detail;
use crate::diagnosis::{Code, Diagnosis, diagnose};
use crate::evidence::{Bound, Failure};
use crate::headers::{PROXY_STATUS, proxy_status, proxy_status_without_error};
use crate::page::{self, Audience, Brand, Language, Page, negotiate};
use crate::telemetry::meter::{Fate, Ledger};
use crate::warmup::Progress;
use crate::watch::Snapshot;

/// Asks for our own view of the upstream instead of the upstream's answer; pages update themselves with it. A header
/// rather than a path: no path of the upstream is taken away, and forward-auth covers it like the page itself.
const STATUS_QUERY: HeaderName = HeaderName::from_static("x-anteroom");
/// The readiness in an answer to [`STATUS_QUERY`].
const STATE: HeaderName = HeaderName::from_static("x-anteroom-state");
/// In bytes: what a log line repeats of what a client sent, which may be as long as a head.
const LOGGED_MOST: usize = 1 << 10;

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
    /// Whether it is in the ledger. Atomic only since others may look at it while its request waits.
    settled: AtomicBool,
}

/// A request that is dropped without an answer: its client has left.
impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.settled.load(Relaxed) && !std::thread::panicking() {
            self.settle(Fate::Left, None);
        }
    }
}

impl<'a> Ticket<'a> {
    pub fn new(id: u64, detail: Detail, brand: &'a Brand, version: Version, ledger: &'a Ledger) -> Self {
        let (toll, settled) = (Toll::default(), AtomicBool::new(false));
        Self { started: Instant::now(), toll, id, detail, brand, version, ledger, settled }
    }

    /// Explains why the request did not pass.
    pub fn diagnose(
        &self,
        head: &Parts,
        snapshot: &Snapshot,
        failure: Option<Failure>,
        bound: Option<Bound>,
    ) -> Response<Body> {
        let diagnosis = verdict(snapshot, failure, bound);
        let page = self.render(head, &diagnosis);
        let finding = diagnosis.findings.first().map(|finding| finding.code);
        if let Some(code) = finding {
            self.ledger.diagnosed(code);
        }
        let code = finding.map_or("unknown", Code::as_str);
        self.log(head, page.status, Fate::Diagnosed, Some(code));
        let status = page.status;
        let mut answer = respond(page);
        answer.headers_mut().insert(PROXY_STATUS, proxy_status(status, code));
        answer
    }

    /// Answers a status query. It is about the upstream and not in its place, so it is a 200: a page that asks
    /// every second would fill the browser's console with errors otherwise.
    pub fn status(&self, head: &Parts, snapshot: &Snapshot) -> Response<Body> {
        let mut page = self.render(head, &verdict(snapshot, None, None));
        page.status = StatusCode::OK;
        page.retry_after = None;
        self.settle(Fate::Own, Some(page.status));
        let mut answer = respond(page);
        answer.headers_mut().insert(STATE, HeaderValue::from_static(snapshot.state.name()));
        answer.headers_mut().append(VARY, HeaderValue::from_static("x-anteroom"));
        answer.headers_mut().insert(PROXY_STATUS, proxy_status_without_error());
        answer
    }

    /// Refuses a request, for the client's own mistake as a rule, and closes the connection.
    pub fn refuse(&self, head: &Parts, refusal: Refusal) -> Response<Body> {
        let (status, reason) = (refusal.status(), refusal.reason());
        self.settle(Fate::Refused, Some(status));
        let (method, path) = (cut(head.method.as_str()), cut(head.uri.path()));
        tracing::debug!(id = %self.id(), method, path, status = status.as_u16(), reason, "refused");
        let mut answer = bare(status, proxy_status(status, reason));
        if self.version < Version::HTTP_2 {
            // What follows on the connection may be a part of what was refused. HTTP/2 has its frames.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, admission::ALLOW);
        }
        answer
    }

    /// Answers an OPTIONS request that may go no further (RFC 9110 §9.3.7).
    pub fn options(&self, head: &Parts) -> Response<Body> {
        tracing::debug!(id = %self.id(), path = cut(head.uri.path()), "answered OPTIONS in the upstream's place");
        self.settle(Fate::Own, Some(StatusCode::NO_CONTENT));
        let mut answer = bare(StatusCode::NO_CONTENT, proxy_status_without_error());
        answer.headers_mut().insert(ALLOW, admission::ALLOW);
        answer
    }

    /// Writes the request's line to the log. What did not happen is left out of it.
    pub fn log(&self, head: &Parts, status: StatusCode, outcome: Fate, finding: Option<&'static str>) {
        let outcome = match outcome {
            Fate::Passed if self.toll.retries > 0 => Fate::Retried,
            Fate::Passed if !self.toll.held.is_zero() => Fate::Held,
            outcome => outcome,
        };
        self.settle(outcome, Some(status));
        // The query may hold tokens, so only the path is logged.
        tracing::info!(
            target: "anteroom::access",
            id = %self.id(),
            method = cut(head.method.as_str()),
            path = cut(head.uri.path()),
            status = status.as_u16(),
            outcome = outcome.as_str(),
            took_ms = millis(self.started.elapsed()),
            held_ms = (!self.toll.held.is_zero()).then(|| millis(self.toll.held)),
            retries = (self.toll.retries > 0).then_some(self.toll.retries),
            finding,
        );
    }

    /// Counts the request, once.
    fn settle(&self, fate: Fate, status: Option<StatusCode>) {
        self.settled.store(true, Relaxed);
        self.ledger.ended(fate, status, self.started.elapsed());
        if !self.toll.held.is_zero() {
            self.ledger.held(self.toll.held);
        }
    }

    fn render(&self, head: &Parts, diagnosis: &Diagnosis) -> Page {
        let request_id = self.id().to_string();
        let language = Language::of(&head.headers);
        let Self { detail, brand, .. } = *self;
        let audience = Audience { detail, method: &head.method, request_id: &request_id, language, brand };
        page::render(diagnosis, &audience, negotiate::format(&head.headers))
    }

    fn id(&self) -> impl fmt::Display {
        Id(self.id)
    }
}

struct Id(u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn respond(page: Page) -> Response<Body> {
    // hyper leaves the body of an answer to HEAD away, but not its length.
    let mut answer = Response::new(Body::own(page.body));
    *answer.status_mut() = page.status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(page.language.tag()));
    // Nothing may store it, but whoever does all the same should know that others read another language.
    headers.insert(VARY, HeaderValue::from_static("accept-language"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(policy) = page.content_security_policy {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(seconds) = page.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// An answer of ours without a body.
fn bare(status: StatusCode, proxy_status: HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(PROXY_STATUS, proxy_status);
    answer
}

/// What a log line repeats of a text.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_MOST)]
}

/// Joins what the request met with what the watcher knows.
fn verdict(snapshot: &Snapshot, failure: Option<Failure>, bound: Option<Bound>) -> Diagnosis {
    let mut evidence = snapshot.evidence.clone();
    evidence.seen_at = SystemTime::now();
    evidence.exchange = failure;
    evidence.bound = bound;
    evidence.warmup = snapshot.usual.map(|usual| {
        let elapsed = snapshot.began.map(|began| began.elapsed()).unwrap_or_default();
        Progress { usual, elapsed }
    });
    let lasted = snapshot.state.since().map(|since| Instant::now().into_std().saturating_duration_since(since));
    diagnose(snapshot.state, lasted.unwrap_or_default(), evidence)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The answer to a request whose handling panicked: a bug of ours, which costs one answer and no connection.
pub fn panicked(_payload: Box<dyn std::any::Any + Send + 'static>) -> Response<Body> {
    tracing::error!("a request's handler panicked; this is a bug in anteroom");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let mut answer = bare(status, proxy_status(status, "a bug in anteroom"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_repeats_only_the_beginning_of_a_long_text() {
        assert_eq!(cut("/short"), "/short");
        assert_eq!(cut(&"x".repeat(64 << 10)).len(), LOGGED_MOST);
        assert_eq!(cut(&"\u{20ac}".repeat(LOGGED_MOST)).len(), LOGGED_MOST - 1, "cut between two characters");
    }
}
