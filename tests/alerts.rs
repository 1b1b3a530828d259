//! The files for Prometheus, Alertmanager and Grafana: their own tools accept them, they ask for nothing that is not told,
//! and an alert fires in a real Prometheus that scrapes a real outage.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anteroom::config::{Config, Tls};
use anteroom::diagnosis::Code;
use anteroom::evidence::Status;
use support::certificates::{Authority, Folder};
use support::raw::Peer;
use support::scrape::{described, family, scrape, tool};
use support::seen::sighting;
use support::{FakeUpstream, TestProxy, config, soon};

const RULES: &str = include_str!("../deploy/prometheus/anteroom.rules.yml");
const CASES: &str = include_str!("../deploy/prometheus/anteroom.rules.test.yml");
const CONFIG: &str = include_str!("../deploy/prometheus/prometheus.yml");
const DASHBOARD: &str = include_str!("../deploy/grafana/anteroom.json");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// Runs a tool in the folder of the files; says what it said if it is not content.
fn is_content(tool: Option<Command>, arguments: &[&str]) {
    let Some(mut tool) = tool else { return };
    let said = tool.args(arguments).current_dir(folder()).output().expect("it runs");
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{arguments:?}: {words}");
}

#[test]
fn promtool_accepts_the_configuration_and_the_rules() {
    is_content(tool("promtool"), &["check", "config", "prometheus.yml"]);
    is_content(tool("promtool"), &["check", "rules", "--lint=all", "--lint-fatal", "anteroom.rules.yml"]);
}

#[test]
fn each_alert_fires_where_it_must_and_only_there() {
    is_content(tool("promtool"), &["test", "rules", "anteroom.rules.test.yml"]);
    for alert in alerts() {
        for kind in ["fires", "misses: "] {
            assert!(CASES.contains(&format!("name: \"{alert} {kind}")), "{alert} has no case that {kind}");
        }
    }
}

#[test]
fn alertmanagers_tool_accepts_the_example_and_it_speaks_of_alerts_that_there_are() {
    is_content(tool("amtool"), &["check-config", "alertmanager.yml"]);
    let text = std::fs::read_to_string(folder().join("alertmanager.yml")).expect("it is there");
    let named: BTreeSet<&str> = words(&text).filter(|word| word.starts_with("Anteroom")).collect();
    assert!(named.len() >= 2 && named.is_subset(&alerts()), "{named:?}");
}

fn alerts() -> BTreeSet<&'static str> {
    let alerts: BTreeSet<_> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    alerts
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|word| !word.is_empty())
}

/// Of the rules: what follows each `expr:`, up to the next key.
fn expressions_of_rules() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut within = false;
    for line in RULES.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("expr: ") {
            found.push(rest.trim_start_matches(">-").to_owned());
            within = true;
        } else if ["for: ", "labels:"].iter().any(|key| line.starts_with(key)) {
            within = false;
        } else if let (true, Some(last)) = (within, found.last_mut()) {
            *last += line;
            *last += " ";
        }
    }
    assert_eq!(found.len(), alerts().len());
    found
}

fn expressions_of_dashboard() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("queries"));
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// A name of ours in an expression, with its matchers: label, operator, value.
type Selector<'a> = (&'a str, Vec<(&'a str, &'a str, &'a str)>);

fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("anteroom_") {
        let rest = &expression[at..];
        let name = words(rest).next().expect("it begins with one");
        let matchers = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |it| it.0);
        let matchers = matchers.split(", ").filter_map(|matcher| {
            let (label, quoted) = matcher.split_once('"')?;
            let operator = label.trim_start_matches(|it: char| it.is_ascii_alphanumeric() || it == '_');
            Some((label.trim_end_matches(operator), operator, quoted.trim_end_matches('"')))
        });
        found.push((name, matchers.collect()));
    }
    found
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_nothing_that_is_not_told() {
    let files = Folder::new();
    let identity = files.identity("own", &Authority::new().issue("localhost"));
    let upstream = support::nobody().await;
    let proxy = TestProxy::start(Config { tls: Some(Tls { identity, client_ca: None }), ..config(upstream) });
    proxy.sightings.send_replace(sighting(Status::Exited));
    let text = soon(async {
        loop {
            let text = scrape(&proxy).await;
            if text.contains("anteroom_root_cause{") {
                return text;
            }
        }
    })
    .await;
    let told = described(&text);
    let expressions = [expressions_of_rules(), expressions_of_dashboard()].concat();
    let asked: Vec<_> = expressions.iter().flat_map(|expression| selectors(expression)).collect();
    assert!(asked.len() > 40, "{asked:?}");
    for (name, matchers) in &asked {
        let metric = told.get(*name).or_else(|| told.get(family(name))).unwrap_or_else(|| panic!("there is no {name}"));
        for (label, operator, value) in matchers.iter().filter(|(label, ..)| *label != "instance") {
            assert!(metric.labels.iter().any(|its| its == label), "{name} has no label {label}");
            // A regular expression of ours is a list.
            for value in value.split('|') {
                let is_told =
                    text.lines().any(|line| line.starts_with(name) && line.contains(&format!("{label}=\"{value}\"")));
                let is_code = *label == "code" && Code::ALL.iter().any(|code| code.as_str() == value);
                assert!(is_told || is_code, "{name}: {label}{operator}{value} is never told");
            }
        }
    }
    // The other way round: what is told and shown nowhere is forgotten soon.
    let shown: BTreeSet<&str> = asked.iter().map(|(name, _)| family(name)).collect();
    let forgotten: Vec<_> = told.keys().filter(|name| !shown.contains(&***name)).collect();
    assert_eq!(
        forgotten,
        ["anteroom_build_info", "process_start_time_seconds"],
        "for tables and for the dashboard's choice"
    );
}

/// A Prometheus of its own. Dropping it ends it.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// With the files of the project, but for addresses and for how long everything takes. `None` if there is none.
    async fn start(files: &Folder, scraped: SocketAddr) -> Option<Self> {
        let mut prometheus = tool("prometheus")?;
        let faster = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{from} is no longer in {text}");
            text.replace(from, to)
        };
        let config = faster(CONFIG, "_interval: 15s", "_interval: 1s");
        let config = faster(&config, "\"anteroom:9090\"", &format!("\"{scraped}\""));
        // Nobody listens there, and nobody needs to.
        let config = faster(&config, "\"alertmanager:9093\"", "\"127.0.0.1:1\"");
        let config = files.write("prometheus.yml", &config);
        files.write("anteroom.rules.yml", &faster(RULES, "for: 30s", "for: 1s"));
        prometheus
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = prometheus.spawn().expect("it runs");
        let lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let (tell, told) = tokio::sync::oneshot::channel();
        // Reads on after that, or the pipe would fill up.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in lines.map_while(Result::ok) {
                let address =
                    line.contains("Listening on").then(|| line.split("address=").nth(1)?.parse().ok()).flatten();
                if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
                    let _ = tell.send(address);
                }
            }
        });
        // Made first, so that it ends whatever happens.
        let mut prometheus = Self { process, address: scraped };
        prometheus.address = soon(told).await.expect("it says where it listens");
        Some(prometheus)
    }

    async fn ask(&self, path: &str) -> serde_json::Value {
        let mut client = Peer::connect(self.address).await;
        // 1.0 knows no chunks.
        client.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n")).await;
        let answer = client.answer().await;
        // While it starts, it says so in words.
        if answer.status() == 503 { serde_json::Value::Null } else { answer.json()["data"].take() }
    }

    /// The alerts that fire.
    async fn firing(&self) -> Vec<serde_json::Value> {
        let data = self.ask("/api/v1/alerts").await;
        let alerts = data["alerts"].as_array().expect("a list").iter();
        alerts.filter(|alert| alert["state"] == "firing").cloned().collect()
    }

    /// Whether its last scrape went well, and said that the upstream is in this state.
    async fn sees(&self, state: &str) -> bool {
        let query =
            format!("anteroom_upstream_state%7Bstate%3D%22{state}%22%7D%20%3D%3D%201%20and%20on()%20up%20%3D%3D%201");
        let data = self.ask(&format!("/api/v1/query?query={query}")).await;
        data["result"].as_array().is_some_and(|found| !found.is_empty())
    }
}

#[tokio::test]
async fn an_alert_fires_in_a_real_prometheus_when_the_service_goes_down() {
    let upstream = FakeUpstream::start().await.answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = TestProxy::start(Config { grace: Duration::from_millis(100), ..config(upstream.address) });
    proxy.sightings.send_replace(sighting(Status::Running));
    let files = Folder::new();
    let Some(prometheus) = Prometheus::start(&files, proxy.admin).await else { return };
    soon(async { while !prometheus.sees("ready").await {} }).await;
    assert!(prometheus.firing().await.is_empty(), "nothing is wrong yet");

    upstream.vanish().await;
    proxy.sightings.send_replace(sighting(Status::Exited));
    let down = soon(async {
        loop {
            let firing = prometheus.firing().await;
            if let Some(down) = firing.into_iter().find(|alert| alert["labels"]["alertname"] == "AnteroomUpstreamDown")
            {
                return down;
            }
        }
    })
    .await;
    let (labels, summary) = (&down["labels"], &down["annotations"]["summary"]);
    assert_eq!(labels["severity"], "critical");
    assert_eq!(labels["instance"], proxy.admin.to_string());
    assert_eq!(*summary, format!("The service behind {} is down: target-exited", proxy.admin));
}
