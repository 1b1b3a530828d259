//! What a proxy changes in a header block: pure functions on [`HeaderMap`]. What belongs to one connection goes first;
//! only then is anything of ours added, so that nobody can have it removed again.

use http::header::{COOKIE, HOST, HeaderValue};
use http::{HeaderMap, Uri};

mod forwarded;
mod hop_by_hop;
mod max_forwards;
mod proxy_status;
mod trace_context;
mod via;

pub use self::forwarded::{Sender, claims, client, forward};
pub use self::hop_by_hop::{agrees, close, closes, strip_hop_by_hop, strip_hop_by_hop_of_answer, upgrade_token};
pub use self::max_forwards::MaxForwards;
pub use self::proxy_status::{PROXY_STATUS, proxy_status, proxy_status_without_error, received};
pub use self::trace_context::{TraceId, trace_id};
pub use self::via::Via;

/// Makes `Host` say what the client asked for: a target in absolute form outweighs the header that came with it (RFC
/// 9112 §3.2.2), and HTTP/2 has its authority there alone.
pub fn set_host(headers: &mut HeaderMap, target: &Uri) {
    let authority = target.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        headers.insert(HOST, authority);
    }
}

/// Puts the crumbs together into which HTTP/2 may break a `Cookie` (RFC 9113 §8.2.3). HTTP/1 knows one line only.
pub fn join_cookie_crumbs(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

/// The items of a header whose value is a list (RFC 9110 §5.6.1), over all its lines, without the space around them.
fn items(headers: &HeaderMap, name: http::header::HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name = http::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    lines.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_an_absolute_target_replaces_host() {
        let mut given = headers(&[("host", "liar")]);
        set_host(&mut given, &Uri::from_static("http://truth:81/x"));
        assert_eq!(given, headers(&[("host", "truth:81")]));
        set_host(&mut given, &Uri::from_static("/x"));
        assert_eq!(given, headers(&[("host", "truth:81")]));
    }

    #[test]
    fn the_crumbs_of_a_cookie_are_one_again() {
        let mut given = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]);
        join_cookie_crumbs(&mut given);
        assert_eq!(given, headers(&[("cookie", "a=1; b=2; c=3; d=4"), ("x", "y")]));
        let mut whole = headers(&[("cookie", "a=1")]);
        join_cookie_crumbs(&mut whole);
        assert_eq!(whole, headers(&[("cookie", "a=1")]));
    }
}
