//! The engine itself is restarted under load: once as it comes, which takes all containers along, and once with
//! `live-restore`, which leaves them running.
//!
//! anteroom is a process beside the engine here: as one of its containers it would be stopped, too.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::scenes;
use crate::answer::Answer;
use crate::ask::Ask;
use crate::load::{Load, Tally};
use crate::runner::is_required;
use crate::second_engine::SecondEngine;
use crate::stack::Stack;

scenes![
    nothing_is_lost_or_done_twice_when_the_engine_is_restarted only Labels,
    nobody_notices_when_an_engine_with_live_restore_is_restarted only Labels,
    a_grafana_that_a_restarted_engine_leaves_down_is_named_and_the_remedy_mends_it only Labels,
];

/// How long the engine is away, besides the time that it takes to stop and to start.
const AWAY: Duration = Duration::from_secs(1);

fn nothing_is_lost_or_done_twice_when_the_engine_is_restarted(stack: &Stack) {
    let upstream = |_: &str| "127.0.0.1:3000".to_owned();
    with_second_engine(stack, &[], run_always, upstream, |engine| {
        let before = engine.docker(&["inspect", "--format", "{{.State.StartedAt}}", GRAFANA])?;
        let tally = under_load(engine, stack);
        let after = engine.docker(&["inspect", "--format", "{{.State.StartedAt}}", GRAFANA])?;
        assert_ne!(before, after, "Grafana was not stopped");
        tally.was_cut();
        Ok(())
    });
}

fn nobody_notices_when_an_engine_with_live_restore_is_restarted(stack: &Stack) {
    // Not the published port: the engine's forwarder ends with it, whatever becomes of the containers.
    let upstream = |address: &str| format!("{address}:3000");
    with_second_engine(stack, &["--live-restore"], run_always, upstream, |engine| {
        under_load(engine, stack).was_undisturbed();
        // The stream of events has come back.
        engine.docker(&["stop", GRAFANA])?;
        let told = ask().for_status();
        inside(engine, || {
            told.until("the stop is seen", |status| status.code().as_deref() == Some("target-stopped-by-hand"));
        });
        Ok(())
    });
}

/// As CVAT before October 2024: all but Grafana are started again.
const PROJECT: &str = "
services:
  cvat_grafana:
    container_name: grafana
    image: IMAGE
    ports: [\"127.0.0.1:3000:3000\"]
  cvat_clickhouse:
    image: IMAGE
    restart: always
    environment: {STUB_ROLE: idle}
  cvat_vector:
    image: IMAGE
    restart: always
    environment: {STUB_ROLE: idle}
";

fn a_grafana_that_a_restarted_engine_leaves_down_is_named_and_the_remedy_mends_it(stack: &Stack) {
    let upstream = |_: &str| "127.0.0.1:3000".to_owned();
    let folder = stack.scratch("second/project");
    let on = |engine: &SecondEngine, commands: &str| {
        stack.shell(&format!("export DOCKER_HOST='{}'\n{commands}", engine.host()))
    };
    let compose = format!("cd '{}'\ndocker compose", folder.display());
    let start = |engine: &SecondEngine, image: &str| {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("docker-compose.yml"), PROJECT.replace("IMAGE", image))?;
        on(engine, &format!("{compose} up -d")).map(drop)
    };
    with_second_engine(stack, &[], start, upstream, |engine| {
        engine.restart(|| thread::sleep(AWAY))?;
        let mut command = String::new();
        inside(engine, || {
            let told = |status: &Answer| {
                status.value("x-anteroom-state") == Some("down")
                    && status.code().as_deref() == Some("target-not-restarted")
            };
            let status = ask().for_status().until("the restart is seen", told);
            status.says("engine restarted").says("has no restart policy");
            command = status.member("/findings/0/remedies/0/command").expect("a remedy");
        });
        assert!(command.starts_with("cd ") && command.ends_with(" up -d cvat_grafana"), "{command}");
        on(engine, &command)?;
        inside(engine, || drop(ask().until("Grafana answers", |answer| answer.is_from("grafana"))));
        Ok(())
    });
}

const GRAFANA: &str = "grafana";

/// Where anteroom listens in the second engine's network, where nobody else is.
const ANTEROOM: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

fn ask() -> Ask {
    Ask::at(SocketAddr::from(ANTEROOM), "/api/ds/query")
}

/// A Grafana by itself, which the engine starts again.
fn run_always(engine: &SecondEngine, image: &str) -> Result<()> {
    let ledger = format!("{}:/ledger", engine.directory().join("ledger").display());
    let mut run = vec!["run", "--detach", "--name", GRAFANA, "--restart", "always", "--volume", &ledger];
    run.extend(["--env", "STUB_LEDGER=/ledger/posts", "--publish", "127.0.0.1:3000:3000", image]);
    engine.docker(&run).map(drop)
}

/// Starts the engine, a Grafana in it, and anteroom in front of that.
#[track_caller]
fn with_second_engine(
    stack: &Stack,
    options: &'static [&'static str],
    start: impl FnOnce(&SecondEngine, &str) -> Result<()>,
    upstream: impl Fn(&str) -> String,
    play: impl FnOnce(&SecondEngine) -> Result<()>,
) {
    if let Some(missing) = SecondEngine::missing() {
        assert!(!is_required(), "{missing}");
        eprintln!("The engine was NOT RESTARTED, since no second one can be started here (root can): {missing}");
        return;
    }
    let directory = stack.scratch("second");
    let engine = SecondEngine::start(&directory, &stack.project, options).unwrap_or_else(|error| panic!("{error:#}"));
    let played = (|| {
        let image = stack.grafana().inspect("{{.Config.Image}}");
        let archive = directory.join("stub.tar").display().to_string();
        stack.docker(&["save", "--output", &archive, &image]);
        engine.docker(&["load", "--input", &archive])?;
        start(&engine, &image)?;
        let address = engine.docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", GRAFANA])?;
        let upstream = format!("http://{}", upstream(address.trim()));
        let environment = [
            ("ANTEROOM_UPSTREAM", upstream.as_str()),
            ("ANTEROOM_LISTEN", "127.0.0.1:8080"),
            ("ANTEROOM_READY_PATH", "/api/health"),
            ("ANTEROOM_CONTAINER", GRAFANA),
            // How long the engine takes to bring Grafana back is not tried here.
            ("ANTEROOM_MAX_HELD", "4096"),
            ("DOCKER_HOST", SecondEngine::HOST),
        ];
        engine.run(&stack.program(), &["serve"], &environment, "anteroom")?;
        let ready = ask();
        inside(&engine, || drop(ready.until("Grafana answers", |answer| answer.is_from("grafana"))));
        play(&engine)
    })();
    played.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", engine.log("anteroom"), engine.log("log")));
}

#[track_caller]
fn under_load(engine: &SecondEngine, stack: &Stack) -> Tally {
    let load = Load { ask: ask(), prepare: &|| engine.enter_network() };
    let tally = load.during(|| {
        engine.restart(|| thread::sleep(AWAY)).unwrap_or_else(|error| panic!("{error:#}"));
    });
    tally.print();
    tally.is_flawless(&fs::read_to_string(stack.scratch("second/ledger/posts")).expect("Grafana has written it"));
    tally
}

/// Does it on a thread in the engine's network.
fn inside(engine: &SecondEngine, act: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            engine.enter_network();
            act();
        });
        // Panics again on this thread, whose message is the one that is shown.
        acting.join().unwrap_or_else(|panic| panic!("{}", panic.downcast_ref::<String>().map_or("?", |text| text)));
    });
}
