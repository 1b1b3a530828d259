//! Stopping: what runs may finish.

mod support;

use std::io::{Read, Write};
use std::time::Instant;

use anteroom::server::DRAIN;
use http::Request;
use support::http2::{Client, read};
use support::{FakeUpstream, LONG, TestProxy, config, nobody};
use tokio::net::TcpStream;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_that_runs_is_finished_and_its_connection_closed() {
    let upstream = FakeUpstream::start().await;
    let mut proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    proxy.stop();
    refused(&proxy).await;
    served.send(OK).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"));
    assert_eq!(answer.header("connection"), Some("close"), "the client is told");
    assert_eq!(client.rest().await, "", "closed");
    proxy.stopped().await;
}

#[tokio::test]
async fn who_has_asked_before_is_answered_though_nobody_has_looked_yet() {
    let upstream = FakeUpstream::start().await.answering(OK);
    for _ in 0..5 {
        let mut proxy = TestProxy::start(config(upstream.address));
        // Somebody has to be answered first, or all would be held until the upstream is known.
        let mut first = proxy.client().await;
        first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        first.answer().await;
        let address = proxy.address;
        let ask = move |_| {
            let mut client = std::net::TcpStream::connect(address).expect("it listens");
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("room");
            client
        };
        let clients: Vec<_> = (0..100).map(ask).collect();
        proxy.stop();
        let answers = tokio::task::spawn_blocking(|| {
            for mut client in clients {
                let mut answer = String::new();
                client.set_read_timeout(Some(LONG)).expect("an option");
                client.read_to_string(&mut answer).expect("no reset");
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
            }
        });
        answers.await.expect("each is answered");
        proxy.stopped().await;
    }
}

#[tokio::test]
async fn a_connection_that_has_asked_nothing_but_an_empty_line_holds_up_no_stop() {
    let proxy = TestProxy::start(config(nobody().await));
    let mut client = proxy.client().await;
    client.send("\r\n").await;
    // Whoever asks after it is answered after it was read.
    let mut other = proxy.client().await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
    other.answer().await;
    let asked = Instant::now();
    proxy.stopped().await;
    assert!(asked.elapsed() < DRAIN / 2, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stream_that_runs_may_end_by_itself() {
    let upstream = FakeUpstream::start().await;
    let mut proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
    client.until("2\r\nhi\r\n").await;
    proxy.stop();
    refused(&proxy).await;
    served.send("3\r\nend\r\n0\r\n\r\n").await;
    assert_eq!(client.rest().await, "3\r\nend\r\n0\r\n\r\n");
    proxy.stopped().await;
}

#[tokio::test]
async fn a_request_whose_body_is_on_its_way_is_finished() {
    let upstream = FakeUpstream::start().await;
    let mut proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.exactly(5).await;
    proxy.stop();
    refused(&proxy).await;
    client.send("world").await;
    assert_eq!(served.exactly(5).await, "world");
    served.send(OK).await;
    let answer = client.answer().await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("ok", Some("close")));
    proxy.stopped().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_once() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    client.answer().await;
    let began = std::time::Instant::now();
    proxy.stopped().await;
    assert_eq!(client.rest().await, "");
    assert!(began.elapsed() < anteroom::server::DRAIN, "it did not wait for an idle connection");
}

#[tokio::test]
async fn readyz_says_that_requests_are_taken_and_healthz_that_the_process_lives() {
    let upstream = FakeUpstream::start().await;
    let mut proxy = TestProxy::start(config(upstream.address));
    let ask = async |path: &str| {
        let mut client = support::raw::Peer::connect(proxy.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        client.answer().await.status()
    };
    assert_eq!([ask("/healthz").await, ask("/readyz").await], [200, 200]);

    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    proxy.stop();
    refused(&proxy).await;
    let ask = async |path: &str| {
        let mut client = support::raw::Peer::connect(proxy.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        client.answer().await.status()
    };
    assert_eq!([ask("/healthz").await, ask("/readyz").await], [200, 503], "while it drains");
    served.send(OK).await;
    proxy.stopped().await;
}

/// Waits until no new connection is accepted.
async fn refused(proxy: &TestProxy) {
    support::soon(async {
        while TcpStream::connect(proxy.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_stays_open_does_not_use_up_the_drain() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.head().await;
    let began = std::time::Instant::now();
    proxy.stopped().await;
    assert!(began.elapsed() < anteroom::server::DRAIN, "it was cut before");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn who_is_held_is_answered_and_not_cut() {
    let proxy = TestProxy::start(config(support::nobody().await));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    // Answered on the same connection, so the request before it has been read.
    let mut other = proxy.client().await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
    other.answer().await;
    let began = std::time::Instant::now();
    proxy.stopped().await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.json()["findings"][0]["code"].as_str()), (503, Some("target-warming")));
    assert!(began.elapsed() < anteroom::server::DRAIN, "stopping did not wait for the request's patience");
}

#[tokio::test]
async fn who_stands_in_the_line_of_an_upstream_that_is_ready_is_not_told_that_all_is_well() {
    let address = nobody().await;
    let mut proxy = TestProxy::start(config(address));
    let mut client = Client::connect(proxy.address).await;
    let mut answers = Vec::new();
    for number in 0..80 {
        let request = Request::get(format!("http://a/{number}")).header("accept", "application/json");
        answers.push(client.ask(request.body(()).expect("valid"), true).await.0);
    }
    // Its answer comes when all that were asked before stand in the line.
    let status = Request::get("http://a/").header("x-anteroom", "status").body(()).expect("valid");
    support::soon(client.ask(status, true).await.0).await.expect("an answer");
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = Vec::new();
    for _ in 0..16 {
        let mut peer = upstream.accept().await;
        peer.head().await;
        served.push(peer);
    }
    proxy.stop();
    // More than those that are on the way by now, however slow this machine is.
    for answer in answers.split_off(76) {
        let (head, mut body) = support::soon(answer).await.expect("an answer").into_parts();
        let (body, _) = read(&mut body).await.expect("a body");
        let retry_after = head.headers.get("retry-after").map(http::HeaderValue::as_bytes);
        assert_eq!((head.status.as_u16(), retry_after), (503, Some(&b"2"[..])), "{body}");
        assert!(body.contains("\"status\":503") && body.contains("patience-ended"), "{body}");
    }
}
