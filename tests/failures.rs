//! When an exchange breaks or waiting is pointless, the client is told why.

mod support;

use std::time::Duration;

use anteroom::engine::Sighting;
use anteroom::evidence::{Container, Status, Target};
use support::seen::{container, sighting};
use support::{FakeUpstream, TestProxy, config, nobody, soon};

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";

/// Waits until a status query names this state.
async fn state(proxy: &TestProxy, name: &str) {
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\n\r\n").await;
            if client.answer().await.header("x-anteroom-state") == Some(name) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_exited_is_answered_at_once_with_the_command_that_mends_it() {
    let proxy = TestProxy::start(config(nobody().await));
    proxy.sightings.send_replace(sighting(Status::Exited));
    state(&proxy, "down").await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["state"], "down");
    let finding = &problem["findings"][0];
    assert_eq!(finding["code"], "target-exited");
    let command = finding["remedies"][0]["command"].as_str().expect("a command");
    assert_eq!(command, "cd /opt/cvat &&\ndocker compose -p cvat -f docker-compose.yml up -d cvat_grafana");
}

#[tokio::test]
async fn those_who_wait_are_answered_when_waiting_becomes_pointless() {
    let proxy = TestProxy::start(config(nobody().await));
    proxy.sightings.send_replace(sighting(Status::Running));
    let mut client = proxy.client().await;
    client.send(GET).await;
    state(&proxy, "warming").await;
    proxy.sightings.send_replace(sighting(Status::Exited));
    let answer = client.answer().await;
    assert_eq!(answer.json()["findings"][0]["code"], "target-exited");
}

#[tokio::test]
async fn a_paused_target_is_down_though_its_kernel_accepts_connections() {
    let upstream = FakeUpstream::start().await.answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = TestProxy::start(config(upstream.address));
    state(&proxy, "ready").await;
    proxy.sightings.send_replace(sighting(Status::Paused));
    state(&proxy, "down").await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.json()["findings"][0]["code"], "target-paused");
    proxy.sightings.send_replace(sighting(Status::Running));
    state(&proxy, "ready").await;
    client.send(GET).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_upstream_that_answers_is_ready_whatever_the_engine_says() {
    let upstream = FakeUpstream::start().await.answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = TestProxy::start(config(upstream.address));
    proxy.sightings.send_replace(sighting(Status::Exited));
    let mut client = proxy.client().await;
    for _ in 0..20 {
        client.send(GET).await;
        assert_ne!(client.answer().await.status(), 502);
        state(&proxy, "ready").await;
    }
}

#[tokio::test]
async fn an_upstream_that_closes_without_a_word_is_a_bad_gateway() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.patience.request = Duration::from_millis(200);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let closing = async {
        loop {
            drop(upstream.accept().await);
        }
    };
    let answer = tokio::select! {
        answer = client.answer() => answer,
        () = closing => unreachable!("it never ends"),
    };
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["findings"][0]["code"], "closed-early");
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_gateway_timeout() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(100);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let _served = upstream.accept().await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.json()["findings"][0]["code"], "no-answer");
}

#[tokio::test]
async fn an_upload_that_still_flows_is_no_silence() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    // Slower than the limit as a whole, faster than it from byte to byte.
    let mut tick = tokio::time::interval(Duration::from_millis(60));
    for _ in 0..10 {
        tick.tick().await;
        client.send("x").await;
    }
    served.exactly(10).await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_upload_that_has_just_ended_leaves_the_upstream_its_full_time() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(500);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..5 {
        tick.tick().await;
        client.send("1\r\nx\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    served.until("0\r\n\r\n").await;
    tick.tick().await;
    tick.tick().await;
    tick.tick().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_client_that_stalls_in_its_own_upload_is_told_so() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.response_timeout = Duration::from_millis(200);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    let mut served = upstream.accept().await;
    served.head().await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn the_page_arrives_though_a_large_body_was_not_wanted() {
    let mut config = config(nobody().await);
    config.patience.request = Duration::from_millis(50);
    let proxy = TestProxy::start(config);
    let body = "x".repeat(8 << 20);
    for _ in 0..5 {
        // As a client does that reads only when it has sent everything: a reset would cost it the answer.
        let mut client = proxy.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        client.send(&body).await;
        assert_eq!(client.answer().await.status(), 503);
    }
}

#[tokio::test]
async fn an_answer_of_ours_arrives_though_a_large_body_was_not_wanted() {
    let proxy = TestProxy::start(config(nobody().await));
    let body = "x".repeat(8 << 20);
    for (fields, status) in
        [("Host: a/b", 400), ("Host: a\r\nX-Anteroom: status", 200), ("Host: a\r\nMax-Forwards: 0", 204)]
    {
        let mut client = proxy.client().await;
        let head = format!("OPTIONS /a HTTP/1.1\r\n{fields}\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head).await;
        client.send(&body).await;
        let answer = client.head().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn small_chunks_are_kept_in_one_piece_and_sent_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n").await;
    client.send("1\r\nx\r\n".repeat(3000)).await;
    client.send("0\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.until("0\r\n\r\n").await;
    served.reset();
    let mut served = upstream.accept().await;
    served.head().await;
    assert_eq!(served.until("0\r\n\r\n").await.matches('x').count(), 3000);
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_gateway() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("SSH-2.0-OpenSSH_9.2\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 502);
    let finding = &answer.json()["findings"][0];
    assert_eq!(finding["code"], "not-http");
    assert!(finding["title"].as_str().expect("a title").contains("SSH-2.0-OpenSSH_9.2"), "{finding}");
}

#[tokio::test]
async fn a_clients_broken_body_is_its_own_fault() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(!answer.contains("problem+json") && !answer.contains("<html"), "no page: {answer}");
}

#[tokio::test]
async fn tls_in_answer_to_plain_http_is_named_with_the_setting_that_mends_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    // A fatal alert, "wrong version number", as OpenSSL sends it.
    served.send(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 502);
    let finding = &answer.json()["findings"][0];
    assert_eq!(finding["code"], "tls-mismatch");
    let command = finding["remedies"][0]["command"].as_str().expect("a snippet");
    assert!(command.contains("ANTEROOM_UPSTREAM: https://127.0.0.1:"), "{command}");
}

#[tokio::test]
async fn a_port_that_is_open_instead_is_named_though_the_target_has_just_started() {
    let other = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(nobody().await));
    let target = Container { exposed_ports: vec![other.address.port()], ..container(Status::Running) };
    proxy.sightings.send_replace(Sighting { target: Target::Found(target.into()), ..sighting(Status::Running) });
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nPrefer: wait=0\r\nConnection: close\r\n\r\n").await;
            let finding = client.answer().await.json()["findings"][0].clone();
            if finding["code"] == "port-mismatch" {
                assert_eq!(finding["confidence"], "likely");
                let title = finding["title"].as_str().expect("a title");
                assert!(title.ends_with(&format!("but on {}", other.address.port())), "{title}");
                break;
            }
        }
    })
    .await;
}
