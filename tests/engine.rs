//! The engine's task against a stand-in engine on a real socket.

#[path = "support/fake_docker.rs"]
mod fake_docker;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anteroom::engine::docker::{Limits, watch_within};
use anteroom::engine::{Sighting, Wanted};
use anteroom::evidence::{Engine, Status, Target};
use fake_docker::{FakeDocker, Mood, recorded};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Longer than anything here takes, so that a test that cannot pass ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Patient with the engine, so that a busy machine does not look like a slow engine; impatient where a test waits.
const LIMITS: Limits = Limits {
    call: PATIENCE,
    look: PATIENCE,
    pace: Duration::from_millis(1),
    asked_pace: Duration::from_millis(5),
    away_most: Duration::from_millis(20),
};

/// For an engine that does not answer.
const IMPATIENT: Limits = Limits { call: Duration::from_millis(200), ..LIMITS };

struct Watched {
    look: Arc<Notify>,
    sightings: watch::Receiver<Sighting>,
    task: JoinHandle<()>,
}

impl Watched {
    fn start(host: String, own: Option<&Value>) -> Self {
        Self::start_within(LIMITS, host, own)
    }

    fn start_within(limits: Limits, host: String, own: Option<&Value>) -> Self {
        let own_id = own.and_then(|own| own["Id"].as_str()).map(Into::into);
        Self::wanting(Wanted { host: "grafana".into(), container: None, own_id, log: false }, limits, host)
    }

    fn wanting(wanted: Wanted, limits: Limits, host: String) -> Self {
        let (sender, sightings) = watch::channel(Sighting::default());
        let look = Arc::new(Notify::new());
        let task = tokio::spawn(watch_within(limits, Some(host), wanted, look.clone(), sender));
        Self { look, sightings, task }
    }

    async fn until(&mut self, what: &str, is_it: impl FnMut(&Sighting) -> bool) -> Sighting {
        let seen = match tokio::time::timeout(PATIENCE, self.sightings.wait_for(is_it)).await {
            Ok(sighting) => Some(sighting.expect("the task publishes as long as somebody listens").clone()),
            Err(_) => None,
        };
        seen.unwrap_or_else(|| panic!("never seen: {what}; last: {:#?}", *self.sightings.borrow()))
    }
}

/// An engine with CVAT's Grafana, ourselves, and a stranger.
fn cvat() -> (FakeDocker, Value, Value) {
    let engine = FakeDocker::start();
    let (grafana, ours) = (recorded("running", "cvat_grafana", &["grafana"]), recorded("running", "anteroom", &[]));
    for container in [&grafana, &ours, &stranger(&[])] {
        engine.put(container.clone());
    }
    engine.put_network("live", "enginefix_cvat");
    (engine, grafana, ours)
}

/// A container of another project on our network.
fn stranger(aliases: &[&str]) -> Value {
    let mut stranger = recorded("running", "stranger", aliases);
    stranger["Config"]["Labels"]["com.docker.compose.project"] = json!("other");
    stranger
}

fn with_id_of(container: Value, other: &Value) -> Value {
    let mut container = container;
    container["Id"] = other["Id"].clone();
    container
}

fn status(sighting: &Sighting) -> Option<Status> {
    sighting.target.found().map(|target| target.status)
}

fn is_available(sighting: &Sighting) -> bool {
    matches!(sighting.engine, Engine::Available { .. })
}

fn is_unavailable(sighting: &Sighting) -> bool {
    matches!(sighting.engine, Engine::Unavailable { .. })
}

#[tokio::test]
async fn the_target_is_found_without_configuration_by_reading_alone() {
    let (engine, _, ours) = cvat();
    engine.put(stranger(&["grafana"]));
    let mut watched = Watched::start(engine.host(), Some(&ours));
    let sighting = watched.until("the target", |sighting| status(sighting).is_some()).await;
    assert_eq!(sighting.engine, Engine::Available { version: "20.10.24".into() });
    assert_eq!(sighting.target.found().map(|target| &*target.name), Some("cvat_grafana"));
    assert_eq!(sighting.ourselves.map(|ours| ours.name.clone()).as_deref(), Some("anteroom"));
    assert_eq!(sighting.others.iter().map(|other| &*other.name).collect::<Vec<_>>(), ["stranger"]);
    assert_eq!(sighting.networks.iter().map(|network| &*network.id).collect::<Vec<_>>(), ["live"]);
    let requests = engine.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET /")), "{requests:?}");
    let unversioned = requests.iter().filter(|request| !request.starts_with("GET /v1.41/"));
    assert_eq!(unversioned.collect::<Vec<_>>(), ["GET /version"], "the version is agreed on first");
}

#[tokio::test]
async fn an_event_leads_to_a_sighting_of_what_is_true_now() {
    let (engine, grafana, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    let exited = with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana);
    engine.put(exited.clone());
    engine.emit("die", &exited);
    let sighting = watched.until("exited", |sighting| status(sighting) == Some(Status::Exited)).await;
    let death = sighting.events.last().expect("the event itself is in the timeline");
    assert_eq!((&*death.action, death.exit_code), ("die", Some(1)));
}

#[tokio::test]
async fn health_probes_cause_no_look() {
    let (engine, grafana, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    for action in ["exec_create: /check", "exec_start: /check", "exec_die"].iter().cycle().take(30) {
        engine.emit(action, &grafana);
    }
    engine.emit("health_status: healthy", &grafana);
    let healthy = |sighting: &Sighting| sighting.events.iter().any(|event| &*event.action == "health_status: healthy");
    let sighting = watched.until("the end of the probes", healthy).await;
    assert_eq!(sighting.events.len(), 1);
    assert_eq!(engine.count("/containers/json"), 2, "one at the start, one for the health status");
}

#[tokio::test]
async fn whatever_happens_during_a_look_causes_one_more() {
    let (engine, grafana, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    engine.set_mood("/networks", Some(Mood::Silent));
    watched.look.notify_one();
    engine.asked("/containers/json", 2).await;
    for _ in 0..100 {
        engine.emit("pause", &grafana);
        watched.look.notify_one();
    }
    engine.set_mood("/networks", None);
    engine.asked("/containers/json", 3).await;
    engine.emit("unpause", &grafana);
    let unpaused = |sighting: &Sighting| sighting.events.iter().any(|event| &*event.action == "unpause");
    watched.until("the last event", unpaused).await;
    // Four, unless the machine is so busy that the burst arrives in pieces.
    let looks = engine.count("/containers/json");
    assert!((3..=6).contains(&looks), "{looks} looks for a hundred events");
}

#[tokio::test]
async fn a_stream_that_a_proxy_cut_is_opened_again_without_a_word() {
    let (engine, grafana, ours) = cvat();
    // Every session counts as a long one.
    let limits = Limits { away_most: Duration::ZERO, ..LIMITS };
    let mut watched = Watched::start_within(limits, engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    engine.cut_streams();
    engine.asked("/events", 2).await;
    let exited = with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana);
    engine.put(exited.clone());
    engine.emit("die", &exited);
    let change = |sighting: &Sighting| is_unavailable(sighting) || status(sighting) == Some(Status::Exited);
    let sighting = watched.until("a change", change).await;
    assert!(is_available(&sighting), "{sighting:?}");
}

#[tokio::test]
async fn a_target_that_was_removed_is_absent_and_still_known_by_name() {
    let (engine, grafana, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    engine.remove(&grafana);
    engine.emit("destroy", &grafana);
    let sighting = watched.until("absent", |sighting| matches!(sighting.target, Target::Absent { .. })).await;
    let last = sighting.target.last_known().and_then(|last| last.compose.as_ref());
    assert_eq!(last.map(|compose| &*compose.service), Some("cvat_grafana"));

    let mut again = recorded("running", "cvat_grafana", &["grafana"]);
    again["Id"] = json!("b".repeat(64));
    engine.put(again.clone());
    engine.emit("start", &again);
    let sighting = watched.until("a new container", |sighting| status(sighting).is_some()).await;
    let actions: Vec<_> = sighting.events.iter().map(|event| &*event.action).collect();
    assert_eq!(actions, ["destroy", "start"], "its timeline goes on over the re-creation");
}

#[tokio::test]
async fn deaths_before_our_own_start_are_in_the_timeline() {
    let (engine, grafana, ours) = cvat();
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    for (seconds, action) in [(3_600, "start"), (60, "die"), (59, "start"), (30, "die"), (29, "start")] {
        engine.emit_at(ago(seconds), action, &grafana);
    }
    let mut watched = Watched::start(engine.host(), Some(&ours));
    let sighting = watched.until("the history", |sighting| sighting.events.len() == 4).await;
    let actions: Vec<_> = sighting.events.iter().map(|event| &*event.action).collect();
    assert_eq!(actions, ["die", "start", "die", "start"]);
}

#[tokio::test]
async fn one_call_that_fails_takes_away_nothing_that_is_known() {
    for mood in [Mood::RefusesOnce(500), Mood::SilentOnce] {
        for path in ["/containers/json", "/networks"] {
            let (engine, grafana, ours) = cvat();
            let mut watched = Watched::start_within(IMPATIENT, engine.host(), Some(&ours));
            watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
            engine.set_mood(path, Some(mood));
            engine.put(with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana));
            watched.look.notify_one();
            let change = |sighting: &Sighting| !is_available(sighting) || status(sighting) == Some(Status::Exited);
            let sighting = watched.until("a change", change).await;
            assert!(is_available(&sighting), "{mood:?} {path}: {sighting:?}");
            assert_eq!(engine.count(path), 3, "{mood:?}: one look that went well, one that failed, and one more");
        }
    }
}

#[tokio::test]
async fn an_engine_that_fails_again_soon_is_in_trouble_though_it_answers_in_between() {
    let (engine, _, ours) = cvat();
    let limits = Limits { away_most: PATIENCE, ..LIMITS };
    let mut watched = Watched::start_within(limits, engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    engine.set_mood("/containers/json", Some(Mood::RefusesOnce(500)));
    watched.look.notify_one();
    engine.asked("/containers/json", 3).await;
    engine.set_mood("/containers/json", Some(Mood::RefusesOnce(500)));
    watched.look.notify_one();
    watched.until("trouble", is_unavailable).await;
    watched.until("the target again", |sighting| status(sighting).is_some()).await;
}

#[tokio::test]
async fn an_engine_that_restarts_is_missed_and_found_again() {
    let (mut engine, grafana, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    engine.emit("kill", &grafana);
    watched.until("an event", |sighting| sighting.events.len() == 1).await;
    engine.stop().await;
    let sighting = watched.until("trouble", is_unavailable).await;
    assert!(matches!(sighting.target, Target::Unknown));
    engine.put(with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana));
    engine.resume();
    let sighting = watched.until("exited", |sighting| status(sighting) == Some(Status::Exited)).await;
    assert_eq!(sighting.events.len(), 1, "our memory outlives the engine's");
}

#[tokio::test]
async fn an_engine_that_refuses_is_forbidden_and_says_why() {
    let (engine, _, ours) = cvat();
    for status in [401, 403] {
        engine.set_mood("/containers", Some(Mood::Refuses(status)));
        let mut watched = Watched::start(engine.host(), Some(&ours));
        let forbidden = |sighting: &Sighting| matches!(sighting.engine, Engine::Forbidden { .. });
        let sighting = watched.until("forbidden", forbidden).await;
        let Engine::Forbidden { reason } = sighting.engine else { panic!("just seen") };
        assert!(reason.contains(&status.to_string()) && reason.contains("refused by a test"), "{reason}");
    }
}

#[tokio::test]
async fn a_slow_engine_is_given_up_in_bounded_time_at_every_step() {
    let (engine, _, ours) = cvat();
    for path in ["/version", "/containers/json", "/networks", "/containers/"] {
        engine.set_mood(path, Some(Mood::Silent));
        let mut watched = Watched::start_within(IMPATIENT, engine.host(), Some(&ours));
        let sighting = watched.until(path, is_unavailable).await;
        assert_eq!(sighting.engine, Engine::Unavailable { reason: "no answer in 0.2 s".into() }, "{path}");
        engine.set_mood(path, None);
        watched.until("the target at last", |sighting| status(sighting).is_some()).await;
    }
}

#[tokio::test]
async fn a_container_that_never_answers_does_not_hide_the_target() {
    let (engine, _, ours) = cvat();
    let stuck = recorded("running", "cvat_vector", &["vector"]);
    engine.put(stuck.clone());
    engine.set_mood(stuck["Id"].as_str().expect("an id"), Some(Mood::Silent));
    let mut watched = Watched::start_within(IMPATIENT, engine.host(), Some(&ours));
    let sighting = watched.until("the first sighting", |sighting| sighting.engine != Engine::Unknown).await;
    assert_eq!(sighting.target.found().map(|target| &*target.name), Some("cvat_grafana"));
}

#[tokio::test]
async fn a_neighbour_that_does_not_answer_once_is_still_there() {
    let (engine, grafana, ours) = cvat();
    let neighbour = recorded("running", "cvat_vector", &["vector"]);
    engine.put(neighbour.clone());
    let mut watched = Watched::start_within(IMPATIENT, engine.host(), Some(&ours));
    watched.until("the target", |sighting| status(sighting).is_some()).await;
    engine.set_mood(neighbour["Id"].as_str().expect("an id"), Some(Mood::Silent));
    engine.emit("pause", &grafana);
    let paused = |sighting: &Sighting| sighting.events.iter().any(|event| &*event.action == "pause");
    let sighting = watched.until("the next look", paused).await;
    assert_eq!(sighting.others.iter().map(|other| &*other.name).collect::<Vec<_>>(), ["cvat_vector"]);
}

#[tokio::test]
async fn a_state_that_only_podman_knows_hides_nobody_else() {
    let (engine, grafana, ours) = cvat();
    let mut stopped = stranger(&["grafana"]);
    stopped["State"]["Status"] = "stopped".into();
    engine.put(stopped);
    let mut watched = Watched::start(engine.host(), Some(&ours));
    let sighting = watched.until("the first sighting", |sighting| sighting.engine != Engine::Unknown).await;
    assert_eq!(sighting.target.found().map(|target| &*target.name), Some("cvat_grafana"));
    // The target itself. Podman 4's inspect says it, too, for some tenths of a second, and so it may come after the list;
    // others call it exited by then.
    for (number, listed) in [(1, "running"), (2, "stopped")] {
        let mut ended = with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana);
        (ended["State"]["Status"], ended["State"]["Listed"]) = ("stopped".into(), listed.into());
        engine.put(ended.clone());
        engine.emit("die", &ended);
        let is_over =
            |it: &Sighting| !is_available(it) || it.events.len() == number && status(it) != Some(Status::Running);
        let sighting = watched.until("an end", is_over).await;
        assert!(is_available(&sighting) && status(&sighting) == Some(Status::Other), "{listed}: {sighting:?}");
    }
    let mut exited = with_id_of(recorded("exited-1", "cvat_grafana", &["grafana"]), &grafana);
    exited["State"]["Listed"] = "stopped".into();
    engine.put(exited.clone());
    engine.emit("die", &exited);
    watched.until("exited", |sighting| status(sighting) == Some(Status::Exited)).await;
}

#[tokio::test]
async fn without_the_right_to_events_a_look_is_made_when_somebody_asks() {
    let (engine, grafana, ours) = cvat();
    engine.set_mood("/events", Some(Mood::Refuses(403)));
    engine.set_mood("/networks", Some(Mood::Refuses(403)));
    let mut watched = Watched::start(engine.host(), Some(&ours));
    let sighting = watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    assert!(sighting.networks.is_empty());
    engine.put(with_id_of(recorded("paused", "cvat_grafana", &["grafana"]), &grafana));
    watched.look.notify_one();
    watched.until("paused", |sighting| status(sighting) == Some(Status::Paused)).await;
}

#[tokio::test]
async fn a_socket_that_is_missing_or_a_directory_or_of_another_kind_is_named() {
    let (mut engine, _, _) = cvat();
    let reason = async |host: String| match Watched::start(host, None).until("trouble", is_unavailable).await.engine {
        Engine::Unavailable { reason } => reason,
        engine => panic!("just seen: {engine:?}"),
    };
    engine.stop().await;
    assert!(reason(engine.host()).await.contains("there is no socket at"));
    std::fs::create_dir(engine.socket()).expect("a directory in its place");
    assert!(reason(engine.host()).await.contains("is a directory"));
    std::fs::remove_dir(engine.socket()).expect("it was there");
    drop(std::os::unix::net::UnixListener::bind(engine.socket()).expect("a socket that nobody listens on"));
    assert!(reason(engine.host()).await.contains("Connection refused"));
    assert!(reason("ssh://somewhere".to_owned()).await.contains("unix://, tcp:// or http://"));
}

#[tokio::test]
async fn an_engine_behind_tcp_is_asked_like_one_behind_a_socket() {
    let (engine, _, ours) = cvat();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let socket = engine.socket();
    let guard = tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.expect("a connection");
            let mut to = tokio::net::UnixStream::connect(&socket).await.expect("the engine");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    for scheme in ["tcp", "http"] {
        let mut watched = Watched::start(format!("{scheme}://{address}"), Some(&ours));
        watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    }
    guard.abort();
}

#[tokio::test]
async fn the_task_ends_when_nobody_listens_any_more() {
    let (engine, _, ours) = cvat();
    let mut watched = Watched::start(engine.host(), Some(&ours));
    watched.until("running", |sighting| status(sighting) == Some(Status::Running)).await;
    drop(watched.sightings);
    let ended = tokio::time::timeout(PATIENCE, watched.task).await;
    ended.expect("it ends").expect("without a panic");
}

#[tokio::test]
async fn of_a_log_that_is_cut_no_line_is_told_without_its_beginning() {
    let (engine, grafana, _) = cvat();
    // The last 64 KiB begin behind the name of what is secret.
    let (name, secret, rest) = ("password=", "swordfish and more\n", "x".repeat(2047) + "\n");
    let told = format!("{name}{secret}{}{}", &rest[secret.len()..], rest.repeat(31));
    assert_eq!(told.len(), name.len() + (64 << 10));
    // A long line is kept in pieces, of which as many are told as were asked for.
    let pieces = format!("{}{name}{secret}{}", "x".repeat((16 << 10) - name.len()), "line\n".repeat(49));
    for (text, lines) in [(told, 32), (pieces, 49), (format!("{name}{}\n", "swordfish ".repeat(8 << 10)), 0)] {
        engine.put_log(&grafana, &text);
        let wanted = Wanted { host: "grafana".into(), container: None, own_id: None, log: true };
        let mut watched = Watched::wanting(wanted, LIMITS, engine.host());
        let seen = watched.until("Grafana", |seen| seen.target.found().is_some()).await;
        assert_eq!(seen.log.len(), lines);
        assert!(!seen.log.iter().any(|line| line.contains("swordfish")), "{:?}", seen.log.first());
    }
}
