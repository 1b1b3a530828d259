//! With an upstream that is well, nobody notices anteroom.

mod support;

use support::raw::header;
use support::{FakeUpstream, TestProxy, config};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_arrives_byte_for_byte_without_what_belongs_to_one_connection() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client
        .send(
            b"GET //d/%2f..;x/%zz?a=b&&c%20d?# HTTP/1.1\r\nHost: cvat.example:8080\r\nX-Odd: \xff\xfe\r\n\
              Cookie: a=1\r\nX-CASE: Kept\r\nKeep-Alive: timeout=1\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\r\n",
        )
        .await;
    let head = upstream.accept().await.head().await;
    assert_eq!(head.lines().next(), Some("GET //d/%2f..;x/%zz?a=b&&c%20d? HTTP/1.1"));
    assert_eq!(header(&head, "host"), Some("cvat.example:8080"));
    assert_eq!(header(&head, "x-odd"), Some("\u{fffd}\u{fffd}"), "two bytes that are no UTF-8");
    assert!(head.contains("\r\nX-CASE: Kept\r\n"), "{head}");
    for gone in ["keep-alive", "connection", "x-mine", "content-length", "transfer-encoding"] {
        assert_eq!(header(&head, gone), None, "{gone} in {head}");
    }
    for invented in ["user-agent", "accept-encoding", "date", "x-request-id"] {
        assert_eq!(header(&head, invented), None, "{invented} in {head}");
    }
}

#[tokio::test]
async fn an_answer_comes_back_as_it_was_sent() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served
        .send("HTTP/1.1 503 Busy Indeed\r\nX-Grafana: yes\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")
        .await;
    // The upstream never answered before, so the first 503 is tried again; the second attempt answers for good.
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 418 Teapot Indeed\r\nX-Grafana: yes\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n\r\nbusy").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 418);
    assert_eq!([answer.header("date"), answer.header("server")], [None; 2], "nothing is invented");
    assert_eq!(answer.body, "busy");
    assert!(answer.head.contains("X-Grafana: yes\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"), "{}", answer.head);

    // Now that it has shown that it can answer, its 503 is its own.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.head().await;
    served.send("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("7")));
}

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    for number in 1..=3 {
        assert!(served.head().await.starts_with(&format!("GET /{number} ")));
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok");
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", number + 1)).await;
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_before_either_has_ended() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    assert_eq!(served.until("first\r\n").await, "5\r\nfirst\r\n");
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsoon\r\n").await;
    client.head().await;
    assert_eq!(client.until("soon\r\n").await, "4\r\nsoon\r\n");
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(served.until("0\r\n\r\n").await, "4\r\nlast\r\n0\r\n\r\n");
    served.send("3\r\nend\r\n0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "3\r\nend\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_with_a_length_keeps_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (Some("5"), None));
    assert_eq!(served.exactly(5).await, "hello");
    served.send(OK).await;
    client.answer().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(header(&served.head().await, "content-length"), Some("0"));
}

#[tokio::test]
async fn head_keeps_the_length_of_the_answer_without_its_body() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("HEAD / "));
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "content-length"), Some("1234"));
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(served.head().await.starts_with("GET /next "), "the connection is still in step");
}

#[tokio::test]
async fn the_upstreams_own_host_is_sent_where_that_is_set() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.host_header = anteroom::config::HostHeader::Upstream;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n").await;
    let head = upstream.accept().await.head().await;
    assert_eq!(header(&head, "host"), Some(upstream.address.to_string().as_str()));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstreams_work() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    drop(client);
    assert_eq!(served.rest().await, "", "the connection is closed");
}

#[tokio::test]
async fn an_upstream_that_dies_mid_answer_gives_a_broken_answer_and_no_page() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    client.until("half\r\n").await;
    drop(served);
    assert_eq!(client.rest().await, "", "no final chunk");
}

#[tokio::test]
async fn a_connect_request_is_refused() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_closed() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (bytes, status) in [
        ("NONSENSE\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), "431"),
        // More than a held request may cost.
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100 << 10)), "431"),
    ] {
        let mut client = proxy.client().await;
        let _ = client.try_send(bytes).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}
