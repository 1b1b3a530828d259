//! The log as whoever collects it reads it: each request's line, by a process of its own.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::http2::Http2Upstream;
use support::raw::Peer;
use support::{FakeUpstream, nobody, soon};
use tokio::sync::mpsc;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A process that logs as JSON. Dropping it ends it.
struct Anteroom {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    lines: mpsc::Receiver<String>,
}

impl Drop for Anteroom {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Anteroom {
    async fn start(upstream: SocketAddr, format: &str) -> Self {
        Self::before(&format!("http://{upstream}"), format).await
    }

    async fn before(upstream: &str, format: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_anteroom"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", format])
            .env_clear()
            .env("ANTEROOM_UPSTREAM", upstream)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("ANTEROOM_MAX_BODY_BYTES", "1KiB")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        // Whoever does not take lines keeps them from being read.
        let (tell, lines) = mpsc::channel(1);
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.blocking_send(line)));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut anteroom = Self { process, address: nowhere, admin: nowhere, lines };
        let start = anteroom.line("anteroom listens").await;
        let mut addresses = start.split("listen").filter_map(|part| {
            let from = part.find(|it: char| it.is_ascii_digit())?;
            part[from..].split(['"', ' ']).next()?.parse().ok()
        });
        anteroom.address = addresses.next().expect("it says where");
        anteroom.admin = addresses.next().expect("it says where");
        anteroom
    }

    /// Waits until so many requests are held.
    async fn holds(&self, many: usize) {
        let told = format!("\nanteroom_requests_held {many}\n");
        let are_held = async || {
            let mut admin = Peer::connect(self.admin).await;
            admin.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
            admin.answer().await.body.contains(&told)
        };
        soon(async { while !are_held().await {} }).await;
    }

    /// The next line with this in it.
    async fn line(&mut self, part: &str) -> String {
        soon(async {
            loop {
                let line = self.lines.recv().await.expect("it logs on");
                if line.contains(part) {
                    return line;
                }
            }
        })
        .await
    }

    /// What the next line of a request says.
    async fn request(&mut self) -> Value {
        let line = self.line("anteroom::access").await;
        serde_json::from_str::<Value>(&line).expect("JSON")["fields"].take()
    }
}

#[tokio::test]
async fn an_output_that_nobody_reads_holds_up_no_request() {
    const REQUESTS: usize = 1500;
    let upstream = FakeUpstream::start().await.answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut anteroom = Anteroom::start(upstream.address, "json").await;
    let mut client = Peer::connect(anteroom.address).await;
    // Several times what a pipe takes.
    for number in 0..REQUESTS {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.answer().await.status(), 200);
    }
    for number in 0..REQUESTS {
        assert_eq!(anteroom.request().await["path"], format!("/{number}"), "none is lost, and they keep their order");
    }
}

#[tokio::test]
async fn a_request_has_one_line_that_says_everything_but_its_query() {
    let upstream = FakeUpstream::start().await;
    let mut anteroom = Anteroom::start(upstream.address, "json").await;
    let mut client = Peer::connect(anteroom.address).await;
    client
        .send(format!(
            "GET /a/b?token=hush HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nTraceparent: {TRACE}\r\n\r\n"
        ))
        .await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert!(head.contains(&format!("Traceparent: {TRACE}\r\n")), "it passes untouched: {head}");
    served.send("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n3\r\ntwo\r\n0\r\n\r\n").await;
    client.until("\r\n0\r\n\r\n").await;
    let line = anteroom.request().await;
    for (field, expected) in [
        ("client", "203.0.113.9"),
        ("method", "GET"),
        ("path", "/a/b"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    assert_eq!((line["status"].as_u64(), line["bytes"].as_u64()), (Some(201), Some(7)), "{line}");
    assert!(line["took_ms"].is_u64() && line["id"].as_str().is_some_and(|id| id.len() == 16), "{line}");
    assert!(matches!(line["outcome"].as_str(), Some("passed" | "held")), "{line}");
    assert!(line.get("cut").is_none() && line.get("finding").is_none() && !line.to_string().contains("hush"), "{line}");

    client.send("HEAD /c HTTP/1.1\r\nHost: a\r\nTraceparent: 00-NONSENSE\r\n\r\n").await;
    assert!(served.head().await.contains("Traceparent: 00-NONSENSE\r\n"), "what is no trace passes untouched, too");
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n").await;
    client.head().await;
    let line = anteroom.request().await;
    assert_eq!((line["path"].as_str(), line["client"].as_str()), (Some("/c"), Some("127.0.0.1")), "{line}");
    assert_eq!(line["outcome"], "passed");
    for absent in ["bytes", "cut", "trace_id", "held_ms", "retries"] {
        assert!(line.get(absent).is_none(), "{absent} in {line}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_get_to_its_end_says_who_cut_it() {
    let upstream = FakeUpstream::start().await;
    let mut anteroom = Anteroom::start(upstream.address, "json").await;
    // A large one goes another way.
    for (cut, length) in [("upstream", 10), ("client", 10), ("upstream", 1 << 20), ("client", 1 << 20)] {
        let mut client = Peer::connect(anteroom.address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nfour")).await;
        client.until("four").await;
        if cut == "upstream" {
            drop(served)
        } else {
            client.reset()
        }
        let line = anteroom.request().await;
        assert_eq!((line["cut"].as_str(), line["bytes"].as_u64()), (Some(cut), Some(4)), "{line}");
    }
}

#[tokio::test]
async fn an_answer_that_has_reached_its_length_is_whole_though_its_stream_has_yet_to_end() {
    let mut upstream = Http2Upstream::start(h2::server::Builder::new()).await;
    let mut anteroom = Anteroom::before(&format!("h2c://{}", upstream.address), "json").await;
    let mut client = Peer::connect(anteroom.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut asked = upstream.accept().await;
    let head = http::Response::builder().header("content-length", 2).body(()).expect("valid");
    let mut reply = asked.answer.send_response(head, false).expect("open");
    reply.send_data(bytes::Bytes::from_static(b"ok"), false).expect("open");
    assert_eq!(client.answer().await.body, "ok");
    let line = anteroom.request().await;
    assert!(line.get("cut").is_none(), "{line}");
}

#[tokio::test]
async fn an_answer_without_a_body_is_whole_and_its_stream_is_left_to_end() {
    let mut upstream = Http2Upstream::start(h2::server::Builder::new()).await;
    let mut anteroom = Anteroom::before(&format!("h2c://{}", upstream.address), "json").await;
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        let mut client = Peer::connect(anteroom.address).await;
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let mut asked = upstream.accept().await;
        let head = http::Response::builder().status(status).body(()).expect("valid");
        let mut reply = asked.answer.send_response(head, false).expect("open");
        client.until("\r\n\r\n").await;
        let line = anteroom.request().await;
        assert!(line["status"] == status && line.get("cut").is_none(), "{line}");
        let reset = std::future::poll_fn(|cx| reply.poll_reset(cx));
        let reset = tokio::time::timeout(Duration::from_millis(50), reset).await;
        assert!(reset.is_err(), "{method} {status}: {reset:?}");
        reply.send_data(bytes::Bytes::new(), true).expect("still open");
    }
}

#[tokio::test]
async fn a_diagnosed_request_names_its_finding_and_how_long_it_was_held() {
    let mut anteroom = Anteroom::start(nobody().await, "json").await;
    let mut client = Peer::connect(anteroom.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nPrefer: wait=1\r\nAccept: application/json\r\n\r\n").await;
    let answer = client.answer().await;
    let line = anteroom.request().await;
    assert_eq!((line["outcome"].as_str(), line["status"].as_u64()), (Some("diagnosed"), Some(503)), "{line}");
    assert_eq!(line["finding"], answer.json()["findings"][0]["code"], "{line}");
    assert_eq!(line["bytes"].as_u64(), Some(answer.body.len() as u64), "{line}");
    assert!(line["held_ms"].as_u64() >= Some(900), "{line}");
}

#[tokio::test]
async fn a_request_that_is_refused_has_its_line() {
    let mut anteroom = Anteroom::start(nobody().await, "json").await;
    for (request, method, status) in [
        ("TRACE /trace HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE", 405),
        ("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", "POST", 413),
    ] {
        let mut client = Peer::connect(anteroom.address).await;
        client.send(request).await;
        assert_eq!(client.answer().await.status(), status);
        let line = anteroom.request().await;
        assert_eq!(
            (line["outcome"].as_str(), line["status"].as_u64()),
            (Some("refused"), Some(status.into())),
            "{line}"
        );
        assert_eq!((line["method"].as_str(), line["client"].as_str()), (Some(method), Some("127.0.0.1")), "{line}");
        assert!(line["path"].as_str().is_some_and(|path| path.len() == 6) && line.get("cut").is_none(), "{line}");
    }
}

#[tokio::test]
async fn who_leaves_before_there_is_an_answer_has_a_line() {
    let mut anteroom = Anteroom::start(nobody().await, "json").await;
    // One that is held without hyper, and one with it.
    for request in [
        "GET /gone HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n",
        "POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfour",
    ] {
        let mut client = Peer::connect(anteroom.address).await;
        client.send(request).await;
        anteroom.holds(1).await;
        client.reset();
        let line = anteroom.request().await;
        assert_eq!((line["outcome"].as_str(), line["path"].as_str()), (Some("left"), Some("/gone")), "{line}");
        assert!(line["held_ms"].is_u64() && line["took_ms"].is_u64(), "{line}");
        for absent in ["status", "cut", "bytes", "finding"] {
            assert!(line.get(absent).is_none(), "{absent} in {line}");
        }
    }
    // In the middle of an upload: which of the two is met first, nobody can say.
    let mut client = Peer::connect(anteroom.address).await;
    client.send("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour").await;
    anteroom.holds(1).await;
    client.reset();
    let line = anteroom.request().await;
    assert!(matches!(line["outcome"].as_str(), Some("left" | "refused")) && line["held_ms"].is_u64(), "{line}");
}

#[tokio::test]
async fn a_tunnel_has_its_line_while_it_is_open() {
    let upstream = FakeUpstream::start().await;
    let mut anteroom = Anteroom::start(upstream.address, "text").await;
    let mut client = Peer::connect(anteroom.address).await;
    client.send("GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    client.head().await;
    let line = anteroom.line("anteroom::access").await;
    for part in [" path=\"/live\"", " status=101", " client=127.0.0.1"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains("cut="), "{line}");
    client.send("still open").await;
    assert_eq!(served.exactly(10).await, "still open");
}
