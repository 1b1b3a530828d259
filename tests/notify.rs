//! Messages to a receiver, over sockets: when they come, what is in them, whose they are, and that nobody waits for
//! them.

mod support;

use std::time::{Duration, Instant};

use anteroom::config::{Config, Detail, Notify, Receiver, Template};
use anteroom::evidence::{Scheme, Status};
use anteroom::instance::{BindError, Instance};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::certificates::{Authority, Folder};
use support::encrypted::TlsUpstream;
use support::raw::{Peer, header};
use support::seen::sighting;
use support::{FakeUpstream, TestProxy, config, nobody, reserved, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// Long enough for what must not be told to be over before, and short enough to wait for.
const SETTLES: Duration = Duration::from_millis(300);

/// A configuration that tells a receiver.
fn telling(upstream: std::net::SocketAddr, receiver: std::net::SocketAddr) -> Config {
    let receiver = Receiver {
        scheme: Scheme::Http,
        host: receiver.ip().to_string().into(),
        port: receiver.port(),
        target: "/hook?for=anteroom".into(),
        credentials: None,
    };
    let notify = Notify { receiver, template: Template::Json, settles: SETTLES, key: None, ca: None };
    Config { notify: Some(notify), grace: Duration::ZERO, ..config(upstream) }
}

/// The next message: its head and its body.
async fn message(receiver: &FakeUpstream) -> (String, String, Peer) {
    received(receiver.accept().await).await
}

async fn received(mut peer: Peer) -> (String, String, Peer) {
    let head = peer.head().await;
    let length = header(&head, "content-length").and_then(|it| it.parse().ok()).expect("a length");
    let body = peer.exactly(length).await;
    (head, body, peer)
}

/// The next message, taken.
async fn taken(receiver: &FakeUpstream) -> Value {
    let (_, body, mut peer) = message(receiver).await;
    peer.send(OK).await;
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn an_outage_is_told_when_it_begins_and_when_it_ends() {
    let receiver = FakeUpstream::start().await;
    let (socket, address) = reserved();
    let proxy = TestProxy::start(telling(address, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (head, body, mut peer) = message(&receiver).await;
    peer.send(OK).await;
    assert!(head.starts_with("POST /hook?for=anteroom HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(receiver.address.to_string().as_str()));
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    assert_eq!(header(&head, "x-anteroom-signature-256"), None);
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&told["event"], &told["state"]), (&"down".into(), &"down".into()), "a fresh start that finds it down");
    assert_eq!(told["finding"]["code"], "target-exited");
    assert_eq!(told["upstream"], address.to_string());
    let remedy = told["finding"]["remedies"][0]["command"].as_str().expect("a command");
    assert!(remedy.contains("docker compose") && remedy.ends_with("up -d cvat_grafana"), "{remedy}");

    let listener = socket.listen(16).expect("it listens");
    proxy.sightings.send_replace(sighting(Status::Running));
    let back = taken(&receiver).await;
    assert_eq!((&back["event"], &back["state"]), (&"up".into(), &"ready".into()));
    assert_eq!(back["finding"]["code"], "target-exited", "what it was");
    assert_ne!(back["id"], told["id"]);
    drop(listener);
}

#[tokio::test]
async fn what_is_over_before_it_settles_is_not_told() {
    let receiver = FakeUpstream::start().await;
    let upstream = FakeUpstream::start().await;
    let address = upstream.address;
    let serving = upstream.answering(OK);
    let mut config = telling(address, receiver.address);
    // The flap below takes as long as a probe or two.
    config.notify.as_mut().expect("set above").settles = Duration::from_secs(3);
    let proxy = TestProxy::start(config);
    assert_eq!(ask(&proxy).await, 200, "it is ready");
    proxy.sightings.send_replace(sighting(Status::Paused));
    answers(&proxy, 503).await;
    proxy.sightings.send_replace(sighting(Status::Running));
    answers(&proxy, 200).await;
    let address = serving.vanish().await;
    proxy.sightings.send_replace(sighting(Status::Exited));
    let told = taken(&receiver).await;
    assert_eq!(told["finding"]["code"], "target-exited", "the first message is of the second outage: {told}");
    drop(FakeUpstream::start_at(address).await);
}

/// The status of an answer.
async fn ask(proxy: &TestProxy) -> u16 {
    let mut client = proxy.client().await;
    client.send(GET).await;
    client.answer().await.status()
}

/// Asks until requests are answered so.
async fn answers(proxy: &TestProxy, status: u16) {
    soon(async { while ask(proxy).await != status {} }).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_neither_a_request_nor_the_watcher() {
    let receiver = FakeUpstream::start().await;
    let (socket, address) = reserved();
    let mut proxy = TestProxy::start(telling(address, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (_, _, hanging) = message(&receiver).await;
    assert_eq!(ask(&proxy).await, 503);
    let upstream = FakeUpstream::listening(socket);
    let serving = upstream.answering(OK);
    proxy.sightings.send_replace(sighting(Status::Running));
    answers(&proxy, 200).await;
    // All of that, and the end, while the receiver has not said a word.
    let began = Instant::now();
    proxy.stop();
    proxy.stopped().await;
    assert!(began.elapsed() < Duration::from_secs(9), "it did not wait for the receiver");
    drop((hanging, serving));
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_until_it_is() {
    let receiver = FakeUpstream::start().await;
    let proxy = TestProxy::start(telling(nobody().await, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (_, first, peer) = message(&receiver).await;
    peer.reset();
    let (_, second, mut peer) = message(&receiver).await;
    peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(second, first, "the same message, with the same id");
    // Where it leads to is not asked.
    let (_, third, mut peer) = message(&receiver).await;
    let elsewhere = FakeUpstream::start().await;
    let redirect = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\n\r\n", elsewhere.address);
    peer.send(redirect).await;
    drop(peer);
    assert_eq!(third, first);
    let (_, fourth, mut peer) = message(&receiver).await;
    peer.send("garbage\r\n\r\n").await;
    drop(peer);
    assert_eq!(fourth, first);
    assert_eq!(taken(&receiver).await["event"], "down");
    assert!(futures_util::FutureExt::now_or_never(elsewhere.accept()).is_none());
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let receiver = FakeUpstream::start().await;
    let (socket, address) = reserved();
    let proxy = TestProxy::start(telling(address, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (_, _, mut peer) = message(&receiver).await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
    let piece = [b'x'; 1 << 16];
    let mut sent = 0_usize;
    while peer.try_send(piece).await.is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "it reads on");
    }
    // And it was taken for delivered all the same: what comes next is the end.
    let listener = socket.listen(16).expect("it listens");
    proxy.sightings.send_replace(sighting(Status::Running));
    assert_eq!(taken(&receiver).await["event"], "up");
    drop(listener);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_a_receipt_all_the_same() {
    let receiver = FakeUpstream::start().await;
    let (socket, address) = reserved();
    let proxy = TestProxy::start(telling(address, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (_, _, mut peer) = message(&receiver).await;
    // Its body goes on until the connection ends, and nothing of it comes.
    peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let listener = socket.listen(16).expect("it listens");
    proxy.sightings.send_replace(sighting(Status::Running));
    assert_eq!(taken(&receiver).await["event"], "up", "and not the same message again");
    drop((listener, peer));
}

#[tokio::test]
async fn a_receiver_that_comes_late_gets_the_newest_message_of_each_kind() {
    let receiver = FakeUpstream::start().await;
    let (socket, address) = reserved();
    let proxy = TestProxy::start(telling(address, receiver.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    // Taken off its hands and never answered.
    let (_, first, hanging) = message(&receiver).await;
    let listener = socket.listen(16).expect("it listens");
    proxy.sightings.send_replace(sighting(Status::Running));
    is(&proxy, "ready").await;
    drop(hanging);
    let again = taken(&receiver).await;
    assert_eq!(again["id"], serde_json::from_str::<Value>(&first).expect("JSON")["id"], "the beginning comes first");
    assert_eq!(taken(&receiver).await["event"], "up");
    drop(listener);
}

/// Asks until the state is this one; no request waits for it.
async fn is(proxy: &TestProxy, state: &str) {
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\n\r\n").await;
            if client.answer().await.header("x-anteroom-state") == Some(state) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_is_signed_together_with_the_time_of_its_sending() {
    const KEY: &[u8] = b"correct horse battery staple";
    let folder = Folder::new();
    let receiver = FakeUpstream::start().await;
    let mut config = telling(nobody().await, receiver.address);
    let notify = config.notify.as_mut().expect("set above");
    // An editor ends a file with a line feed.
    notify.key = Some(folder.write("key", "correct horse battery staple\n"));
    notify.receiver.credentials = Some(b"me:p@ss".as_slice().into());
    let proxy = TestProxy::start(config);
    proxy.sightings.send_replace(sighting(Status::Exited));
    let (head, body, mut peer) = message(&receiver).await;
    peer.send(OK).await;
    let time = header(&head, "x-anteroom-timestamp").expect("a time");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!(now - time.parse::<u64>().expect("seconds") < 60);
    let expected = hmac(KEY, format!("{time}.{body}").as_bytes());
    assert_eq!(header(&head, "x-anteroom-signature-256"), Some(format!("sha256={expected}").as_str()));
    // printf me:p@ss | base64
    assert_eq!(header(&head, "authorization"), Some("Basic bWU6cEBzcw=="));
}

/// HMAC-SHA-256 of a short key by its definition (RFC 2104), so that our library is not its own witness.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or_default() ^ with).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_summary_tells_a_receiver_no_more_than_a_visitor() {
    let receiver = FakeUpstream::start().await;
    let config = Config { detail: Detail::Summary, ..telling(nobody().await, receiver.address) };
    let proxy = TestProxy::start(config);
    proxy.sightings.send_replace(sighting(Status::Exited));
    let told = taken(&receiver).await;
    assert_eq!((&told["upstream"], &told["finding"]["code"]), (&Value::Null, &"target-exited".into()));
    assert!(!told.to_string().contains("grafana") && !told.to_string().contains("docker"), "{told}");
}

#[tokio::test]
async fn over_tls_a_receiver_must_show_a_certificate_that_is_trusted() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let certificate = authority.issue("127.0.0.1");
    let mut receiver = TlsUpstream::start(certificate.server()).await;
    let upstream = nobody().await;
    let telling = |roots: &Authority, name: &str| {
        let mut config = telling(upstream, receiver.address);
        let notify = config.notify.as_mut().expect("set above");
        notify.receiver.scheme = Scheme::Https;
        notify.template = Template::Text;
        notify.ca = Some(folder.write(name, &roots.pem()));
        config
    };
    // Who trusts somebody else says nothing to this one.
    let stranger = TestProxy::start(telling(&Authority::new(), "stranger.pem"));
    stranger.sightings.send_replace(sighting(Status::Exited));
    let proxy = TestProxy::start(telling(&authority, "ours.pem"));
    let mut seen = sighting(Status::Exited);
    seen.engine = anteroom::evidence::Engine::Simulated;
    proxy.sightings.send_replace(seen);
    let (peer, _) = receiver.accept().await;
    let (head, body, mut peer) = received(peer).await;
    peer.send(OK).await;
    assert_eq!(header(&head, "content-type"), Some("text/plain; charset=utf-8"));
    assert!(body.contains("(simulated)"), "it is the one that trusts: {body}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_all_at_once() {
    let folder = Folder::new();
    let wrong = |content: &str| {
        let mut config = telling(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 1).into());
        let notify = config.notify.as_mut().expect("set above");
        notify.key = Some(folder.write("key", content));
        (notify.receiver.scheme, notify.ca) = (Scheme::Https, Some(folder.path().join("missing.pem").into()));
        match Instance::bind(config) {
            Err(BindError::Files(invalid)) => invalid.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Ok(_) | Err(BindError::Listen { .. }) => panic!("neither file is right"),
        }
    };
    for (content, reason) in
        [("too short\n", "holds a key of fewer than 16 bytes"), (&*"x".repeat(2000), "holds more than 1024 bytes")]
    {
        let told = wrong(content);
        assert!(told[0].starts_with("ANTEROOM_NOTIFY_CA=") && told[0].contains("cannot be read"), "{told:?}");
        assert!(told[1].starts_with("ANTEROOM_NOTIFY_KEY_FILE=") && told[1].contains(reason), "{told:?}");
        assert!(!told[1].contains(content.trim()), "the key itself is not shown");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_message_that_cannot_be_delivered() {
    let proxy = TestProxy::start(telling(nobody().await, nobody().await));
    proxy.sightings.send_replace(sighting(Status::Exited));
    is(&proxy, "down").await;
    let began = Instant::now();
    soon(proxy.stopped()).await;
    assert!(began.elapsed() < anteroom::server::DRAIN);
}
