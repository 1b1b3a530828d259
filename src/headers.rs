//! What a proxy changes in a header block: pure functions on [`HeaderMap`].

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE};
use http::header::{TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, StatusCode, Uri};

/// Valid for one connection only (RFC 9110 §7.6.1), besides those that `Connection` names. `TE` is treated apart.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes what belongs to one connection. If the message switches protocols, says so again for the next one.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let upgrade = upgrade_token(headers).cloned();
    let trailers = headers.get_all(TE).iter().any(|value| lists(value, "trailers"));
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// The protocol that a message offers or agrees to switch to: `Upgrade`, if `Connection` names it.
pub fn upgrade_token(headers: &HeaderMap) -> Option<&HeaderValue> {
    let nominated = headers.get_all(CONNECTION).iter().any(|value| lists(value, "upgrade"));
    headers.get(UPGRADE).filter(|_| nominated)
}

/// Whether an answer's `101` agrees to something that the request offered.
pub fn agrees(offered: &HeaderValue, accepted: &HeaderValue) -> bool {
    let offers = |token: &[u8]| {
        offered.as_bytes().split(|byte| *byte == b',').any(|offer| offer.trim_ascii().eq_ignore_ascii_case(token))
    };
    accepted.as_bytes().split(|byte| *byte == b',').all(|token| offers(token.trim_ascii()))
}

/// Sets the `Host` of a request that goes upstream (RFC 9112 §3.2).
///
/// A target in absolute form outweighs the header that came with it.
pub fn set_host(headers: &mut HeaderMap, target: &Uri, replacement: Option<&HeaderValue>) {
    if let Some(host) = replacement {
        headers.insert(HOST, host.clone());
    } else if let Some(authority) = target.authority() {
        // Without user and password: those were for the proxy that the client took us for.
        let host = authority.as_str().rsplit('@').next().and_then(|host| HeaderValue::from_str(host).ok());
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
    }
}

/// `Proxy-Status` (RFC 9209) for an answer of our own.
pub fn proxy_status(status: StatusCode, detail: &str) -> HeaderValue {
    let error = match status {
        StatusCode::GATEWAY_TIMEOUT => "http_response_timeout",
        StatusCode::BAD_GATEWAY => "http_response_incomplete",
        StatusCode::BAD_REQUEST => "http_request_error",
        _ => "destination_unavailable",
    };
    let text = format!("anteroom; error={error}; details=\"{detail}\"");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("anteroom"))
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        // Nobody may nominate away what says whom a message is for.
        .filter(|name| *name != HOST)
        .collect()
}

fn lists(value: &HeaderValue, token: &str) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|item| {
        let name = item.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_removed_and_the_rest_is_kept() {
        let mut given = headers(&[
            ("connection", "close, X-Private, Host"),
            ("host", "a"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
            ("set-cookie", "one"),
            ("set-cookie", "two"),
        ]);
        strip_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("host", "a"), ("cookie", "a=b"), ("set-cookie", "one"), ("set-cookie", "two")]));
    }

    #[test]
    fn of_te_only_trailers_survives() {
        let mut given = headers(&[("te", "gzip;q=0.5, trailers")]);
        strip_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("te", "trailers")]));
        let mut given = headers(&[("te", "gzip")]);
        strip_hop_by_hop(&mut given);
        assert!(given.is_empty());
    }

    #[test]
    fn an_upgrade_is_offered_again_on_the_next_connection() {
        let mut given = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        strip_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }

    #[test]
    fn an_upgrade_that_connection_does_not_name_is_none() {
        let mut given = headers(&[("upgrade", "websocket")]);
        assert_eq!(upgrade_token(&given), None);
        strip_hop_by_hop(&mut given);
        assert!(given.is_empty());
    }

    #[test]
    fn an_answer_may_agree_only_to_what_was_offered() {
        let value = HeaderValue::from_static;
        assert!(agrees(&value("websocket"), &value("WebSocket")));
        assert!(agrees(&value("h2c, websocket"), &value("websocket")));
        assert!(!agrees(&value("websocket"), &value("h2c")));
        assert!(!agrees(&value("websocket"), &value("websocket, h2c")));
    }

    #[test]
    fn the_authority_of_an_absolute_target_replaces_host() {
        let mut given = headers(&[("host", "liar")]);
        set_host(&mut given, &Uri::from_static("http://truth:81/x"), None);
        assert_eq!(given, headers(&[("host", "truth:81")]));
        set_host(&mut given, &Uri::from_static("/x"), None);
        assert_eq!(given, headers(&[("host", "truth:81")]));
        set_host(&mut given, &Uri::from_static("http://user:password@truth/x"), None);
        assert_eq!(given, headers(&[("host", "truth")]));
        set_host(&mut given, &Uri::from_static("/x"), Some(&HeaderValue::from_static("grafana:3000")));
        assert_eq!(given, headers(&[("host", "grafana:3000")]));
    }

    #[test]
    fn proxy_status_names_the_error_of_rfc_9209() {
        let value = proxy_status(StatusCode::SERVICE_UNAVAILABLE, "target-exited");
        assert_eq!(value, "anteroom; error=destination_unavailable; details=\"target-exited\"");
    }
}
