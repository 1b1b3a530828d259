//! What is refused whoever is behind us: a client's own mistake is answered at once, and never reaches the upstream.

mod support;

use support::raw::{Answer, header};
use support::{FakeUpstream, TestProxy, config, reserved};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends each request on a connection of its own, hands back the answers, and checks that the next request is the
/// first that the upstream sees.
async fn refused(requests: &[&[u8]]) -> Vec<Answer> {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut answers = Vec::new();
    for request in requests {
        let mut client = proxy.client().await;
        client.send(request).await;
        let head = client.head().await;
        assert_eq!(client.rest().await, "", "an answer without a body, and the end: {head}");
        answers.push(Answer { head, body: String::new() });
    }
    let mut client = proxy.client().await;
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.accept().await.head().await.starts_with("GET /first "), "the upstream saw nothing before");
    answers
}

/// The same for requests that are all answered alike.
async fn all_refused(status: u16, requests: &[&[u8]]) {
    for (answer, request) in refused(requests).await.iter().zip(requests) {
        let request = String::from_utf8_lossy(request);
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(answer.header("connection"), Some("close"), "{request}");
    }
}

#[tokio::test]
async fn a_request_without_one_valid_host_is_refused() {
    all_refused(
        400,
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: b\xc3\xbccher\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: a@b\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_request_with_lengths_that_differ_or_are_none_is_refused() {
    all_refused(
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\na",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\na",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_transfer_coding_other_than_one_chunked_is_refused() {
    all_refused(
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    .await;
    all_refused(
        501,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_target_in_a_form_that_its_method_does_not_have_is_refused() {
    all_refused(
        400,
        &[
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ../a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://user:password@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a:65536/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn raw_bytes_beyond_ascii_spaces_and_controls_in_the_target_are_refused() {
    all_refused(
        400,
        &[
            b"GET /b\xc3\xbccher HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /?b=\xc3\xbccher HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a/\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /<script> HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn connect_and_trace_are_not_allowed() {
    let answers = refused(&[
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
    ])
    .await;
    for answer in answers {
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
}

#[tokio::test]
async fn a_refusal_is_never_stored_and_says_who_refused_and_why() {
    let answers = refused(&[b"GET / HTTP/1.1\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"]).await;
    let said: Vec<_> = answers.iter().map(|answer| answer.header("proxy-status")).collect();
    assert_eq!(
        said,
        [
            Some("anteroom; error=http_request_error; details=\"no Host\""),
            Some("anteroom; error=http_request_error; details=\"TRACE is not served\""),
        ]
    );
    for answer in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), None, "no page");
    }
}

#[tokio::test]
async fn a_refusal_waits_for_no_upstream() {
    // Held for twenty seconds, were it admitted; the test would fail by then.
    let (_nobody, address) = reserved();
    let mut config = config(address);
    config.patience.request = support::LONG * 2;
    let proxy = TestProxy::start(config);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX-Anteroom: status\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", 204),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        assert!(client.head().await.starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
    }
}

#[tokio::test]
async fn a_host_may_be_any_name_that_a_uri_can_have_and_http_1_0_needs_none() {
    let upstream = FakeUpstream::start().await;
    let own = upstream.address.to_string();
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut served = None;
    for host in ["cvat_grafana", "-b.example.:8080", "[::1]:3000", "10.0.0.7", "a:", "b%C3%BCcher"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        if served.is_none() {
            served = Some(upstream.accept().await);
        }
        let served = served.as_mut().expect("accepted");
        assert_eq!(header(&served.head().await, "host"), Some(host));
        served.send(OK).await;
        client.answer().await;
    }
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut served = served.expect("accepted");
    let head = served.head().await;
    assert_eq!(header(&head, "host"), Some(own.as_str()), "HTTP/1.1 needs one: {head}");
    assert_eq!(header(&head, "x-forwarded-host"), None, "the client has named none");
    assert_eq!(header(&head, "via").map(|via| via.starts_with("1.0 anteroom-")), Some(true), "{head}");
}

/// The request lines and hosts with which requests arrive at the upstream.
async fn arrives(requests: &[(&str, &str)]) {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut served = None;
    for (sent, expected) in requests {
        client.send(format!("{sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        if served.is_none() {
            served = Some(upstream.accept().await);
        }
        let served = served.as_mut().expect("accepted");
        let head = served.head().await;
        let line = head.lines().next().expect("a request line").trim_end_matches(" HTTP/1.1");
        let host = header(&head, "host").expect("a host");
        assert_eq!(format!("{line} {host}"), *expected, "{sent}");
        served.send(OK).await;
        client.answer().await;
    }
}

#[tokio::test]
async fn an_absolute_target_becomes_origin_form_and_its_authority_replaces_host() {
    arrives(&[
        ("GET http://b:81/x?y", "GET /x?y b:81"),
        ("GET HTTPS://B/", "GET / B"),
        ("GET http://b", "GET / b"),
        ("GET http://b?y", "GET /?y b"),
        ("POST http://b//%2f/..?", "POST //%2f/..? b"),
    ])
    .await;
}

#[tokio::test]
async fn options_for_the_whole_server_pass_as_an_asterisk() {
    arrives(&[
        ("OPTIONS *", "OPTIONS * a"),
        ("OPTIONS http://b:81", "OPTIONS * b:81"),
        ("OPTIONS http://b/x", "OPTIONS /x b"),
        ("OPTIONS /", "OPTIONS / a"),
    ])
    .await;
}

#[tokio::test]
async fn path_and_query_arrive_byte_for_byte_and_a_fragment_is_dropped() {
    arrives(&[
        ("GET /%2f//..;x/./%zz?", "GET /%2f//..;x/./%zz? a"),
        ("GET //b/c", "GET //b/c a"),
        ("GET /?a=b&&c%20d??/", "GET /?a=b&&c%20d??/ a"),
        ("GET /{}|\\^\"?{}|\\^`", "GET /{}|\\^\"?{}|\\^` a"),
        ("GET /a#b", "GET /a a"),
        ("GET /a?b#c?d", "GET /a?b a"),
        ("brew /pot", "brew /pot a"),
    ])
    .await;
}

#[tokio::test]
async fn max_forwards_counts_down_for_options_alone() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(header(&head, "allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    assert_eq!(header(&head, "proxy-status"), Some("anteroom"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    let mut served = None;
    for (method, sent, arrived) in [
        ("OPTIONS", "3", "2"),
        ("OPTIONS", "1", "0"),
        ("OPTIONS", "many", "many"),
        ("GET", "0", "0"),
        ("GET", "3", "3"),
    ] {
        client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {sent}\r\n\r\n")).await;
        if served.is_none() {
            served = Some(upstream.accept().await);
        }
        let served = served.as_mut().expect("accepted");
        assert_eq!(header(&served.head().await, "max-forwards"), Some(arrived), "{method} {sent}");
        served.send(OK).await;
        client.answer().await;
    }
}

#[tokio::test]
async fn a_body_whose_length_is_said_twice_is_refused_with_all_that_follows() {
    let smuggled = "\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}{smuggled}").into_bytes();
    let requests = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
    ]
    .map(request);
    all_refused(400, &requests.each_ref().map(Vec::as_slice)).await;
}
