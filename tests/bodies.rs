//! Bodies: framed as they came, streamed both ways, and the client's own mistakes in them stay its own.

mod support;

use std::time::{Duration, Instant};

use support::raw::{Peer, header};
use support::{FakeUpstream, LONG, TestProxy, config};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How soon the upstream is told that the client has left. It takes less than a millisecond; 5 s if what is left of an upload
/// were read before.
const CANCELLED_SOON: Duration = Duration::from_secs(4);

/// A client whose request has arrived, and the other end of it.
async fn asked(proxy: &TestProxy, upstream: &FakeUpstream, ask: &str) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(ask).await;
    let mut served = upstream.accept().await;
    served.head().await;
    (client, served)
}

/// Fills everything between two ends until nothing moves any more. Says how much fitted.
async fn stuff(peer: &mut Peer, block: &[u8]) -> usize {
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), peer.write_some(block)).await {
        sent += written;
        assert!(sent < 64 << 20, "it is bounded");
    }
    sent
}

#[tokio::test]
async fn a_get_without_a_body_gains_none() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    }
    let mut served = upstream.accept().await;
    for _ in 0..4 {
        let head = served.head().await;
        assert_eq!([header(&head, "content-length"), header(&head, "transfer-encoding")], [None; 2], "{head}");
        served.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it_however_it_is_framed() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET /search HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut served = upstream.accept().await;
    assert_eq!(header(&served.head().await, "content-length"), Some("2"));
    assert_eq!(served.exactly(2).await, "hi");
    served.send(OK).await;
    client.answer().await;
    client.send(POST.replace("POST", "GET") + "2\r\nhi\r\n0\r\n\r\n").await;
    assert_eq!(header(&served.head().await, "transfer-encoding"), Some("chunked"));
    assert_eq!(served.until("0\r\n\r\n").await, "2\r\nhi\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_answer_without_a_body_has_none_and_the_next_one_is_in_step() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    for (method, answer) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(answer).await;
        let head = client.head().await;
        assert_eq!(head.split(' ').nth(1), answer.split(' ').nth(1));
        assert_eq!(header(&head, "transfer-encoding"), None, "{head}");
        if head.contains(" 204 ") {
            assert_eq!(header(&head, "content-length"), None, "{head}");
        }
        // Of the upstream's connection nobody knows what it says next.
        client.send(GET).await;
        if answer.contains("evil") {
            assert_eq!(served.rest().await, "", "it is closed");
            served = upstream.accept().await;
        }
        served.head().await;
        served.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(client.answer().await.body, "ok", "after {answer:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut all = String::new();
    for number in 0..10 {
        all += &match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"),
            _ => format!(
                "POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n"
            ),
        };
    }
    client.send(all).await;
    let mut served = upstream.accept().await;
    for number in 0..10 {
        let head = served.head().await;
        assert_eq!(head.split(' ').nth(1), Some(format!("/{number}").as_str()));
        match number % 3 {
            0 => {}
            1 => assert_eq!(served.exactly(5).await, "GET /"),
            _ => assert_eq!(served.until("0\r\n\r\n").await, "5\r\nGET /\r\n0\r\n\r\n"),
        }
        served.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
    }
    for number in 0..10 {
        assert_eq!(client.answer().await.body, number.to_string());
    }
}

#[tokio::test]
async fn the_head_of_an_answer_and_each_event_arrive_at_once() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, GET).await;
    served.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    assert!(client.head().await.contains("text/event-stream"), "before any event");
    for event in 0..3 {
        served.send(format!("data: {event}\n\n")).await;
        assert!(client.until("\n\n").await.ends_with(&format!("data: {event}\n\n")));
    }
    drop(served);
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn what_a_slow_client_does_not_read_is_not_piled_up() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, GET).await;
    served.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30)).await;
    let fitted = stuff(&mut served, &[b'x'; 64 << 10]).await;
    client.head().await;
    assert_eq!(client.exactly(fitted).await.len(), fitted, "and nothing of it is lost");
}

#[tokio::test]
async fn what_a_slow_upstream_does_not_read_is_not_piled_up() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let ask = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30);
    let (mut client, mut served) = asked(&proxy, &upstream, &ask).await;
    let fitted = stuff(&mut client, &[b'x'; 64 << 10]).await;
    assert_eq!(served.exactly(fitted).await.len(), fitted, "and nothing of it is lost");
}

#[tokio::test]
async fn a_clients_mistake_in_its_body_is_answered_with_400_and_blamed_on_nobody_else() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for body in [
        "nonsense\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX\r\n0\r\n\r\n",
        "10000000000000000\r\nx",
        "fffffffffffffffff\r\nx",
        "-1\r\nx\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rXhello\r\n0\r\n\r\n",
        "5;ext\nhello\r\n0\r\n\r\n",
        "5 6\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: 1\r\nno colon\r\n\r\n",
        "0\r\nBad Name: 1\r\n\r\n",
    ] {
        let (mut client, mut served) = asked(&proxy, &upstream, POST).await;
        let _ = client.try_send(body).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert!(!answer.contains("problem+json") && !answer.contains("<html"), "no page: {answer}");
        let received = served.rest().await;
        assert!(!received.ends_with("0\r\n\r\n"), "{body:?}: the upstream sees no end: {received:?}");
        // Nobody else is held, and nothing is sent again.
        let (mut other, mut served) = asked(&proxy, &upstream, GET).await;
        served.send(OK).await;
        assert_eq!(other.answer().await.body, "ok");
        assert_eq!(state(&proxy).await, "ready");
        // The next one needs a connection of its own, to show that it did not wait for this one.
        drop(served);
    }
}

async fn state(proxy: &TestProxy) -> String {
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
    client.answer().await.header("x-anteroom-state").expect("a state").to_owned()
}

#[tokio::test]
async fn chunk_extensions_are_dropped_and_bounded() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, POST).await;
    client.send("5;name=\"value\"\r\nhello\r\n0;last\r\n\r\n").await;
    assert_eq!(served.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
    served.send(OK).await;
    client.answer().await;
    client.send(POST).await;
    served.head().await;
    let _ = client.try_send(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 << 10))).await;
    assert_eq!(served.rest().await, "");
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_client_that_leaves_in_its_upload_is_no_failure_of_the_upstream() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (head, body) in
        [(POST.to_owned(), "5\r\nhel"), (POST.replace("Transfer-Encoding: chunked", "Content-Length: 5"), "hel")]
    {
        for reset in [false, true] {
            let (mut client, mut served) = asked(&proxy, &upstream, &head).await;
            client.send(body).await;
            served.until("hel").await;
            let began = Instant::now();
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            assert!(!served.rest().await.contains("0\r\n\r\n"), "no end");
            assert!(began.elapsed() < CANCELLED_SOON, "{:?}", began.elapsed());
            let (mut other, mut served) = asked(&proxy, &upstream, GET).await;
            served.send(OK).await;
            assert_eq!(other.answer().await.body, "ok");
            assert_eq!(state(&proxy).await, "ready");
        }
    }
}

#[tokio::test]
async fn an_upload_to_an_upstream_that_does_not_read_is_given_up_with_its_connection() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(500);
    let proxy = TestProxy::start(config);
    let ask = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30);
    let (mut client, _served) = asked(&proxy, &upstream, &ask).await;
    stuff(&mut client, &[b'x'; 64 << 10]).await;
    assert!(client.head().await.starts_with("HTTP/1.1 504 "));
    upstream.left_alone().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_an_answer_streams_cancels_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for head in ["Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "Content-Length: 1000\r\n\r\nx"] {
        for reset in [false, true] {
            let (mut client, mut served) = asked(&proxy, &upstream, GET).await;
            served.send(format!("HTTP/1.1 200 OK\r\n{head}")).await;
            client.head().await;
            let began = Instant::now();
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            assert_eq!(served.rest().await, "");
            assert!(began.elapsed() < CANCELLED_SOON, "{:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_has_ended_arrives_whole() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = LONG;
    let proxy = TestProxy::start(config);
    let body = "x".repeat(5 << 20);
    let page = "y".repeat(100_000);
    for end in ["closes", "resets", "stays and does not read", "stays and reads"] {
        for framing in ["length", "chunks"] {
            let head = match framing {
                "length" => POST.replace("Transfer-Encoding: chunked", &format!("Content-Length: {}", body.len())),
                _ => POST.to_owned(),
            };
            let (mut client, mut served) = asked(&proxy, &upstream, &head).await;
            served
                .send(format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {}\r\n\r\n{page}", page.len()))
                .await;
            let mut kept = None;
            match end {
                "closes" => drop(served),
                "resets" => {
                    // What was sent before a reset is read before it, if the reader is quick; here it may be.
                    client.until("\r\n\r\n").await;
                    client.exactly(page.len()).await;
                    served.reset();
                }
                "stays and reads" => {
                    tokio::spawn(async move { served.rest().await });
                }
                _ => kept = Some(served),
            }
            match framing {
                "length" => client.send(&body).await,
                _ => client.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await,
            }
            if end != "resets" {
                let answer = client.answer().await;
                assert_eq!((answer.status(), answer.body.len()), (413, page.len()), "{end}, {framing}");
            }
            // The client's connection is in step, or closed; the upstream's is not used again.
            if client.try_send(GET).await.is_ok() {
                let next = async {
                    let mut served = upstream.accept().await;
                    served.head().await;
                    served.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
                };
                tokio::select! {
                    answer = client.has_data() => assert!(!answer, "closed, or nothing yet"),
                    () = next => assert_eq!(client.answer().await.body, "ok"),
                }
            }
            let began = Instant::now();
            upstream.left_alone().await;
            assert!(began.elapsed() < CANCELLED_SOON, "{end}, {framing}: {:?}", began.elapsed());
            drop(kept);
        }
    }
}

#[tokio::test]
async fn an_answer_is_read_though_the_upstream_has_reset_what_was_still_being_sent() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let ask = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30);
    let page = "y".repeat(40_000);
    for _ in 0..3 {
        let (mut client, mut served) = asked(&proxy, &upstream, &ask).await;
        stuff(&mut client, &[b'x'; 64 << 10]).await;
        served.send(format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {}\r\n\r\n{page}", page.len())).await;
        // With megabytes unread, closing is a reset.
        drop(served);
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.body.len()), (413, page.len()));
    }
}

#[tokio::test]
async fn an_upload_that_nobody_takes_ends_with_its_answer() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let ask = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 30);
    let (mut client, mut served) = asked(&proxy, &upstream, &ask).await;
    stuff(&mut client, &[b'x'; 64 << 10]).await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
    let began = Instant::now();
    upstream.left_alone().await;
    assert!(began.elapsed() < CANCELLED_SOON, "{:?}", began.elapsed());
}
