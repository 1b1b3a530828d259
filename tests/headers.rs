//! What a proxy changes in headers, in both directions, over raw bytes.

mod support;

use anteroom::config::Config;
use support::raw::header;
use support::{FakeUpstream, TestProxy, config, reserved, trusted_peers};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The head with which a request arrives, of an anteroom that is set up in some way.
async fn arrives(set_up: impl FnOnce(&mut Config), lines: &[u8]) -> String {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    set_up(&mut config);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send([b"GET /x HTTP/1.1\r\nHost: cvat.example:8080\r\n", lines, b"\r\n"].concat()).await;
    upstream.accept().await.head().await
}

/// The head of an answer as the client gets it.
async fn answered(head: &[u8]) -> String {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send([head, b"Content-Length: 0\r\n\r\n"].concat()).await;
    client.head().await
}

/// Every value that a header has in a head, line by line.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

fn usual(_: &mut Config) {}

fn strangers(config: &mut Config) {
    config.trusted_peers = trusted_peers("none");
}

#[tokio::test]
async fn what_belongs_to_one_connection_does_not_reach_the_upstream() {
    let head = arrives(
        usual,
        b"Connection: close, X-Mine\r\nConnection: , X-Too,\r\nX-Mine: 1\r\nX-Too: 1\r\nKeep-Alive: timeout=1\r\n\
          Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nHTTP2-Settings: AAMAAABk\r\n\
          Upgrade: websocket\r\nTE: gzip\r\nCookie: a=1\r\n",
    )
    .await;
    for gone in [
        "connection",
        "x-mine",
        "x-too",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
        "upgrade",
        "te",
    ] {
        assert_eq!(header(&head, gone), None, "{gone} in {head}");
    }
    assert_eq!(header(&head, "cookie"), Some("a=1"));
}

#[tokio::test]
async fn what_belongs_to_one_connection_does_not_reach_the_client() {
    let head = answered(
        b"HTTP/1.1 200 OK\r\nConnection: X-Mine, Upgrade, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
          Upgrade: h2,h2c\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\n",
    )
    .await;
    for gone in ["connection", "x-mine", "keep-alive", "upgrade", "proxy-authenticate"] {
        assert_eq!(header(&head, gone), None, "{gone} in {head}");
    }
    assert_eq!(header(&head, "x-kept"), Some("1"));
}

#[tokio::test]
async fn an_empty_connection_header_nominates_nothing() {
    for line in [&b"Connection:\r\n"[..], b"Connection: , ,\r\n"] {
        let head = arrives(usual, &[line, b"X-Kept: 1\r\n"].concat()).await;
        assert_eq!((header(&head, "x-kept"), header(&head, "connection")), (Some("1"), None), "{head}");
    }
}

#[tokio::test]
async fn connection_cannot_take_away_what_decides_trust_or_framing() {
    let head = arrives(
        usual,
        b"Connection: Host, Content-Length, X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host, Forwarded, Via\r\n\
          X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nForwarded: for=c\r\n\
          Via: 1.1 traefik\r\nContent-Length: 0\r\n",
    )
    .await;
    assert_eq!(header(&head, "host"), Some("cvat.example:8080"));
    assert_eq!(header(&head, "content-length"), Some("0"));
    assert_eq!(header(&head, "x-forwarded-for"), Some("198.51.100.7, 127.0.0.1"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(&head, "x-forwarded-host"), Some("b"));
    assert_eq!(header(&head, "forwarded"), Some("for=c"));
    assert_eq!(values(&head, "via").len(), 2, "{head}");
}

#[tokio::test]
async fn of_te_only_trailers_survives() {
    let head = arrives(usual, b"Connection: TE\r\nTE: gzip;q=0.5, trailers, deflate\r\n").await;
    assert_eq!(values(&head, "te"), ["trailers"]);
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_offered_to_the_upstream() {
    let ask = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: h2c\r\n";
    let head = arrives(usual, ask).await;
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(header(&head, gone), None, "{gone} in {head}");
    }
    let head = arrives(usual, b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n").await;
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (Some("websocket"), Some("upgrade")));
}

#[tokio::test]
async fn what_a_trusted_peer_says_of_the_client_is_kept_and_appended_to() {
    let lines = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: cvat.example\r\nX-Forwarded-Port: 443\r\n\
                 X-Forwarded-Prefix: /analytics\r\nX-Forwarded-Server: traefik\r\nX-Real-Ip: 198.51.100.7\r\n\
                 Forwarded: for=198.51.100.7;proto=https\r\n";
    let several = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n";
    let head = arrives(usual, format!("{lines}{several}").as_bytes()).await;
    assert_eq!(values(&head, "x-forwarded-for"), ["198.51.100.7, 10.0.0.1, 10.0.0.2, 127.0.0.1"]);
    for line in lines.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        assert_eq!(values(&head, name), [value], "{head}");
    }
}

#[tokio::test]
async fn what_a_trusted_peer_does_not_say_is_filled_in() {
    let head = arrives(usual, b"").await;
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["cvat.example:8080"]);
    for not_invented in ["x-forwarded-port", "x-forwarded-prefix", "x-real-ip", "forwarded"] {
        assert_eq!(header(&head, not_invented), None, "{not_invented} in {head}");
    }
}

#[tokio::test]
async fn what_a_stranger_says_of_itself_is_replaced() {
    let head = arrives(
        strangers,
        b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: ::1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
          X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: //evil\r\nX-Forwarded-User: admin\r\nX-Real-Ip: ::1\r\n\
          Forwarded: for=_a\r\nForwarded: for=_b\r\nX_Forwarded_For: ::1\r\nX-Forwarded_Proto: https\r\n",
    )
    .await;
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["cvat.example:8080"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["8080"]);
    assert_eq!(values(&head, "x-real-ip"), ["127.0.0.1"]);
    assert_eq!(values(&head, "forwarded"), ["for=127.0.0.1;host=\"cvat.example:8080\";proto=http"]);
    for gone in ["x-forwarded-prefix", "x-forwarded-user", "x_forwarded_for", "x-forwarded_proto"] {
        assert_eq!(header(&head, gone), None, "{gone} in {head}");
    }
}

#[tokio::test]
async fn trust_follows_the_setting() {
    for (peers, expected) in [
        ("none", "127.0.0.1"),
        ("10.0.0.0/8,::1", "127.0.0.1"),
        ("all", "198.51.100.7, 127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, 127.0.0.1"),
        ("10.0.0.0/8, 127.0.0.0/8", "198.51.100.7, 127.0.0.1"),
    ] {
        let set_up = |config: &mut Config| config.trusted_peers = trusted_peers(peers);
        let head = arrives(set_up, b"X-Forwarded-For: 198.51.100.7\r\n").await;
        assert_eq!(values(&head, "x-forwarded-for"), [expected], "{peers}");
    }
}

#[tokio::test]
async fn a_long_history_of_addresses_grows_by_one_and_is_bounded_by_the_head() {
    let history = vec!["2001:db8::1"; 1000].join(", ");
    let head = arrives(usual, format!("X-Forwarded-For: {history}\r\n").as_bytes()).await;
    assert_eq!(values(&head, "x-forwarded-for"), [format!("{history}, 127.0.0.1")]);
    let (_nobody, address) = reserved();
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    let line = format!("X-Forwarded-For: {history}\r\n").repeat(10);
    let _refused_while_sending = client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn the_host_that_was_asked_for_is_told_where_the_upstream_sees_its_own() {
    let upstream_host = |config: &mut Config| config.host_header = anteroom::config::HostHeader::Upstream;
    let head = arrives(upstream_host, b"").await;
    assert_ne!(header(&head, "host"), Some("cvat.example:8080"));
    assert_eq!(header(&head, "x-forwarded-host"), Some("cvat.example:8080"));
}

#[tokio::test]
async fn via_is_appended_to_requests_and_answers_after_those_of_others() {
    let head = arrives(usual, b"Via: 1.0 fred, 1.1 traefik (x)\r\nVia: 2 cdn\r\n").await;
    let via = values(&head, "via");
    assert_eq!(via[..2], ["1.0 fred, 1.1 traefik (x)", "2 cdn"], "{head}");
    let name = via[2].strip_prefix("1.1 anteroom-").expect("our own is the last");
    assert!(via.len() == 3 && name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{via:?}");

    let head = answered(b"HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\n").await;
    let via = values(&head, "via");
    assert!(via.len() == 2 && via[0] == "1.1 cache" && via[1].starts_with("1.1 anteroom-"), "{via:?}");
    let head = answered(b"HTTP/1.0 200 OK\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "our own version: {head}");
    assert!(header(&head, "via").is_some_and(|via| via.starts_with("1.0 anteroom-")), "{head}");
}

#[tokio::test]
async fn a_request_that_comes_back_ends_in_508_and_goes_round_once_only() {
    // An address that leads to anteroom itself, so that whatever it sends comes back.
    let (_reserved, address) = reserved();
    let mut config = config(address);
    config.listen = address;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 508);
    assert_eq!(answer.json()["findings"][0]["code"], "proxy-loop", "{}", answer.body);
    assert_eq!(answer.json()["status"], 508);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        values(&answer.head, "proxy-status"),
        ["anteroom; error=proxy_loop_detected; details=\"proxy-loop\"", "anteroom; received-status=508"],
        "made by the second pass, handed on by the first"
    );
    assert_eq!(values(&answer.head, "via").len(), 1, "only the first pass handed it on");
}

#[tokio::test]
async fn a_loop_over_another_proxy_ends_as_well() {
    let ((_one, one), (_other, other)) = (reserved(), reserved());
    let start = |listen, upstream| {
        let mut config = config(upstream);
        config.listen = listen;
        TestProxy::start(config)
    };
    let (first, _second) = (start(one, other), start(other, one));
    let mut client = first.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 508);
}

#[tokio::test]
async fn two_anterooms_in_a_row_are_no_loop() {
    let upstream = FakeUpstream::start().await;
    let inner = TestProxy::start(config(upstream.address));
    let outer = TestProxy::start(config(inner.address));
    let mut client = outer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    assert_eq!(values(&served.head().await, "via").len(), 2);
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn proxy_status_is_appended_only_where_the_answer_has_one() {
    let head = answered(b"HTTP/1.1 404 Not Found\r\nProxy-Status: cdn; fwd=miss\r\n").await;
    assert_eq!(values(&head, "proxy-status"), ["cdn; fwd=miss", "anteroom; received-status=404"]);
    assert_eq!(header(&answered(b"HTTP/1.1 404 Not Found\r\n").await, "proxy-status"), None);
}

#[tokio::test]
async fn every_answer_of_our_own_has_a_proxy_status() {
    let (_nobody, address) = reserved();
    let proxy = TestProxy::start(config(address));
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n", "anteroom"),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", "anteroom"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "anteroom; error=http_request_error; details=\"TRACE is not served\""),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\n\r\n",
            "anteroom; error=destination_unavailable; details=\"target-warming\"",
        ),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        assert_eq!(header(&client.head().await, "proxy-status"), Some(expected), "{request}");
    }
}

#[tokio::test]
async fn bytes_beyond_ascii_in_values_arrive_unchanged() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: \xff\x80\t\xc3\xbc\r\n\r\n").await;
    let mut served = upstream.accept().await;
    let head = served.head_bytes().await;
    assert!(contains(&head, b"\r\nX-Odd: \xff\x80\t\xc3\xbc\r\n"));
    served.send(b"HTTP/1.1 200 OK\r\nX-Odd: \xfe\x81\t\xc3\r\nContent-Length: 0\r\n\r\n").await;
    assert!(contains(&client.head_bytes().await, b"\r\nX-Odd: \xfe\x81\t\xc3\r\n"));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn lines_of_one_name_keep_their_number_and_order_and_set_cookie_is_never_merged() {
    let head = arrives(usual, b"X-A: 1\r\nX-B: 1\r\nx-a: 2\r\nX-A: 1\r\nX-A:\r\nCookie: a=1\r\nCookie: b=2\r\n").await;
    assert_eq!(values(&head, "x-a"), ["1", "2", "1", ""]);
    assert_eq!(values(&head, "cookie"), ["a=1", "b=2"]);
    let head =
        answered(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1, x\r\nX-B: 1\r\nSet-Cookie: b\r\nSet-Cookie: a=1, x\r\n").await;
    assert_eq!(values(&head, "set-cookie"), ["a=1, x", "b", "a=1, x"]);
}

#[tokio::test]
async fn nothing_else_is_invented() {
    let head = arrives(usual, b"").await;
    let mut names: Vec<_> = head.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["Host", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]);
    let head = answered(b"HTTP/1.1 200 OK\r\n").await;
    let mut names: Vec<_> = head.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["Content-Length", "Via"]);
}
