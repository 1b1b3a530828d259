//! HTTP/2 from clients: what they send becomes HTTP/1.1 and back, and their mistakes cost them a stream.

mod support;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use support::http2::{Client, read};
use support::raw::{Peer, header};
use support::{FakeUpstream, TestProxy, config, nobody, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn stage() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    (upstream, proxy)
}

fn get() -> Request<()> {
    Request::get("http://grafana.example:8080/a//b?c=%2f").body(()).expect("valid")
}

#[tokio::test]
async fn a_request_arrives_as_http1_with_its_authority_as_host_and_its_cookie_in_one_piece() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    let mut request = get();
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
    }
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let (answer, _) = client.ask(request, true).await;
    let mut served = upstream.accept().await;
    let head = served.head().await;
    assert!(head.starts_with("GET /a//b?c=%2f HTTP/1.1\r\n"), "{head}");
    for (name, value) in [("host", "grafana.example:8080"), ("cookie", "a=1; b=2; c=3"), ("te", "trailers")] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    assert_eq!(head.to_ascii_lowercase().matches("\r\ncookie:").count(), 1);
    assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (None, None));
    assert!(header(&head, "via").is_some_and(|via| via.starts_with("2.0 anteroom-")), "{head}");
    served.send("HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok").await;
    let mut answer = soon(answer).await.expect("an answer");
    assert!(!answer.headers().contains_key("connection") && !answer.headers().contains_key("x-hop"));
    assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(read(answer.body_mut()).await.expect("whole").0, "ok");
}

#[tokio::test]
async fn trailers_pass_between_http2_and_http1() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    let (answer, mut body) = client.ask(Request::post("http://a/").body(()).expect("valid"), false).await;
    body.send_data(Bytes::from_static(b"hi"), false).expect("open");
    body.send_trailers(HeaderMap::from_iter([("x-up".parse().expect("a name"), HeaderValue::from(1))])).expect("open");
    let mut served = upstream.accept().await;
    served.head().await;
    assert_eq!(served.until("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-up: 1\r\n\r\n");
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Down: 2\r\n\r\n").await;
    let mut answer = soon(answer).await.expect("an answer");
    let (text, trailers) = read(answer.body_mut()).await.expect("whole");
    assert_eq!((text.as_str(), trailers.expect("trailers")["x-down"].as_bytes()), ("ok", &b"2"[..]));
    // The upstream's connection is in order, and asked again.
    let (answer, _) = client.ask(get(), true).await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(soon(answer).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn head_is_answered_by_us_as_by_the_upstream_with_a_length_and_no_more() {
    let proxy = TestProxy::start(config(nobody().await));
    let mut client = Client::connect(proxy.address).await;
    for (name, value, status) in [("prefer", "wait=0", 503), ("x-anteroom", "status", 200)] {
        let ask = |method: &str| {
            let request = Request::builder().method(method).uri("http://a/").header(name, value);
            request.header("accept", "text/html").body(()).expect("valid")
        };
        let (answer, _) = client.ask(ask("HEAD"), true).await;
        let mut head = soon(answer).await.expect("an answer");
        assert_eq!(head.status(), status);
        assert!(head.body().is_end_stream(), "nothing follows");
        assert_eq!(read(head.body_mut()).await.expect("whole").0, "");
        let length: usize = head.headers()["content-length"].to_str().expect("text").parse().expect("a number");
        assert!(length > 1_000, "{length}, which is that of the page");
        let (answer, _) = client.ask(ask("GET"), true).await;
        let page = soon(answer).await.expect("an answer");
        assert_eq!((page.status(), page.body().is_end_stream()), (head.status(), false));
    }
}

#[tokio::test]
async fn an_answer_without_content_announces_none() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    let mut served = None;
    for method in ["DELETE", "HEAD"] {
        let request = Request::builder().method(method).uri("http://a/").body(()).expect("valid");
        let (answer, _) = client.ask(request, true).await;
        if served.is_none() {
            served = Some(upstream.accept().await);
        }
        let served = served.as_mut().expect("a connection");
        served.head().await;
        served.send("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nETag: a\r\n\r\n").await;
        let mut answer = soon(answer).await.expect("an answer");
        assert_eq!((answer.status(), answer.headers().get("content-length")), (StatusCode::NO_CONTENT, None));
        assert_eq!(read(answer.body_mut()).await.expect("whole").0, "");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_resets_its_stream_and_no_other() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let (answer, _) = client.ask(get(), true).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(cut).await;
        let mut answer = soon(answer).await.expect("an answer");
        assert_eq!(soon(answer.body_mut().data()).await.expect("data").expect("whole"), "half");
        drop(served);
        let broken = read(answer.body_mut()).await.expect_err("no clean end");
        assert!(broken.is_reset() && broken.is_remote(), "{broken}");
    }
    let (answer, _) = client.ask(get(), true).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(soon(answer).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_is_reset_cancels_the_upstreams_work() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    for answered in [false, true] {
        let (answer, mut body) = client.ask(get(), false).await;
        let mut served = upstream.accept().await;
        served.head().await;
        let answer = if answered {
            served.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
            drop(soon(answer).await.expect("an answer"));
            None
        } else {
            Some(answer)
        };
        body.send_reset(Reason::CANCEL);
        drop(answer);
        served.rest().await;
    }
}

#[tokio::test]
async fn a_held_stream_that_is_reset_frees_its_place() {
    let mut config = config(nobody().await);
    config.max_held = 1;
    let proxy = TestProxy::start(config);
    let mut client = Client::connect(proxy.address).await;
    let (held, _) = client.ask(get(), true).await;
    // The room is full as soon as the first request is in it.
    let full = async {
        loop {
            let mut other = proxy.client().await;
            other.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
            let answer = tokio::time::timeout(Duration::from_millis(500), other.answer()).await;
            if answer.is_ok_and(|answer| answer.body.contains("waiting-room-full")) {
                return;
            }
        }
    };
    soon(full).await;
    drop(held);
    // The next one may overtake the end of the first.
    let held_again = async {
        loop {
            let (next, _) = client.ask(get(), true).await;
            if tokio::time::timeout(Duration::from_millis(500), next).await.is_err() {
                return;
            }
        }
    };
    soon(held_again).await;
}

#[tokio::test]
async fn a_client_that_is_wrong_about_whom_it_asks_is_refused_on_its_stream_alone() {
    let (upstream, proxy) = stage().await;
    let mut client = Client::connect(proxy.address).await;
    let mut wrong = get();
    wrong.headers_mut().insert("host", HeaderValue::from_static("other"));
    let (answer, _) = client.ask(wrong, true).await;
    let answer = soon(answer).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.headers().contains_key("proxy-status") && !answer.headers().contains_key("connection"));
    let (answer, _) = client.ask(get(), true).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(soon(answer).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn who_runs_when_we_stop_is_finished_and_told_to_go() {
    let (upstream, mut proxy) = stage().await;
    let mut client = Frames::connect(&proxy).await;
    client.request(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")], true).await;
    let mut served = upstream.accept().await;
    served.head().await;
    proxy.stop();
    client.until(|kind, _, _| kind == GOAWAY).await;
    served.send(OK).await;
    client.until(|kind, flags, _| kind == DATA && flags & END_STREAM != 0).await;
    // The last GOAWAY, and the end.
    while client.next().await.is_some() {}
    proxy.stopped().await;
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client that frames by hand, and so can be wrong.
struct Frames(TcpStream);

impl Frames {
    async fn connect(proxy: &TestProxy) -> Self {
        let mut client = Self(soon(TcpStream::connect(proxy.address)).await.expect("it listens"));
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it reads");
        client.frame(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).await.expect("it reads");
    }

    /// Fields as literals (RFC 7541 §6.2.2), names as they are.
    async fn request(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let short = |text: &str| u8::try_from(text.len()).expect("short");
        let literal = |(name, value): &(&str, &str)| {
            [&[0, short(name)], name.as_bytes(), &[short(value)], value.as_bytes()].concat()
        };
        let block: Vec<u8> = fields.iter().flat_map(literal).collect();
        self.frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block).await;
    }

    /// The next frame: its kind, flags, stream and payload.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        soon(self.0.read_exact(&mut head)).await.ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        soon(self.0.read_exact(&mut payload)).await.ok()?;
        if head[3] == PING && head[4] == 0 {
            self.frame(PING, ACK, 0, &payload).await;
        }
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The payload of the next frame that is like this.
    async fn until(&mut self, is_it: impl Fn(u8, u8, u32) -> bool) -> Vec<u8> {
        loop {
            let (kind, flags, stream, payload) = self.next().await.expect("the connection lives");
            if is_it(kind, flags, stream) {
                return payload;
            }
        }
    }
}

const WELL: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

#[tokio::test]
async fn a_malformed_request_is_an_error_of_its_stream_and_the_upstream_hears_nothing_of_it() {
    let (upstream, proxy) = stage().await;
    let [method, scheme, path, authority] = WELL;
    let with = |field| [method, scheme, path, authority, field];
    let cases: [&[(&str, &str)]; 17] = [
        &with(("x", " before")),
        &with(("x", "behind\t")),
        &with(("x-forwarded-for", " 1.1.1.1")),
        &with(("Upper", "case")),
        &with(("connection", "close")),
        &with(("keep-alive", "timeout=5")),
        &with(("proxy-connection", "close")),
        &with(("transfer-encoding", "chunked")),
        &with(("upgrade", "websocket")),
        &with(("te", "gzip")),
        &with((":path", "/twice")),
        &with((":status", "200")),
        &with((":unknown", "1")),
        &[method, scheme, authority],
        &[scheme, path, authority],
        &[method, ("x", "y"), scheme, path, authority],
        &[method, scheme, (":path", ""), authority],
    ];
    for case in cases {
        // A name that HPACK's reader takes for none ends the connection, which is allowed too (RFC 9113 §5.4.1).
        let mut client = Frames::connect(&proxy).await;
        client.request(1, case, true).await;
        let payload = client.until(|kind, _, _| [RST_STREAM, HEADERS, GOAWAY].contains(&kind)).await;
        // PROTOCOL_ERROR of a stream or a connection, or the answer 400 (RFC 9113 §8.1.1, §8.3.1).
        let refused = payload.ends_with(&[0, 0, 0, 1]) || payload.first() == Some(&0x8c);
        assert!(refused, "{case:?}: {payload:?}");
    }
    // This is the first that the upstream hears.
    let mut client = Frames::connect(&proxy).await;
    client.request(1, &WELL, true).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    client.until(|kind, flags, _| kind == DATA && flags & END_STREAM != 0).await;
}

#[tokio::test]
async fn bytes_that_are_lines_in_http1_mean_nothing_in_http2() {
    let (upstream, proxy) = stage().await;
    let mut client = Frames::connect(&proxy).await;
    let [_, scheme, path, authority] = WELL;
    // Lengths that are a line feed, and data that would be a malformed head.
    let fields = [(":method", "POST"), scheme, path, authority, ("x-12345678", "ten bytes!")];
    client.request(1, &fields, false).await;
    client.frame(DATA, END_STREAM, 1, b"a\nContent-Length: x\n\nb\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    assert_eq!(served.until("0\r\n\r\n").await, "17\r\na\nContent-Length: x\n\nb\n\r\n0\r\n\r\n");
    served.send(OK).await;
    client.until(|kind, flags, _| kind == DATA && flags & END_STREAM != 0).await;
}

#[tokio::test]
async fn a_body_of_another_length_than_was_announced_never_ends_upstream() {
    let (upstream, proxy) = stage().await;
    let mut client = Frames::connect(&proxy).await;
    let [_, scheme, path, authority] = WELL;
    for (stream, body) in [(1, &b"hi"[..]), (3, b"hello, all")] {
        client.request(stream, &[(":method", "POST"), scheme, path, authority, ("content-length", "5")], false).await;
        let mut served: Peer = upstream.accept().await;
        served.head().await;
        client.frame(DATA, END_STREAM, stream, body).await;
        client.until(|kind, _, its| its == stream && [RST_STREAM, HEADERS].contains(&kind)).await;
        let received = served.rest().await;
        assert!(received.len() < 5, "{received:?}");
    }
}
