//! What a connection costs that has nothing to say, and a crowd of them that all say something at once.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use support::raw::Peer;
use support::unwatched::Unwatched;
use support::{FakeUpstream, LONG, TestProxy, config, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";

/// More than are kept at hand.
const MANY: usize = 100;

#[tokio::test]
async fn a_connection_at_rest_is_asked_again_and_is_closed_when_it_has_rested_for_too_long() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let mut config = config(upstream.address);
    // Longer than one is kept at hand.
    config.limits.idle_timeout = Duration::from_millis(1500);
    let proxy = TestProxy::start(config);
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(proxy.client().await);
    }
    for rest in [200, 1200, 0] {
        for client in &mut clients {
            client.send(GET).await;
            assert_eq!(client.answer().await.body, "ok");
        }
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
    let answered = std::time::Instant::now();
    for client in &mut clients {
        assert_eq!(client.rest().await, "");
    }
    assert!(answered.elapsed() > Duration::from_secs(1), "{:?}", answered.elapsed());
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
    let _proxy = Unwatched::start_after(config(address), |address| {
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

/// The program itself, ended with the test.
struct Program(Child);

impl Program {
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_connection_at_rest_takes_a_few_kibibytes() {
    const CONNECTIONS: usize = 1000;
    let upstream = FakeUpstream::start().await.answering(OK);
    let address: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let program = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .arg("serve")
        .env_clear()
        .env("ANTEROOM_LISTEN", address.to_string())
        .env("ANTEROOM_ADMIN_LISTEN", "127.0.0.1:0")
        .env("ANTEROOM_UPSTREAM", format!("http://{}", upstream.address))
        .env("ANTEROOM_THREADS", "1")
        .env("ANTEROOM_MAX_CONNECTIONS", "2000")
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let program = Program(program.expect("it starts"));
    let client = || async {
        let mut client = Peer::new(tokio::net::TcpStream::connect(address).await.ok()?);
        client.send(GET).await;
        assert_eq!(client.answer().await.body, "ok");
        Some(client)
    };
    let mut crowd = Vec::new();
    soon(async {
        while crowd.is_empty() {
            crowd.extend(client().await);
        }
    })
    .await;
    let before = program.memory();
    while crowd.len() <= CONNECTIONS {
        crowd.push(client().await.expect("it listens"));
    }
    // The 64 that are kept at hand included, and twice of what is seen; with hyper's buffers each would take 20.
    let each = (program.memory() - before) / CONNECTIONS;
    assert!(each < 10, "{each} KiB");
}
