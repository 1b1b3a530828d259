//! WebSockets and other protocols that take a connection over.

mod support;

use std::time::Duration;

use anteroom::config::Patience;
use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config, nobody, soon};

const ASK: &str = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A tunnel through anteroom: the client's end and the upstream's.
async fn tunnel(proxy: &TestProxy, upstream: &FakeUpstream) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(ASK).await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(header(&head, "sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    served.send(AGREE).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    (client, served)
}

#[tokio::test]
async fn after_101_bytes_pass_both_ways() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    for round in 0..3 {
        client.send(format!("up {round}")).await;
        assert_eq!(served.exactly(4).await, format!("up {round}"));
        served.send(format!("down {round}")).await;
        assert_eq!(client.exactly(6).await, format!("down {round}"));
    }
}

#[tokio::test]
async fn what_a_tunnel_begins_with_is_written_as_it_came() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for agree in [AGREE.to_owned(), AGREE.replace(" Switching Protocols", "")] {
        let mut client = proxy.client().await;
        client.send(ASK).await;
        let mut served = upstream.accept().await;
        let head = served.head().await;
        for name in ["Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
            assert!(head.contains(&format!("\r\n{name}: ")), "{head}");
        }
        // The first bytes of the tunnel come along, and look like a head.
        served.send(format!("{agree}hTTp/1.1 200\r\nx: y\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.contains("\r\nSec-WebSocket-Accept: "), "{head}");
        assert_eq!(client.exactly(22).await, "hTTp/1.1 200\r\nx: y\r\n\r\n");
    }
}

#[tokio::test]
async fn each_direction_of_a_tunnel_ends_by_itself() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    client.send("last words").await;
    client.finish().await;
    assert_eq!(served.rest().await, "last words");
    served.send("and mine").await;
    served.finish().await;
    assert_eq!(client.rest().await, "and mine");
}

#[tokio::test]
async fn a_tunnel_ends_when_the_upstream_dies() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, served) = tunnel(&proxy, &upstream).await;
    served.reset();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn an_upgrade_is_held_like_any_request() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send(ASK).await;
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(AGREE).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("ping").await;
    assert_eq!(served.exactly(4).await, "ping");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(ASK).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (403, "no"));
}

#[tokio::test]
async fn an_offer_in_http_1_0_is_not_passed_on() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(ASK.replace("HTTP/1.1", "HTTP/1.0")).await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (None, None), "{head}");
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.head().await.starts_with("HTTP/1.0 200 "));
    assert_eq!(client.exactly(2).await, "ok");
}

#[tokio::test]
async fn a_switch_that_was_not_asked_for_is_a_broken_exchange() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (ask, agree) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n".to_owned(), AGREE.to_owned()),
        (ASK.to_owned(), AGREE.replace("websocket", "h2c")),
    ] {
        let mut client = proxy.client().await;
        client.send(ask).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(agree).await;
        assert_eq!(client.answer().await.status(), 502);
    }
}

#[tokio::test]
async fn the_upstream_may_end_its_direction_first() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    served.send("last words").await;
    served.finish().await;
    assert_eq!(client.rest().await, "last words");
    client.send("and mine").await;
    client.finish().await;
    assert_eq!(served.rest().await, "and mine");
}

#[tokio::test]
async fn a_direction_that_ended_does_not_end_the_other_one() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for upstream_ends in [false, true] {
        let (mut client, mut served) = tunnel(&proxy, &upstream).await;
        let (ending, going_on) = if upstream_ends { (&mut served, &mut client) } else { (&mut client, &mut served) };
        ending.finish().await;
        assert_eq!(going_on.rest().await, "");
        for round in 0..3 {
            going_on.send(format!("still {round}")).await;
            assert_eq!(ending.exactly(7).await, format!("still {round}"));
        }
        going_on.finish().await;
        assert_eq!(ending.rest().await, "");
    }
    upstream.left_alone().await;
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other_side() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for upstream_resets in [false, true] {
        let (client, served) = tunnel(&proxy, &upstream).await;
        let (resetting, mut other) = if upstream_resets { (served, client) } else { (client, served) };
        resetting.reset();
        assert!(other.is_reset().await, "not an end that looks like one");
    }
    upstream.left_alone().await;
}

#[tokio::test]
async fn who_sends_to_an_upstream_that_has_gone_is_told() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    client.send("hello").await;
    served.exactly(5).await;
    // It closes both directions, which its client learns only by what it sends.
    drop(served);
    let began = std::time::Instant::now();
    soon(async {
        while client.try_send("more").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(began.elapsed() > Duration::from_secs(9), "its client may have been reading: {:?}", began.elapsed());
    upstream.left_alone().await;
}

#[tokio::test]
async fn who_sends_to_an_upstream_that_has_gone_gets_first_what_that_had_said() {
    const SAID: usize = 1 << 20;
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    let saying = async {
        served.send("x".repeat(SAID)).await;
        drop(served);
    };
    let pinging = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.send("ping").await;
        }
        client.exactly(SAID).await.len()
    };
    let ((), got) = tokio::join!(saying, pinging);
    assert_eq!(got, SAID);
}

#[tokio::test]
async fn what_one_side_does_not_read_the_other_cannot_send() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for upstream_sends in [false, true] {
        let (mut client, mut served) = tunnel(&proxy, &upstream).await;
        let (sending, reading) = if upstream_sends { (&mut served, &mut client) } else { (&mut client, &mut served) };
        let mut sent = 0;
        while let Ok(some) =
            tokio::time::timeout(Duration::from_millis(300), sending.write_some(&[b'x'; 64 << 10])).await
        {
            sent += some;
            assert!(sent < 64 << 20, "it is bounded");
        }
        assert_eq!(reading.exactly(sent).await.len(), sent, "and nothing of it is lost");
    }
}

#[tokio::test]
async fn what_comes_together_with_a_head_belongs_to_the_tunnel() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(format!("{ASK}early")).await;
    let mut served = upstream.accept().await;
    assert_eq!(served.head().await.matches("early").count(), 0);
    served.send(format!("{AGREE}hello")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.exactly(5).await, "hello");
    assert_eq!(served.exactly(5).await, "early");
}

#[tokio::test]
async fn a_silent_tunnel_is_cut_by_no_timer_of_requests() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(50);
    config.patience = Patience {
        navigation: Duration::from_millis(50),
        request: Duration::from_millis(50),
        stream: Duration::from_millis(50),
    };
    let proxy = TestProxy::start(config);
    let (mut client, mut served) = tunnel(&proxy, &upstream).await;
    // Longer than all of them: silence is what is tested.
    assert!(tokio::time::timeout(Duration::from_millis(500), client.has_data()).await.is_err());
    served.send("ping").await;
    assert_eq!(client.exactly(4).await, "ping");
    client.send("pong").await;
    assert_eq!(served.exactly(4).await, "pong");
}

#[tokio::test]
async fn a_body_that_comes_with_an_upgrade_arrives_before_the_tunnel() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(ASK.replace("Host: a", "Host: a\r\nContent-Length: 5")).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(AGREE).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("hello").await;
    assert_eq!(served.exactly(5).await, "hello");
    served.send("ping").await;
    assert_eq!(client.exactly(4).await, "ping");
    client.send("pong").await;
    assert_eq!(served.exactly(4).await, "pong");
}
