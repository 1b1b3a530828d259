//! Trailers pass, announced or not, and never become headers.

mod support;

use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A client, and its request's other end.
async fn asked(proxy: &TestProxy, upstream: &FakeUpstream, ask: &str) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(ask).await;
    (client, upstream.accept().await)
}

#[tokio::test]
async fn trailers_of_a_request_pass_unannounced() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) =
        asked(&proxy, &upstream, &format!("{POST}2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Two: a\r\nX-Two: b\r\n\r\n")).await;
    let head = served.head().await;
    assert_eq!(header(&head, "x-sum"), None, "not a header");
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 1\r\nx-two: a\r\nx-two: b\r\n\r\n");
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
    // The next message of the same connections has none.
    client.send(format!("{POST}2\r\nhi\r\n0\r\n\r\n")).await;
    served.head().await;
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\n\r\n");
}

#[tokio::test]
async fn trailers_of_a_request_pass_announced() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let ask = POST.replace("\r\n\r\n", "\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n");
    let (_client, mut served) = asked(&proxy, &upstream, &format!("{ask}2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    let head = served.head().await;
    assert_eq!((header(&head, "trailer"), header(&head, "te")), (Some("X-Sum"), Some("trailers")));
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[tokio::test]
async fn trailers_of_an_answer_pass_whether_they_were_announced_or_asked_for_or_not() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for te in ["", "TE: trailers\r\n"] {
        for trailer in ["", "Trailer: X-Sum\r\n"] {
            let (mut client, mut served) =
                asked(&proxy, &upstream, &format!("GET / HTTP/1.1\r\nHost: a\r\n{te}\r\n")).await;
            for round in 0..2 {
                served.head().await;
                let head = CHUNKED.replace("\r\n\r\n", &format!("\r\n{trailer}\r\n"));
                served.send(format!("{head}2\r\nhi\r\n0\r\nX-Sum: {round}\r\n\r\n")).await;
                let head = client.head().await;
                assert_eq!(header(&head, "x-sum"), None, "not a header");
                let body = client.until("\r\n\r\n").await;
                assert_eq!(body, format!("2\r\nhi\r\n0\r\nx-sum: {round}\r\n\r\n"), "{te:?} {trailer:?}");
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            }
            served.head().await;
            served.send(OK).await;
            assert_eq!(client.answer().await.body, "ok", "the connection is in step");
        }
    }
}

#[tokio::test]
async fn trailers_pass_after_a_long_body_to_a_slow_reader_and_data_is_not_mistaken_for_an_end() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.head().await;
    let data = "0\r\n\r\n".repeat(800_000);
    let sent = format!("{CHUNKED}{:x}\r\n{data}\r\n0\r\nX-Sum: {}\r\n\r\n", data.len(), "9".repeat(5000));
    let sending = tokio::spawn(async move {
        served.send(sent).await;
        served
    });
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    let mut received = String::new();
    while received.len() < data.len() {
        let size = client.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk");
        received.push_str(&client.exactly(size).await);
        assert_eq!(client.exactly(2).await, "\r\n");
    }
    assert!(received == data);
    assert_eq!(client.until("\r\n\r\n").await, format!("0\r\nx-sum: {}\r\n\r\n", "9".repeat(5000)));
    let mut served = sending.await.expect("sent");
    served.head().await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn what_frames_routes_or_authenticates_is_dropped_from_trailers() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let evil =
        "Content-Length: 9\r\nHost: evil\r\nAuthorization: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    let (mut client, mut served) = asked(&proxy, &upstream, &format!("{POST}0\r\n{evil}X-Sum: 1\r\n\r\n")).await;
    served.head().await;
    assert_eq!(served.until("\r\n\r\n").await, "0\r\nx-sum: 1\r\n\r\n");
    served.send(format!("{CHUNKED}0\r\n{evil}\r\n")).await;
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn what_connection_nominates_is_no_trailer_either() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let ask = POST.replace("\r\n\r\n", "\r\nConnection: X-Hop\r\n\r\n");
    let (mut client, mut served) =
        asked(&proxy, &upstream, &format!("{ask}2\r\nhi\r\n0\r\nX-Hop: 1\r\nX-Sum: 1\r\n\r\n")).await;
    served.head().await;
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
    let answer = CHUNKED.replace("\r\n\r\n", "\r\nConnection: X-Hop\r\n\r\n");
    served.send(format!("{answer}2\r\nhi\r\n0\r\nX-Hop: 1\r\nX-Sum: 1\r\n\r\n")).await;
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_body_without_trailers() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, "GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    served.head().await;
    served.send(format!("{CHUNKED}2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    let head = client.head().await;
    assert_eq!(header(&head, "transfer-encoding"), None);
    assert_eq!(client.rest().await, "hi");
}

#[tokio::test]
async fn trailers_are_sent_again_with_their_body() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let put = POST.replace("POST", "PUT");
    let (_client, mut served) = asked(&proxy, &upstream, &format!("{put}2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    served.until("x-sum: 1\r\n\r\n").await;
    served.reset();
    let mut served = upstream.accept().await;
    served.head().await;
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[tokio::test]
async fn trailers_beyond_their_bound_break_the_message() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(&proxy, &upstream, POST).await;
    served.head().await;
    let _ = client.try_send(format!("0\r\nX: {}\r\n\r\n", "x".repeat(100 << 10))).await;
    assert!(!served.rest().await.contains("0\r\n"), "no end");
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}
