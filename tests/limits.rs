//! Every limit has a name, an end of its own, and a count of how often it was reached.

mod support;

use std::time::Duration;

use support::raw::Peer;
use support::{FakeUpstream, Serving, TestProxy, config, soon};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Short, but longer than anything that must happen before it on a slow machine.
const SHORT: Duration = Duration::from_millis(300);

async fn stage(change: impl FnOnce(&mut anteroom::config::Config)) -> (TestProxy, Serving) {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    change(&mut config);
    (TestProxy::start(config), upstream.answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

/// How often a limit was reached, as `/metrics` tells it.
async fn reached(proxy: &TestProxy, limit: &str) -> u64 {
    let mut admin = Peer::connect(proxy.admin).await;
    admin.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let text = admin.answer().await.body;
    let line = format!("anteroom_limit_reached_total{{limit=\"{limit}\"}} ");
    let count = text.lines().find_map(|its| its.strip_prefix(&line));
    count.unwrap_or_else(|| panic!("{limit} in {text}")).parse().expect("a number")
}

/// Waits until a limit was reached so often: the connection may end a moment before it is counted.
async fn counts(proxy: &TestProxy, limit: &str, times: u64) {
    soon(async { while reached(proxy, limit).await < times {} }).await;
    assert_eq!(reached(proxy, limit).await, times, "{limit}");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_at_its_deadline_however_lively_it_is() {
    let (proxy, _upstream) = stage(|config| config.limits.header_timeout = SHORT).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\n").await;
    let drip = async {
        while client.try_send("X: y\r\n").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    soon(drip).await;
    counts(&proxy, "header_timeout", 1).await;
}

#[tokio::test]
async fn the_deadline_of_a_head_holds_for_every_request_of_a_connection() {
    let (proxy, _upstream) = stage(|config| config.limits.header_timeout = SHORT).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok");
    client.send("GET / HT").await;
    assert_eq!(client.rest().await, "");
    counts(&proxy, "header_timeout", 1).await;
}

#[tokio::test]
async fn a_body_that_takes_long_is_no_head() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.header_timeout = SHORT;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na").await;
    let mut served = upstream.accept().await;
    served.head().await;
    tokio::time::sleep(SHORT * 2).await;
    client.send("b").await;
    assert_eq!(served.exactly(2).await, "ab");
}

#[tokio::test]
async fn a_silent_connection_is_closed_before_and_between_requests() {
    let (proxy, _upstream) = stage(|config| config.limits.idle_timeout = SHORT).await;
    let mut client = proxy.client().await;
    assert_eq!(client.rest().await, "");
    counts(&proxy, "idle_timeout", 1).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok");
    assert_eq!(client.rest().await, "");
    counts(&proxy, "idle_timeout", 2).await;
}

#[tokio::test]
async fn a_preface_that_does_not_end_is_cut() {
    let (proxy, _upstream) = stage(|config| config.limits.header_timeout = SHORT).await;
    let mut client = proxy.client().await;
    client.send("PRI * HTTP").await;
    assert_eq!(client.rest().await, "");
    counts(&proxy, "header_timeout", 1).await;
    assert_eq!(reached(&proxy, "idle_timeout").await, 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_and_the_upstream_let_go() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT;
    let proxy = TestProxy::start(config);
    // An offer to upgrade that is declined, or nonsense behind the request, changes nothing.
    let offer = GET.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n");
    for (times, ask) in [(1, GET), (2, &offer), (3, &format!("{GET}BAD\n\n"))] {
        let mut client = proxy.client().await;
        client.send(ask).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        let piece = vec![b'x'; 1 << 20];
        while served.try_send(&piece).await.is_ok() {}
        counts(&proxy, "idle_timeout", times).await;
    }
}

/// A client that speaks HTTP/2, takes at most `window` bytes of each answer before it says that it wants more, and does
/// not always do what HTTP/2 asks of it.
async fn http2(proxy: &TestProxy, window: u32) -> (h2::client::SendRequest<bytes::Bytes>, JoinHandle<()>) {
    let stream = soon(TcpStream::connect(proxy.address)).await.expect("it listens");
    let client = h2::client::Builder::new().initial_window_size(window).handshake(stream);
    let (client, connection) = soon(client).await.expect("HTTP/2");
    (client, tokio::spawn(async move { drop(connection.await) }))
}

#[tokio::test]
async fn an_http2_client_that_takes_nothing_of_an_answer_is_reset_and_the_upstream_let_go() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT;
    let proxy = TestProxy::start(config);
    for window in [0, 1000] {
        let (mut client, _connection) = http2(&proxy, window).await;
        let request = http::Request::get("http://a/").body(()).expect("a request");
        let (answer, _) = client.send_request(request, true).expect("room");
        let mut served = upstream.accept().await;
        served.head().await;
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        served.send(vec![b'x'; 500_000]).await;
        let mut body = soon(answer).await.expect("a head").into_body();
        soon(async { while !matches!(body.data().await, Some(Err(_))) {} }).await;
        assert_eq!(served.rest().await, "");
    }
    counts(&proxy, "idle_timeout", 2).await;
}

#[tokio::test]
async fn an_http2_connection_whose_requests_take_long_is_not_idle_and_idle_after_the_last() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT;
    let proxy = TestProxy::start(config);
    let (mut client, connection) = http2(&proxy, 1 << 16).await;
    let request = || http::Request::get("http://a/").body(()).expect("a request");
    let (long, _) = client.send_request(request(), true).expect("room");
    let mut served = upstream.accept().await;
    served.head().await;
    for _ in 0..3 {
        let (answer, _) = client.send_request(request(), true).expect("room");
        let mut other = upstream.accept().await;
        other.head().await;
        tokio::time::sleep(SHORT).await;
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert_eq!(soon(answer).await.expect("an answer").status(), 200);
    }
    assert!(!connection.is_finished());
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(soon(long).await.expect("an answer").status(), 200);
    soon(connection).await.expect("it has ended");
}

#[tokio::test]
async fn an_http2_client_that_takes_slowly_or_waits_for_the_upstream_is_not_reset() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT;
    let proxy = TestProxy::start(config);
    let (mut client, _connection) = http2(&proxy, 100).await;
    let request = http::Request::get("http://a/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("room");
    let mut served = upstream.accept().await;
    served.head().await;
    tokio::time::sleep(SHORT * 2).await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 800\r\n\r\n").await;
    served.send("x".repeat(600)).await;
    let mut body = soon(answer).await.expect("a head").into_body();
    let mut taken = 0;
    while taken < 600 {
        let data = soon(body.data()).await.expect("more").expect("no reset");
        tokio::time::sleep(SHORT / 3).await;
        taken += data.len();
        body.flow_control().release_capacity(data.len()).expect("taken");
    }
    tokio::time::sleep(SHORT * 2).await;
    served.send("x".repeat(200)).await;
    while taken < 800 {
        let data = soon(body.data()).await.expect("more").expect("no reset");
        taken += data.len();
        body.flow_control().release_capacity(data.len()).expect("taken");
    }
}

#[tokio::test]
async fn an_http2_client_that_takes_a_large_frame_slowly_is_not_reset() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT * 4;
    let proxy = TestProxy::start(config);
    let (mut client, _connection) = http2(&proxy, 6_000).await;
    let request = http::Request::get("http://a/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("room");
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000))).await;
    let mut body = soon(answer).await.expect("a head").into_body();
    let mut taken = 0;
    while taken < 60_000 {
        let data = soon(body.data()).await.expect("more").expect("no reset");
        tokio::time::sleep(SHORT / 3).await;
        taken += data.len();
        body.flow_control().release_capacity(data.len()).expect("taken");
    }
    assert!(body.data().await.is_none());
}

#[tokio::test]
async fn an_http2_client_that_keeps_what_is_left_of_an_answer_loses_its_connection() {
    let (proxy, _upstream) = stage(|config| config.limits.idle_timeout = SHORT).await;
    let (mut client, connection) = http2(&proxy, 1).await;
    let request = http::Request::get("http://a/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("room");
    let _kept = soon(answer).await.expect("a head");
    soon(connection).await.expect("it ends");
}

#[tokio::test]
async fn a_stream_that_is_silent_is_not_idle() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = SHORT;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n").await;
    client.until("a\n\r\n").await;
    tokio::time::sleep(SHORT * 3).await;
    served.send("2\r\nb\n\r\n").await;
    client.until("b\n\r\n").await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_one_to_end() {
    let (proxy, _upstream) = stage(|config| config.limits.connections = 1).await;
    let mut first = proxy.client().await;
    first.send(GET).await;
    first.answer().await;
    let mut second = proxy.client().await;
    second.send(GET).await;
    counts(&proxy, "connections", 1).await;
    drop(first);
    assert_eq!(second.answer().await.body, "ok");
}

#[tokio::test]
async fn a_tunnel_keeps_its_place() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.connections = 1;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    client.head().await;
    let mut second = proxy.client().await;
    second.send(GET).await;
    counts(&proxy, "connections", 1).await;
    drop((client, served));
    upstream.accept().await.head().await;
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    let (proxy, _upstream) = stage(|config| config.limits.requests = std::num::NonZeroUsize::new(2)).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.header("connection"), None);
    client.send(GET).await;
    assert_eq!(client.answer().await.header("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
    counts(&proxy, "requests", 1).await;
}

#[tokio::test]
async fn the_bounds_of_a_head_are_settings() {
    let (proxy, _upstream) = stage(|config| {
        config.limits.header_bytes = 8 << 10;
        config.limits.headers = 10;
    })
    .await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10));
    for (count, bytes) in [(1, long), (2, many)] {
        let mut client = proxy.client().await;
        let _ = client.try_send(bytes).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
        counts(&proxy, "header_size", count).await;
    }
    let mut client = proxy.client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(9))).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_refused_before_anyone_waits_for_it() {
    // Nobody listens there: a request that were held would be for long.
    let mut config = config(support::nobody().await);
    config.limits.body_bytes = Some(4);
    let proxy = TestProxy::start(config);
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut client = proxy.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 5\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.header("connection")), (413, Some("close")));
    }
    counts(&proxy, "body_size", 2).await;
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused_and_the_upstream_sees_no_end_of_it() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.body_bytes = Some(4);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    assert_eq!(served.until("abc\r\n").await, "3\r\nabc\r\n");
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 413);
    assert_eq!(served.rest().await, "");
    counts(&proxy, "body_size", 1).await;
}

#[tokio::test]
async fn a_body_as_large_as_it_may_be_passes() {
    let (proxy, _upstream) = stage(|config| config.limits.body_bytes = Some(4)).await;
    for body in ["Content-Length: 4\r\n\r\nabcd", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"] {
        // The upstream does not read bodies, so each request has a connection of its own.
        let mut client = proxy.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}")).await;
        assert_eq!(client.answer().await.body, "ok", "{body}");
    }
}
