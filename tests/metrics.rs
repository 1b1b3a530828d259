//! What is counted, from outside: each story leaves its mark on `/metrics`, and Prometheus' own tool likes the text.

mod support;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use anteroom::config::{Config, Tls};
use anteroom::engine::{Errors, Sighting};
use anteroom::evidence::{Container, Health, HealthStatus, Status, Target};
use support::certificates::{Authority, Folder};
use support::raw::Peer;
use support::scrape::{described, scrape, tool, value};
use support::seen::sighting;
use support::{FakeUpstream, TestProxy, config, nobody, soon};

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Waits until a series has this value.
async fn becomes(proxy: &TestProxy, series: &str, expected: f64) {
    let waited =
        tokio::time::timeout(support::LONG, async { while value(&scrape(proxy).await, series) != Some(expected) {} });
    assert!(waited.await.is_ok(), "{series} never becomes {expected}: {}", scrape(proxy).await);
}

async fn status(proxy: &TestProxy, request: &str) -> u16 {
    let mut client = proxy.client().await;
    client.send(request).await;
    client.answer().await.status()
}

#[tokio::test]
async fn requests_are_counted_by_how_they_end() {
    let upstream = FakeUpstream::start().await.answering("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nok");
    let proxy = TestProxy::start(config(upstream.address));
    becomes(&proxy, "anteroom_upstream_state{state=\"ready\"}", 1.0).await;
    assert_eq!(status(&proxy, GET).await, 404);
    assert_eq!(status(&proxy, "GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\n\r\n").await, 200);
    assert_eq!(status(&proxy, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await, 405);
    let text = scrape(&proxy).await;
    for (outcome, class) in [("passed", "4xx"), ("own", "2xx"), ("refused", "4xx")] {
        let series = format!("anteroom_requests_total{{outcome=\"{outcome}\",status=\"{class}\"}}");
        assert_eq!(value(&text, &series), Some(1.0), "{series} in {text}");
    }
    assert_eq!(value(&text, "anteroom_request_duration_seconds_count{outcome=\"passed\"}"), Some(1.0));
    assert_eq!(value(&text, "anteroom_request_held_seconds_count"), Some(0.0));
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_counted_as_refused() {
    let proxy = TestProxy::start(config(nobody().await));
    let too_long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let twice = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
    for (count, request, expected) in
        [(1.0, "GET / HTTP/1.1\nHost: a\n\n", 400), (2.0, twice, 400), (3.0, &too_long, 431)]
    {
        assert_eq!(status(&proxy, request).await, expected);
        let text = scrape(&proxy).await;
        assert_eq!(value(&text, "anteroom_requests_total{outcome=\"refused\",status=\"4xx\"}"), Some(count), "{text}");
    }
}

#[tokio::test]
async fn a_request_that_waits_is_seen_waiting_and_then_counted_as_held() {
    let (socket, address) = support::reserved();
    let proxy = TestProxy::start(config(address));
    becomes(&proxy, "anteroom_upstream_state{state=\"warming\"}", 1.0).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    becomes(&proxy, "anteroom_requests_held", 1.0).await;
    let mut leaving = proxy.client().await;
    leaving.send(GET).await;
    becomes(&proxy, "anteroom_requests_held", 2.0).await;
    leaving.reset();
    becomes(&proxy, "anteroom_requests_total{outcome=\"left\",status=\"none\"}", 1.0).await;
    drop(socket);
    let _upstream = FakeUpstream::start_at(address).await.answering(OK);
    assert_eq!(client.answer().await.status(), 200);
    let text = scrape(&proxy).await;
    assert_eq!(value(&text, "anteroom_requests_total{outcome=\"held\",status=\"2xx\"}"), Some(1.0), "{text}");
    assert_eq!(value(&text, "anteroom_request_held_seconds_count"), Some(2.0), "whatever came of them: {text}");
    assert_eq!(value(&text, "anteroom_requests_held"), Some(0.0), "{text}");
    assert!(value(&text, "anteroom_probes_total{result=\"refused\"}") >= Some(1.0), "{text}");
    assert!(value(&text, "anteroom_probes_total{result=\"passed\"}") >= Some(1.0), "{text}");
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_and_the_retry_are_counted_with_their_reason() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let mut config = config(upstream.address);
    config.patience.request = std::time::Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    becomes(&proxy, "anteroom_upstream_state{state=\"ready\"}", 1.0).await;
    upstream.vanish().await;
    assert_eq!(status(&proxy, GET).await, 503);
    let text = scrape(&proxy).await;
    // Whether the watcher or the request finds out first is a matter of luck; one of them does.
    let of = |series: &str| value(&text, series).unwrap_or_else(|| panic!("{series} in {text}"));
    let met = of("anteroom_connect_failures_total{reason=\"refused\"}");
    assert_eq!(met, of("anteroom_retries_total{reason=\"refused\"}"), "{text}");
    assert!(met + of("anteroom_probes_total{result=\"refused\"}") >= 1.0, "{text}");
    assert_eq!(of("anteroom_requests_total{outcome=\"diagnosed\",status=\"5xx\"}"), 1.0);
    let diagnosed = text.lines().filter(|line| line.starts_with("anteroom_requests_diagnosed_total{"));
    assert_eq!(diagnosed.filter(|line| line.ends_with(" 1")).count(), 1, "{text}");
}

/// The target, looking bad in every way that is told.
fn target(sighting: Sighting) -> Sighting {
    let container = sighting.target.found().expect("it is found").clone();
    let health = Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, last_output: "".into() });
    let target = Container { health, restart_count: 7, oom_killed: true, ..container };
    let errors = Errors { forbidden: 1, unavailable: 2, ended: 3 };
    Sighting { target: Target::Found(Arc::new(target)), errors, ..sighting }
}

/// A proxy of which everything is known that can be told, with a certificate of its own.
async fn known(folder: &Folder) -> TestProxy {
    let identity = folder.identity("own", &Authority::new().issue("localhost"));
    let proxy = TestProxy::start(Config { tls: Some(Tls { identity, client_ca: None }), ..config(nobody().await) });
    proxy.sightings.send_replace(target(sighting(Status::Exited)));
    becomes(&proxy, "anteroom_upstream_state{state=\"down\"}", 1.0).await;
    proxy
}

#[tokio::test]
async fn what_is_known_of_the_target_the_engine_and_the_certificate_is_told() {
    let folder = Folder::new();
    let proxy = known(&folder).await;
    becomes(&proxy, "anteroom_engine_errors_total{kind=\"ended\"}", 3.0).await;
    let text = scrape(&proxy).await;
    let name = target(sighting(Status::Exited)).target.found().expect("it is found").name.clone();
    for (series, expected) in [
        (format!("anteroom_target_status{{container=\"{name}\",status=\"exited\"}}"), 1.0),
        (format!("anteroom_target_status{{container=\"{name}\",status=\"running\"}}"), 0.0),
        (format!("anteroom_target_health{{container=\"{name}\",health=\"unhealthy\"}}"), 1.0),
        (format!("anteroom_target_restarts{{container=\"{name}\"}}"), 7.0),
        (format!("anteroom_target_oom_killed{{container=\"{name}\"}}"), 1.0),
        ("anteroom_engine_up".to_owned(), 1.0),
        ("anteroom_engine_errors_total{kind=\"unavailable\"}".to_owned(), 2.0),
        ("anteroom_root_cause{code=\"target-oom-killed\"}".to_owned(), 1.0),
        ("anteroom_findings_total{code=\"target-oom-killed\"}".to_owned(), 1.0),
        (format!("anteroom_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
        // What `rcgen` writes by itself: the first of January 4096.
        ("anteroom_tls_certificate_not_after_timestamp_seconds{towards=\"clients\"}".to_owned(), 67_090_118_400.0),
    ] {
        let told = value(&text, &series);
        assert_eq!(told, Some(expected), "{series} in {text}");
    }
    let started = value(&text, "process_start_time_seconds").expect("it is told");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(now - started < 600.0 && started <= now, "{started}");
}

#[tokio::test]
async fn openmetrics_is_for_who_asks_for_it() {
    let proxy = TestProxy::start(config(nobody().await));
    for (accept, media_type, end) in [
        (
            "Accept: application/openmetrics-text; version=1.0.0\r\n",
            "application/openmetrics-text; version=1.0.0",
            true,
        ),
        ("", "text/plain; version=0.0.4", false),
    ] {
        let mut admin = Peer::connect(proxy.admin).await;
        admin.send(format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{accept}\r\n")).await;
        let answer = admin.answer().await;
        assert_eq!(answer.header("content-type"), Some(&*format!("{media_type}; charset=utf-8")));
        assert_eq!(answer.body.ends_with("\n# EOF\n"), end, "{}", answer.body);
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about() {
    let Some(mut promtool) = tool("promtool") else { return };
    let folder = Folder::new();
    let text = scrape(&known(&folder).await).await;
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = promtool.spawn().expect("it runs");
    process.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let said = soon(tokio::task::spawn_blocking(move || process.wait_with_output())).await;
    let said = said.expect("it is waited for").expect("it ends");
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.is_empty(), "{words}\n{text}");
}

#[tokio::test]
async fn the_documentation_lists_what_is_told_and_nothing_else() {
    const DOCUMENTED: &str = include_str!("../docs/metrics.md");
    let folder = Folder::new();
    let text = scrape(&known(&folder).await).await;
    let told: String = described(&text)
        .iter()
        .map(|(name, metric)| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{name}` | {} | {} | {} |\n", metric.kind, labels.join(", "), metric.help)
        })
        .collect();
    let table = DOCUMENTED.split("| --- | --- | --- | --- |\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    assert!(table.map(str::trim_end) == Some(told.trim_end()), "docs/metrics.md should have:\n{told}");
}
