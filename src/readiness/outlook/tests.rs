//! What the evidence says about the future, each sign with a near miss.

use std::sync::Arc;

use super::*;
use crate::evidence::{Attachment, Compose, Happening, Health, Moment, RestartPolicy, Scheme, Upstream};

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
        routed_ports: vec![],
        borrows_network: false,
        compose: None,
    }
}

fn evidence(target: Container) -> Evidence {
    Evidence {
        seen_at: at(100),
        upstream: Upstream::at(Scheme::Http, "grafana", 3000),
        engine: Engine::Available { version: "20.10.24".into() },
        booted_at: None,
        ourselves: Some(Arc::new(container(Status::Running))),
        target: Target::Found(Arc::new(target)),
        others: Arc::new([]),
        networks: Arc::new([]),
        probe: None,
        exchange: None,
        strays: Arc::new([]),
        log: Arc::new([]),
        elsewhere: None,
        was_ready: false,
        speaks_http: true,
        bound: None,
        warmup: None,
        seen_for: None,
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
    fresh.created = moment(at(102));
    assert_eq!(outlook(&evidence(fresh.clone())), Outlook::Coming, "by a clock that is ahead");
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

fn of_service(service: &str, container: Container) -> Container {
    let compose = Compose {
        project: "cvat".into(),
        service: service.into(),
        working_dir: "/srv/cvat".into(),
        config_files: vec![],
        env_files: vec![],
        depends_on: vec![],
        one_off: false,
    };
    Container { compose: Some(compose), ..container }
}

/// Grafana, which answers its health path with 503 and needs this service, beside these containers.
fn unwell(needs: Dependency, others: Vec<Container>) -> Evidence {
    let mut grafana = of_service("grafana", container(Status::Running));
    grafana.compose.as_mut().expect("made by compose").depends_on = vec![needs];
    let probe = Some(Failure::NotReady { status: 503 });
    Evidence { others: others.into(), probe, ..evidence(grafana) }
}

fn clickhouse(ends: bool) -> Dependency {
    Dependency { service: "clickhouse".into(), ends }
}

fn exited(exit_code: i64) -> Container {
    Container { exit_code, ..of_service("clickhouse", container(Status::Exited)) }
}

#[test]
fn a_target_that_is_not_well_without_what_it_needs_will_not_be() {
    let down = Outlook::Pointless(Cause::DependencyDown);
    assert_eq!(outlook(&unwell(clickhouse(false), vec![exited(1)])), down);
    assert_eq!(outlook(&unwell(clickhouse(false), vec![exited(0)])), down, "somebody stopped it");
    for status in [Status::Dead, Status::Removing, Status::Paused, Status::Created] {
        let gone = of_service("clickhouse", container(status));
        assert_eq!(outlook(&unwell(clickhouse(false), vec![gone])), down, "{status:?}");
    }
}

#[test]
fn a_dependency_counts_only_where_it_explains_something() {
    let hopeful = |evidence: Evidence, why: &str| assert_eq!(outlook(&evidence), Outlook::Running, "{why}");
    let unwell = |needs, others| unwell(needs, others);
    let once = || unwell(clickhouse(false), vec![exited(1)]);
    hopeful(Evidence { probe: None, ..once() }, "the target is well all the same");
    let refused = Failure::Refused { address: std::net::Ipv4Addr::LOCALHOST.into() };
    hopeful(Evidence { probe: Some(refused), ..once() }, "the target may merely be starting");
    hopeful(unwell(clickhouse(true), vec![exited(0)]), "it has done its work");
    hopeful(unwell(clickhouse(false), vec![]), "nothing is known of it");
    for status in [Status::Running, Status::Restarting] {
        let up = of_service("clickhouse", container(status));
        hopeful(unwell(clickhouse(false), vec![exited(1), up]), "one that is there is enough");
    }
    let elsewhere = |mut container: Container| {
        container.compose.as_mut().expect("made by compose").project = "other".into();
        container
    };
    hopeful(unwell(clickhouse(false), vec![elsewhere(exited(1))]), "another project's");
    hopeful(unwell(clickhouse(false), vec![of_service("vector", exited(1))]), "another service");
}

#[test]
fn what_was_configured_outweighs_the_labels() {
    let configured = |service: &str, needs: Dependency| {
        let mut evidence = unwell(needs, vec![exited(1)]);
        evidence.upstream.depends_on = Some([Dependency { service: service.into(), ends: false }].into());
        outlook(&evidence)
    };
    let vector = Dependency { service: "vector".into(), ends: false };
    assert_eq!(configured("clickhouse", vector), Outlook::Pointless(Cause::DependencyDown));
    assert_eq!(configured("vector", clickhouse(false)), Outlook::Running);
}

#[test]
fn what_a_shutdown_or_a_hand_ended_has_not_done_its_work() {
    // It ran from 40 to 60.
    let (started, finished) = (moment(at(40)), moment(at(60)));
    let job = Container { id: "job".into(), exposed_ports: vec![], started, finished, ..container(Status::Exited) };
    let back = |ended: u64, again: u64| Container {
        id: "another".into(),
        started: moment(at(again)),
        finished: moment(at(ended)),
        ..container(Status::Running)
    };
    let is_done = |booted: Option<u64>, others: Vec<Container>, events: &[(u64, &str)]| {
        let event = |(second, action): &(u64, &str)| Happening {
            at: moment(at(*second)).expect("a moment"),
            action: (*action).into(),
            exit_code: None,
        };
        let events = events.iter().map(event).collect();
        let (booted_at, others) = (booted.map(at), others.into());
        has_done_its_work(&job, &Evidence { booted_at, others, events, ourselves: None, ..evidence(job.clone()) })
    };
    assert!(is_done(None, vec![], &[(60, "die")]));
    assert!(is_done(Some(30), vec![], &[]), "the boot was before its start");
    assert!(!is_done(Some(90), vec![], &[]), "it may have ended by itself, and nobody tells");
    assert!(is_done(Some(60 + 601), vec![], &[]), "no shutdown takes so long");
    assert!(!is_done(Some(400), vec![back(70, 410)], &[]), "another one ended with it, and came back");
    assert!(is_done(Some(400), vec![back(350, 410)], &[]), "the shutdown was later");
    assert!(!is_done(Some(400), vec![back(420, 430)], &[]), "the other one was restarted again since");
    for event in ["kill", "stop"] {
        assert!(!is_done(None, vec![], &[(60, event)]), "{event}");
        assert!(is_done(None, vec![], &[(39, event)]), "{event} before this run");
    }
}
