//! Every edge of the machine, and what the evidence says about the future.

use std::sync::Arc;

use super::*;
use crate::evidence::{Attachment, Happening, Health, Moment, RestartPolicy, Upstream};

const GRACE: Duration = Duration::from_secs(10);

fn with(outlook: Outlook) -> Circumstances {
    Circumstances { outlook, connects: false, waiting: 0, grace: GRACE }
}

/// A state as the tables below spell it, and the moment in which it began.
fn states(now: Instant) -> [(&'static str, State); 7] {
    [
        ("unknown", State::Unknown),
        ("ready", State::Ready { since: now }),
        ("suspect", State::Suspect { since: now }),
        ("warming", State::Warming { since: now, attempts: 3, fell: None }),
        ("fallen", State::Warming { since: now, attempts: 3, fell: Some(now) }),
        ("down", State::Down { since: now, cause: Cause::Exited }),
        ("paused", State::Down { since: now, cause: Cause::Paused }),
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Ready { .. } => "ready",
        State::Suspect { .. } => "suspect",
        State::Warming { fell: None, .. } => "warming",
        State::Warming { fell: Some(_), .. } => "fallen",
        State::Down { cause: Cause::Paused, .. } => "paused",
        State::Down { .. } => "down",
    }
}

#[test]
fn every_edge_is_as_drawn() {
    let passed = Event::Probe { passed: true };
    let failed = Event::Probe { passed: false };
    let refused = Event::ConnectFailed;
    let look = Event::Look;
    let gone = Outlook::Pointless(Cause::Exited);
    let frozen = Outlook::Pointless(Cause::Paused);
    // event, outlook; then where each state of `states` leads.
    #[rustfmt::skip]
    let table = [
        (passed, Outlook::Blind,     ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Running,   ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Coming,    ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Unhealthy, ["warming", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (passed, gone,               ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (failed, Outlook::Blind,     ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Running,   ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Coming,    ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Unhealthy, ["warming", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, gone,               ["down", "suspect", "fallen", "down", "fallen", "down", "down"]),
        (failed, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (refused, Outlook::Blind,     ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Running,   ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Coming,    ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Unhealthy, ["unknown", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (refused, gone,               ["unknown", "suspect", "suspect", "warming", "fallen", "down", "down"]),
        (refused, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (look, Outlook::Blind,     ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Running,   ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Coming,    ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Unhealthy, ["unknown", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (look, gone,               ["unknown", "suspect", "suspect", "down", "fallen", "down", "down"]),
        (look, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
    ];
    let now = Instant::now();
    for (event, outlook, expected) in table {
        for ((before, state), expected) in states(now).into_iter().zip(expected) {
            let (after, _) = step(state, event, with(outlook), now);
            assert_eq!(name(after), expected, "{before}, {event:?}, {outlook:?}");
        }
    }
}

#[test]
fn a_target_that_fell_is_down_only_when_its_grace_has_ended() {
    let fell = Instant::now();
    let gone = with(Outlook::Pointless(Cause::Absent));
    let warming = State::Warming { since: fell, attempts: 1, fell: Some(fell) };
    let (state, effects) = step(warming, Event::Look, gone, fell + GRACE - Duration::from_millis(1));
    assert_eq!(state, warming);
    assert_eq!(effects.look_at, Some(fell + GRACE), "it wants to be asked again when the grace ends");
    let (state, effects) = step(warming, Event::Look, gone, fell + GRACE);
    assert_eq!(state, State::Down { since: fell + GRACE, cause: Cause::Absent });
    assert_eq!(effects.look_at, None);
}

#[test]
fn a_target_that_was_never_ready_has_no_grace() {
    let now = Instant::now();
    let warming = State::Warming { since: now, attempts: 1, fell: None };
    let (state, _) = step(warming, Event::Look, with(Outlook::Pointless(Cause::Exited)), now);
    assert_eq!(state, State::Down { since: now, cause: Cause::Exited });
}

#[test]
fn down_keeps_its_beginning_when_only_the_cause_changes() {
    let since = Instant::now();
    let later = since + Duration::from_secs(60);
    let down = State::Down { since, cause: Cause::Exited };
    let (state, _) = step(down, Event::Look, with(Outlook::Pointless(Cause::Absent)), later);
    assert_eq!(state, State::Down { since, cause: Cause::Absent });
}

#[test]
fn failed_probes_are_counted_and_do_not_move_the_beginning() {
    let since = Instant::now();
    let warming = State::Warming { since, attempts: 7, fell: None };
    let event = Event::Probe { passed: false };
    let (state, _) = step(warming, event, with(Outlook::Running), since + Duration::from_secs(1));
    assert_eq!(state, State::Warming { since, attempts: 8, fell: None });
}

#[test]
fn probing_follows_need() {
    let since = Instant::now();
    let warming = State::Warming { since, attempts: 1, fell: None };
    let pace = |outlook, waiting, connects, after: u64| {
        let with = Circumstances { outlook, connects, waiting, grace: GRACE };
        step(warming, Event::Look, with, since + Duration::from_secs(after)).1.probe_in.map(|pace| pace.as_millis())
    };
    assert_eq!(pace(Outlook::Running, 0, false, 0), Some(2000), "nobody waits");
    assert_eq!(pace(Outlook::Running, 1, false, 0), Some(10));
    assert_eq!(pace(Outlook::Running, 9, false, 61), Some(25));
    assert_eq!(pace(Outlook::Running, 1, false, 601), Some(250));
    assert_eq!(pace(Outlook::Running, 1, true, 0), Some(50), "a GET is work for the target");
    assert_eq!(pace(Outlook::Blind, 1, false, 0), Some(10), "without an engine only the probe speaks");
    assert_eq!(pace(Outlook::Coming, 1, false, 0), None, "its start event wakes the prober");
}

#[test]
fn what_does_not_run_is_not_probed() {
    let since = Instant::now();
    for (cause, pace) in [
        (Cause::Exited, None),
        (Cause::NeverStarted, None),
        (Cause::Paused, None),
        (Cause::Dead, None),
        (Cause::Absent, Some(5000)),
        (Cause::CrashLoop, Some(2000)),
        (Cause::NetworkNotShared, Some(2000)),
        (Cause::NameNotResolved, Some(2000)),
        (Cause::NameResolvedOutside, Some(2000)),
    ] {
        let (_, effects) = step(State::Down { since, cause }, Event::Look, with(Outlook::Pointless(cause)), since);
        assert_eq!(effects.probe_in.map(|pace| pace.as_millis()), pace, "{cause:?}");
    }
}

// ---- what the evidence says about the future --------------------------------------------------------------------

fn moment(at: SystemTime) -> Option<Moment> {
    Some(Moment { at, text: "".into() })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn attached(network_id: &str) -> Vec<Attachment> {
    vec![Attachment { network: network_id.into(), network_id: network_id.into(), aliases: vec![], address: None }]
}

fn container(status: Status) -> Container {
    Container {
        id: "c0ffee".into(),
        name: "cvat_grafana".into(),
        image: "grafana".into(),
        created: moment(at(0)),
        status,
        exit_code: 0,
        oom_killed: false,
        error: "".into(),
        started: moment(at(1)),
        finished: None,
        restart_count: 0,
        restart_policy: RestartPolicy::No,
        health: None,
        memory_limit: None,
        networks: attached("cvat"),
        exposed_ports: vec![3000],
        compose: None,
    }
}

fn evidence(target: Container) -> Evidence {
    Evidence {
        seen_at: at(100),
        upstream: Upstream { host: "grafana".into(), port: 3000, ready_path: None },
        engine: Engine::Available { version: "20.10.24".into() },
        booted_at: None,
        ourselves: Some(Arc::new(container(Status::Running))),
        target: Target::Found(Arc::new(target)),
        others: Arc::new([]),
        networks: Arc::new([]),
        probe: None,
        exchange: None,
        events: Arc::new([]),
    }
}

fn died(times: &[u64]) -> Arc<[Happening]> {
    let die = |second: &u64| Happening {
        at: Moment { at: at(*second), text: "".into() },
        action: "die".into(),
        exit_code: Some(1),
    };
    times.iter().map(die).collect()
}

#[test]
fn the_status_says_most_of_it() {
    for (status, expected) in [
        (Status::Running, Outlook::Running),
        (Status::Restarting, Outlook::Coming),
        (Status::Paused, Outlook::Pointless(Cause::Paused)),
        (Status::Dead, Outlook::Pointless(Cause::Dead)),
        (Status::Removing, Outlook::Pointless(Cause::Absent)),
        (Status::Exited, Outlook::Pointless(Cause::Exited)),
        (Status::Created, Outlook::Pointless(Cause::NeverStarted)),
        (Status::Other, Outlook::Blind),
    ] {
        assert_eq!(outlook(&evidence(container(status))), expected, "{status:?}");
    }
}

#[test]
fn without_an_engine_only_probes_speak() {
    for engine in [Engine::Unknown, Engine::Unavailable { reason: "".into() }, Engine::Forbidden { reason: "".into() }]
    {
        let evidence = Evidence { engine, ..evidence(container(Status::Exited)) };
        assert_eq!(outlook(&evidence), Outlook::Blind);
    }
}

#[test]
fn an_upstream_that_need_not_be_a_container_is_not_missed() {
    let absent = |host: &str, in_container: bool, last| {
        let mut evidence = evidence(container(Status::Running));
        evidence.upstream.host = host.into();
        evidence.target = Target::Absent { last };
        if !in_container {
            evidence.ourselves = None;
        }
        outlook(&evidence)
    };
    let gone = Outlook::Pointless(Cause::Absent);
    assert_eq!(absent("grafana", true, None), gone);
    assert_eq!(absent("grafana", false, None), Outlook::Blind, "the host may know the name");
    assert_eq!(absent("grafana.example.com", true, None), Outlook::Blind);
    assert_eq!(absent("10.0.0.7", true, None), Outlook::Blind);
    assert_eq!(absent("10.0.0.7", true, Some(Arc::new(container(Status::Running)))), gone, "it was one");
}

#[test]
fn what_was_created_just_now_is_about_to_be_started() {
    let mut fresh = container(Status::Created);
    fresh.created = moment(at(95));
    assert_eq!(outlook(&evidence(fresh.clone())), Outlook::Coming);
    fresh.error = "OCI runtime create failed".into();
    assert_eq!(outlook(&evidence(fresh)), Outlook::Pointless(Cause::NeverStarted), "it was tried, and failed");
}

#[test]
fn an_exited_container_does_not_come_back_whatever_its_policy() {
    for restart_policy in [RestartPolicy::No, RestartPolicy::Always, RestartPolicy::OnFailure { most: 3 }] {
        let target = Container { restart_policy, exit_code: 1, ..container(Status::Exited) };
        assert_eq!(outlook(&evidence(target)), Outlook::Pointless(Cause::Exited), "{restart_policy:?}");
    }
}

#[test]
fn a_loop_is_known_by_its_deaths() {
    let mut looping = container(Status::Restarting);
    looping.finished = moment(at(1) + SETTLED);
    looping.restart_count = 5;
    let deaths = Evidence { events: died(&[90, 91, 92, 94, 98]), ..evidence(looping.clone()) };
    assert_eq!(outlook(&deaths), Outlook::Pointless(Cause::CrashLoop));
    let few = Evidence { events: died(&[90, 91, 92, 94]), ..evidence(looping.clone()) };
    assert_eq!(outlook(&few), Outlook::Coming);
    let long_ago =
        Evidence { seen_at: at(94) + CRASH_LOOP_WINDOW, events: died(&[90, 91, 92, 94, 98]), ..evidence(looping) };
    assert_eq!(outlook(&long_ago), Outlook::Coming, "only the last death is recent");
}

#[test]
fn a_loop_whose_events_were_not_seen_is_known_by_its_count_and_a_short_last_run() {
    let mut looping = container(Status::Restarting);
    looping.restart_count = 5;
    looping.finished = moment(at(2));
    assert_eq!(outlook(&evidence(looping.clone())), Outlook::Pointless(Cause::CrashLoop));
    looping.finished = moment(at(1) + SETTLED);
    assert_eq!(outlook(&evidence(looping)), Outlook::Coming, "a high count alone is the sum of a long life");
}

#[test]
fn a_container_that_is_up_for_long_enough_loops_no_more() {
    let mut running = container(Status::Running);
    running.restart_count = 5;
    running.started = moment(at(95));
    let deaths = || died(&[90, 91, 92, 93, 94]);
    let young = Evidence { events: deaths(), ..evidence(running.clone()) };
    assert_eq!(outlook(&young), Outlook::Pointless(Cause::CrashLoop));
    running.started = moment(at(90));
    let settled = Evidence { events: deaths(), ..evidence(running) };
    assert_eq!(outlook(&settled), Outlook::Running);
}

#[test]
fn health_counts_unless_our_own_get_knows_better() {
    let mut target = container(Status::Running);
    let health = |status| Some(Health { status, failing_streak: 3, last_output: "".into() });
    target.health = health(HealthStatus::Unhealthy);
    assert_eq!(outlook(&evidence(target.clone())), Outlook::Unhealthy);
    let mut asked = evidence(target.clone());
    asked.upstream.ready_path = Some("/api/health".into());
    assert_eq!(outlook(&asked), Outlook::Running);
    target.health = health(HealthStatus::Starting);
    assert_eq!(outlook(&evidence(target)), Outlook::Running, "its next check may be half a minute away");
}

#[test]
fn a_running_target_without_a_way_to_it_is_pointless() {
    let mut elsewhere = container(Status::Running);
    elsewhere.networks = attached("another");
    let mut case = evidence(elsewhere);
    assert_eq!(outlook(&case), Outlook::Pointless(Cause::NetworkNotShared));
    case.upstream.host = "10.0.0.7".into();
    assert_eq!(outlook(&case), Outlook::Running, "an address may be routed");

    let mut case = evidence(container(Status::Running));
    case.probe = Some(Failure::NameNotResolved { reason: "".into() });
    assert_eq!(outlook(&case), Outlook::Pointless(Cause::NameNotResolved));
    case.probe = Some(Failure::NameResolvedOutside { address: std::net::Ipv4Addr::LOCALHOST.into() });
    assert_eq!(outlook(&case), Outlook::Pointless(Cause::NameResolvedOutside));
    case.probe = Some(Failure::ConnectTimeout);
    assert_eq!(outlook(&case), Outlook::Running);
}
