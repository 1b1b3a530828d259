//! What the engine's task logs when an engine's words are hostile. In a process of its own: where one thread has a
//! subscriber and others have none, tracing asks whichever of them comes to an event first whether anybody wants it, and
//! keeps the answer for all.

#[expect(dead_code, reason = "the tests of the engine's task need more of it")]
#[path = "support/fake_docker.rs"]
mod fake_docker;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anteroom::engine::docker;
use anteroom::engine::{Sighting, Wanted};
use anteroom::evidence::Engine;
use fake_docker::{FakeDocker, Mood, recorded};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Longer than anything here takes, so that a test that cannot pass ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_engines_words_forge_no_line_of_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // The test's runtime is single-threaded: the engine's task logs here too.
    let _guard = tracing::subscriber::set_default(subscriber);
    let engine = FakeDocker::start();
    let vector = recorded("running", "cvat_vector", &["vector"]);
    let ours = recorded("running", "anteroom", &[]);
    for container in [&recorded("running", "cvat_grafana", &["grafana"]), &ours, &vector] {
        engine.put(container.clone());
    }
    for path in ["/events", "/networks", vector["Id"].as_str().expect("an id")] {
        engine.set_mood(path, Some(Mood::Refuses(403)));
    }
    let own_id = ours["Id"].as_str().map(Into::into);
    let wanted = Wanted { host: "grafana".into(), container: None, own_id, log: false };
    let (sender, mut sightings) = watch::channel(Sighting::default());
    let look = Arc::new(Notify::new());
    let _task = tokio::spawn(docker::watch(Some(engine.host()), wanted, look.clone(), sender));

    let found = sightings.wait_for(|sighting| sighting.target.found().is_some());
    timeout(PATIENCE, found).await.expect("a look ends").expect("the task publishes");
    engine.set_mood("/containers/json", Some(Mood::Refuses(500)));
    look.notify_one();
    let trouble = sightings.wait_for(|sighting| matches!(sighting.engine, Engine::Unavailable { .. }));
    timeout(PATIENCE, trouble).await.expect("two looks end").expect("the task publishes");

    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    for said in ["its events", "its networks", "was not told of", "asked once more", "what it knows"] {
        let line = log.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("{said}: {log}"));
        assert!(line.contains("forged paint"), "the words stay in their line: {line}");
    }
    assert!(!log.contains(['\r', '\x1b']), "{log:?}");
}
