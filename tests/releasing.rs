//! Who is held passes in order of arrival, and as fast as a service that has just started can bear.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::Request;
use support::http2::Client;
use support::raw::Peer;
use support::{FakeUpstream, TestProxy, config, nobody, soon};
use tokio::net::TcpSocket;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn held_requests_pass_in_order_of_arrival() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = Client::connect(proxy.address).await;
    let mut answers = Vec::new();
    for number in 0..40 {
        let request = Request::get(format!("http://a/{number}")).body(()).expect("valid");
        answers.push(client.ask(request, true).await.0);
    }
    // Its answer comes when all that were asked before stand in the line.
    let status = Request::get("http://a/").header("x-anteroom", "status").body(()).expect("valid");
    soon(client.ask(status, true).await.0).await.expect("an answer");
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = Vec::new();
    for expected in 0..16 {
        let mut next = upstream.accept().await;
        let head = next.head().await;
        assert!(head.starts_with(&format!("GET /{expected} ")), "{expected}: {head}");
        served.push(next);
    }
    // Each answer lets the next ones go, over the connections that have become free or over new ones.
    let serving = async {
        served.into_iter().for_each(answer_all);
        loop {
            let mut peer = upstream.accept().await;
            peer.head().await;
            answer_all(peer);
        }
    };
    let answered = async {
        for answer in answers {
            assert_eq!(soon(answer).await.expect("an answer").status(), 200);
        }
    };
    tokio::select! {
        () = answered => {}
        () = serving => unreachable!("it accepts without end"),
    }
}

/// Answers what was asked and whatever else is asked over a connection.
fn answer_all(mut peer: Peer) {
    tokio::spawn(async move {
        peer.send(OK).await;
        while peer.has_data().await {
            peer.head().await;
            peer.send(OK).await;
        }
    });
}

/// Asks with these fields, of an upstream that is away, and returns the status once there is one.
async fn answer_to(proxy: &TestProxy, fields: &str) -> u16 {
    let mut client = proxy.client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    client.answer().await.status()
}

#[tokio::test]
async fn a_prober_is_never_held() {
    // Patience of twenty seconds, which is also how long an answer is waited for.
    let proxy = TestProxy::start(config(nobody().await));
    for agent in ["Go-http-client/1.1", "kube-probe/1.30"] {
        let began = Instant::now();
        assert_eq!(answer_to(&proxy, &format!("User-Agent: {agent}\r\n")).await, 503);
        assert!(began.elapsed() < Duration::from_secs(5), "{agent}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_client_says_itself_how_long_it_waits() {
    let mut config = config(nobody().await);
    config.patience.navigation = Duration::from_secs(1000);
    config.patience.request = Duration::from_secs(1000);
    config.patience.stream = Duration::from_secs(1000);
    let proxy = TestProxy::start(config);
    for fields in [
        "Prefer: wait=0\r\n",
        "Prefer: respond-async, wait=1\r\nAccept: text/event-stream\r\n",
        "Prefer: wait=1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        "Prefer: wait=1\r\nSec-Fetch-Mode: navigate\r\n",
    ] {
        assert_eq!(answer_to(&proxy, fields).await, 503, "{fields}");
    }
}

#[tokio::test]
async fn each_kind_has_its_own_patience() {
    let short = Duration::from_millis(100);
    let long = Duration::from_secs(1000);
    for (fields, kind) in [
        ("Sec-Fetch-Mode: navigate\r\n", 0),
        ("Sec-Fetch-Mode: cors\r\n", 1),
        ("Accept: text/event-stream\r\n", 2),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", 2),
    ] {
        let mut config = config(nobody().await);
        let patience = |own| if own == kind { short } else { long };
        config.patience.navigation = patience(0);
        config.patience.request = patience(1);
        config.patience.stream = patience(2);
        assert_eq!(answer_to(&TestProxy::start(config), fields).await, 503, "{fields}");
    }
}

#[tokio::test]
async fn what_ended_the_wait_is_said_and_counted() {
    let mut config = config(nobody().await);
    config.patience.request = Duration::from_millis(100);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    let problem = client.answer().await.json();
    let codes: Vec<_> = problem["findings"].as_array().expect("a list").iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["target-warming", "patience-ended"], "the cause leads");
    let mut admin = Peer::connect(proxy.admin).await;
    admin.send("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let metrics = admin.rest().await;
    assert!(metrics.contains("anteroom_limit_reached_total{limit=\"patience\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn the_heads_of_held_requests_are_bounded_together() {
    let mut config = config(nobody().await);
    config.max_held = 1_000_000;
    config.limits.header_bytes = 1 << 20;
    config.limits.connections = 1000;
    let proxy = TestProxy::start(config);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nX: {}\r\n\r\n", "x".repeat(900 << 10));
    // 64 MiB hold some seventy of them.
    let mut clients = Vec::new();
    for _ in 0..80 {
        let mut client = proxy.client().await;
        client.send(&head).await;
        clients.push(client);
    }
    let answer = soon(async {
        loop {
            for client in &mut clients {
                if tokio::time::timeout(Duration::from_millis(1), client.has_data()).await.is_ok() {
                    return client.answer().await;
                }
            }
        }
    })
    .await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json()["findings"][1]["code"], "held-bytes-spent");
}

const NOT_YET: &str = "HTTP/1.1 503 Not Yet\r\nContent-Length: 0\r\n\r\n";

/// An upstream that says 503 until it is told otherwise, and to `/bad` for ever.
struct Starting {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    ready: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Starting {
    async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("the address is free");
        let listener = socket.listen(1024).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let (asked, ready) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_ready) = (Arc::clone(&asked), Arc::clone(&ready));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let mut peer = Peer::new(listener.accept().await.expect("a connection").0);
                let (count, is_ready) = (Arc::clone(&count), Arc::clone(&is_ready));
                connections.spawn(async move {
                    while peer.has_data().await {
                        let is_bad = peer.head().await.starts_with("GET /bad ");
                        count.fetch_add(1, Relaxed);
                        let answer = if is_bad || !is_ready.load(Relaxed) { NOT_YET } else { OK };
                        // Whoever asked may have left.
                        let _ = peer.try_send(answer).await;
                    }
                });
            }
        });
        Self { address, asked, ready, task }
    }

    async fn asked(&self, times: usize) {
        soon(async {
            while self.asked.load(Relaxed) < times {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Waits until a probe has passed.
async fn is_ready(proxy: &TestProxy) {
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\n\r\n").await;
            if client.answer().await.header("x-anteroom-state") == Some("ready") {
                break;
            }
        }
    })
    .await;
}

async fn ask_many(proxy: &TestProxy, path: &str, times: usize) -> Vec<Peer> {
    let mut clients = Vec::new();
    for _ in 0..times {
        let mut client = proxy.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn an_upstream_that_says_503_at_first_is_spared_and_loses_nobody() {
    const CLIENTS: usize = 300;
    // A fifth of the requests, and a hundred in ten seconds.
    const RETRIES: usize = CLIENTS / 5 + 100;
    for away_at_first in [false, true] {
        let address = if away_at_first { nobody().await } else { anywhere() };
        let starting = if away_at_first { None } else { Some(Starting::at(address).await) };
        let proxy = TestProxy::start(config(starting.as_ref().map_or(address, |it| it.address)));
        if !away_at_first {
            is_ready(&proxy).await;
        }
        let mut clients = ask_many(&proxy, "/", CLIENTS).await;
        let starting = match starting {
            Some(starting) => starting,
            None => Starting::at(address).await,
        };
        let began = Instant::now();
        // The budget is spent, and still nobody is answered.
        let all = CLIENTS + RETRIES;
        starting.asked(all).await;
        let scouts = began.elapsed().as_millis() as usize / 50 + 1;
        assert!(starting.asked.load(Relaxed) <= all + scouts + RETRIES, "{:?}", began.elapsed());
        starting.ready.store(true, Relaxed);
        for client in &mut clients {
            assert_eq!(client.answer().await.status(), 200);
        }
    }
}

#[tokio::test]
async fn who_gets_nothing_but_503_is_in_nobodys_way() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    // As many as may go first, and more.
    let bad = ask_many(&proxy, "/bad", 40).await;
    let mut good = ask_many(&proxy, "/good", 20).await;
    let starting = Starting::at(address).await;
    starting.ready.store(true, Relaxed);
    for client in &mut good {
        assert_eq!(client.answer().await.status(), 200);
    }
    drop(bad);
}

#[tokio::test]
async fn who_stands_aside_is_answered_when_we_stop() {
    let starting = Starting::at(anywhere()).await;
    let mut proxy = TestProxy::start(config(starting.address));
    is_ready(&proxy).await;
    let mut clients = ask_many(&proxy, "/", 300).await;
    starting.asked(460).await;
    proxy.stop();
    let began = Instant::now();
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 503);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "the drain takes ten: {:?}", began.elapsed());
}

#[tokio::test]
async fn who_stands_aside_is_held_by_what_the_status_page_says() {
    let starting = Starting::at(anywhere()).await;
    let proxy = TestProxy::start(config(starting.address));
    is_ready(&proxy).await;
    let _clients = ask_many(&proxy, "/", 300).await;
    starting.asked(460).await;
    soon(async {
        loop {
            let mut admin = Peer::connect(proxy.admin).await;
            admin.send("GET /status HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
            let held = admin.answer().await.json()["anteroom"]["held"].as_u64().expect("a number");
            // But for those who try whether it is ready by now.
            if held > 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_stands_aside_counts_as_held_and_beyond_that_the_503_passes() {
    let starting = Starting::at(anywhere()).await;
    let mut config = config(starting.address);
    config.max_held = 10;
    let proxy = TestProxy::start(config);
    is_ready(&proxy).await;
    let mut clients = ask_many(&proxy, "/", 300).await;
    starting.asked(460).await;
    starting.ready.store(true, Relaxed);
    let mut passed = 0;
    for client in &mut clients {
        let answer = client.answer().await;
        passed += usize::from(answer.status() == 503 && answer.head.contains("Not Yet"));
        assert!(answer.status() == 200 || answer.head.contains("Not Yet"), "{}", answer.head);
    }
    assert!(passed >= 300 - 160 - 10, "{passed} were not held");
}
