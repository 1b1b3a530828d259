//! HTTP/2 towards the upstream: with prior knowledge where it is configured as `h2c://`, by ALPN where as `https://`.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::config::{Config, UpstreamTls};
use anteroom::evidence::Scheme;
use anteroom::tls::Stream;
use anteroom::upstream::places::Places;
use bytes::Bytes;
use h2::{Reason, server};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use support::certificates::{Authority, Folder};
use support::http2::{Client, Http2Upstream, read};
use support::raw::{Peer, header};
use support::unwatched::Unwatched;
use support::{FakeUpstream, TestProxy, config, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;

const GET: &str = "GET /a//b?c=%2f HTTP/1.1\r\nHost: grafana.example:8080\r\nAccept: application/json\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn h2c(address: SocketAddr) -> Config {
    let mut config = config(address);
    config.upstream.scheme = Scheme::H2c;
    config
}

#[tokio::test]
async fn requests_of_several_clients_share_a_connection_and_arrive_as_http2_writes_them() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut first = proxy.client().await;
    first.send(GET).await;
    let mut one = upstream.accept().await;
    assert_eq!(one.request.version(), Version::HTTP_2);
    assert_eq!(one.request.uri(), "http://grafana.example:8080/a//b?c=%2f");
    for gone in ["host", "connection", "transfer-encoding", "content-length"] {
        assert_eq!(one.header(gone), None, "{gone}");
    }
    assert_eq!(one.header("x-forwarded-host"), Some("grafana.example:8080"));
    assert!(one.header("via").is_some_and(|via| via.starts_with("1.1 anteroom-")));
    assert!(one.request.body().is_end_stream(), "it has no body");
    let mut second = proxy.client().await;
    second.send(GET).await;
    let mut two = upstream.accept().await;
    assert_eq!(one.connection, two.connection, "side by side");
    two.ok();
    let answer = second.answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"));
    assert!(header(&answer.head, "via").is_some_and(|via| via.starts_with("2.0 anteroom-")), "{}", answer.head);
    one.ok();
    assert_eq!(first.answer().await.body, "ok");
}

#[tokio::test]
async fn a_call_of_grpc_passes_with_its_trailers_both_ways() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = Client::connect(proxy.address).await;
    let call = Request::post("http://a/package.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut body) = client.ask(call.body(()).expect("valid"), false).await;
    body.send_data(Bytes::from_static(b"one"), false).expect("open");
    let mut asked = upstream.accept().await;
    assert_eq!(asked.header("te"), Some("trailers"));
    // Each side hears of the other before either has ended.
    let first = soon(asked.request.body_mut().data()).await.expect("data").expect("whole");
    assert_eq!(first, "one");
    let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
    reply.send_data(Bytes::from_static(b"first"), false).expect("open");
    let mut answer = soon(answer).await.expect("an answer");
    assert_eq!(soon(answer.body_mut().data()).await.expect("data").expect("whole"), "first");
    let trailer = |name: &'static str| HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from(7))]);
    body.send_data(Bytes::from_static(b"two"), false).expect("open");
    body.send_trailers(trailer("x-sum")).expect("open");
    let (rest, trailers) = read(asked.request.body_mut()).await.expect("whole");
    assert_eq!((rest.as_str(), trailers), ("two", Some(trailer("x-sum"))));
    reply.send_trailers(trailer("grpc-status")).expect("open");
    assert_eq!(read(answer.body_mut()).await.expect("whole").1, Some(trailer("grpc-status")));
}

#[tokio::test]
async fn trailers_from_an_http2_upstream_reach_a_client_of_http1() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Up: 1\r\n\r\n")
        .await;
    let mut asked = upstream.accept().await;
    let (body, trailers) = read(asked.request.body_mut()).await.expect("whole");
    assert_eq!((body.as_str(), trailers.expect("trailers")["x-up"].as_bytes()), ("hi", &b"1"[..]));
    let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
    reply.send_data(Bytes::from_static(b"ok"), false).expect("open");
    reply
        .send_trailers(HeaderMap::from_iter([("x-down".parse().expect("a name"), HeaderValue::from(2))]))
        .expect("open");
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await, "2\r\nok\r\n0\r\nx-down: 2\r\n\r\n");
}

#[tokio::test]
async fn an_answer_that_is_reset_ends_as_broken_and_its_neighbour_goes_on() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let (mut client, mut neighbour) = (proxy.client().await, proxy.client().await);
    client.send(GET).await;
    let mut asked = upstream.accept().await;
    neighbour.send(GET).await;
    let mut other = upstream.accept().await;
    assert_eq!(asked.connection, other.connection);
    let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
    reply.send_data(Bytes::from_static(b"half"), false).expect("open");
    client.head().await;
    assert_eq!(client.until("half\r\n").await, "4\r\nhalf\r\n");
    reply.send_reset(Reason::INTERNAL_ERROR);
    assert_eq!(client.rest().await, "", "no last chunk");
    other.ok();
    assert_eq!(neighbour.answer().await.body, "ok");
}

#[tokio::test]
async fn an_answer_that_is_given_up_without_an_error_ends_as_broken() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let unfinished = &POST[..POST.len() - 1];
    for (request, reason) in [(GET, Reason::NO_ERROR), (GET, Reason::CANCEL), (unfinished, Reason::NO_ERROR)] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let mut asked = upstream.accept().await;
        let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
        reply.send_data(Bytes::from_static(b"half"), false).expect("open");
        client.head().await;
        assert_eq!(client.until("half\r\n").await, "4\r\nhalf\r\n");
        reply.send_reset(reason);
        assert_eq!(client.rest().await, "", "no last chunk after {reason:?} of {request}");
    }
}

#[tokio::test]
async fn an_answer_that_is_whole_stays_so_when_the_upstream_wants_no_more_of_the_request() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello").await;
    let mut asked = upstream.accept().await;
    let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
    reply.send_data(Bytes::from_static(b"enough"), true).expect("open");
    // Who answers and drops the rest resets the stream with NO_ERROR (RFC 9113 §8.1).
    drop((asked, reply));
    assert_eq!(client.answer().await.body, "6\r\nenough\r\n0\r\n\r\n");
}

#[tokio::test]
async fn clients_that_do_not_read_keep_no_other_waiting() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        let mut asked = upstream.accept().await;
        let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
        // More than the kernel keeps for a client that does not read.
        reply.send_data(Bytes::from(vec![0; 32 << 20]), true).expect("open");
        stalled.push((client, asked));
    }
    let mut client = proxy.client().await;
    for _ in 0..20 {
        client.send(GET).await;
        upstream.accept().await.ok();
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn uploads_that_the_upstream_does_not_take_keep_no_other_waiting() {
    let mut roomy = server::Builder::new();
    roomy.initial_connection_window_size(1 << 20);
    let mut upstream = Http2Upstream::start(roomy).await;
    let mut config = h2c(upstream.address);
    // Longer than this test waits: it shall not be what makes room.
    config.response_timeout = Duration::from_secs(60);
    let proxy = TestProxy::start(config);
    let mut client = Client::connect(proxy.address).await;
    let post = || Request::post("http://a/").body(()).expect("valid");
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let (answer, mut body) = client.ask(post(), false).await;
        body.send_data(Bytes::from(vec![0; 8 << 20]), true).expect("open");
        stalled.push((answer, upstream.accept().await));
    }
    let (answer, mut body) = client.ask(post(), false).await;
    body.send_data(Bytes::from_static(b"small"), true).expect("open");
    let mut asked = upstream.accept().await;
    assert_eq!(read(asked.request.body_mut()).await.expect("whole").0, "small");
    asked.ok();
    assert_eq!(soon(answer).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upstream_that_refuses_streams_is_asked_again_more_and_more_seldom() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let mut config = h2c(upstream.address);
    config.patience.request = Duration::from_secs(2);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let refuse = async {
        for asked in 0.. {
            upstream.accept().await.answer.send_reset(Reason::REFUSED_STREAM);
            assert!(asked < 25, "a storm");
        }
    };
    let answer = tokio::select! {
        answer = client.answer() => answer,
        () = refuse => unreachable!("it refuses for ever"),
    };
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn a_client_that_leaves_has_its_stream_reset_at_once_and_its_neighbour_goes_on() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut neighbour = proxy.client().await;
    neighbour.send(GET).await;
    let mut other = upstream.accept().await;
    for answered in [false, true] {
        let mut client = proxy.client().await;
        client.send(GET).await;
        let mut asked = upstream.accept().await;
        let mut reply = None;
        if answered {
            let mut body = asked.answer.send_response(Response::new(()), false).expect("open");
            body.send_data(Bytes::from_static(b"half"), false).expect("open");
            client.head().await;
            reply = Some(body);
        }
        drop(client);
        let reset = std::future::poll_fn(|cx| match &mut reply {
            Some(body) => body.poll_reset(cx),
            None => asked.answer.poll_reset(cx),
        });
        assert_eq!(soon(reset).await.expect("a reset"), Reason::CANCEL, "{answered}");
    }
    other.ok();
    assert_eq!(neighbour.answer().await.body, "ok");
}

#[tokio::test]
async fn a_request_beside_an_answer_of_more_empty_frames_than_h2_takes_is_sent_again() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let (mut client, mut neighbour) = (proxy.client().await, proxy.client().await);
    client.send(GET).await;
    let mut asked = upstream.accept().await;
    neighbour.send(GET).await;
    let other = upstream.accept().await;
    assert_eq!(asked.connection, other.connection);
    let mut reply = asked.answer.send_response(Response::new(()), false).expect("open");
    for _ in 0..101 {
        reply.send_data(Bytes::new(), false).expect("open");
    }
    let mut again = upstream.accept().await;
    assert_ne!(again.connection, other.connection);
    again.ok();
    assert_eq!(neighbour.answer().await.body, "ok");
}

#[tokio::test]
async fn an_answer_whose_head_is_too_large_is_not_asked_for_again() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut asked = upstream.accept().await;
    let mut answer = Response::builder();
    for number in 0..30 {
        answer = answer.header(format!("x-{number}"), "x".repeat(10 << 10));
    }
    asked.answer.send_response(answer.body(()).expect("valid"), true).expect("open");
    assert_eq!(client.answer().await.status(), 502);
}

#[tokio::test]
async fn a_head_that_is_too_large_costs_no_other_request_its_answer() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut first = proxy.client().await;
    first.send(GET).await;
    upstream.accept().await.ok();
    assert_eq!(first.answer().await.body, "ok");
    // Both go over the connection that is there, which is closed for the first one's answer.
    let mut clients = Vec::new();
    let mut asked = Vec::new();
    for path in ["/large", "/other"] {
        let mut client = proxy.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        clients.push(client);
        asked.push(upstream.accept().await);
    }
    let mut answer = Response::builder();
    for number in 0..30 {
        answer = answer.header(format!("x-{number}"), "x".repeat(10 << 10));
    }
    asked[0].answer.send_response(answer.body(()).expect("valid"), true).expect("open");
    for _ in 0..2 {
        upstream.accept().await.ok();
    }
    for mut client in clients {
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn an_upload_is_brought_to_its_end_though_its_answer_had_all_its_bytes_before() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    // A little more than a stream's window, so that we have read it all.
    let all = 65_535 + 1000;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {all}\r\n\r\n")).await;
    client.send(vec![0; all]).await;
    let mut asked = upstream.accept().await;
    let mut came = 0;
    while came < 65_535 {
        came += soon(asked.request.body_mut().data()).await.expect("data").expect("whole").len();
    }
    let head = Response::builder().header("content-length", 2).body(()).expect("valid");
    let mut reply = asked.answer.send_response(head, false).expect("open");
    reply.send_data("ok".into(), false).expect("open");
    assert_eq!(client.answer().await.body, "ok");
    // Only now the rest of it may come.
    asked.request.body_mut().flow_control().release_capacity(came).expect("that much came");
    while let Some(data) = soon(asked.request.body_mut().data()).await {
        came += data.expect("it is not reset").len();
    }
    assert_eq!(came, all);
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_take_is_reset_when_its_client_leaves_or_has_its_answer() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    for ended in [false, true] {
        let mut client = proxy.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n").await;
        // More than a stream's window, and less than the kernel has room for: beyond that, no end of the client arrives.
        client.send(vec![0; 96 << 10]).await;
        let mut asked = upstream.accept().await;
        let mut came = 0;
        while came < 65_535 {
            came += soon(asked.request.body_mut().data()).await.expect("data").expect("whole").len();
        }
        let mut reply = asked.answer.send_response(Response::new(()), ended).expect("open");
        client.head().await;
        let stays = ended.then_some(client);
        let reset = std::future::poll_fn(|cx| reply.poll_reset(cx));
        assert_eq!(soon(reset).await.expect("a reset"), Reason::CANCEL, "{ended}");
        drop(stays);
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_does_not_read_is_cut_when_nobody_waits_for_it() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let frozen = socket.listen(8).expect("it listens");
    let mut config = h2c(frozen.local_addr().expect("bound"));
    config.response_timeout = Duration::from_millis(100);
    let proxy = Unwatched::start_among(config, Places::new(1)).await;
    let mut client = Client::connect(proxy.address).await;
    let (answer, mut body) = client.ask(Request::post("http://a/").body(()).expect("valid"), false).await;
    body.send_data(Bytes::from(vec![0; 16 << 20]), true).expect("open");
    let (mut served, _) = soon(frozen.accept()).await.expect("a connection");
    // SETTINGS and WINDOW_UPDATE: as much as there may be, for the stream and for the connection.
    served.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff").await.expect("there is room");
    served.write_all(b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0").await.expect("there is room");
    assert_eq!(soon(answer).await.expect("an answer").status(), StatusCode::GATEWAY_TIMEOUT);
    let mut other = Peer::connect(proxy.address).await;
    other.send(GET).await;
    soon(frozen.accept()).await.expect("the only place is free again");
    let mut taken = Vec::new();
    soon(served.read_to_end(&mut taken)).await.expect("what the kernel had is delivered");
    // Once the upstream reads, whoever has waited for that says GOAWAY.
    assert_ne!(taken[taken.len() - 17..][..4], [0, 0, 8, 7], "it was closed before");
}

#[tokio::test]
async fn a_post_that_the_upstream_has_not_looked_at_is_sent_again() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client.send(POST).await;
    upstream.accept().await.answer.send_reset(Reason::REFUSED_STREAM);
    let mut again = upstream.accept().await;
    assert_eq!(read(again.request.body_mut()).await.expect("whole").0, "hello");
    again.ok();
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn a_post_that_the_upstream_may_have_acted_on_is_not_sent_again() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client.send(POST).await;
    upstream.accept().await.answer.send_reset(Reason::INTERNAL_ERROR);
    assert_eq!(client.answer().await.status(), 502);
}

#[tokio::test]
async fn more_requests_than_the_upstream_takes_on_a_connection_get_another_one() {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let mut upstream = Http2Upstream::start(builder).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut streams = Vec::new();
    // None of them ends: one that had to wait for another would wait for ever.
    for _ in 0..5 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        let mut asked = upstream.accept().await;
        let reply = asked.answer.send_response(Response::new(()), false).expect("open");
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        streams.push((client, reply, asked.connection));
    }
    let mut connections: Vec<usize> = streams.iter().map(|(.., connection)| *connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 3, "two on each");
}

#[tokio::test]
async fn requests_that_come_before_the_upstream_has_said_how_many_it_takes_do_not_wait_for_each_other() {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(1);
    let mut upstream = Http2Upstream::start(builder).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        clients.push(client);
    }
    // None of them ends.
    let mut streams = Vec::new();
    for _ in &clients {
        let mut asked = upstream.accept().await;
        streams.push(asked.answer.send_response(Response::new(()), false).expect("open"));
    }
    for client in &mut clients {
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http1_alone_is_found_out() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 502);
    assert!(answer.body.contains("not-http"), "{}", answer.body);
}

#[tokio::test]
async fn the_ready_path_is_asked_over_http2() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let mut config = h2c(upstream.address);
    config.upstream.ready_path = Some("/health".into());
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut probe = upstream.accept().await;
    assert_eq!((probe.request.method(), probe.request.uri().path()), (&Method::GET, "/health"));
    probe.ok();
    let mut asked = upstream.accept().await;
    assert_eq!(asked.request.uri().path(), "/a//b");
    asked.ok();
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn an_offer_to_upgrade_is_not_made_to_an_upstream_that_speaks_http2() {
    let mut upstream = Http2Upstream::start(server::Builder::new()).await;
    let proxy = TestProxy::start(h2c(upstream.address));
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let mut asked = upstream.accept().await;
        assert_eq!((asked.header("upgrade"), asked.header("connection")), (None, None));
        let refused = Response::builder().status(StatusCode::BAD_REQUEST).body(()).expect("valid");
        asked.answer.send_response(refused, true).expect("open");
        assert_eq!(client.answer().await.status(), 400, "its own answer");
        connections.push(asked.connection);
    }
    assert_eq!(connections[0], connections[1], "like any other request");
}

#[tokio::test]
async fn an_https_upstream_speaks_http2_if_it_likes_and_http1_for_websockets() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut tls = authority.issue("localhost").server();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (websocket, mut websockets) = tokio::sync::mpsc::channel(1);
    let mut upstream = Http2Upstream::over(server::Builder::new(), move |stream| {
        let (accepted, websocket) = (acceptor.accept(stream), websocket.clone());
        async move {
            let stream = Stream::Tls(Box::new(accepted.await.ok()?.into()));
            if stream.is_h2() {
                return Some(stream);
            }
            let _ = websocket.send(support::raw::Peer::over(stream)).await;
            None
        }
    })
    .await;
    let mut config = config(upstream.address);
    (config.upstream.scheme, config.upstream.host) = (Scheme::Https, "localhost".into());
    config.upstream_tls = UpstreamTls { ca: Some(folder.write("roots.pem", &authority.pem())), identity: None };
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut asked = upstream.accept().await;
    assert_eq!(asked.request.uri().scheme_str(), Some("https"));
    asked.ok();
    assert_eq!(client.answer().await.body, "ok");
    client.send("GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut served = soon(websockets.recv()).await.expect("another connection");
    assert_eq!(header(&served.head().await, "upgrade"), Some("websocket"));
}
