//! What the admin port tells a monitoring system, and the tools of Debian that read it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::TestProxy;
use super::raw::Peer;

/// A metric as it is described.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metric {
    pub kind: String,
    pub help: String,
    /// Of the samples that there are.
    pub labels: Vec<String>,
}

/// Asks for the metrics as someone who asks for nothing in particular.
pub async fn scrape(proxy: &TestProxy) -> String {
    let mut admin = Peer::connect(proxy.admin).await;
    admin.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    admin.answer().await.body
}

/// The value of a series as it is written: `anteroom_upgrades_open`, `anteroom_retries_total{reason="tls"}`.
pub fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// What is described in a scrape, by name.
pub fn described(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let name = if metrics.contains_key(name) { name } else { family(name) };
            let metric = metrics.get_mut(name).expect("it is described before");
            let names = labels.split("=\"").filter_map(|part| part.rsplit(['"', ',']).next());
            for label in names.filter(|label| !label.is_empty() && !label.starts_with('}') && *label != "le") {
                if !metric.labels.iter().any(|its| its == label) {
                    metric.labels.push(label.to_owned());
                }
            }
        }
    }
    metrics
}

/// The name that a series of a histogram is described by.
pub fn family(name: &str) -> &str {
    ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// A program of Debian's `prometheus` or `prometheus-alertmanager`. `None`, said loudly, where there is none; with `ANTEROOM_E2E=required`
/// that is a failure.
pub fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file());
    if found.is_none() {
        let missing =
            format!("there is no {name} (apt-get install prometheus prometheus-alertmanager): NOTHING IS PROVED HERE");
        assert!(std::env::var("ANTEROOM_E2E").as_deref() != Ok("required"), "{missing}");
        eprintln!("{missing}");
    }
    found.map(Command::new)
}
