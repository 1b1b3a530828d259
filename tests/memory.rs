//! What was learned outlives a restart, and what is in its place but not ours is neither believed nor destroyed.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anteroom::evidence::{Container, Moment, Status, Target};
use anteroom::memory::Memory;
use anteroom::warmup::{History, Key};
use support::seen::{container, sighting};
use support::{FakeUpstream, TestProxy, config, reserved, soon};
use tokio::sync::watch;

/// A directory of this test's own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anteroom-memory-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("warmups.json")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key() -> Key {
    Key::of(&container(Status::Running))
}

/// Learns one warm-up, and waits until the file says so.
async fn learn(directory: &Path, took: Duration) {
    let (memory, history) = Memory::open(directory).expect("it can be used");
    let learned = watch::Sender::new(history);
    let kept = tokio::spawn(memory.keep(learned.subscribe()));
    learned.send_modify(|history| history.record(&key(), took));
    let expected = learned.borrow().clone();
    drop(learned);
    soon(kept).await.expect("it ends");
    let (_, history) = Memory::open(directory).expect("it can be used");
    assert_eq!(history, expected);
}

#[tokio::test]
async fn what_was_learned_is_there_after_a_restart() {
    let place = Place::new("restart");
    learn(&place.0, Duration::from_secs(7)).await;
    learn(&place.0, Duration::from_secs(9)).await;
    let (_, history) = Memory::open(&place.0).expect("it can be used");
    assert_eq!(history.usual(&key()).map(|usual| (usual.count, usual.p95.as_secs())), Some((2, 9)));
    assert_eq!(place.names(), ["warmups.json"], "nothing else is left");
    let mode = fs::metadata(place.file()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_not_ours_is_ignored_and_put_aside() {
    for (name, text) in [
        ("foreign", r#"{"format":"grafana","version":1}"#.to_owned()),
        ("truncated", History::default().to_text()[..20].to_owned()),
        ("binary", "\u{0}\u{1}".to_owned()),
        ("large", " ".repeat(2 << 20)),
    ] {
        let place = Place::new(name);
        fs::write(place.file(), &text).expect("it can be written");
        let (_, history) = Memory::open(&place.0).expect("it can be used");
        assert_eq!(history, History::default(), "{name}");
        learn(&place.0, Duration::from_secs(1)).await;
        assert_eq!(place.names(), ["warmups.json", "warmups.json.ignored"], "{name}");
        assert_eq!(fs::read_to_string(place.0.join("warmups.json.ignored")).expect("it is there"), text);
    }
}

#[test]
fn what_would_keep_us_waiting_is_put_aside_as_well() {
    let place = Place::new("fifo");
    let made = std::process::Command::new("mkfifo").arg(place.file()).status().expect("coreutils");
    assert!(made.success());
    let (_, history) = Memory::open(&place.0).expect("it can be used");
    assert_eq!((history, place.names()), (History::default(), vec!["warmups.json.ignored".to_owned()]));
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_refused() {
    let place = Place::new("refused");
    assert!(Memory::open(&place.0.join("missing")).is_err());
    fs::write(place.file(), "").expect("it can be written");
    assert!(Memory::open(&place.file()).is_err(), "it is a file");
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_old_file_and_nothing_else_stops() {
    let place = Place::new("failed");
    learn(&place.0, Duration::from_secs(7)).await;
    let before = fs::read_to_string(place.file()).expect("it is there");
    let (memory, history) = Memory::open(&place.0).expect("it can be used");
    // In the way of the draft, for root too.
    let obstacle = place.0.join("warmups.json.new");
    fs::create_dir(&obstacle).expect("a directory");
    let learned = watch::Sender::new(history);
    let mut kept = tokio::spawn(memory.keep(learned.subscribe()));
    learned.send_modify(|history| history.record(&key(), Duration::from_secs(8)));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut kept).await.is_err(), "it goes on");
    assert_eq!(fs::read_to_string(place.file()).expect("it is there"), before);
    fs::remove_dir(obstacle).expect("it is empty");
    learned.send_modify(|history| history.record(&key(), Duration::from_secs(9)));
    drop(learned);
    soon(kept).await.expect("it ends");
    let (_, history) = Memory::open(&place.0).expect("it can be used");
    assert_eq!(history.usual(&key()).map(|usual| usual.count), Some(3), "all that was learned meanwhile is there");
}

#[tokio::test]
async fn what_a_warm_up_has_granted_a_page_view_stays_granted_when_it_is_over() {
    let place = Place::new("granted");
    learn(&place.0, Duration::from_secs(4)).await;
    let (socket, address) = reserved();
    let mut config = config(address);
    config.state_dir = Some(place.0.as_path().into());
    config.patience.navigation = Duration::from_secs(2);
    let proxy = TestProxy::start(config);
    let started = Some(Moment { at: std::time::SystemTime::now(), text: "now".into() });
    let target = Target::Found(std::sync::Arc::new(Container { started, ..container(Status::Running) }));
    proxy.sightings.send_replace(anteroom::engine::Sighting { target, ..sighting(Status::Running) });
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nAccept: application/json\r\n\r\n";
    let mut asking = proxy.client().await;
    let is_known = async {
        loop {
            asking.send(ask).await;
            if asking.answer().await.body.contains("\"usual_seconds\":4") {
                return;
            }
        }
    };
    soon(is_known).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let upstream = FakeUpstream::listening(socket);
    let mut served = upstream.accept().await;
    served.head().await;
    drop(served);
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.status(), 200);
}
