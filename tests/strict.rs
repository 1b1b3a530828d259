//! What one parser reads this way and another that way is refused, byte for byte, before the upstream hears of it.

mod support;

use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config, soon};

/// Sends `bytes`, and says what comes back until the connection ends.
async fn ask(proxy: &TestProxy, bytes: &str) -> String {
    let mut client = proxy.client().await;
    let _ = client.try_send(bytes).await;
    client.rest().await
}

/// The request is answered with `status` and nothing else, and the connection is closed.
async fn refused(proxy: &TestProxy, bytes: &str, status: &str) {
    let answer = ask(proxy, bytes).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?} got {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{bytes:?} got {answer:?}");
    for of_a_page in ["<html", "problem+json", "retry-after"] {
        assert!(!answer.contains(of_a_page), "{bytes:?} got {answer:?}");
    }
    for ours in ["Proxy-Status: anteroom; error=http_request_error; details=\"", "Cache-Control: no-store\r\n"] {
        assert!(answer.contains(ours), "{bytes:?} got {answer:?}");
    }
}

/// The upstream has heard nothing of what was asked before: the first thing that it hears is this.
async fn unheard(proxy: &TestProxy, upstream: &FakeUpstream) {
    let mut client = proxy.client().await;
    client.send("GET /proof HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    assert_eq!(served.head().await.lines().next(), Some("GET /proof HTTP/1.1"));
    served.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
}

#[tokio::test]
async fn a_bare_lf_in_a_head_is_refused() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(&proxy, bytes, "400").await;
    }
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn two_framings_are_refused_in_any_order() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ] {
        refused(&proxy, &format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n"), "400").await;
    }
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn a_malformed_field_is_refused() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for field in [
        // RFC 9112 §5.2: obs-fold; §5.1: white space before the colon.
        "X: a\r\n b",
        "X : a",
        " X: a",
        "X: a\0b",
        "X: a\rb",
        "X",
        ": a",
        "X\u{e9}: a",
        "X(: a",
    ] {
        refused(&proxy, &format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), "400").await;
    }
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET /\tx HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.2x",
        "GET / http/1.1",
        "GET /",
        " GET / HTTP/1.1",
    ] {
        refused(&proxy, &format!("{line}\r\nHost: a\r\n\r\n"), "400").await;
    }
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn after_a_request_that_is_refused_none_is_believed() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    refused(&proxy, &format!("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n{smuggled}"), "400").await;
    refused(
        &proxy,
        &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx{smuggled}"),
        "400",
    )
    .await;
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_the_requests_before_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("GET /first "));
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.body, "ok");
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_head_may_come_in_pieces_of_any_size() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    for byte in "\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\n\n".bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("POST /p "));
    assert_eq!(served.exactly(2).await, "\n\n");
}

#[tokio::test]
async fn what_follows_a_refused_offer_to_switch_is_not_read() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET /smuggled HTTP/1.1\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("connection")), (403, Some("close")));
    assert_eq!(client.rest().await, "");
    // The upstream's connection is free again, and nothing was smuggled into it.
    let mut other = proxy.client().await;
    other.send("GET /proof HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(served.head().await.starts_with("GET /proof "));
}

#[tokio::test]
async fn a_client_that_has_closed_its_half_still_gets_its_answer() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.finish().await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.body, "ok");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_by_what_is_too_large_in_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let long = "x".repeat(100 << 10);
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    refused(&proxy, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), "431").await;
    refused(&proxy, &format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n"), "431").await;
    refused(&proxy, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431").await;
    refused(&proxy, &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "414").await;
    let answer = ask(&proxy, &format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    unheard(&proxy, &upstream).await;
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_after_the_answer_before_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for begin in ["GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"] {
        let mut client = proxy.client().await;
        client.send(format!("{begin}\r\n{begin}Bad Name: x\r\n\r\n")).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert_eq!(client.answer().await.body, "ok");
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.header("cache-control")), (400, Some("no-store")), "{begin}");
        assert!(answer.header("proxy-status").is_some_and(|it| it.starts_with("anteroom; error=")), "{begin}");
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn an_upstream_may_send_what_looks_like_a_refusal_of_ours() {
    const LOOKS: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    for framing in [format!("Content-Length: {}\r\n\r\n", LOOKS.len()), "Connection: close\r\n\r\n".to_owned()] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        client.head().await;
        // In a piece of its own, which is the whole body.
        served.send(LOOKS).await;
        drop(served);
        if framing.starts_with("Content") {
            assert_eq!(client.exactly(LOOKS.len()).await, LOOKS);
        } else {
            assert!(client.until("\r\n0\r\n\r\n").await.contains(LOOKS));
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client: Peer = proxy.client().await;
    let bodies = ["", "a\n", "bb", "\r\n\r\n"];
    let requests: String = bodies
        .iter()
        .enumerate()
        .map(|(number, body)| {
            format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    client.send(requests).await;
    let mut served = upstream.accept().await;
    for (number, body) in bodies.iter().enumerate() {
        let head = served.head().await;
        assert!(head.starts_with(&format!("POST /{number} ")), "{head}");
        assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(&served.exactly(body.len()).await, body);
        served.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
    }
    for number in 0..bodies.len() {
        assert_eq!(soon(client.answer()).await.body, number.to_string());
    }
}
