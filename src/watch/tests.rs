//! The watcher with a clock that jumps and a prober that answers by script.

mod asking;
mod learning;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::task::LocalSet;
use tokio::time::advance;

use super::*;
use crate::evidence::{Engine, RestartPolicy, Target};
use crate::line::Place;
use crate::room::Held;

/// A prober whose answers the test sets, and whose questions it counts.
#[derive(Clone)]
struct Script {
    answer: Rc<RefCell<Answer>>,
    asked: Rc<Cell<u32>>,
}

#[derive(Clone)]
enum Answer {
    Passes,
    Fails(Failure),
    Hangs,
}

impl Probe for Script {
    async fn probe(&self) -> Result<(), Failure> {
        self.asked.set(self.asked.get() + 1);
        let answer = self.answer.borrow().clone();
        match answer {
            Answer::Passes => Ok(()),
            Answer::Fails(failure) => Err(failure),
            Answer::Hangs => std::future::pending().await,
        }
    }
}

struct Stage {
    script: Script,
    sightings: watch::Sender<Sighting>,
    reports: mpsc::Sender<Report>,
    room: Arc<Room>,
    look: Arc<Notify>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

const GRACE: Duration = Duration::from_secs(10);

impl Stage {
    /// Must run inside a [`LocalSet`].
    fn set(answer: Answer) -> Self {
        let subject = subject();
        let script = Script { answer: Rc::new(RefCell::new(answer)), asked: Rc::default() };
        let (sighted, sightings) = watch::channel(Sighting::default());
        let (report, reports) = mpsc::channel(REPORTS_QUEUED);
        let (publish, snapshots) = watch::channel(first_snapshot(&subject));
        let room = Room::new(1024, 1 << 20);
        let look = Arc::new(Notify::new());
        let learned = watch::Sender::new(History::default());
        let sources = Sources {
            sightings,
            reports,
            room: Arc::clone(&room),
            look: Arc::clone(&look),
            learned,
            meter: Arc::default(),
        };
        tokio::task::spawn_local(run(subject, script.clone(), sources, publish));
        Self { script, sightings: sighted, reports: report, room, look, snapshots }
    }

    fn answer(&self, answer: Answer) {
        *self.script.answer.borrow_mut() = answer;
    }

    fn sees(&self, status: Status, started: u64) {
        let container = container(status, started);
        self.sightings.send_replace(Sighting {
            engine: Engine::Available { version: "20.10.24".into() },
            target: Target::Found(Arc::new(container)),
            ..Sighting::default()
        });
    }

    /// A request that waits until it is dropped.
    fn holds(&self) -> Held {
        let place = Place { arrived: std::time::Instant::now(), id: 0 };
        self.room.enter(place, 0, None).expect("there is room")
    }

    fn state(&self) -> &'static str {
        self.snapshots.borrow().state.name()
    }

    async fn becomes(&mut self, state: &str) {
        let waiting = self.snapshots.wait_for(|snapshot| snapshot.state.name() == state);
        // In the clock's time, which jumps when everyone waits.
        let waited = tokio::time::timeout(Duration::from_secs(3600), waiting).await;
        assert!(waited.is_ok(), "it never becomes {state}");
    }
}

fn subject() -> Subject {
    Subject {
        upstream: Upstream::at(Scheme::Http, "grafana", 3000),
        booted_at: None,
        grace: GRACE,
        clock: SystemTime::now,
    }
}

fn moment(seconds: u64) -> Option<Moment> {
    Some(Moment { at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds), text: "".into() })
}

fn refused() -> Answer {
    Answer::Fails(Failure::Refused { address: std::net::Ipv4Addr::LOCALHOST.into() })
}

fn container(status: Status, started: u64) -> Container {
    Container {
        id: "c0ffee".into(),
        name: "cvat_grafana".into(),
        image: "grafana".into(),
        created: moment(0),
        status,
        exit_code: 0,
        oom_killed: false,
        error: "".into(),
        started: moment(started),
        finished: None,
        restart_count: 0,
        restart_policy: RestartPolicy::No,
        health: None,
        memory_limit: None,
        networks: vec![],
        exposed_ports: vec![],
        routed_ports: vec![],
        borrows_network: false,
        compose: None,
    }
}

/// Runs a test on a paused clock: time passes only when nobody has anything to do.
fn play<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async { test().await });
}

#[test]
fn a_probe_that_passes_makes_it_ready() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        assert_eq!(stage.script.asked.get(), 1);
    });
}

#[test]
fn a_healthy_upstream_is_probed_every_two_seconds() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let before = stage.script.asked.get();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!((9..=11).contains(&(stage.script.asked.get() - before)), "{}", stage.script.asked.get());
    });
}

#[test]
fn a_held_request_quickens_the_probes() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.becomes("warming").await;
        let _place = stage.holds();
        tokio::task::yield_now().await;
        let before = stage.script.asked.get();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((190..=201).contains(&(stage.script.asked.get() - before)), "{}", stage.script.asked.get() - before);
    });
}

#[test]
fn many_failed_probes_are_one_publication() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.becomes("warming").await;
        let _place = stage.holds();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = stage.snapshots.borrow().sequence;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(stage.snapshots.borrow().sequence, before);
    });
}

#[test]
fn a_target_that_does_not_run_is_hardly_probed_and_its_start_wakes_the_prober() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.sees(Status::Exited, 1);
        stage.becomes("down").await;
        let before = stage.script.asked.get();
        let _place = stage.holds();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(stage.script.asked.get() - before <= 12, "once in five seconds, whoever waits");
        stage.answer(Answer::Passes);
        stage.sees(Status::Running, 2);
        let woken = tokio::time::Instant::now();
        stage.becomes("ready").await;
        assert!(woken.elapsed() < Duration::from_millis(20), "{:?}", woken.elapsed());
    });
}

#[test]
fn a_probe_that_hangs_does_not_outlive_the_run_it_asked() {
    play(|| async {
        let mut stage = Stage::set(Answer::Hangs);
        stage.sees(Status::Running, 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(stage.state(), "unknown");
        stage.answer(Answer::Passes);
        stage.sees(Status::Running, 2);
        let woken = tokio::time::Instant::now();
        stage.becomes("ready").await;
        assert!(woken.elapsed() < Duration::from_millis(20), "{:?}", woken.elapsed());
    });
}

#[test]
fn a_target_that_was_ready_has_its_grace() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Running, 1);
        stage.becomes("ready").await;
        stage.answer(refused());
        stage.sees(Status::Exited, 1);
        stage.becomes("warming").await;
        let died = tokio::time::Instant::now();
        stage.becomes("down").await;
        let away = died.elapsed();
        assert!(away >= GRACE - Duration::from_millis(50) && away <= GRACE + Duration::from_millis(50), "{away:?}");
    });
}

#[test]
fn only_the_run_that_fell_has_its_grace_from_its_end() {
    let seen_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_300);
    let ended = Container { finished: moment(290), ..container(Status::Exited, 100) };
    let begun_later = Container { started: moment(250), ..ended.clone() };
    let now = std::time::Instant::now() + Duration::from_secs(3600);
    let fell = now - Duration::from_secs(100);
    let state = State::Warming { since: fell, attempts: 1, fell: Some(fell) };
    let stage = first_snapshot(&subject()).evidence.clone();
    for (container, want) in [(ended, Some(Duration::from_secs(10))), (begun_later, None)] {
        let evidence = Evidence { seen_at, target: Target::Found(Arc::new(container)), ..stage.clone() };
        assert_eq!(ended_ago(state, now, &evidence), want);
    }
}

#[test]
fn a_restart_behind_wrong_evidence_is_over_when_the_service_is_back() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Exited, 1);
        stage.becomes("ready").await;
        stage.answer(refused());
        stage.becomes("warming").await;
        let _held = stage.holds();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.answer(Answer::Passes);
        let back = tokio::time::Instant::now();
        stage.becomes("ready").await;
        assert!(back.elapsed() <= Duration::from_millis(250), "{:?}", back.elapsed());
    });
}

#[test]
fn what_serves_has_been_ready_whenever_the_engine_first_told_of_it() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        stage.sees(Status::Running, 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.answer(refused());
        stage.becomes("warming").await;
        assert!(stage.snapshots.borrow().evidence.was_ready);
    });
}

#[test]
fn a_restart_within_the_grace_is_never_down() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Running, 1);
        stage.becomes("ready").await;
        let first = stage.snapshots.borrow().run;
        stage.answer(refused());
        stage.sees(Status::Exited, 1);
        stage.becomes("warming").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(stage.state(), "warming");
        stage.sees(Status::Running, 2);
        stage.answer(Answer::Passes);
        stage.becomes("ready").await;
        assert!(stage.snapshots.borrow().run > first, "old connections belong to a former run");
    });
}

#[test]
fn a_report_on_the_newest_snapshot_is_looked_into() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let sequence = stage.snapshots.borrow().sequence;
        let report = Report { sequence, failure: Failure::ConnectTimeout };
        stage.reports.send(report).await.expect("the watcher listens");
        stage.becomes("suspect").await;
        stage.becomes("ready").await;
        assert!(stage.snapshots.borrow().sequence > sequence, "who waits for news gets it");
    });
}

#[test]
fn a_report_on_an_old_snapshot_changes_nothing() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let now = stage.snapshots.borrow().sequence;
        let report = Report { sequence: now - 1, failure: Failure::ConnectTimeout };
        stage.reports.send(report).await.expect("the watcher listens");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((stage.state(), stage.snapshots.borrow().sequence), ("ready", now));
    });
}

#[test]
fn what_a_probe_said_of_the_former_run_is_forgotten() {
    play(|| async {
        let mut stage = Stage::set(Answer::Fails(Failure::NameNotResolved { reason: "".into() }));
        stage.sees(Status::Exited, 1);
        stage.becomes("down").await;
        stage.answer(Answer::Hangs);
        stage.sees(Status::Running, 2);
        stage.becomes("warming").await;
        assert_eq!(stage.snapshots.borrow().evidence.probe, None);
    });
}

#[test]
fn a_health_path_that_is_late_once_holds_nobody() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let before = stage.snapshots.borrow().sequence;
        stage.answer(Answer::Fails(Failure::NoAnswer));
        let asked = stage.script.asked.get();
        while stage.script.asked.get() == asked {
            advance(Duration::from_millis(10)).await;
        }
        stage.answer(Answer::Passes);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let seen: Vec<_> = stage.snapshots.borrow().evidence.probe.clone().into_iter().collect();
        assert_eq!((stage.state(), seen), ("ready", vec![]));
        assert!(stage.snapshots.borrow().sequence <= before + 2, "nothing but the probe's news was published");
    });
}

#[test]
fn a_target_that_flaps_does_not_make_us_flap() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let _held = stage.holds();
        let mut changes = 0;
        let mut last = stage.state();
        // It answers every other probe, for an hour.
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(3600) {
            let asked = stage.script.asked.get();
            stage.answer(if asked.is_multiple_of(2) { Answer::Passes } else { refused() });
            while stage.script.asked.get() == asked {
                advance(Duration::from_millis(5)).await;
            }
            if stage.state() != last {
                last = stage.state();
                changes += 1;
            }
        }
        assert!(changes < 20, "{changes} changes");
        assert_eq!(stage.state(), "warming");
        stage.answer(Answer::Passes);
        stage.becomes("ready").await;
    });
}

#[test]
fn another_run_makes_connections_old_at_once_even_if_it_was_ready_all_the_time() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.becomes("ready").await;
        let run = |stage: &Stage| stage.snapshots.borrow().run;
        let first = run(&stage);
        stage.sees(Status::Running, 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(run(&stage), first, "it is the one that was ready already, as far as anybody knows");
        stage.sees(Status::Running, 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(run(&stage), first);
        stage.sees(Status::Running, 2);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(run(&stage), first + 1);
        for (started, expected) in [(2, first + 1), (3, first + 2)] {
            stage.sightings.send_replace(Sighting {
                engine: Engine::Unavailable { reason: "it is being restarted".into() },
                ..Sighting::default()
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
            stage.sees(Status::Running, started);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(run(&stage), expected, "what happened while the engine was away counts, and nothing else");
        }
    });
}

#[test]
fn a_target_whose_health_check_fails_is_not_probed_in_haste_though_it_answers() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        let mut unwell = container(Status::Running, 1);
        let status = crate::evidence::HealthStatus::Unhealthy;
        unwell.health = Some(crate::evidence::Health { status, failing_streak: 3, last_output: "".into() });
        stage.sightings.send_replace(Sighting {
            engine: Engine::Available { version: "20.10.24".into() },
            target: Target::Found(Arc::new(unwell)),
            ..Sighting::default()
        });
        stage.becomes("warming").await;
        let before = stage.script.asked.get();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(stage.script.asked.get() - before <= 11, "{}", stage.script.asked.get() - before);
    });
}
