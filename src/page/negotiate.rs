//! Who asks, and in which shape do they want to be told? Pure on the request's method and headers.
//!
//! A person who opens a page gets HTML, a person at a terminal gets text, and a program gets a problem document.
//! Browsers say which they are (`Sec-Fetch-Mode`), but only over HTTPS; everyone else is known by `Accept`, and the
//! tools of a terminal, which accept `*/*`, by their name.

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, Method};

use super::Format;

/// Set by browsers, never by scripts: how the answer will be used.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What an answer's format and language depend on, for its `Vary` (RFC 9110 §12.5.5).
pub const VARIES_BY: &str = "accept, accept-language, sec-fetch-mode, user-agent";

/// How the user agents of terminals begin, in lower case.
const TERMINALS: [&str; 8] = ["curl/", "wget/", "wget2/", "httpie/", "xh/", "curlie/", "fetch libfetch/", "aria2/"];

/// More media ranges than any honest client sends; the rest of a hostile `Accept` is not looked at.
const RANGES_READ: usize = 64;

/// The format in which a request's client is best told that its request cannot pass. Total: a header that makes no
/// sense counts as absent, and a client that accepts none of the formats gets the problem document all the same
/// (RFC 9110 §12.5.1 allows it, and 406 would hide the cause).
pub fn format(headers: &HeaderMap) -> Format {
    if fetch_mode(headers).is_some_and(|mode| mode == "navigate") {
        return Format::Html;
    }
    let html = liking(headers, &[("text", "html"), ("application", "xhtml+xml")]);
    let text = liking(headers, &[("text", "plain")]);
    let problem = liking(headers, &[("application", "problem+json"), ("application", "json")]);
    if html > problem && html >= text {
        Format::Html
    } else if text > problem {
        Format::Text
    } else if problem.named {
        Format::Problem
    } else if at_a_terminal(headers) {
        Format::Text
    } else {
        Format::Problem
    }
}

/// Whether someone looks at a blank tab until this request is answered. Such a request is held for a shorter time
/// than others, since a page that says what happens is better than a blank one.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    match fetch_mode(headers) {
        // A form that is sent is a navigation, whatever its method.
        Some(mode) => mode == "navigate",
        None => *method == Method::GET && format(headers) == Format::Html,
    }
}

fn fetch_mode(headers: &HeaderMap) -> Option<&str> {
    headers.get(SEC_FETCH_MODE)?.to_str().ok()
}

fn at_a_terminal(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    TERMINALS.iter().any(|name| agent.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
}

/// How much a client likes a media type. Ordered: first by weight; at equal weight a type that is named is liked
/// more than one that is only covered by a wildcard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Liking {
    /// In thousandths; 0 is "not acceptable".
    weight: u16,
    named: bool,
}

/// The best liking among several media types that one format serves.
fn liking(headers: &HeaderMap, types: &[(&str, &str)]) -> Liking {
    types.iter().map(|wanted| liking_of(headers, *wanted)).max().unwrap_or_default()
}

/// The most specific range that covers a type decides, not the heaviest (RFC 9110 §12.5.1): with
/// `text/html;q=0, */*` HTML is refused.
fn liking_of(headers: &HeaderMap, (kind, subtype): (&str, &str)) -> Liking {
    let mut accepts = headers.get_all(ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return Liking { weight: 1000, named: false };
    }
    let values = accepts.filter_map(|value| value.to_str().ok());
    let mut best = (0, Liking::default());
    for range in values.flat_map(|value| value.split(',')).take(RANGES_READ) {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let Some((range_kind, range_subtype)) = name.trim().split_once('/') else { continue };
        let specificity = match (range_kind, range_subtype) {
            ("*", "*") => 1,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 2,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
            _ => continue,
        };
        let Some(weight) = weight(parameters) else { continue };
        let found = Liking { weight, named: specificity == 3 && weight > 0 };
        if specificity > best.0 || specificity == best.0 && found > best.1 {
            best = (specificity, found);
        }
    }
    best.1
}

/// The `q` among a range's parameters in thousandths, 1000 without one, `None` if it is malformed.
pub(super) fn weight(parameters: &str) -> Option<u16> {
    let written = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(written) = written else { return Some(1000) };
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"000").take(3).fold(0, |sum, b| sum * 10 + u16::from(b - b'0'));
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    type Sent<'a> = &'a [(&'static str, &'a str)];

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("test values are header values");
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    #[test]
    fn each_client_gets_the_format_it_can_read() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        let image = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
        let cases: &[(&str, Sent<'_>, Format)] = &[
            ("a browser over HTTPS", &[("sec-fetch-mode", "navigate"), ("accept", chrome)], Format::Html),
            ("a navigation that accepts anything", &[("sec-fetch-mode", "navigate"), ("accept", "*/*")], Format::Html),
            ("a browser over plain HTTP", &[("accept", chrome)], Format::Html),
            ("the page's own status request", &[("sec-fetch-mode", "cors"), ("accept", "text/html")], Format::Html),
            ("an image", &[("sec-fetch-mode", "no-cors"), ("accept", image)], Format::Problem),
            ("a script's fetch", &[("sec-fetch-mode", "cors"), ("accept", "*/*")], Format::Problem),
            ("axios", &[("accept", "application/json, text/plain, */*")], Format::Problem),
            ("jquery", &[("accept", "application/json, text/javascript, */*; q=0.01")], Format::Problem),
            ("a problem document by name", &[("accept", "application/problem+json")], Format::Problem),
            ("no header at all", &[], Format::Problem),
            ("an empty accept", &[("accept", "")], Format::Problem),
            ("curl", &[("user-agent", "curl/8.5.0"), ("accept", "*/*")], Format::Text),
            ("wget", &[("user-agent", "Wget/1.21.4"), ("accept", "*/*")], Format::Text),
            ("httpie", &[("user-agent", "HTTPie/3.2.2"), ("accept", "*/*")], Format::Text),
            (
                "httpie with json",
                &[("user-agent", "HTTPie/3"), ("accept", "application/json, */*;q=0.5")],
                Format::Problem,
            ),
            ("curl that wants HTML", &[("user-agent", "curl/8.5.0"), ("accept", "text/html")], Format::Html),
            ("curl that wants an image", &[("user-agent", "curl/8.5.0"), ("accept", "image/png")], Format::Text),
            ("text by name", &[("accept", "text/plain")], Format::Text),
            ("text before JSON", &[("accept", "application/json;q=0.5, text/plain;q=0.6")], Format::Text),
            ("HTML refused", &[("accept", "text/html;q=0, */*")], Format::Problem),
            ("HTML liked less than JSON", &[("accept", "text/html;q=0.4, application/json;q=0.41")], Format::Problem),
            ("any text", &[("accept", "text/*")], Format::Html),
            ("upper case", &[("accept", "TEXT/HTML; Q=1.0")], Format::Html),
            ("two header lines", &[("accept", "application/json;q=0.1"), ("accept", "text/html")], Format::Html),
        ];
        for (who, list, expected) in cases {
            assert_eq!(format(&headers(list)), *expected, "{who}");
        }
    }

    #[test]
    fn hostile_values_count_as_absent() {
        let long = "text/html;q=0.1,".repeat(20_000);
        let values = [
            "\u{e9}\u{fffd}",
            ";;;;",
            "/",
            "//",
            "*/",
            "text/html;q=-1",
            "text/html;q=2",
            "text/html;q=1.001",
            "text/html;q=0.0000",
            "text/html;q=",
            "text/html;q=NaN",
            "text/html;q=٣",
            ",,,,",
            "text/html;=;=",
            &long,
        ];
        for value in values {
            let _ = format(&headers(&[("accept", value), ("user-agent", value), ("sec-fetch-mode", value)]));
        }
        for malformed in ["text/html;q=2", "text/html;q=-1", "text/html;q=", "text/html;q=0.0001"] {
            assert_eq!(format(&headers(&[("accept", malformed)])), Format::Problem, "{malformed}");
        }
        // A name is compared by bytes: a cut inside a character must not panic.
        assert_eq!(format(&headers(&[("user-agent", "cur\u{e9}/8")])), Format::Problem);
    }

    #[test]
    fn a_navigation_is_what_leaves_a_tab_blank() {
        let html = ("accept", "text/html,*/*;q=0.8");
        let cases: &[(&Method, Sent<'_>, bool)] = &[
            (&Method::GET, &[("sec-fetch-mode", "navigate")], true),
            (&Method::POST, &[("sec-fetch-mode", "navigate"), html], true),
            (&Method::GET, &[html], true),
            (&Method::POST, &[html], false),
            (&Method::GET, &[("sec-fetch-mode", "cors"), html], false),
            (&Method::GET, &[("sec-fetch-mode", "websocket")], false),
            (&Method::GET, &[("accept", "application/json")], false),
            (&Method::GET, &[("user-agent", "curl/8.5.0"), ("accept", "*/*")], false),
        ];
        for (method, list, expected) in cases {
            assert_eq!(is_navigation(method, &headers(list)), *expected, "{method} {list:?}");
        }
    }
}
