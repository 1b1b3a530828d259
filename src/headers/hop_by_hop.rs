//! What belongs to one connection, and to no other (RFC 9110 §7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE};
use http::header::{PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, StatusCode};

use super::items;

/// Valid for one connection only, besides those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// What nobody may nominate away with `Connection`: whom a message is for, how long it is, and who is said to have sent
/// it. The rest of these begins with `x-forwarded-`.
const NEVER_NOMINATED: [HeaderName; 5] = [HOST, CONTENT_LENGTH, FORWARDED, VIA, HeaderName::from_static("x-real-ip")];

/// Removes what belongs to one connection. If the message switches protocols, says so again for the next one. Says what
/// `Connection` nominated: no trailer may have these names either.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> Vec<HeaderName> {
    strip(headers, offer, takes_trailers)
}

/// The same for an answer. Only two of them say something about an upgrade that concerns the client: that it happens,
/// and that the request needs one. Elsewhere it is the upstream's offer to us, e.g. Apache's `Upgrade: h2,h2c`.
pub fn strip_hop_by_hop_of_answer(status: StatusCode, headers: &mut HeaderMap) -> Vec<HeaderName> {
    let concerns_client = matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    // `TE` is a request's: what its sender takes.
    strip(headers, |headers| concerns_client.then(|| offer(headers)).flatten(), |_| false)
}

/// Whether the options of a message's `Connection`, that [were removed](strip_hop_by_hop), say that it is the last.
pub fn closes(nominated: &[HeaderName]) -> bool {
    nominated.iter().any(|option| option == "close")
}

/// Says that an answer is the last of its connection (RFC 9112 §9.6), besides what `Connection` says already.
pub fn close(headers: &mut HeaderMap) {
    if !headers.get_all(CONNECTION).iter().any(|options| options == "close") {
        headers.append(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn strip(
    headers: &mut HeaderMap,
    offer: impl Fn(&HeaderMap) -> Option<HeaderValue>,
    takes_trailers: impl Fn(&HeaderMap) -> bool,
) -> Vec<HeaderName> {
    // Most heads have few of them or none, and one look over their names costs less than a search for each of ours.
    let mut present = HOP_BY_HOP.each_ref().map(|_| false);
    for place in headers.keys().filter_map(|name| HOP_BY_HOP.iter().position(|its| its == name)) {
        present[place] = true;
    }
    if !present.contains(&true) {
        return Vec::new();
    }
    let (upgrade, trailers, nominated) = (offer(headers), takes_trailers(headers), nominated(headers));
    let known = HOP_BY_HOP.iter().zip(present).filter_map(|(name, present)| present.then_some(name));
    for name in known.chain(&nominated) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocols) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocols);
    }
    nominated
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    items(headers, TE).any(|item| {
        let name = item.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// The protocol that a message offers or agrees to switch to: `Upgrade`, if `Connection` names it.
pub fn upgrade_token(headers: &HeaderMap) -> Option<&HeaderValue> {
    let nominated = headers.contains_key(UPGRADE)
        && items(headers, CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    headers.get(UPGRADE).filter(|_| nominated)
}

/// Whether an answer's `101` agrees to what the request offered, and to nothing else.
pub fn agrees(offered: &HeaderValue, answer: &HeaderMap) -> bool {
    let offers = |token: &[u8]| {
        offered.as_bytes().split(|byte| *byte == b',').any(|offer| offer.trim_ascii().eq_ignore_ascii_case(token))
    };
    upgrade_token(answer).is_some() && items(answer, UPGRADE).all(offers)
}

/// All protocols that a message offers but `h2c`: it would make a connection that we speak HTTP/1.1 on a tunnel for
/// requests that nobody looks at, and RFC 9113 §3.1 has done away with it.
fn offer(headers: &HeaderMap) -> Option<HeaderValue> {
    let first = upgrade_token(headers)?;
    let plain = |protocol: &&[u8]| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c");
    if headers.get_all(UPGRADE).iter().nth(1).is_none() && items(headers, UPGRADE).all(|protocol| plain(&protocol)) {
        return Some(first.clone());
    }
    let protocols: Vec<&[u8]> = items(headers, UPGRADE).filter(plain).collect();
    if protocols.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok()
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    items(headers, CONNECTION)
        // By far the most frequent, and removed in any case.
        .filter(|option| !option.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !NEVER_NOMINATED.contains(name) && !name.as_str().starts_with("x-forwarded-"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_removed_and_the_rest_is_kept() {
        let mut given = headers(&[
            ("connection", "close, X-Private"),
            ("host", "a"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("cookie", "a=b"),
            ("set-cookie", "one"),
            ("set-cookie", "two"),
        ]);
        strip_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("host", "a"), ("cookie", "a=b"), ("set-cookie", "one"), ("set-cookie", "two")]));
    }

    #[test]
    fn an_answer_that_needs_an_upgrade_says_so_beside_being_the_last() {
        let mut given = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        close(&mut given);
        close(&mut given);
        assert_eq!(given, headers(&[("connection", "upgrade"), ("connection", "close"), ("upgrade", "websocket")]));
    }

    #[test]
    fn what_decides_trust_or_framing_cannot_be_nominated_away() {
        for name in ["Host", "Content-Length", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "Via"]
        {
            let mut given = headers(&[("connection", name), (name, "1")]);
            strip_hop_by_hop(&mut given);
            assert_eq!(given, headers(&[(name, "1")]));
        }
    }

    #[test]
    fn every_line_of_connection_nominates_and_an_empty_one_nothing() {
        let mut given = headers(&[("connection", ""), ("connection", ", ,a"), ("connection", "b ,c d"), ("a", "1")]);
        given.extend(headers(&[("b", "1"), ("c", "1"), ("d", "1")]));
        strip_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("c", "1"), ("d", "1")]));
    }

    #[test]
    fn of_te_only_trailers_survives() {
        for (te, expected) in [
            ("gzip;q=0.5, trailers", &[("te", "trailers")][..]),
            ("Trailers;q=0.5", &[("te", "trailers")]),
            ("gzip", &[]),
            ("xtrailers", &[]),
            ("", &[]),
        ] {
            let mut given = headers(&[("connection", "TE"), ("te", te)]);
            strip_hop_by_hop(&mut given);
            assert_eq!(given, headers(expected), "{te}");
        }
    }

    #[test]
    fn an_upgrade_is_offered_again_on_the_next_connection_without_h2c() {
        for (offered, expected) in [
            (&["websocket"][..], Some("websocket")),
            (&["h2c, websocket"], Some("websocket")),
            (&["a/1, H2C,b"], Some("a/1, b")),
            (&["h2c", "websocket"], Some("websocket")),
            (&["h2c"], None),
            (&["h2c, h2c"], None),
            (&[""], None),
        ] {
            let mut given = headers(&[("connection", "keep-alive, Upgrade, HTTP2-Settings"), ("http2-settings", "x")]);
            given.extend(offered.iter().map(|value| (UPGRADE, HeaderValue::from_static(value))));
            strip_hop_by_hop(&mut given);
            let expected = expected.map(|value| headers(&[("connection", "upgrade"), ("upgrade", value)]));
            assert_eq!(given, expected.unwrap_or_default(), "{offered:?}");
        }
    }

    #[test]
    fn an_upgrade_that_connection_does_not_name_is_none() {
        let mut given = headers(&[("upgrade", "websocket")]);
        assert_eq!(upgrade_token(&given), None);
        strip_hop_by_hop(&mut given);
        assert!(given.is_empty());
    }

    #[test]
    fn an_answer_tells_of_an_upgrade_only_where_one_happens_or_is_needed() {
        for (status, kept) in [(200, false), (101, true), (426, true), (400, false)] {
            let mut given =
                headers(&[("connection", "Upgrade"), ("upgrade", "tls/1.3"), ("te", "trailers"), ("x", "y")]);
            strip_hop_by_hop_of_answer(StatusCode::from_u16(status).expect("a status"), &mut given);
            assert_eq!(given.contains_key(UPGRADE), kept, "{status}");
            assert_eq!(given.contains_key(CONNECTION), kept, "{status}");
            assert!(!given.contains_key(TE), "{status}");
        }
    }

    #[test]
    fn an_answer_may_agree_only_to_what_was_offered() {
        let agrees = |offered, accepted: &[&str]| {
            let mut answer = headers(&[("connection", "upgrade")]);
            answer.extend(accepted.iter().flat_map(|value| headers(&[("upgrade", value)])));
            agrees(&HeaderValue::from_static(offered), &answer)
        };
        assert!(agrees("websocket", &["WebSocket"]));
        assert!(agrees("h2c, websocket", &["websocket"]));
        assert!(agrees("a, b", &["a", "b"]));
        assert!(!agrees("websocket", &["h2c"]));
        assert!(!agrees("websocket", &["websocket", "evil"]), "also on a line of its own");
        assert!(!agrees("websocket", &[]));
        assert!(!agrees("websocket", &["websocket, h2c"]));
    }
}
