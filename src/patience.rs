//! How long may a request be held? That follows its kind, since what waits differs: a person before a blank tab, a
//! script with a timeout of its own, a browser's event stream that never comes back once it was refused.
//!
//! | kind | told by | held for at most |
//! |---|---|---|
//! | page view | `Sec-Fetch-Mode: navigate`, else a GET that prefers HTML | `ANTEROOM_PATIENCE_NAVIGATION` |
//! | fetch, asset | everything that is nothing else | `ANTEROOM_PATIENCE_REQUEST` |
//! | upload | a body that cannot be taken in meanwhile | the same, and [`UPLOAD_LONGEST`] |
//! | WebSocket, event stream | `Upgrade`; `Accept: text/event-stream` | `ANTEROOM_PATIENCE_STREAM` |
//! | health check | the user agent of a prober | not at all |
//!
//! `Prefer: wait=N` (RFC 7240 §4.3) takes the place of what the kind would get, up to the kind's own limit; for a page
//! view and a health check, up to that of a fetch if that is longer.

use std::time::Duration;

use http::header::{ACCEPT, HeaderName, USER_AGENT};
use http::{HeaderMap, Method};

use crate::config::Patience;
use crate::headers;
use crate::page::negotiate;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// By now it names who sent the request to us, and behind a proxy, as Traefik is, somebody before that.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Traefik's entry point cuts a connection whose request takes longer than 60 s to read, body included
/// (`respondingTimeouts.readTimeout`, 3.x). An upload that still waits to be read then is better answered by us, and
/// one that was taken in whole may wait as long as any other request.
pub const UPLOAD_LONGEST: Duration = Duration::from_secs(50);

/// User agents that ask only to know how things stand. A held answer would be none to them.
const PROBERS: [&str; 3] = ["kube-probe/", "Consul Health Check", "ELB-HealthChecker/"];
/// Traefik's health checks carry the name of the library that makes them (measured on 3.7: no field of their own).
const TRAEFIK: &str = "Go-http-client/";

/// What a request is to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Someone looks at a blank tab until it is answered.
    PageView,
    /// A script, a program, or a part of a page.
    Fetch,
    /// It has a body that cannot be taken in while it waits.
    Upload,
    /// A connection that is to stay open: a WebSocket, or an event stream. A browser opens neither again by itself
    /// once it was answered otherwise (HTML standard, server-sent events: "fail the connection").
    Stream,
    /// A prober.
    HealthCheck,
}

/// What kind of request this is, by the head that is sent upstream. `fits` says that its body, if any, can be taken in while it waits.
pub fn kind(method: &Method, headers: &HeaderMap, fits: bool) -> Kind {
    if is_health_check(method, headers) {
        Kind::HealthCheck
    } else if negotiate::is_navigation(method, headers) {
        Kind::PageView
    } else if !fits {
        Kind::Upload
    } else if headers::upgrade_token(headers).is_some() || accepts_events(headers) {
        Kind::Stream
    } else {
        Kind::Fetch
    }
}

/// How long a request of this kind may be held, counted from its arrival.
pub fn patience(kind: Kind, headers: &HeaderMap, configured: &Patience) -> Duration {
    let own = match kind {
        Kind::PageView => configured.navigation,
        Kind::Fetch => configured.request,
        Kind::Upload => configured.request.min(UPLOAD_LONGEST),
        Kind::Stream => configured.stream,
        Kind::HealthCheck => Duration::ZERO,
    };
    let limit = match kind {
        Kind::PageView | Kind::HealthCheck => own.max(configured.request),
        Kind::Fetch | Kind::Upload | Kind::Stream => own,
    };
    preferred_wait(headers).map_or(own, |wish| wish.min(limit))
}

/// The first `wait` among a request's preferences; `None` without one, or if it is malformed (RFC 7240 §2, §4.3).
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    // What is no text is no preference that anybody knows, and no reason not to read the others.
    let values: Vec<_> =
        headers.get_all(PREFER).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let wait = values.iter().flat_map(|value| preferences(value)).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
    })?;
    let digits = wait.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(wait);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // A number of digits alone that does not parse is only too large.
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u32::MAX).into()))
}

/// Splits a list at its commas, but not within quotes (RFC 9110 §5.6.1, §5.6.4).
fn preferences(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |character| {
        let here = !quoted && character == ',';
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        here
    })
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}

fn is_health_check(method: &Method, headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let is_forwarded = headers.get(X_FORWARDED_FOR).is_some_and(|list| list.as_bytes().contains(&b','));
    let is_traefik = agent.starts_with(TRAEFIK) && !is_forwarded;
    let is_prober = PROBERS.iter().any(|prober| agent.starts_with(prober));
    matches!(*method, Method::GET | Method::HEAD) && (is_traefik || is_prober)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const CONFIGURED: Patience = Patience {
        navigation: Duration::from_secs(2),
        request: Duration::from_secs(30),
        stream: Duration::from_secs(120),
    };

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// What it is, method, fields, whether the body fits; then the kind, and its patience in seconds.
    type Case<'a> = (&'a str, &'a str, &'a [(&'static str, &'static str)], bool, Kind, u64);

    #[test]
    fn each_kind_is_told_by_its_head_and_has_its_patience() {
        let browser = ("user-agent", "Mozilla/5.0");
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            ("a page view", "GET", &[browser, ("sec-fetch-mode", "navigate"), ("accept", "text/html")], true, Kind::PageView, 2),
            ("over plain HTTP", "GET", &[browser, ("accept", "text/html,*/*;q=0.8")], true, Kind::PageView, 2),
            ("a form", "POST", &[browser, ("sec-fetch-mode", "navigate")], true, Kind::PageView, 2),
            ("a fetch", "GET", &[browser, ("sec-fetch-mode", "cors"), ("accept", "*/*")], true, Kind::Fetch, 30),
            ("an image", "GET", &[browser, ("sec-fetch-dest", "image"), ("accept", "image/avif,*/*;q=0.8")], true, Kind::Fetch, 30),
            ("a script", "GET", &[browser, ("sec-fetch-dest", "script"), ("accept", "*/*")], true, Kind::Fetch, 30),
            ("curl", "GET", &[("user-agent", "curl/8.5.0"), ("accept", "*/*")], true, Kind::Fetch, 30),
            ("nothing said", "GET", &[], true, Kind::Fetch, 30),
            ("a small body", "POST", &[("content-type", "application/json")], true, Kind::Fetch, 30),
            ("an upload", "POST", &[("content-type", "video/mp4")], false, Kind::Upload, 30),
            ("a WebSocket", "GET", &[browser, ("connection", "Upgrade"), ("upgrade", "websocket")], true, Kind::Stream, 120),
            ("an event stream", "GET", &[browser, ("accept", "text/event-stream")], true, Kind::Stream, 120),
            ("one with a weight", "GET", &[("accept", "application/json, Text/Event-Stream;q=0.5")], true, Kind::Stream, 120),
            ("an upload that is answered by events", "POST", &[("accept", "text/event-stream")], false, Kind::Upload, 30),
            ("no event stream", "GET", &[("accept", "text/event-streams")], true, Kind::Fetch, 30),
            ("Traefik's health check", "GET", &[("user-agent", "Go-http-client/1.1"), ("x-forwarded-for", "172.18.0.2")], true, Kind::HealthCheck, 0),
            ("the same by HEAD", "HEAD", &[("user-agent", "Go-http-client/2.0")], true, Kind::HealthCheck, 0),
            ("a program behind Traefik", "GET", &[("user-agent", "Go-http-client/1.1"), ("x-forwarded-for", "1.2.3.4, 172.18.0.2")], true, Kind::Fetch, 30),
            ("a program's POST", "POST", &[("user-agent", "Go-http-client/1.1")], true, Kind::Fetch, 30),
            ("Kubernetes", "GET", &[("user-agent", "kube-probe/1.30")], true, Kind::HealthCheck, 0),
        ];
        for (what, method, head, fits, expected, seconds) in table {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let headers = fields(head);
            let kind = kind(&method, &headers, *fits);
            assert_eq!(kind, *expected, "{what}");
            assert_eq!(patience(kind, &headers, &CONFIGURED), Duration::from_secs(*seconds), "{what}");
        }
    }

    #[test]
    fn an_upload_is_answered_before_traefik_cuts_it() {
        let patient = Patience { request: Duration::from_secs(300), ..CONFIGURED };
        assert_eq!(patience(Kind::Upload, &HeaderMap::new(), &patient), UPLOAD_LONGEST);
        assert_eq!(patience(Kind::Fetch, &HeaderMap::new(), &patient), patient.request);
    }

    #[test]
    fn a_wish_is_granted_up_to_the_limit() {
        let table = [
            ("wait=5", Kind::PageView, 5),
            ("wait=600", Kind::PageView, 30),
            ("wait=0", Kind::PageView, 0),
            ("wait=5", Kind::Fetch, 5),
            ("wait=31", Kind::Fetch, 30),
            ("wait=100", Kind::Stream, 100),
            ("wait=600", Kind::Stream, 120),
            ("wait=10", Kind::HealthCheck, 10),
        ];
        for (wish, kind, seconds) in table {
            let headers = fields(&[("prefer", wish)]);
            assert_eq!(patience(kind, &headers, &CONFIGURED), Duration::from_secs(seconds), "{wish} {kind:?}");
        }
    }

    #[test]
    fn a_wish_is_read_as_rfc_7240_writes_it() {
        let wait = |value| preferred_wait(&fields(&[("prefer", value)])).map(|wait| wait.as_secs());
        for (value, seconds) in [
            ("wait=10", Some(10)),
            ("respond-async, wait=10", Some(10)),
            ("Wait = \"10\" ; foo=bar", Some(10)),
            ("wait=10, wait=20", Some(10)),
            ("return=minimal; foo=\"a, wait=99\", wait=3", Some(3)),
            ("foo=\"\\\", wait=99\", wait=3", Some(3)),
            ("wait=99999999999999999999999", Some(u64::from(u32::MAX))),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("wait=", None),
            ("wait", None),
            ("await=10", None),
            ("", None),
        ] {
            assert_eq!(wait(value), seconds, "{value}");
        }
        let foreign = HeaderMap::from_iter([(PREFER, HeaderValue::from_bytes(b"\xff, wait=1").expect("obs-text"))]);
        assert_eq!(preferred_wait(&foreign), Some(Duration::from_secs(1)));
        let lines = fields(&[("prefer", "respond-async"), ("prefer", "wait=7")]);
        assert_eq!(preferred_wait(&lines), Some(Duration::from_secs(7)), "on a line of its own");
    }
}
