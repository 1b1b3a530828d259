//! The verdicts: which findings, in which order, in which words. Remedies and hostile text have files of their own.

mod hostile;
mod remedies;
mod second_look;

use std::time::{Duration, Instant};

use super::deployment::OF_DEPLOYMENTS;
use super::fixtures::*;
use super::scenes;
use super::*;
use crate::evidence::{Bound, Container, Engine, Failure, HealthStatus, RestartPolicy, Status, Target};
use crate::readiness::{Cause, Outlook, outlook};

/// The state that the machine would reach with this outlook, if no probe ever passed.
fn state_of(evidence: &Evidence) -> State {
    let since = Instant::now();
    match outlook(evidence) {
        Outlook::Pointless(cause) => State::Down { since, cause },
        Outlook::Blind | Outlook::Running | Outlook::Coming | Outlook::Unhealthy => {
            State::Warming { since, attempts: 1, fell: None }
        }
    }
}

fn verdict(evidence: &Evidence) -> Diagnosis {
    diagnose(state_of(evidence), Duration::from_secs(3), evidence.clone())
}

fn codes(diagnosis: &Diagnosis) -> Vec<Code> {
    diagnosis.findings.iter().map(|finding| finding.code).collect()
}

fn lead(evidence: &Evidence) -> Finding {
    verdict(evidence).findings.swap_remove(0)
}

/// The commands of the first finding, snippets left out.
fn commands(evidence: &Evidence) -> Vec<String> {
    commands_of(lead(evidence))
}

/// The commands for this code, snippets left out.
fn commands_for(code: Code, evidence: &Evidence) -> Vec<String> {
    verdict(evidence).findings.into_iter().find(|finding| finding.code == code).map(commands_of).unwrap_or_default()
}

fn commands_of(finding: Finding) -> Vec<String> {
    finding.remedies.into_iter().filter(|remedy| !remedy.permanent).map(|remedy| remedy.command).collect()
}

fn snippets(evidence: &Evidence) -> Vec<String> {
    lead(evidence).remedies.into_iter().filter(|remedy| remedy.permanent).map(|remedy| remedy.command).collect()
}

fn row(finding: &Finding, name: &str) -> Option<String> {
    finding.evidence.iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_string())
}

#[test]
fn every_scene_gives_its_root_cause_first_and_nothing_beyond() {
    for (scene, evidence, expected) in scenes::all() {
        assert_eq!(codes(&verdict(&evidence)), expected, "{scene}");
    }
}

#[test]
fn every_rule_speaks_in_some_scene_and_is_silent_in_others() {
    let scenes = scenes::all();
    for (index, rule) in RULES.iter().enumerate() {
        let spoke = scenes.iter().filter(|(_, evidence, _)| rule(evidence).is_some()).count();
        assert!(spoke > 0 && spoke < scenes.len() / 2, "rule {index} spoke in {spoke} of {} scenes", scenes.len());
    }
}

#[test]
fn all_codes_are_those_that_some_scene_gives_and_in_the_order_of_the_rules() {
    let given: HashSet<Code> = scenes::all().into_iter().flat_map(|(_, _, codes)| codes).collect();
    // No rule's: a state that the evidence refutes gives it.
    let given: HashSet<Code> = given.into_iter().chain([Code::EvidenceContradictory]).chain(OF_DEPLOYMENTS).collect();
    assert_eq!(given, HashSet::from(Code::ALL));
    assert_eq!(given.len(), Code::ALL.len(), "a code is listed twice");
    let place = |code: &Code| Code::ALL.iter().position(|other| other == code);
    for (scene, _, codes) in scenes::all() {
        assert!(codes.is_sorted_by_key(place), "{scene}: {codes:?}");
    }
}

#[test]
fn a_healthy_deployment_has_no_finding() {
    assert_eq!(codes(&diagnose(ready(), Duration::ZERO, evidence())), []);
}

#[test]
fn who_answers_against_the_engines_word_is_said_to_contradict_it() {
    let state = State::Ready { since: Instant::now(), despite: Some(Cause::Exited) };
    let diagnosis = diagnose(state, Duration::ZERO, with(ended(1, MINUTE)));
    let [finding] = &diagnosis.findings[..] else { panic!("one finding: {:?}", codes(&diagnosis)) };
    assert_eq!((finding.code, finding.severity), (Code::EvidenceContradictory, Severity::Warning));
    assert!(finding.title.to_string().contains("cvat_grafana exited 1 minute ago with code 1"), "{}", finding.title);
    assert_eq!(codes(&diagnose(ready(), Duration::ZERO, with(ended(1, MINUTE)))), [], "the evidence is merely older");
}

#[test]
fn whatever_makes_waiting_pointless_is_named() {
    for (scene, evidence, _) in scenes::all() {
        if let Outlook::Pointless(cause) = outlook(&evidence) {
            let code = lead(&evidence).code;
            assert_ne!(code, Code::TargetWarming, "{scene}: {cause:?}");
            assert_eq!(lead(&evidence).severity, Severity::Error, "{scene}");
        }
    }
}

#[test]
fn a_name_that_fails_is_news_only_where_nothing_before_explains_it() {
    let away = Evidence { target: Target::Absent { last: None }, ..evidence() };
    for (evidence, explained) in [
        (with(ended(0, MINUTE)), true),
        (away, true),
        (scenes::apart(), true),
        (scenes::nameless(), true),
        (evidence(), false),
        (blind(Engine::Unknown), false),
    ] {
        let found = |probe, code| {
            let findings = verdict(&Evidence { probe, ..evidence.clone() }).findings;
            let finding = findings.into_iter().find(|finding| finding.code == code);
            finding.map(|finding| (finding.severity, finding.remedies.len())).expect("the name is mentioned")
        };
        let (gone, severity) =
            (found(not_resolved(), Code::NameNotResolved), if explained { Severity::Info } else { Severity::Error });
        assert_eq!(gone.0, severity);
        let (elsewhere, severity) = (
            found(resolved_outside(), Code::NameResolvedOutside),
            if explained { Severity::Warning } else { Severity::Error },
        );
        assert_eq!(elsewhere.0, severity);
        assert!(!explained || gone.1 + elsewhere.1 == 0);
    }
}

#[test]
fn no_state_but_ready_is_without_a_finding() {
    let since = Instant::now();
    for state in [
        State::Unknown,
        State::Suspect { since },
        State::Warming { since, attempts: 0, fell: Some(since) },
        State::Down { since, cause: Cause::Exited },
    ] {
        for evidence in [evidence(), blind(Engine::Unknown), blind(scenes::unavailable())] {
            let found = codes(&diagnose(state, Duration::ZERO, evidence));
            assert_eq!(found.first(), Some(&Code::TargetWarming), "{state:?}");
        }
    }
}

fn ready() -> State {
    State::Ready { since: Instant::now(), despite: None }
}

#[test]
fn a_ready_target_refutes_errors_and_keeps_risks() {
    let found = |evidence| codes(&diagnose(ready(), Duration::ZERO, evidence));
    assert_eq!(found(with(ended(1, MINUTE))), []);
    assert_eq!(found(scenes::doubled(container("old_grafana"))), [Code::AliasDuplicated]);
    assert_eq!(found(blind(scenes::unavailable())), [Code::EngineUnavailable]);
    let mut checked = with(Container { health: health(HealthStatus::Unhealthy, 3), ..grafana() });
    checked.upstream.ready_path = Some("/api/health".into());
    assert_eq!(found(checked), [Code::TargetUnhealthy]);
}

#[test]
fn a_request_that_fails_on_a_ready_target_is_explained() {
    for (exchange, expected) in [
        (Failure::RetryBudgetSpent, Code::RetryBudgetSpent),
        (Failure::ClosedEarly, Code::ClosedEarly),
        (Failure::Loop, Code::ProxyLoop),
        (Failure::Unreachable { reason: "no route to host".into() }, Code::TargetWarming),
    ] {
        let evidence = Evidence { exchange: Some(exchange), ..evidence() };
        assert_eq!(codes(&diagnose(ready(), Duration::ZERO, evidence)), [expected]);
    }
}

#[test]
fn the_status_follows_the_exchange_and_is_503_without_one() {
    for (exchange, expected) in [
        (None, 503),
        (Some(Failure::ClosedEarly), 502),
        (Some(Failure::NotHttp { reason: "SSH-2.0".into() }), 502),
        (Some(Failure::Tls { reason: "its certificate has expired".into() }), 502),
        (Some(Failure::NoAnswer), 504),
        (Some(Failure::Loop), 508),
        (Some(Failure::ConnectTimeout), 503),
        (refused(), 503),
    ] {
        let evidence = Evidence { exchange: exchange.clone(), probe: Some(Failure::NoAnswer), ..evidence() };
        assert_eq!(status(&verdict(&evidence)).as_u16(), expected, "{exchange:?}");
    }
}

#[test]
fn titles_say_what_happened_in_one_sentence() {
    for (evidence, title) in [
        (with(ended(1, 3 * MINUTE)), "cvat_grafana exited 3 minutes ago with code 1 and has no restart policy"),
        (
            with(Container { restart_policy: RestartPolicy::OnFailure { most: 3 }, restart_count: 3, ..ended(1, 90) }),
            "cvat_grafana exited 1 minute ago with code 1, and its restart policy `on-failure:3` has given up",
        ),
        (with(ended(0, 0)), "cvat_grafana exited just now with code 0 and has no restart policy"),
        (
            Evidence { bound: Some(Bound::Number { most: 9 }), ..evidence() },
            "cvat_grafana started 2 days ago and is not ready yet",
        ),
        (
            with(Container { status: Status::Removing, ..ended(0, 1) }),
            "cvat_grafana is being removed: no container answers to the name grafana any more",
        ),
        (
            with(Container { networks: vec![], ..grafana() }),
            "cvat_grafana runs, but shares no network with anteroom: it is on no network, anteroom on cvat_cvat",
        ),
        (
            Evidence { booted_at: Some(before(HOUR)), ..with(ended(0, HOUR + 40)) },
            "cvat_grafana has been down since the host rebooted (it ended 1 hour ago) and has no restart policy",
        ),
        (
            with(Container { memory_limit: Some(256 << 20), oom_killed: true, ..ended(137, 5) }),
            "cvat_grafana was killed for want of memory 5 seconds ago: it used more than its limit of 256 MiB",
        ),
        (with(looping()), "cvat_grafana keeps crashing: the engine has restarted it 7 times, last with exit code 1"),
        (
            with(scenes::created(scenes::PORT_TAKEN, 128)),
            "cvat_grafana cannot start: port 8080 of the host is already taken",
        ),
        (
            Evidence { probe: refused(), ..with(Container { started: ago(12), ..grafana() }) },
            "cvat_grafana started 12 seconds ago and does not accept connections on port 3000 yet",
        ),
        (
            Evidence { probe: refused(), ..with(Container { exposed_ports: vec![8080], ..grafana() }) },
            "cvat_grafana started 2 days ago, but nothing listens on its port 3000; its image declares 8080",
        ),
        (
            scenes::apart(),
            "cvat_grafana runs, but shares no network with anteroom: it is on monitoring_default, anteroom on cvat_cvat",
        ),
        (
            Evidence { probe: refused(), ..blind(Engine::Unknown) },
            "grafana:3000 is not ready yet: connection refused by 172.18.0.5",
        ),
    ] {
        assert_eq!(lead(&evidence).title.to_string(), title);
    }
}

#[test]
fn evidence_convinces_in_order_and_explains_the_exit_code() {
    let finding = lead(&with(Container { health: health(HealthStatus::Unhealthy, 2), ..ended(1, 3 * MINUTE) }));
    let names: Vec<&str> = finding.evidence.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "state",
            "exit code",
            "OOM killed",
            "health",
            "restarts",
            "restart policy",
            "started",
            "finished",
            "container",
            "image",
            "networks",
            "project",
            "service"
        ]
    );
    for (name, value) in [
        ("state", "exited"),
        ("exit code", "1 (an error of the program; its log says which)"),
        ("OOM killed", "no"),
        ("health", "unhealthy, 2 failed in a row"),
        ("restart policy", "no"),
        ("started", "2024-07-19T11:57:00Z"),
        ("finished", "2024-07-20T11:57:00Z"),
        ("networks", "cvat_cvat"),
        ("service", "cvat_grafana"),
    ] {
        assert_eq!(row(&finding, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_container_that_was_never_started_names_what_may_have_kept_it() {
    let mut evidence = with(scenes::created("", 0));
    assert!(!lead(&evidence).title.to_string().contains("depends"));
    let ailing = Container { health: health(HealthStatus::Unhealthy, 9), ..container("cvat_clickhouse") };
    let foreign = Container { compose: None, ..ailing.clone() };
    evidence.others = [container("traefik"), foreign, ailing].into();
    let finding = lead(&evidence);
    assert_eq!(
        finding.title.to_string(),
        "cvat_grafana was created 1 minute ago and never started; if it depends on cvat_clickhouse, that is why"
    );
    assert_eq!(row(&finding, "unhealthy or ended in its project").as_deref(), Some("cvat_clickhouse"));
}

#[test]
fn leftovers_of_an_earlier_run_are_not_shown_for_one_that_runs() {
    let again = Container { exit_code: 137, oom_killed: true, finished: ago(9), started: ago(5), ..grafana() };
    let finding = lead(&Evidence { probe: refused(), ..with(again) });
    assert_eq!(
        (row(&finding, "exit code"), row(&finding, "OOM killed"), row(&finding, "finished")),
        (None, None, None)
    );
    // What the last crash of a loop left is told by its event, not by the exit code, which reads 0.
    let up = Container { status: Status::Running, exit_code: 0, started: ago(1), ..looping() };
    let events: Vec<_> = (1..7).rev().map(|n| happening(n, "die", Some(2))).collect();
    let finding = lead(&Evidence { events: events.into(), ..with(up) });
    assert_eq!(row(&finding, "last exit code").as_deref(), Some("2"));
}

#[test]
fn the_health_output_is_in_no_finding() {
    for (scene, evidence, _) in scenes::all() {
        assert!(!format!("{:?}", verdict(&evidence).findings).contains("wget: can't connect"), "{scene}");
    }
}
