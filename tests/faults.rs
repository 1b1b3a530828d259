//! An upstream that breaks HTTP: a bad gateway before the answer's head, a visibly broken answer after it.

mod support;

use std::time::Duration;

use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client whose request has arrived, and the other end of it.
async fn asked(proxy: &TestProxy, upstream: &FakeUpstream) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    (client, served)
}

#[tokio::test]
async fn a_head_that_is_malformed_or_framed_twice_is_a_bad_gateway_and_ends_the_connection() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{chunks}"),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok".to_owned(),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 1000 High\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 2oo OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: y\r\n".repeat(100)),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(100 << 10)),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(1 << 20)),
    ] {
        let (mut client, mut served) = asked(&proxy, &upstream).await;
        let _ = served.try_send(&answer).await;
        let answer_of_ours = client.answer().await;
        let shown = &answer[..answer.len().min(100)];
        assert_eq!(answer_of_ours.status(), 502, "{shown:?}");
        assert_eq!(answer_of_ours.json()["findings"][0]["code"], "not-http", "{shown:?}");
        assert_eq!(served.rest().await, "", "the connection is closed");
    }
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok", "and nobody is held");
}

#[tokio::test]
async fn a_head_without_end_is_refused_before_it_fills_the_memory() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    served.send("HTTP/1.1 200 OK\r\nX: ").await;
    let mut sent = 0;
    while served.try_send([b'x'; 16 << 10]).await.is_ok() {
        sent += 16 << 10;
        assert!(sent < 64 << 20, "it is bounded");
    }
    assert_eq!(client.answer().await.status(), 502);
}

#[tokio::test]
async fn a_status_that_nobody_knows_passes() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for status in ["299 Odd", "499 Client Closed", "599 Odd", "999 Denied"] {
        let (mut client, mut served) = asked(&proxy, &upstream).await;
        served.send(format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")).await;
        let answer = client.answer().await;
        assert_eq!(answer.head.lines().next(), Some(format!("HTTP/1.1 {status}").as_str()));
        assert_eq!(answer.body, "ok");
    }
}

#[tokio::test]
async fn what_comes_after_the_declared_length_is_never_forwarded() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
    ] {
        let (mut client, mut served) = asked(&proxy, &upstream).await;
        served.send(answer).await;
        client.send(GET).await;
        // On a connection of its own.
        let mut next = upstream.accept().await;
        next.head().await;
        next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nthe next").await;
        let all = client.until("the next").await;
        assert!(!all.contains("evil"), "{all}");
        assert_eq!(served.rest().await, "", "it got no second request");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_visibly_broken() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (framing, rest) in [
        ("Content-Length: 10", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked", "8\r\nhalf"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\nX-Sum: 1\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\nnonsense\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n10000000000000000\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhalfXX0\r\n\r\n"),
    ] {
        for reset in [false, true] {
            let (mut client, mut served) = asked(&proxy, &upstream).await;
            served.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{rest}")).await;
            if reset {
                // Otherwise nothing of it need arrive.
                client.head().await;
                served.reset();
            } else {
                drop(served);
            }
            let all = client.rest().await;
            assert!(!all.ends_with("0\r\n\r\n"), "{framing} {rest:?}: {all:?}");
            assert!(all.matches("half").count() <= 1 && !all.contains("findings"), "no page inside: {all:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_passes_unless_it_is_reset() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    served.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    drop(served);
    let head = client.head().await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    assert!(client.until("0\r\n\r\n").await.contains("all of it"));

    let (mut client, mut served) = asked(&proxy, &upstream).await;
    served.send("HTTP/1.1 200 OK\r\n\r\nhalf of it").await;
    client.until("half of it\r\n").await;
    served.reset();
    assert_eq!(client.rest().await, "", "no final chunk");
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_served_as_one_and_the_client_need_not_know() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (head, chunked) in
        [("", true), ("Content-Length: 2\r\n", false), ("Connection: keep-alive\r\nContent-Length: 2\r\n", false)]
    {
        let (mut client, mut served) = asked(&proxy, &upstream).await;
        served.send(format!("HTTP/1.0 200 OK\r\n{head}\r\nok")).await;
        if chunked {
            drop(served);
        }
        let answered = client.head().await;
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "our own version: {answered}");
        let body = if chunked { "2\r\nok\r\n0\r\n\r\n" } else { "ok" };
        assert_eq!(client.exactly(body.len()).await, body);
        // Its body's length is unknown, which HTTP/1.0 cannot say: on a new connection we do not know yet what it speaks.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
        let mut served = upstream.accept().await;
        assert!(served.head().await.starts_with("POST / HTTP/1.1\r\n"));
        assert_eq!(served.until("0\r\n\r\n").await, "2\r\nhi\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_a_gateway_timeout() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        served.send("HTTP/1.1 200 OK\r\nX: ").await;
        while served.try_send("x").await.is_ok() {
            tick.tick().await;
        }
    });
    assert_eq!(client.answer().await.status(), 504);
    dripping.await.expect("the connection is closed");
}

#[tokio::test]
async fn interim_answers_do_not_disturb_the_final_one() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    for _ in 0..2 {
        served.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n").await;
        served.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Length: 7\r\n\r\n").await;
        served.send(OK).await;
        let head = client.head().await;
        // When this fails, hyper's server can write interim answers: forward them (RFC 9110 §15.2), and mend
        // docs/decisions.md.
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!((header(&head, "link"), header(&head, "content-length")), (None, Some("2")));
        assert_eq!(client.exactly(2).await, "ok");
        client.send(GET).await;
        served.head().await;
    }
}

#[tokio::test]
async fn interim_answers_without_end_are_a_gateway_timeout() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    let (mut client, mut served) = asked(&proxy, &upstream).await;
    let flooding = tokio::spawn(async move {
        let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".repeat(1000);
        while served.try_send(&flood).await.is_ok() {}
    });
    // Others are served meanwhile.
    let mut other = proxy.client().await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
    assert_eq!(other.answer().await.status(), 200);
    assert_eq!(client.answer().await.status(), 504);
    flooding.await.expect("the connection is closed");
}

#[tokio::test]
async fn hyper_itself_cannot_answer_103() {
    // The limit of docs/decisions.md at its root.
    let service = hyper::service::service_fn(|_: http::Request<hyper::body::Incoming>| async {
        let mut answer = http::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
        *answer.status_mut() = http::StatusCode::EARLY_HINTS;
        Ok::<_, std::convert::Infallible>(answer)
    });
    let (client, server) = tokio::io::duplex(1 << 10);
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(server), service);
    let asking = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut read, mut write) = tokio::io::split(client);
        write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it reads");
        let mut all = String::new();
        read.read_to_string(&mut all).await.expect("text");
        all
    };
    let (served, all) = tokio::join!(serving, asking);
    assert!(served.is_err() && !all.contains(" 103 "), "hyper can write interim answers now: {all}");
}
