//! HTTP/2 by hand: what a client may do that no honest client does, and that costs us nothing.

mod support;

use std::time::Duration;

use support::raw::Peer;
use support::{FakeUpstream, TestProxy, config, soon};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Far beyond what any limit lets pass, in bytes.
const FLOOD: usize = 64 << 20;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://a/` in HPACK: three indexed fields, and a literal `:authority`.
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client that has said hello.
async fn client(proxy: &TestProxy) -> Peer {
    let mut client = proxy.client().await;
    client.send(PREFACE).await;
    client.send(frame(SETTINGS, 0, 0, &[])).await;
    client
}

/// Sends pieces without reading, until the other side takes no more of them or hangs up. Says how many bytes went.
async fn flood(client: &mut Peer, mut piece: impl FnMut() -> Vec<u8>) -> usize {
    let mut sent = 0;
    while sent < FLOOD {
        let bytes = piece();
        // A second is for ever between two processes of one machine that have nothing else to do.
        match tokio::time::timeout(Duration::from_secs(1), client.try_send(&bytes)).await {
            Ok(Ok(())) => sent += bytes.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

/// Others are served as ever.
async fn serves(proxy: &TestProxy) {
    let mut other = proxy.client().await;
    other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(soon(other.answer()).await.body, "ok");
}

async fn stage() -> (TestProxy, support::Serving) {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    (proxy, upstream.answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

/// The connection's last words: the error code of its GOAWAY (RFC 9113 §7).
async fn farewell(client: &mut Peer) -> Option<u8> {
    let bytes = client.rest_of_bytes().await;
    let mut rest = bytes.as_slice();
    let mut code = None;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        if head[3] == GOAWAY {
            code = Some(payload[7]);
        }
        rest = after;
    }
    code
}

#[tokio::test]
async fn a_request_over_http_2_is_served() {
    let (proxy, _upstream) = stage().await;
    let mut client = client(&proxy).await;
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, GET)).await;
    // The frame with the answer's body: 2 bytes, DATA, stream 1.
    client.until("ok").await;
}

#[tokio::test]
async fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let (proxy, _upstream) = stage().await;
    let mut client = client(&proxy).await;
    let mut stream = 1;
    let sent = flood(&mut client, || {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        bytes
    })
    .await;
    assert!(sent < FLOOD, "it took everything");
    // ENHANCE_YOUR_CALM, if the farewell was not overtaken by a reset.
    assert!(matches!(farewell(&mut client).await, Some(0xb) | None));
    serves(&proxy).await;
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let (proxy, _upstream) = stage().await;
    let mut client = client(&proxy).await;
    client.send(frame(HEADERS, END_STREAM, 1, GET)).await;
    // A literal field that is not remembered: `x: ` and 16,000 bytes of it.
    let field = [b"\x00\x01x\x7f\x81\x7c".as_slice(), &[b'y'; 16_000]].concat();
    let sent = flood(&mut client, || frame(CONTINUATION, 0, 1, &field)).await;
    assert!(sent < FLOOD / 8, "{sent}");
    serves(&proxy).await;
}

#[tokio::test]
async fn empty_continuations_end_the_connection() {
    let (proxy, _upstream) = stage().await;
    let mut client = client(&proxy).await;
    client.send(frame(HEADERS, END_STREAM, 1, GET)).await;
    let sent = flood(&mut client, || frame(CONTINUATION, 0, 1, &[]).repeat(1000)).await;
    assert!(sent < FLOOD / 8, "{sent}");
    serves(&proxy).await;
}

#[tokio::test]
async fn settings_and_pings_that_nobody_reads_the_answers_of_are_not_read_for_ever() {
    let (proxy, _upstream) = stage().await;
    for kind in [SETTINGS, PING] {
        let mut client = client(&proxy).await;
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        let sent = flood(&mut client, || frame(kind, 0, 0, payload).repeat(1000)).await;
        assert!(sent < FLOOD, "kind {kind}: it took everything, and keeps the answers somewhere");
        serves(&proxy).await;
    }
}

#[tokio::test]
async fn a_broken_preface_or_frame_ends_the_connection_and_nothing_else() {
    let (proxy, _upstream) = stage().await;
    for bytes in [
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 100]),
        frame(HEADERS, END_STREAM | END_HEADERS, 2, GET),
        frame(CONTINUATION, END_HEADERS, 1, GET),
        frame(0, 0, 0, b"data on no stream"),
        frame(SETTINGS, 0, 0, b"odd"),
        frame(PING, 0, 0, b"short"),
        vec![0xff; 100],
    ] {
        let mut client = client(&proxy).await;
        client.send(&bytes).await;
        assert!(matches!(farewell(&mut client).await, Some(1..)), "{bytes:?}");
    }
    serves(&proxy).await;
}
