//! What is offered to mend each case, word for word.

use std::sync::Arc;
use std::time::Duration;

use super::super::fixtures::*;
use super::super::{Code, diagnose, scenes};
use super::{commands, commands_for, ready, snippets, verdict};
use crate::evidence::{Compose, Container, Dependency, Engine, Evidence, Failure, RestartPolicy, Status, Target};

#[test]
fn one_stopped_service_is_mended_by_the_smallest_command() {
    let up = format!("{COMPOSE} up -d cvat_grafana");
    assert_eq!(commands(&with(ended(0, MINUTE))), [&*up]);
    assert_eq!(commands(&shut_down(0, HOUR)), [&*up]);
    assert_eq!(commands(&with(scenes::created("", 0))), [&*up]);
    assert_eq!(commands(&with(ended(1, MINUTE))), [&*up, "docker logs --tail 50 cvat_grafana"]);
    let absent = Target::Absent { last: Some(Arc::new(grafana())) };
    assert_eq!(commands(&Evidence { target: absent, ..evidence() }), [up]);
    let paused = with(Container { status: Status::Paused, ..grafana() });
    assert_eq!(commands(&paused), [format!("{COMPOSE} unpause cvat_grafana")]);
}

#[test]
fn who_makes_containers_is_told_what_compose_does_not_keep() {
    let paused = with(Container { status: Status::Paused, ..grafana() });
    for (evidence, is_told) in
        [(with(ended(0, MINUTE)), true), (scenes::stale(ended(0, MINUTE)), true), (paused, false)]
    {
        let effect = verdict(&evidence).findings.swap_remove(0).remedies.swap_remove(0).effect.to_string();
        assert_eq!(effect.contains("exported"), is_told, "{effect}");
    }
}

#[test]
fn podman_is_told_in_its_own_name() {
    let engine = Engine::Available { version: "Podman 5.4.2".into() };
    let podman = |evidence: Evidence| commands(&Evidence { engine: engine.clone(), ..evidence });
    let exited = podman(with(ended(1, MINUTE)));
    assert_eq!(
        exited,
        [
            COMPOSE.replace("docker compose", "podman compose") + " up -d cvat_grafana",
            "podman logs --tail 50 cvat_grafana".to_owned()
        ]
    );
    let plain = Container { compose: None, ..ended(1, MINUTE) };
    assert_eq!(podman(with(plain))[0], "podman start cvat_grafana");
    let taken = Container {
        status: Status::Created,
        error: "Bind for 0.0.0.0:3000 failed: port is already allocated".into(),
        ..grafana()
    };
    assert_eq!(podman(with(taken))[0], "podman port --all");
    // Snippets are the files' and not the engine's.
    let snippet =
        verdict(&Evidence { engine: engine.clone(), ..with(ended(1, MINUTE)) }).findings.swap_remove(0).remedies.pop();
    assert!(snippet.is_some_and(|it| it.permanent && it.command.starts_with("services:")));
}

#[test]
fn the_classic_case_gets_down_and_up_for_the_files_of_the_deployment() {
    let classic = "cd /home/ops/cvat &&\n\
                   docker compose -p cvat -f docker-compose.yml -f components/serverless/docker-compose.serverless.yml -f \
                   docker-compose.override.yml down &&\n\
                   docker compose -p cvat -f docker-compose.yml -f components/serverless/docker-compose.serverless.yml -f \
                   docker-compose.override.yml up -d --remove-orphans";
    // The command that would fail on the old network is not offered beside it.
    let stale = verdict(&scenes::stale(ended(0, MINUTE)));
    let offered: Vec<&str> = stale
        .findings
        .iter()
        .flat_map(|finding| &finding.remedies)
        .filter(|remedy| !remedy.permanent)
        .map(|remedy| &*remedy.command)
        .collect();
    assert_eq!(offered, [classic]);
    let doubled = scenes::doubled(container("old_grafana"));
    assert_eq!(commands_for(Code::AliasDuplicated, &doubled), [classic]);
    // It takes everything down, so it is not what a target that merely starts is met with.
    assert_eq!(commands(&doubled), [""; 0]);
    assert_eq!(commands(&scenes::apart()), ["docker network connect --alias grafana cvat_cvat cvat_grafana", classic]);
}

#[test]
fn a_restart_is_offered_when_probes_hang_and_not_for_one_slow_request() {
    let slow = Evidence { exchange: Some(Failure::NoAnswer), ..evidence() };
    assert_eq!(commands(&slow), ["docker logs --tail 50 cvat_grafana"]);
    let hanging = Evidence { probe: Some(Failure::NoAnswer), ..slow };
    assert_eq!(commands(&hanging)[1], format!("{COMPOSE} restart cvat_grafana"));
}

#[test]
fn an_unknown_target_is_looked_for_in_our_own_project() {
    let evidence = Evidence { target: Target::Absent { last: None }, ..evidence() };
    assert_eq!(commands(&evidence), [format!("{COMPOSE} up -d")]);
    // It would bring up nothing that is not there.
    assert_eq!(commands(&Evidence { others: [].into(), ..evidence }), [""; 0]);
}

#[test]
fn who_is_where_no_name_is_resolved_is_told_so_and_nobody_is_replaced_for_it() {
    let on = |network: &str| {
        let mut ourselves = container("cvat_anteroom");
        ourselves.networks.iter_mut().for_each(|it| it.network = network.into());
        Some(Arc::new(ourselves))
    };
    let borrowing = Some(Arc::new(Container { borrows_network: true, ..container("cvat_anteroom") }));
    for target in [Target::Found(Arc::new(grafana())), Target::Absent { last: None }] {
        for ourselves in [on("bridge"), borrowing.clone()] {
            let evidence = Evidence { ourselves, target: target.clone(), probe: not_resolved(), ..evidence() };
            let finding = verdict(&evidence).findings.swap_remove(0);
            assert_eq!((finding.code, finding.remedies.len()), (Code::NameNotResolved, 0), "{}", finding.title);
            assert!(finding.title.to_string().contains("anteroom is on no network"), "{}", finding.title);
        }
    }
    let on_the_host = Evidence { ourselves: None, probe: not_resolved(), ..evidence() };
    assert_eq!(commands(&on_the_host), [""; 0]);
}

#[test]
fn a_leftover_of_another_project_is_taken_off_the_network() {
    let old = Compose { project: "cvat-old".into(), ..compose("cvat_grafana") };
    let evidence = scenes::doubled(Container { compose: Some(old), ..container("old_grafana") });
    let disconnect = "docker network disconnect cvat_cvat old_grafana";
    assert_eq!(commands_for(Code::AliasDuplicated, &evidence), [disconnect]);
}

#[test]
fn a_container_without_compose_gets_the_plain_commands() {
    let plain = |container: Container| Container { compose: None, name: "my_grafana".into(), ..container };
    let mut one_off = ended(0, MINUTE);
    one_off.compose.as_mut().expect("it has labels").one_off = true;
    for (container, command) in [
        (plain(ended(0, MINUTE)), Some("docker start my_grafana")),
        (plain(Container { status: Status::Paused, ..grafana() }), Some("docker unpause my_grafana")),
        (one_off, Some("docker start cvat_grafana")),
        // Nothing simple mends these.
        (plain(Container { status: Status::Dead, ..ended(0, MINUTE) }), None),
        (
            Container { compose: None, ..scenes::stale(ended(0, MINUTE)).target.found().expect("it is there").clone() },
            None,
        ),
    ] {
        assert_eq!(commands(&with(container)), command.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(snippets(&with(plain(ended(0, MINUTE)))), ["docker update --restart unless-stopped my_grafana"]);
}

#[test]
fn permanent_fixes_are_snippets_for_the_service() {
    assert_eq!(snippets(&with(ended(0, MINUTE))), ["services:\n  cvat_grafana:\n    restart: always"]);
    let killed = Container { memory_limit: Some(256 << 20), oom_killed: true, ..ended(137, 5) };
    assert_eq!(snippets(&with(killed)), ["services:\n  cvat_grafana:\n    mem_limit: 512m"]);
    let unlimited = Container { oom_killed: true, ..ended(137, 5) };
    assert_eq!(snippets(&with(unlimited)), [""; 0]);
    let on_failure = Container { restart_policy: RestartPolicy::OnFailure { most: 0 }, ..ended(0, 5) };
    assert_eq!(snippets(&with(on_failure)), [""; 0]);
    for (service, line) in [("no", "  \"no\":\n"), ("1", "  \"1\":\n")] {
        let container = Container { compose: Some(compose(service)), ..ended(0, 5) };
        assert!(snippets(&with(container))[0].contains(line));
    }
}

#[test]
fn the_files_are_those_that_the_deployment_was_started_with_last() {
    let files = |names: &[&str]| names.iter().map(|name| format!("/home/ops/cvat/{name}.yml").into()).collect();
    let made = |container: Container, names: &[&str], seconds: u64| {
        let compose = Compose { config_files: files(names), ..container.compose.clone().expect("it has labels") };
        Container { compose: Some(compose), created: ago(seconds), ..container }
    };
    for (target, target_age, ours, our_age, expected) in [
        // We were added later, with one file more.
        (&["a", "b"][..], DAY, &["a", "b", "anteroom"][..], HOUR, "-f a.yml -f b.yml -f anteroom.yml up"),
        // We were recreated later with other files.
        (&["a", "c"], DAY, &["a", "anteroom"], HOUR, "-f a.yml -f anteroom.yml up"),
        // The target was recreated later with other files.
        (&["a", "c", "anteroom"], HOUR, &["a", "b", "anteroom"], DAY, "-f a.yml -f c.yml -f anteroom.yml up"),
        // The target was recreated later, without the file that defines us: we would be removed as an orphan.
        (&["a"], HOUR, &["a", "anteroom"], DAY, "-f a.yml -f anteroom.yml up"),
    ] {
        let mut evidence = with(made(ended(0, MINUTE), target, target_age));
        evidence.ourselves = Some(Arc::new(made(container("cvat_anteroom"), ours, our_age)));
        assert!(commands(&evidence)[0].contains(expected), "{}", commands(&evidence)[0]);
    }
    // Another project's files are none of the target's.
    let mut evidence = with(ended(0, MINUTE));
    let ours = Compose { project: "edge".into(), config_files: files(&["edge"]), ..compose("anteroom") };
    evidence.ourselves = Some(Arc::new(Container { compose: Some(ours), created: ago(1), ..container("anteroom") }));
    assert_eq!(commands(&evidence), [format!("{COMPOSE} up -d cvat_grafana")]);
}

#[test]
fn without_the_engine_it_is_said_how_to_provide_it() {
    let remedies = |engine| diagnose(ready(), Duration::ZERO, blind(engine)).findings.remove(0).remedies;
    let mount = remedies(scenes::unavailable());
    assert!(mount[0].command.contains("- /var/run/docker.sock:/var/run/docker.sock:ro") && mount[0].permanent);
    let directory = Engine::Unavailable { reason: "/var/run/docker.sock is a directory: Docker makes one".into() };
    assert_eq!(remedies(directory), [], "the mount is there already");
    let group = remedies(Engine::Forbidden { reason: "Permission denied (os error 13)".into() });
    assert_eq!(group[0].command, "stat -c %g /var/run/docker.sock");
    assert!(group[1].command.starts_with("services:\n  anteroom:\n    group_add:") && group[1].permanent);
    let proxy = remedies(Engine::Forbidden { reason: "403 Forbidden".into() });
    let ours = include_str!("../../../deploy/cvat/docker-compose.anteroom-socket-proxy.yml");
    let (service, options) = proxy[0].command.split_once("    command:\n").expect("the proxy is told what to do");
    assert_eq!(service, "services:\n  docker-socket-proxy:\n");
    assert!(ours.contains(&format!("    command:\n{options}\n    user:")), "{options}");
    assert!(options.contains("-allowfrom=anteroom\n") && options.contains("-allowGET="), "{options}");
    let effect = proxy[0].effect.to_string();
    assert!(effect.contains("Tecnativa") && effect.contains("CONTAINERS, EVENTS, NETWORKS and VERSION"), "{effect}");
}

#[test]
fn what_joins_a_network_stays_on_the_default_one() {
    let on = |network: &str| {
        let networks = vec![attachment(network, OTHER_NETWORK, &["grafana"])];
        snippets(&with(Container { networks, ..grafana() })).swap_remove(0)
    };
    let joins = "services:\n  cvat_grafana:\n    networks:\n";
    let cvat = "      \"cvat\":\n        aliases:\n          - \"grafana\"";
    assert_eq!(on("cvat_more"), format!("{joins}{cvat}"));
    assert_eq!(on("cvat_default"), format!("{joins}      \"default\": {{}}\n{cvat}"));
}

#[test]
fn what_waits_for_the_end_of_a_job_goes_on_to_do_so() {
    let needs = |ends| {
        let mut target = grafana();
        let needed = Dependency { service: "migrate".into(), ends };
        target.compose.as_mut().expect("a service").depends_on = vec![needed];
        let policy = RestartPolicy::No;
        let job = Container { restart_policy: policy, ..container("migrate") };
        let job = Container { status: Status::Exited, exit_code: 1, finished: ago(DAY), ..job };
        let evidence =
            Evidence { others: [job].into(), probe: Some(Failure::NotReady { status: 503 }), ..with(target) };
        snippets(&evidence).iter().any(|it| it.contains("depends_on:"))
    };
    assert!(needs(false));
    assert!(!needs(true));
}

#[test]
fn a_health_check_over_http_is_offered_where_http_is_spoken() {
    let refuses = |speaks_http| {
        let container = Container { health: None, started: ago(HOUR), ..grafana() };
        let probe = Some(Failure::Refused { address: ADDRESS });
        let evidence = Evidence { probe, speaks_http, ..with(container) };
        snippets(&evidence).iter().any(|it| it.contains("healthcheck:"))
    };
    assert!(refuses(true) && !refuses(false));
}
