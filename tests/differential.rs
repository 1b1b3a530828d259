//! The same requests through anteroom, nginx and HAProxy: where they differ, anteroom is stricter for a reason that
//! stands in `differential/differences.rs`, or it is wrong.
//!
//! Both peers are Debian's. Where they are missing this says so and proves nothing; with `ANTEROOM_E2E=required` it fails.

mod support;

#[path = "differential/corpus.rs"]
mod corpus;
#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/peers.rs"]
mod peers;

use std::collections::BTreeSet;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use differences::{Kind, Known};
use peers::Peer;
use support::message::{Message, Reader, values};
use support::{TestProxy, config, soon};

/// Behind each proxy: what reads its requests, strictly.
struct Origin {
    address: SocketAddr,
    read: mpsc::UnboundedReceiver<String>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (keep, read) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Reader::new(stream), keep.clone()));
            }
        });
        Self { address, read }
    }

    /// What was read since it was asked last.
    fn requests(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.read.try_recv().ok()).collect()
    }
}

async fn serve(mut reader: Reader, keep: mpsc::UnboundedSender<String>) {
    while let Some(message) = reader.message(false, |_| false).await {
        let is_head = message.start.starts_with("HEAD ");
        let _ = keep.send(meaning(&message));
        let body = if is_head { "" } else { "ok" };
        let _ = reader.stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").as_bytes()).await;
    }
}

/// What a request asks for: method and target, whom, and with which body.
fn meaning(message: &Message) -> String {
    let mut words = message.start.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = values(&message.fields, "host").join(&b" and "[..]);
    let (host, body) = (String::from_utf8_lossy(&host), String::from_utf8_lossy(&message.body));
    format!("{method} {target:?} of {host:?} with {body:?}")
}

/// After so long without an end a proxy waits for more, and is told that there is none. Most cases end by themselves.
const WAITS_FOR_MORE: Duration = Duration::from_millis(300);

/// Sends the bytes, and reads to the end of what comes back.
async fn ask(proxy: SocketAddr, bytes: &[u8]) -> Vec<String> {
    let stream = soon(TcpStream::connect(proxy)).await.expect("it listens").into_std().expect("a socket");
    let half = stream.try_clone().expect("a socket");
    let mut client = Reader::new(TcpStream::from_std(stream).expect("a socket"));
    let _ = client.stream.write_all(bytes).await;
    let end = tokio::spawn(async move {
        tokio::time::sleep(WAITS_FOR_MORE).await;
        let _ = half.shutdown(Shutdown::Write);
    });
    let is_head = bytes.starts_with(b"HEAD ");
    let mut statuses = Vec::new();
    while let Some(answer) = soon(client.message(true, |_| is_head)).await {
        statuses.push(answer.start.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    end.abort();
    statuses
}

/// How anteroom's reading of a case differs from a peer's.
fn difference(ours: &[String], theirs: &[String]) -> Option<Kind> {
    match (ours.len(), theirs.len()) {
        _ if ours == theirs => None,
        (ours, theirs) if ours < theirs => Some(Kind::Stricter),
        (ours, theirs) if ours > theirs => Some(Kind::Laxer),
        _ => Some(Kind::Other),
    }
}

#[tokio::test]
async fn every_difference_from_nginx_and_haproxy_is_known_and_has_a_reason() {
    let mut origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    let [ours, nginx, haproxy] = &origins;
    let anteroom = TestProxy::start(config(ours.address));
    let peers = [Peer::nginx(nginx.address).await, Peer::haproxy(haproxy.address).await];
    let [Some(nginx), Some(haproxy)] = &peers else {
        let missing = "nginx or haproxy is missing: nothing was compared";
        assert!(std::env::var("ANTEROOM_E2E").as_deref() != Ok("required"), "{missing}");
        eprintln!("{missing}");
        return;
    };
    println!("compared with {} and {}", nginx.version, haproxy.version);
    let cases = corpus::cases();
    assert!(cases.len() > 200, "the corpus is whole");
    assert_eq!(cases.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), cases.len(), "names are unique");

    let (mut found, mut told) = (BTreeSet::new(), Vec::new());
    for (name, bytes) in &cases {
        let mut read = Vec::new();
        for (address, origin) in [anteroom.address, nginx.address, haproxy.address].into_iter().zip(&mut origins) {
            let statuses = ask(address, bytes).await;
            read.push((origin.requests(), statuses));
        }
        for (peer, theirs) in [("nginx", &read[1]), ("haproxy", &read[2])] {
            if let Some(kind) = difference(&read[0].0, &theirs.0) {
                found.insert(Known { case: name.clone(), peer, kind });
                told.push(format!("{name}: {kind:?} than {peer}\n  ours {:?}\n  its  {theirs:?}", read[0]));
            }
        }
    }
    let known = differences::known();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}\n{}", told.join("\n"));
}
