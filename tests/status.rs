//! `/status` on the admin port, over sockets.

mod support;

use std::sync::Arc;

use anteroom::config::{Config, Detail};
use anteroom::engine::Sighting;
use anteroom::evidence::{Status, Target};
use support::raw::{Answer, Peer};
use support::seen::{container, sighting};
use support::{FakeUpstream, TestProxy, config, nobody, reserved};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn ask(proxy: &TestProxy, method: &str, accept: &str) -> Answer {
    let mut admin = Peer::connect(proxy.admin).await;
    admin.send(format!("{method} /status HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n")).await;
    let (head, body) = (admin.head().await, admin.rest().await);
    Answer { head, body }
}

/// Asks until the state is this one.
async fn until(proxy: &TestProxy, state: &str, accept: &str) -> Answer {
    support::soon(async {
        loop {
            let answer = ask(proxy, "GET", accept).await;
            assert_eq!(answer.status(), 200, "{}", answer.head);
            if answer.header("x-anteroom-state") == Some(state) {
                return answer;
            }
        }
    })
    .await
}

#[tokio::test]
async fn it_tells_an_outage_and_once_it_is_over_what_it_was() {
    let (socket, address) = reserved();
    let proxy = TestProxy::start(Config { detail: Detail::Summary, ..config(address) });
    proxy.sightings.send_replace(sighting(Status::Exited));
    let page = until(&proxy, "down", BROWSER).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("vary"), Some("accept, accept-language, sec-fetch-mode, user-agent"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    // Names and commands, though visitors see a summary: nobody but operators asks here.
    for part in ["cvat_grafana", "up -d cvat_grafana", "target-exited", "anteroom_connections_open"] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }
    let document = until(&proxy, "down", "application/json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = document.json();
    assert_eq!((&document["status"], &document["findings"][0]["code"]), (&503.into(), &"target-exited".into()));
    assert_eq!(document["anteroom"]["held"], 0);

    let serving = FakeUpstream::listening(socket).answering(OK);
    proxy.sightings.send_replace(sighting(Status::Running));
    let text = until(&proxy, "ready", "text/plain").await;
    assert!(text.body.starts_with("Analytics is ready.\n"), "{}", text.body);
    let last = text.body.lines().find(|line| line.starts_with("Last not ready: ")).expect("it was");
    assert!(last.contains(" ago, for ") && last.contains(": target-exited: "), "{last}");
    drop(serving);
}

#[tokio::test]
async fn it_counts_what_is_held_now() {
    let proxy = TestProxy::start(config(nobody().await));
    proxy.sightings.send_replace(sighting(Status::Running));
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    support::soon(async { while ask(&proxy, "GET", "application/json").await.json()["anteroom"]["held"] != 1 {} })
        .await;
}

#[tokio::test]
async fn a_hostile_name_is_text_and_a_secret_is_not_there() {
    let proxy = TestProxy::start(Config { detail: Detail::Full, ..config(nobody().await) });
    let mut hostile = container(Status::Exited);
    hostile.name = "x</code><script>alert(1)</script>\" onload='y' \u{1b}[31m\u{202e}".into();
    hostile.image = "https://me:hunter2@registry/\u{7}grafana".into();
    let log = ["DB_PASSWORD=swordfish".into(), "<img src=x onerror=alert(1)>".into()].into();
    proxy.sightings.send_replace(Sighting {
        target: Target::Found(Arc::new(hostile)),
        log,
        ..sighting(Status::Exited)
    });
    for accept in [BROWSER, "application/json", "text/plain"] {
        let body = until(&proxy, "down", accept).await.body;
        assert!(body.contains("DB_PASSWORD="), "the log is shown: {body}");
        for secret in ["hunter2", "swordfish", "\u{1b}", "\u{202e}", "\u{7}"] {
            assert!(!body.contains(secret), "{secret:?} in {body}");
        }
        if accept == BROWSER {
            assert_eq!(body.matches("<script").count(), 1, "ours alone");
            assert!(!body.contains("<img") && body.contains("&lt;img src=x onerror=alert(1)&gt;"), "{body}");
        }
    }
}

#[tokio::test]
async fn it_is_only_read() {
    let proxy = TestProxy::start(config(nobody().await));
    let refused = ask(&proxy, "POST", BROWSER).await;
    assert_eq!((refused.status(), refused.header("allow")), (405, Some("GET, HEAD")));
    let head = ask(&proxy, "HEAD", BROWSER).await;
    assert_eq!((head.status(), head.body.as_str()), (200, ""));
}
