//! An upstream that is away for a while costs time, not requests.

mod support;

use std::time::Duration;

use anteroom::engine::Sighting;
use anteroom::evidence::{Engine, Failure};
use support::raw::{Peer, header};
use support::unwatched::Unwatched;
use support::{FakeUpstream, TestProxy, config, nobody, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";

#[tokio::test]
async fn a_request_waits_until_the_upstream_listens() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let _upstream = FakeUpstream::start_at(address).await.answering(OK);
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn a_held_request_passes_soon_after_the_upstream_listens() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    warming(&proxy).await;
    let upstream = FakeUpstream::start_at(address).await;
    let began = std::time::Instant::now();
    let _upstream = upstream.answering(OK);
    client.answer().await;
    // The goal is 50 ms; a shared machine gets slack, and 500 ms still tells a probe from a two-second pace.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_page_view_gets_the_waiting_page_when_its_patience_ends() {
    let proxy = TestProxy::start(config(nobody().await));
    let mut client = proxy.client().await;
    client.send("GET /d/1 HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("content-security-policy").is_some_and(|it| it.starts_with("default-src 'none'")));
    assert!(answer.header("proxy-status").is_some_and(|it| it.starts_with("anteroom; error=destination_unavailable")));
    assert!(answer.body.starts_with("<!doctype html>"), "{}", answer.body);
}

#[tokio::test]
async fn the_page_of_a_head_request_has_no_body() {
    let proxy = TestProxy::start(config(nobody().await));
    let mut client = proxy.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 503 "), "{all}");
    assert!(all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_body_of_which_a_part_comes_while_its_request_is_held_arrives_whole() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello ").await;
    warming(&proxy).await;
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = upstream.accept().await;
    served.head().await;
    client.send("world").await;
    assert_eq!(served.exactly(11).await, "hello world");
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_restart_under_load_loses_no_request() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let address = upstream.address;
    let proxy = TestProxy::start(config(address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    client.answer().await;

    let address_back = upstream.vanish().await;
    let mut held = Vec::new();
    // More than the retry budget: what was never sent needs none.
    for _ in 0..300 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        held.push(client);
    }
    // The kept-alive client too: its connection is not anteroom's to the upstream.
    client.send(GET).await;
    let _upstream = FakeUpstream::start_at(address_back).await.answering(OK);
    assert_eq!(client.answer().await.status(), 200);
    for mut client in held {
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn more_than_may_be_held_are_answered_at_once() {
    let mut config = config(nobody().await);
    config.max_held = 1;
    let proxy = TestProxy::start(config);
    let mut first = proxy.client().await;
    first.send(GET).await;
    // The first is held as soon as a second finds the room full.
    let answer = loop {
        let mut client = proxy.client().await;
        client.send(GET).await;
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), client.answer()).await {
            break answer;
        }
    };
    assert_eq!(answer.status(), 503);
    let problem = answer.json();
    let codes: Vec<_> = problem["findings"].as_array().expect("a list").iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["target-warming", "waiting-room-full"], "the root cause leads");
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_when_the_connection_breaks_before_the_answer() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.exactly(5).await;
    served.reset();
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("PUT /x "));
    assert_eq!(served.exactly(5).await, "hello", "the body is sent again from its first byte");
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_the_same_byte_for_byte() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let head =
        "PUT /%7Ex?a=&b HTTP/1.1\r\nHost: a\r\nDNT: 1\r\nsec-ch-ua: \"x\"\r\nX-b: 1\r\nx-B: 2\r\nCOOKIE: c=d\r\n";
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 5\r\n\r\n")).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        let mut served = upstream.accept().await;
        let head = served.head().await;
        assert!(head.contains("\r\nDNT: 1\r\n") && head.contains("\r\nsec-ch-ua: "), "{head}");
        served.until("0\r\n").await;
        sent.push(head);
        served.reset();
    }
    assert_eq!(sent[0], sent[1]);
    assert_eq!(sent[1], sent[2]);
    let mut served = upstream.accept().await;
    served.head().await;
    assert!(served.until("\r\n\r\n").await.contains("hello"));
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn more_requests_than_the_retry_budget_allows_survive_a_restart_that_cuts_them_off() {
    let upstream = FakeUpstream::start().await;
    let address = upstream.address;
    let mut config = config(address);
    config.limits.connections = 1024;
    let proxy = TestProxy::start(config);
    let mut clients = Vec::new();
    let mut underway = Vec::new();
    // A hundred, and a fifth of themselves, may be sent again within ten seconds.
    for _ in 0..200 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        let mut served = upstream.accept().await;
        served.head().await;
        underway.push(served);
        clients.push(client);
    }
    drop(upstream);
    underway.into_iter().for_each(Peer::reset);
    warming(&proxy).await;
    let _upstream = FakeUpstream::start_at(address).await.answering(OK);
    for mut client in clients {
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn a_post_whose_bytes_were_sent_is_never_sent_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.exactly(5).await;
    served.reset();
    let answer = client.answer().await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["findings"][0]["code"], "closed-early");
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.replay_bytes = 4;
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.exactly(5).await;
    served.reset();
    assert_eq!(client.answer().await.status(), 502);
}

#[tokio::test]
async fn a_pooled_connection_that_died_while_idle_is_not_noticed() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    client.answer().await;
    // Closed just as the next request comes: anteroom finds out by writing to it.
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.head().await;
    drop(served);
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("GET /2 "));
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_frees_its_place_and_is_not_served() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";
    for ask in [
        GET.to_owned(),
        format!("{GET}\r\n"),
        format!("{POST}\r\nhello"),
        format!("{POST}Expect: 100-continue\r\n\r\n"),
    ] {
        for reset in [false, true] {
            let address = nobody().await;
            let mut config = config(address);
            config.max_held = 1;
            let proxy = TestProxy::start(config);
            let mut first = proxy.client().await;
            first.send(&ask).await;
            warming(&proxy).await;
            if reset {
                first.reset();
            } else {
                drop(first);
            }
            let mut next = next_held(&proxy).await;
            let upstream = FakeUpstream::start_at(address).await;
            let mut served = upstream.accept().await;
            assert!(served.head().await.starts_with("GET /next "), "{ask:?}, reset: {reset}");
            served.send(OK).await;
            assert_eq!(next.answer().await.body, "ok");
        }
    }
}

/// Asks until it is held. As long as there is no place, it is turned away at once.
async fn next_held(proxy: &TestProxy) -> Peer {
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if tokio::time::timeout(Duration::from_millis(100), client.has_data()).await.is_err() {
                return client;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_broken_body_is_refused_though_its_request_could_be_held() {
    let proxy = TestProxy::start(config(nobody().await));
    for expect in ["", "Expect: 100-continue\r\n"] {
        for body in ["5\r\nhelloXX\r\n0\r\n\r\n", "nonsense\r\n", "0x5\r\nhello\r\n0\r\n\r\n"] {
            let mut client = proxy.client().await;
            client
                .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}Transfer-Encoding: chunked\r\n\r\n{body}"))
                .await;
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
            assert!(!answer.contains("problem+json") && !answer.contains("<html"), "no page: {answer}");
        }
    }
}

#[tokio::test]
async fn the_ready_path_decides_where_it_is_set() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.upstream.ready_path = Some("/api/health".into());
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut probe = upstream.accept().await;
    assert!(probe.head().await.starts_with("GET /api/health HTTP/1.1\r\n"));
    probe.send("HTTP/1.1 503 Starting\r\nContent-Length: 0\r\n\r\n").await;
    let mut probe = upstream.accept().await;
    assert!(probe.head().await.starts_with("GET /api/health "), "asked again; the request is still held");
    probe.send(OK).await;
    let mut served = upstream.accept().await;
    assert!(served.head().await.starts_with("GET /api/x "));
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_status_query_is_answered_by_anteroom_itself() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let ask = "GET /any HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nAccept: application/json\r\n\r\n";
    warming(&proxy).await;
    let mut client = proxy.client().await;
    client.send(ask).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.header("x-anteroom-state")), (200, Some("warming")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.json()["state"], "warming");

    let _upstream = FakeUpstream::start_at(address).await.answering(OK);
    soon(async {
        loop {
            client.send(ask).await;
            if client.answer().await.header("x-anteroom-state") == Some("ready") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_restarts_disturbs_nobody() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    for engine in [
        Engine::Available { version: "20.10.24".into() },
        Engine::Unavailable { reason: "connection refused".into() },
        Engine::Forbidden { reason: "permission denied".into() },
        Engine::Available { version: "20.10.24".into() },
    ] {
        proxy.sightings.send_replace(Sighting { engine, ..Sighting::default() });
        client.send(GET).await;
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn probes_that_pass_do_not_make_a_request_outlast_its_patience() {
    // A watcher that says again and again that it is ready, of an upstream that refuses every connection.
    let mut config = config(nobody().await);
    config.patience.request = Duration::from_millis(300);
    let mut unwatched = Unwatched::start(config).await;
    let mut client = Peer::connect(unwatched.address).await;
    client.send(GET).await;
    let hopeful = async {
        for sequence in 2.. {
            unwatched.says_that_it_is_ready(sequence);
            while unwatched.reports.try_recv().is_ok() {}
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = client.answer() => answer,
        () = hopeful => unreachable!("hope is endless"),
    };
    assert_eq!(answer.status(), 503);
}

#[tokio::test]
async fn a_request_that_may_not_wait_tells_of_a_failed_connection_all_the_same() {
    let mut unwatched = Unwatched::start(config(nobody().await)).await;
    let mut client = Peer::connect(unwatched.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: Go-http-client/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 503);
    let report = soon(unwatched.reports.recv()).await.expect("a report");
    assert!(matches!(report.failure, Failure::Refused { .. }), "{report:?}");
}

#[tokio::test]
async fn what_dies_in_the_pool_is_sent_again_with_its_names_as_they_were() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    client.answer().await;
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\nX-CuStOm: a\r\nDNT: 1\r\nsec-ch-ua: b\r\n\r\n").await;
    let first = served.head().await;
    assert!(first.contains("\r\nX-CuStOm: a\r\n"), "{first}");
    drop(served);
    let mut served = upstream.accept().await;
    assert_eq!(served.head().await, first);
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

/// Waits until the watcher has found that nobody listens.
async fn warming(proxy: &TestProxy) {
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\n\r\n").await;
            if client.answer().await.header("x-anteroom-state") == Some("warming") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_answered_when_the_watcher_has_gone_is_told_that_it_was_the_last() {
    let upstream = FakeUpstream::start().await;
    let mut unwatched = Some(Unwatched::start(config(upstream.address)).await);
    let mut client = Peer::connect(unwatched.as_ref().expect("it runs").address).await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    for end in [None, Some("close")] {
        served.head().await;
        served.send(OK).await;
        let answer = client.answer().await;
        assert_eq!(header(&answer.head, "connection"), end, "{}", answer.head);
        if unwatched.take().is_some() {
            client.send(GET).await;
        }
    }
}
