//! Who sent a request, for those behind us: `X-Forwarded-*`, `X-Real-Ip` and `Forwarded` (RFC 7239).
//!
//! A peer that is trusted, usually Traefik, has written them itself: they are kept, and `X-Forwarded-For` grows by the
//! peer's own address. From anyone else they are claims that nobody has checked, and are replaced.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{Entry, FORWARDED, HOST, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST_ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The other end of the connection that requests come over.
#[derive(Clone, Debug)]
pub struct Sender {
    peer: IpAddr,
    /// The same, as it is written into each request.
    address: HeaderValue,
    tls: bool,
    trusted: bool,
}

impl Sender {
    /// `tls` says whether that connection is encrypted, `trusted` whether what `peer` says of others is believed.
    pub fn new(peer: IpAddr, tls: bool, trusted: bool) -> Self {
        Self { peer, address: value(peer.to_string()), tls, trusted }
    }
}

/// Says who sent a request. `Host` must still be the client's, if it sent one.
pub fn forward(headers: &mut HeaderMap, sender: &Sender) {
    let Sender { peer, ref address, tls, trusted } = *sender;
    let proto = HeaderValue::from_static(if tls { "https" } else { "http" });
    let host = headers.get(HOST).cloned();
    if trusted {
        append_for(headers, address);
        headers.entry(PROTO).or_insert(proto);
        if let Some(host) = host {
            headers.entry(HOST_ASKED).or_insert(host);
        }
        return;
    }
    let (forwarded, real_ip) = (headers.contains_key(FORWARDED), headers.contains_key(REAL_IP));
    for claim in claims(headers) {
        headers.remove(claim);
    }
    if real_ip {
        headers.insert(REAL_IP, address.clone());
    }
    headers.insert(FOR, address.clone());
    if forwarded {
        headers.insert(FORWARDED, element(peer, tls, host.as_ref()));
    }
    headers.insert(PORT, port(host.as_ref(), tls));
    headers.insert(PROTO, proto);
    if let Some(host) = host {
        headers.insert(HOST_ASKED, host);
    }
}

/// Whom a request came from, after [`forward`] has written it down: the nearest address that is not `trusted` to speak for
/// others, or the farthest one if all are. What is no address ends the search, whoever wrote it.
pub fn client(headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let line = headers.get(FOR)?.to_str().ok()?;
    let mut farthest = None;
    for item in line.rsplit(',') {
        let Ok(address) = item.trim().parse::<IpAddr>() else { break };
        farthest = Some(address);
        if !trusted(address) {
            break;
        }
    }
    farthest
}

/// Several lines become one, so that nobody reads only the first or only the last of them.
fn append_for(headers: &mut HeaderMap, address: &HeaderValue) {
    let mut lines = match headers.entry(FOR) {
        Entry::Vacant(none) => {
            none.insert(address.clone());
            return;
        }
        Entry::Occupied(lines) => lines,
    };
    let mut list = Vec::with_capacity(64);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(address.as_bytes());
    lines.insert(HeaderValue::try_from(list).expect("header values, joined by a comma, are one"));
}

/// The names under which a client may have said who it is. CGI and WSGI read `X_Forwarded_For` as `X-Forwarded-For`, so
/// the one is as good a lie as the other.
pub fn claims(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_claim = |name: &&HeaderName| {
        let same = |byte: u8, its: u8| byte == its || byte == b'_' && its == b'-';
        let begins = |prefix: &[u8]| {
            name.as_str().len() >= prefix.len() && name.as_str().bytes().zip(prefix).all(|(byte, its)| same(byte, *its))
        };
        begins(b"x-forwarded-") || **name == FORWARDED || begins(b"x-real-ip") && name.as_str().len() == 9
    };
    headers.keys().filter(is_claim).cloned().collect()
}

/// One element of `Forwarded`. `Host` was checked on arrival and has nothing in it that a quoted string must escape.
fn element(peer: IpAddr, tls: bool, host: Option<&HeaderValue>) -> HeaderValue {
    let mut text = match peer {
        IpAddr::V4(address) => format!("for={address}"),
        // RFC 7239 §6: in brackets, and so in quotes.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        let _infallible = write!(text, ";host=\"{host}\"");
    }
    text.push_str(if tls { ";proto=https" } else { ";proto=http" });
    value(text)
}

/// The port that the client asked at, as far as its `Host` tells.
fn port(host: Option<&HeaderValue>, tls: bool) -> HeaderValue {
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let named = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    match named.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => HeaderValue::from(port),
        None => HeaderValue::from_static(if tls { "443" } else { "80" }),
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("addresses and hosts are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    #[test]
    fn the_client_is_the_nearest_whom_nobody_trusts() {
        let of = |line: &str| {
            let trusted = |address: IpAddr| matches!(address, IpAddr::V4(address) if address.is_private());
            client(&headers(&[("x-forwarded-for", line)]), trusted).map(|address| address.to_string())
        };
        for (line, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
            ("198.51.100.1, 203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
            ("10.0.0.9, 10.0.0.2", Some("10.0.0.9")),
            ("2001:db8::1,10.0.0.2", Some("2001:db8::1")),
            ("\"; forged=\"1, 10.0.0.2", Some("10.0.0.2")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(of(line).as_deref(), expected, "{line}");
        }
        assert_eq!(client(&headers(&[]), |_| true), None);
    }

    fn sender(peer: &str, trusted: bool) -> Sender {
        over_tls(peer, trusted, false)
    }

    fn over_tls(peer: &str, trusted: bool, tls: bool) -> Sender {
        Sender::new(peer.parse().expect("an address"), tls, trusted)
    }

    #[test]
    fn what_a_trusted_peer_says_is_kept_and_its_address_appended() {
        let kept = [
            ("host", "grafana"),
            ("x-forwarded-proto", "wss"),
            ("x-forwarded-host", "cvat.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/analytics"),
            ("x-forwarded-server", "traefik"),
            ("x-real-ip", "198.51.100.7"),
            ("x_forwarded_for", "odd"),
            ("forwarded", "for=198.51.100.7;proto=https"),
        ];
        let mut given = headers(&kept);
        given.extend(headers(&[("x-forwarded-for", "198.51.100.7, 10.0.0.1")]));
        forward(&mut given, &sender("172.20.0.2", true));
        let mut expected = headers(&kept);
        expected.extend(headers(&[("x-forwarded-for", "198.51.100.7, 10.0.0.1, 172.20.0.2")]));
        assert_eq!(given, expected);
    }

    #[test]
    fn what_a_trusted_peer_leaves_out_is_filled_in() {
        let mut given = headers(&[("host", "a:81")]);
        forward(&mut given, &over_tls("::1", true, true));
        let expected = [
            ("host", "a:81"),
            ("x-forwarded-for", "::1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a:81"),
        ];
        assert_eq!(given, headers(&expected));
        let mut given = headers(&[]);
        forward(&mut given, &sender("10.0.0.1", true));
        assert_eq!(given, headers(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "http")]));
    }

    #[test]
    fn several_lines_become_one_and_their_bytes_stay() {
        let mut given = HeaderMap::new();
        for line in [&b"1.1.1.1"[..], b"", b"\xff, unknown"] {
            given.append(FOR, HeaderValue::from_bytes(line).expect("a value"));
        }
        forward(&mut given, &sender("10.0.0.1", true));
        let lines: Vec<&[u8]> = given.get_all(FOR).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(lines, [b"1.1.1.1, \xff, unknown, 10.0.0.1"]);
    }

    #[test]
    fn what_a_stranger_claims_is_replaced() {
        let mut given = headers(&[
            ("host", "a:81"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "::1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "//evil"),
            ("x-forwarded-user", "admin"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("forwarded", "for=_hidden"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded_user", "admin"),
            ("x_real-ip", "127.0.0.1"),
            ("x-real-ip-not", "kept"),
            ("x-forwarded", "kept"),
        ]);
        forward(&mut given, &sender("203.0.113.9", false));
        let expected = headers(&[
            ("host", "a:81"),
            ("x-real-ip-not", "kept"),
            ("x-forwarded", "kept"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9;host=\"a:81\";proto=http"),
            ("x-forwarded-port", "81"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a:81"),
        ]);
        assert_eq!(given, expected);
    }

    #[test]
    fn a_stranger_that_claims_nothing_gets_neither_forwarded_nor_real_ip() {
        let mut given = headers(&[("host", "[::1]")]);
        forward(&mut given, &over_tls("2001:db8::1", false, true));
        let expected = headers(&[
            ("host", "[::1]"),
            ("x-forwarded-for", "2001:db8::1"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "[::1]"),
        ]);
        assert_eq!(given, expected);
    }

    #[test]
    fn an_ipv6_address_is_quoted_in_forwarded() {
        let mut given = headers(&[("forwarded", "for=x")]);
        forward(&mut given, &sender("2001:db8::1", false));
        assert_eq!(given[FORWARDED], "for=\"[2001:db8::1]\";proto=http");
    }
}
