//! `Expect: 100-continue` (RFC 9110 §10.1.1): the upstream decides whether the client sends its body.

mod support;

use std::time::{Duration, Instant};

use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config, nobody};

const ASK: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const GO_AHEAD: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A status query on a connection of its own: when it is answered, what came before has been dealt with.
async fn settle(proxy: &TestProxy) {
    for _ in 0..3 {
        let mut other = proxy.client().await;
        other.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
        other.answer().await;
    }
}

async fn asked(proxy: &TestProxy, upstream: &FakeUpstream, ask: &str) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(ask).await;
    let mut served = upstream.accept().await;
    assert_eq!(header(&served.head().await, "expect"), Some("100-continue"), "it is forwarded");
    (client, served)
}

#[tokio::test]
async fn the_client_is_asked_for_its_body_when_the_upstream_asks() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, ASK).await;
    settle(&proxy).await;
    assert_eq!(client.received(), "", "not before the upstream");
    let began = Instant::now();
    served.send(GO_AHEAD).await;
    assert_eq!(client.head().await, GO_AHEAD);
    assert!(began.elapsed() < Duration::from_millis(900), "because the upstream asked, and not because time passed");
    client.send("hello").await;
    assert_eq!(served.exactly(5).await, "hello");
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
    // Both connections are good for the next one.
    client.send(ASK).await;
    served.head().await;
    served.send(GO_AHEAD).await;
    assert_eq!(client.head().await, GO_AHEAD, "once for each request");
    client.send("again").await;
    assert_eq!(served.exactly(5).await, "again");
}

#[tokio::test]
async fn an_upstream_that_does_not_know_of_expectations_gets_the_body_after_a_second() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let began = Instant::now();
    let (mut client, mut served) = asked(&proxy, &upstream, ASK).await;
    assert_eq!(client.head().await, GO_AHEAD);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    client.send("hello").await;
    assert_eq!(served.exactly(5).await, "hello");
    // Too late to mean anything.
    served.send(format!("{GO_AHEAD}{OK}")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_unread_and_ends_the_connection() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (status, chunked) in
        [("401 Unauthorized", false), ("413 Content Too Large", true), ("417 Expectation Failed", false)]
    {
        let ask = if chunked { ASK.replace("Content-Length: 5", "Transfer-Encoding: chunked") } else { ASK.to_owned() };
        let (mut client, mut served) = asked(&proxy, &upstream, &ask).await;
        served.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")).await;
        let answer = client.answer().await;
        assert!(answer.head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "no 100 before: {}", answer.head);
        assert_eq!((answer.body.as_str(), answer.header("connection")), ("no", Some("close")));
        assert_eq!(served.rest().await, "", "the upstream's connection is closed, and got nothing of the body");
        client.finish().await;
        assert_eq!(client.rest().await, "", "no 100 after");
    }
}

#[tokio::test]
async fn an_early_answer_that_streams_for_long_does_not_ask_for_the_body() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, ASK).await;
    served.send("HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    // Sent nevertheless: it goes nowhere.
    client.send("hello").await;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..14 {
        tick.tick().await;
        served.send("1\r\nx\r\n").await;
    }
    served.send("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await.matches('x').count(), 14, "longer than the patience with the upstream");
    assert_eq!(served.rest().await, "");
}

#[tokio::test]
async fn a_client_that_does_not_wait_gets_an_early_answer_whole() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let body = "x".repeat(5 << 20);
    let head = ASK.replace("Content-Length: 5", &format!("Content-Length: {}", body.len()));
    for _ in 0..5 {
        let mut client = proxy.client().await;
        client.send(&head).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        client.send(&body).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.body.as_str()), (413, "no"));
        assert_eq!(served.rest().await, "", "the body was not sent up");
    }
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_served_like_any_other() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, &format!("{ASK}hello")).await;
    served.send(GO_AHEAD).await;
    assert_eq!(served.exactly(5).await, "hello");
    served.send(OK).await;
    let head = client.head().await;
    let head = if head == GO_AHEAD { client.head().await } else { head };
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn nothing_is_written_to_a_held_client_and_its_body_is_asked_for_later() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send(ASK).await;
    settle(&proxy).await;
    assert_eq!(client.received(), "");
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = upstream.accept().await;
    served.head().await;
    settle(&proxy).await;
    assert_eq!(client.received(), "");
    served.send(GO_AHEAD).await;
    assert_eq!(client.head().await, GO_AHEAD);
    client.send("hello").await;
    assert_eq!(served.exactly(5).await, "hello");
}

#[tokio::test]
async fn who_was_held_in_vain_gets_the_page_and_no_100() {
    let mut config = config(nobody().await);
    config.patience.request = Duration::from_millis(50);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(ASK).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("connection")), (503, Some("close")));
    client.finish().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_body_that_was_read_is_sent_again_without_being_asked_for_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, &ASK.replace("POST", "PUT")).await;
    served.send(GO_AHEAD).await;
    client.head().await;
    client.send("hello").await;
    served.exactly(5).await;
    served.reset();
    let mut served = upstream.accept().await;
    served.head().await;
    let began = Instant::now();
    assert_eq!(served.exactly(5).await, "hello");
    assert!(began.elapsed() < Duration::from_millis(900), "the client has sent it already");
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_unknown_expectation_is_forwarded_and_holds_nothing_back() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(format!("{}hello", ASK.replace("100-continue", "a-miracle"))).await;
    let mut served = upstream.accept().await;
    assert_eq!(header(&served.head().await, "expect"), Some("a-miracle"));
    assert_eq!(served.exactly(5).await, "hello");
    served.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 417);
}

#[tokio::test]
async fn an_expectation_without_a_body_is_answered_without_100() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) =
        asked(&proxy, &upstream, &ASK.replace("Content-Length: 5", "Content-Length: 0")).await;
    served.send(OK).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("connection")), (200, None));
}

#[tokio::test]
async fn a_client_of_http_1_0_never_gets_a_100() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(format!("{}hello", ASK.replace("HTTP/1.1", "HTTP/1.0"))).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(GO_AHEAD).await;
    assert_eq!(served.exactly(5).await, "hello");
    served.send(OK).await;
    let head = client.head().await;
    assert!(head.split(' ').nth(1) == Some("200"), "{head}");
}
