//! What a connection costs that has nothing to say, and a crowd of them that all say something at once.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anteroom::conduit::Pipes;
use anteroom::server::http1::AtHand;
use futures_util::FutureExt;
use futures_util::future::join_all;
use support::program::Program;
use support::raw::Peer;
use support::unwatched::Unwatched;
use support::{FakeUpstream, LONG, Serving, TestProxy, config, nobody, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";

/// More than are kept at hand.
const MANY: usize = 100;

async fn stage(idle_timeout: Duration) -> (TestProxy, Serving) {
    let upstream = FakeUpstream::start().await.answering(OK);
    let mut config = config(upstream.address);
    config.limits.idle_timeout = idle_timeout;
    (TestProxy::start(config), upstream)
}

#[tokio::test]
async fn a_connection_at_rest_is_asked_again_and_is_closed_when_it_has_rested_for_too_long() {
    const IDLE: Duration = Duration::from_secs(4);
    let (proxy, _upstream) = stage(IDLE).await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push((proxy.client().await, Instant::now()));
    }
    // Some are still at hand after the first of these, and none after the second.
    for rest in [200, 1500, 0] {
        for (client, answered) in &mut clients {
            client.send(GET).await;
            assert_eq!(client.answer().await.body, "ok");
            *answered = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
    let rests = join_all(clients.iter_mut().map(|(client, answered)| async move {
        assert_eq!(client.rest().await, "");
        answered.elapsed()
    }));
    for rested in rests.await {
        // Since a moment before.
        assert!(rested > IDLE - Duration::from_millis(500), "{rested:?}");
    }
}

#[tokio::test]
async fn empty_lines_do_not_make_a_rest_longer() {
    const IDLE: Duration = Duration::from_millis(400);
    let (proxy, _upstream) = stage(IDLE).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok");
    soon(async {
        while client.try_send("\r\n").await.is_ok() {
            tokio::time::sleep(IDLE / 4).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_to_be_closed_is_closed_though_none_is_kept_at_hand() {
    let proxy = Unwatched::start_with(config(nobody().await), AtHand::new(0), Pipes::default(), |_| {}).await;
    let mut client = Peer::connect(proxy.address).await;
    // Whoever asks for the state is answered at once, before the end of the body is looked at.
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
    client.answer().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_leaves_at_rest_is_let_go_at_once() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let proxy = Unwatched::start(config(upstream.address)).await;
    let mut crowd = Vec::new();
    for _ in 0..MANY {
        let mut client = Peer::connect(proxy.address).await;
        client.send(GET).await;
        assert_eq!(client.answer().await.body, "ok");
        crowd.push(client);
    }
    // From now on nothing happens because of time.
    tokio::time::pause();
    for client in &mut crowd {
        client.finish().await;
        let (mut rest, mut turns) = (pin!(client.rest()), 0);
        while rest.as_mut().now_or_never().is_none() {
            turns += 1;
            assert!(turns < 1000, "it is still waited for");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_asked_before_an_answer_has_come_is_answered_too() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut crowd = Vec::new();
    for _ in 0..MANY {
        let mut client = proxy.client().await;
        client.send(GET).await;
        let mut served = upstream.accept().await;
        served.head().await;
        client.send(GET).await;
        crowd.push((client, served));
    }
    for (client, served) in &mut crowd {
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok");
    }
    for (_, served) in &mut crowd {
        served.head().await;
        served.send(OK).await;
    }
    for (client, _) in &mut crowd {
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn a_crowd_that_asks_at_once_does_not_have_all_its_requests_under_way_at_once() {
    // Fewer than the listener's queue holds.
    const CROWD: usize = 120;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // In the same thread as the proxy: how many are under way depends on nobody else.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut peer = Peer::new(stream);
                while peer.has_data().await {
                    peer.head().await;
                    peer.send(OK).await;
                }
            });
        }
    });
    let mut crowd = Vec::new();
    let _proxy = Unwatched::start_with(config(address), AtHand::default(), Pipes::default(), |address| {
        for _ in 0..CROWD {
            let mut client = TcpStream::connect(address).expect("it listens");
            client.write_all(GET.as_bytes()).expect("room");
            crowd.push(client);
        }
    })
    .await;
    let answers = tokio::task::spawn_blocking(move || {
        for client in &mut crowd {
            client.set_read_timeout(Some(LONG)).expect("an option");
            let mut answer = [0; 17];
            client.read_exact(&mut answer).expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
        }
    });
    soon(answers).await.expect("all are answered");
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections < CROWD / 4, "{connections} requests were under way at once");
}

#[tokio::test]
async fn a_connection_at_rest_takes_a_few_kibibytes() {
    // Both ends are files of one process; not every machine allows a thousand, of which the program lets 389 in.
    const CONNECTIONS: usize = 300;
    let upstream = FakeUpstream::start().await.answering(OK);
    let program = Program::start(upstream.address, "");
    let client = || async {
        let mut client = Peer::connect(program.address).await;
        client.send(GET).await;
        assert_eq!(client.answer().await.body, "ok");
        client
    };
    let mut crowd = vec![client().await];
    let before = program.memory();
    while crowd.len() <= CONNECTIONS {
        crowd.push(client().await);
    }
    // The 64 that are kept at hand included; with hyper's buffers each would take 20.
    let each = (program.memory() - before) / CONNECTIONS;
    assert!(each < 10, "{each} KiB");
}
