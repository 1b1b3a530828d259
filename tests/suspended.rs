//! A held request keeps no hyper, and nobody can tell: neither its client, nor the upstream.

mod support;

use std::net::SocketAddr;

use support::raw::{Peer, header};
use support::scrape::{scrape, value};
use support::{FakeUpstream, TestProxy, config, nobody, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /one HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";

/// A client whose requests wait for an upstream that is yet to listen.
struct Waiting {
    proxy: TestProxy,
    client: Peer,
    upstream: SocketAddr,
}

impl Waiting {
    async fn after(request: impl AsRef<[u8]>) -> Self {
        let upstream = nobody().await;
        let proxy = TestProxy::start(config(upstream));
        let mut client = proxy.client().await;
        client.send(request).await;
        let waiting = Self { proxy, client, upstream };
        waiting.becomes(1.0).await;
        waiting
    }

    /// Until so many are held.
    async fn becomes(&self, held: f64) {
        soon(async { while value(&scrape(&self.proxy).await, "anteroom_requests_held") != Some(held) {} }).await;
    }

    async fn served(&self) -> (FakeUpstream, Peer) {
        let upstream = FakeUpstream::start_at(self.upstream).await;
        let peer = upstream.accept().await;
        (upstream, peer)
    }
}

#[tokio::test]
async fn the_connection_of_a_request_that_was_held_serves_on_as_if_nothing_had_been() {
    let mut waiting = Waiting::after(GET).await;
    let (_upstream, mut served) = waiting.served().await;
    assert!(served.head().await.starts_with("GET /one HTTP/1.1\r\n"));
    served.send(OK).await;
    let answer = waiting.client.answer().await;
    assert_eq!((answer.status(), answer.body.as_str(), answer.header("connection")), (200, "ok", None));
    for number in 2..5 {
        waiting.client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(served.head().await.starts_with(&format!("GET /{number} HTTP/1.1\r\n")));
        served.send(OK).await;
        assert_eq!(waiting.client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn the_answer_to_a_head_request_that_was_held_has_a_length_and_no_body() {
    let mut waiting = Waiting::after(GET.replace("GET", "HEAD")).await;
    let (_upstream, mut served) = waiting.served().await;
    assert!(served.head().await.starts_with("HEAD /one HTTP/1.1\r\n"));
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let head = waiting.client.head().await;
    assert!(header(&head, "content-length") == Some("5"), "{head}");
    waiting.client.send(GET).await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(waiting.client.answer().await.body, "ok", "what follows is the next answer");
}

#[tokio::test]
async fn a_client_that_closes_after_the_request_that_was_held_is_closed() {
    let mut waiting = Waiting::after(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    let (_upstream, mut served) = waiting.served().await;
    let head = served.head().await;
    assert_eq!(header(&head, "connection"), None, "that is between the client and us: {head}");
    served.send(OK).await;
    let all = waiting.client.rest().await;
    assert!(all.contains("\r\nConnection: close\r\n") && all.ends_with("\r\n\r\nok"), "{all}");
}

#[tokio::test]
async fn what_is_asked_behind_a_request_that_is_held_is_answered_after_it() {
    // In one piece with it, in a piece of its own while it waits, and cut anywhere.
    let two = GET.replace("one", "two");
    for at in [0, 1, 20, two.len() - 1, two.len()] {
        let (early, late) = two.split_at(at);
        let mut waiting = Waiting::after(format!("{GET}{early}")).await;
        waiting.client.send(late).await;
        let (_upstream, mut served) = waiting.served().await;
        for name in ["one", "two"] {
            assert!(served.head().await.starts_with(&format!("GET /{name} HTTP/1.1\r\n")), "{at}");
            served.send(OK.replace("ok", &name[..2])).await;
            assert_eq!(waiting.client.answer().await.body, name[..2], "{at}");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_held_arrives_byte_for_byte() {
    let long = "x".repeat(20_000);
    let fields = format!(
        "HOST: a\r\nx-eMpTy:\r\nX-Odd:\t\u{e9}\u{20ac} ~\r\nX-Two: 1\r\nx-two: 2\r\nCookie: {long}\r\n\
         Authorization: Basic eDp5\r\n"
    );
    let mut waiting = Waiting::after(format!("PROPFIND /a%20b?c=d%0a&{long} HTTP/1.1\r\n{fields}\r\n")).await;
    let (_upstream, mut served) = waiting.served().await;
    let head = String::from_utf8(served.head_bytes().await).expect("as it was sent");
    assert!(head.starts_with(&format!("PROPFIND /a%20b?c=d%0a&{long} HTTP/1.1\r\n")), "{head}");
    for line in fields.lines() {
        let line = line.replace("X-Odd:\t", "X-Odd: ");
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line:?} is not in {head}");
    }
    // And so does its answer.
    served.send("HTTP/1.1 203 So what\r\neTag: \"x\"\r\nX-ODD: \u{e9}\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = waiting.client.answer().await;
    assert!(answer.head.starts_with("HTTP/1.1 203 So what\r\n"), "{}", answer.head);
    for line in ["eTag: \"x\"", "X-ODD: \u{e9}"] {
        assert!(answer.head.contains(&format!("\r\n{line}\r\n")), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole_to_who_was_held() {
    const LARGE: usize = 8 << 20;
    let mut waiting = Waiting::after(GET).await;
    let (_upstream, mut served) = waiting.served().await;
    served.head().await;
    let body: String = ('a'..='z').cycle().take(LARGE).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{body}");
    let ((), got) = tokio::join!(served.send(answer), waiting.client.answer());
    assert!(got.body == body, "{} bytes", got.body.len());
}

#[tokio::test]
async fn trailers_come_to_who_was_held() {
    let mut waiting = Waiting::after(GET).await;
    let (_upstream, mut served) = waiting.served().await;
    served.head().await;
    let body = "2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    served.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
    waiting.client.head().await;
    assert_eq!(waiting.client.exactly(body.len()).await, body);
}

#[tokio::test]
async fn who_is_held_while_we_stop_is_answered_and_told_that_it_was_the_last() {
    let mut waiting = Waiting::after(GET).await;
    waiting.proxy.stop();
    let all = waiting.client.rest().await;
    assert!(all.starts_with("HTTP/1.1 503 ") && all.contains("\r\nConnection: close\r\n"), "{all}");
    soon(waiting.proxy.stopped()).await;
}

#[tokio::test]
async fn a_head_whose_rest_comes_after_we_were_told_to_stop_is_answered() {
    let (begin, rest) = GET.split_at(30);
    let mut waiting = Waiting::after(GET).await;
    let mut client = waiting.proxy.client().await;
    client.send(begin).await;
    // Whoever asks after it is answered after it was read.
    let mut other = waiting.proxy.client().await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await;
    other.answer().await;
    waiting.proxy.stop();
    assert!(waiting.client.rest().await.starts_with("HTTP/1.1 503 "), "it is heard that we stop");
    client.send(rest).await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 503 ") && all.contains("\r\nConnection: close\r\n"), "{all}");
}

#[tokio::test]
async fn a_client_that_is_held_and_leaves_is_not_served() {
    for resets in [false, true] {
        let mut waiting = Waiting::after(GET).await;
        let mut other = waiting.proxy.client().await;
        other.send(GET.replace("one", "two")).await;
        waiting.becomes(2.0).await;
        if resets {
            std::mem::replace(&mut waiting.client, other).reset();
        } else {
            waiting.client.finish().await;
            assert_eq!(waiting.client.rest().await, "", "it is closed");
            waiting.client = other;
        }
        waiting.becomes(1.0).await;
        // Who came first would be served first.
        let (_upstream, mut served) = waiting.served().await;
        assert!(served.head().await.starts_with("GET /two "), "{resets}");
        served.send(OK).await;
        assert_eq!(waiting.client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn clients_that_are_gone_before_their_requests_are_looked_at_leave_nothing_behind() {
    let mut waiting = Waiting::after(GET).await;
    for _ in 0..100 {
        let mut client = waiting.proxy.client().await;
        client.send(GET).await;
        client.reset();
    }
    // Whoever asks after them is answered after they were looked at.
    let mut others = Vec::new();
    for _ in 0..40 {
        let mut other = waiting.proxy.client().await;
        other.send(GET).await;
        others.push(other);
    }
    waiting.becomes(41.0).await;
    let _upstream = FakeUpstream::start_at(waiting.upstream).await.answering(OK);
    for client in others.iter_mut().chain([&mut waiting.client]) {
        assert_eq!(client.answer().await.body, "ok");
    }
    waiting.becomes(0.0).await;
}
