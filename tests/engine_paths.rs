//! What anteroom asks of a Docker engine, what the README says that it asks, and what the filter of the CVAT
//! deployment lets through: one list.

#[expect(dead_code, reason = "the tests of the engine's task need more of it")]
#[path = "support/fake_docker.rs"]
mod fake_docker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::docker::watch;
use anteroom::engine::{Sighting, Wanted};
use anteroom::evidence::Target;
use fake_docker::{FakeDocker, recorded};
use tokio::sync::Notify;

const README: &str = include_str!("../README.md");
const FILTER: &str = include_str!("../deploy/cvat/docker-compose.anteroom-socket-proxy.yml");

/// Longer than anything here takes, so that a test that cannot pass ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// The paths of a whole look and of the stream of events.
async fn asked() -> BTreeSet<String> {
    let engine = FakeDocker::start();
    let (grafana, ours) = (recorded("running", "cvat_grafana", &["grafana"]), recorded("running", "anteroom", &[]));
    engine.put(grafana.clone());
    engine.put(ours.clone());
    engine.put_network("live", "enginefix_cvat");
    let id =
        |container: &serde_json::Value| container["Id"].as_str().expect("a recorded container has an id").to_owned();
    let wanted = Wanted { host: "grafana".into(), container: None, own_id: Some(id(&ours).into()), log: false };
    let (sender, mut sightings) = tokio::sync::watch::channel(Sighting::default());
    let task = tokio::spawn(watch(Some(engine.host()), wanted, Arc::new(Notify::new()), sender));
    let found = sightings.wait_for(|sighting| matches!(sighting.target, Target::Found(_)));
    tokio::time::timeout(PATIENCE, found).await.expect("a look ends").expect("the task publishes");
    engine.asked("/events", 1).await;
    task.abort();
    let path = |request: String| {
        let path = request.strip_prefix("GET ").expect("nothing but GET").split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1.41").unwrap_or(path);
        path.replace(&id(&grafana), "{id}").replace(&id(&ours), "{id}")
    };
    engine.requests().into_iter().map(path).collect()
}

#[tokio::test]
async fn the_readme_and_the_filter_name_what_is_asked_and_nothing_else() {
    let asked = asked().await;
    let section = README.split("## What it reads from Docker").nth(1).expect("the README has the section");
    let line = section.lines().find(|line| line.starts_with("    /")).expect("the README lists paths");
    assert_eq!(line.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>(), asked);

    let pattern = FILTER.split("-allowGET=(/v1\\.[0-9]+)?/(").nth(1).and_then(|rest| rest.split('\n').next());
    let paths = pattern.and_then(|pattern| pattern.strip_suffix(')')).expect("the filter lists paths");
    let allowed = paths.split('|').map(|path| format!("/{}", path.replace("[^/]+", "{id}")));
    assert_eq!(allowed.collect::<BTreeSet<_>>(), asked);
}
