//! A client that leaves is noticed, whatever it has sent and however much of that is unread.

mod support;

use std::time::{Duration, Instant};

use support::raw::Peer;
use support::{FakeUpstream, TestProxy, config};
use tokio::time::sleep;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How soon the upstream is told that the client has left; it takes less than 100 ms on a machine that is free.
const CANCELLED_SOON: Duration = Duration::from_secs(2);
/// Longer than a client that closes its sending half is listened to for, with slack.
const SURELY_NOTICED: Duration = Duration::from_millis(600);

/// What a client may have sent that waits to be read when it leaves.
fn asks() -> [(&'static str, String); 5] {
    let offer = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    [
        ("a stray line end", format!("{GET}\r\n")),
        ("a pipelined request", format!("{GET}{GET}")),
        ("half a head", format!("{GET}GET /ha")),
        ("an early frame", format!("{offer}\u{1}\u{2}")),
        ("more than is ever read ahead", format!("{GET}{}", GET.repeat(3_000))),
    ]
}

fn leave(client: Peer, reset: bool) {
    if reset { client.reset() } else { drop(client) }
}

#[tokio::test]
async fn a_client_that_leaves_with_bytes_unread_cancels_the_upstreams_work() {
    for begun in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"] {
        for (what, ask) in asks() {
            for reset in [false, true] {
                let upstream = FakeUpstream::start().await;
                let proxy = TestProxy::start(config(upstream.address));
                let mut client = proxy.client().await;
                client.send(&ask).await;
                let mut served = upstream.accept().await;
                served.head().await;
                served.send(begun).await;
                if !begun.is_empty() {
                    client.until("1\r\nx\r\n").await;
                }
                let began = Instant::now();
                leave(client, reset);
                assert_eq!(served.rest().await, "", "{what}");
                assert!(began.elapsed() < CANCELLED_SOON, "{what}, reset: {reset}: {:?}", began.elapsed());
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_stays_is_not_taken_for_one_that_left() {
    for (what, ask) in asks() {
        let upstream = FakeUpstream::start().await;
        let proxy = TestProxy::start(config(upstream.address));
        let mut client = proxy.client().await;
        client.send(&ask).await;
        let mut served = upstream.accept().await;
        served.head().await;
        sleep(SURELY_NOTICED).await;
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok", "{what}");
    }
}
