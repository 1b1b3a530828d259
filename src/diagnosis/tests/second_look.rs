//! Where a plausible cause is the wrong one: each was a wrong first finding, a wrong remedy or a secret once.

use std::sync::Arc;

use super::super::redact::fixtures::{SECRETS, planted, survives};
use super::super::redact::redact_lines;
use super::*;
use crate::evidence::{Compose, Dependency, Health};

const DENIED: &str = "logger=context error=\"open /etc/grafana/x: permission denied\"";
const PLUGIN: &str = "Error: failed to download plugin: lookup grafana.com: no such host";

fn logged(line: &str, evidence: Evidence) -> Evidence {
    Evidence { log: [line.into()].into(), ..evidence }
}

fn probed(container: Container, probe: Option<Failure>) -> Evidence {
    Evidence { probe, ..with(container) }
}

fn young(container: Container) -> Container {
    Container { started: ago(5), ..container }
}

fn ready_codes(evidence: &Evidence) -> Vec<Code> {
    codes(&diagnose(
        State::Ready { since: Instant::now(), despite: outlook(evidence).cause() },
        Duration::ZERO,
        evidence.clone(),
    ))
}

#[test]
fn a_log_is_no_cause_of_what_was_done_to_a_container() {
    let unless_stopped = RestartPolicy::UnlessStopped;
    for (evidence, want) in [
        (with(Container { oom_killed: true, ..ended(137, 60) }), Code::TargetOomKilled),
        (with(Container { restart_policy: unless_stopped, ..ended(143, 60) }), Code::TargetStoppedByHand),
        (shut_down(255, HOUR), Code::TargetNotRestarted),
        (shut_down(143, HOUR), Code::TargetNotRestarted),
    ] {
        for line in [DENIED, PLUGIN] {
            assert_eq!(lead(&logged(line, evidence.clone())).code, want, "{line}");
        }
    }
    // The near miss: it gave up by itself.
    assert_eq!(lead(&logged(DENIED, with(ended(1, 60)))).code, Code::PermissionDenied);
    assert_eq!(lead(&logged(PLUGIN, with(looping()))).code, Code::PluginDownloadFailed);
}

#[test]
fn a_log_is_no_cause_while_its_program_runs() {
    let restarted = || Container { restart_count: 1, ..young(grafana()) };
    assert_eq!(lead(&logged(DENIED, probed(restarted(), refused()))).code, Code::TargetWarming);
    assert_eq!(lead(&logged(PLUGIN, probed(young(grafana()), refused()))).code, Code::TargetWarming);
    let nameless = Container { networks: vec![attachment("cvat_cvat", NETWORK, &["x"])], ..grafana() };
    assert_eq!(lead(&logged(PLUGIN, probed(nameless, not_resolved()))).code, Code::AliasMissing);
    let elsewhere = Evidence { elsewhere: Some(4000), ..probed(grafana(), refused()) };
    assert_eq!(lead(&logged(PLUGIN, elsewhere)).code, Code::PortMismatch);
}

#[test]
fn who_calls_all_addresses_localhost_listens_on_all_of_them() {
    let said = |lines: &[&str]| Evidence {
        log: lines.iter().map(|&line| line.into()).collect(),
        ..probed(young(grafana()), refused())
    };
    let flask = [" * Running on all addresses (0.0.0.0)", " * Running on http://127.0.0.1:3000"];
    assert_eq!(lead(&said(&flask)).code, Code::TargetWarming);
    assert_eq!(lead(&said(&flask[1..])).code, Code::ListensOnLoopback);
    for host in ["localhost", "[::1]"] {
        assert_eq!(lead(&said(&[&format!("listening on {host}:3000")])).code, Code::ListensOnLoopback);
    }
}

#[test]
fn no_line_of_a_log_tells_a_secret_that_begins_before_it() {
    let mut leaks = Vec::new();
    for (kind, template) in SECRETS {
        let (text, canaries) = planted(template);
        let lines: Vec<Box<str>> = text.split('\n').map(Into::into).collect();
        // It may end after any of its lines.
        for ends in 1..=lines.len() {
            // What even the whole of it does not give away as one is a matter of redaction.
            let known = redact_lines(lines[..ends].iter().map(|line| &**line)).join("\n");
            let canaries: Vec<_> = canaries.iter().filter(|canary| !survives(&known, canary)).collect();
            for container in [ended(1, 60), looping()] {
                let evidence = Evidence { log: lines[..ends].into(), ..with(container) };
                for finding in verdict(&evidence).findings {
                    let told = format!("{} {:?}", finding.title, finding.evidence);
                    leaks.extend(canaries.iter().filter(|canary| survives(&told, canary)).map(|_| (*kind, ends)));
                }
            }
        }
    }
    assert_eq!(leaks, []);
}

#[test]
fn the_last_line_is_told_and_how_often() {
    let lines =
        ["starting 1", "cannot reach db: timeout after 3 s", "starting 2", "cannot reach db: timeout after 4 s", ""];
    let evidence = Evidence { log: lines.map(Into::into).into(), ..with(looping()) };
    let finding = lead(&evidence);
    assert_eq!(row(&finding, "last log line").as_deref(), Some("cannot reach db: timeout after 4 s"));
    assert_eq!(row(&finding, "said").as_deref(), Some("2 times in its last 5 lines"));
    let once = Evidence { log: ["bye".into()].into(), ..with(looping()) };
    assert_eq!(row(&lead(&once), "said"), None);
}

#[test]
fn a_network_that_is_borrowed_says_nothing_of_who_is_reached() {
    let borrowed = || Container { networks: vec![], borrows_network: true, ..container("cvat_anteroom") };
    let evidence = Evidence { ourselves: Some(Arc::new(borrowed())), ..with(young(grafana())) };
    assert_eq!(outlook(&evidence), Outlook::Running);
    assert_eq!(ready_codes(&evidence), []);
    let target = Container { networks: vec![], borrows_network: true, ..young(grafana()) };
    assert_eq!(ready_codes(&with(target)), []);
    // The near miss: it has lost its own.
    let lost = Container { networks: vec![], ..young(grafana()) };
    assert_eq!(lead(&with(lost)).code, Code::NetworkNotShared);
}

#[test]
fn where_to_meet_is_where_the_project_is_and_never_where_no_name_is_resolved() {
    let apart = young(Container { networks: vec![attachment("cvat_other", OTHER_NETWORK, &["grafana"])], ..grafana() });
    let ours = |networks| Evidence {
        ourselves: Some(Arc::new(Container { networks, ..container("cvat_anteroom") })),
        ..with(apart.clone())
    };
    let guarded = ours(vec![attachment("cvat_anteroom-api", "aaaa", &[]), attachment("cvat_cvat", NETWORK, &[])]);
    assert_eq!(commands(&guarded)[0], "docker network connect --alias grafana cvat_cvat cvat_grafana");
    let bridged = ours(vec![attachment("bridge", "0000aaaa1111bbbb", &[])]);
    assert!(commands(&bridged).iter().all(|it| !it.contains("network connect")), "{:?}", commands(&bridged));
}

#[test]
fn nothing_is_taken_down_that_would_not_come_up_again() {
    let files = ["/home/ops/cvat/docker-compose.yml"];
    let of_fewer_files = |container: Container| {
        let compose = container.compose.clone().expect("it is of a project");
        let compose = Compose { config_files: files.map(Into::into).into(), ..compose };
        Container { compose: Some(compose), ..container }
    };
    let stale = |others: Vec<Container>| {
        let evidence = scenes::stale(of_fewer_files(ended(0, MINUTE)));
        let ourselves = Some(Arc::new(of_fewer_files(container("cvat_anteroom"))));
        Evidence { ourselves, others: others.into(), ..evidence }
    };
    assert!(commands(&stale(vec![of_fewer_files(container("traefik"))]))[0].contains(" down &&\n"));
    let with_nuclio = commands(&stale(vec![container("nuclio")]));
    assert!(with_nuclio[0].ends_with("up -d --force-recreate cvat_grafana"), "{with_nuclio:?}");
}

#[test]
fn a_network_of_nobodys_files_is_made_by_hand() {
    let gone = |name: &str| {
        let networks = vec![attachment(name, "0ld0ld0ld0ld0ld0", &["grafana"])];
        with(Container { networks, ..ended(0, MINUTE) })
    };
    assert_eq!(commands(&gone("proxy"))[0], "docker network create proxy");
    // It is there again, under another id.
    let made_anew = commands(&gone("monitoring_default"));
    assert!(made_anew.len() == 1 && made_anew[0].ends_with("up -d --force-recreate cvat_grafana"), "{made_anew:?}");
}

#[test]
fn who_has_served_us_listens_where_we_ask() {
    let healthy = Container { health: health(HealthStatus::Healthy, 0), ..grafana() };
    let evidence = probed(young(healthy), refused());
    assert_eq!(lead(&evidence).code, Code::ListensOnLoopback);
    assert_eq!(lead(&Evidence { was_ready: true, ..evidence }).code, Code::TargetWarming);
    let elsewhere = Evidence { elsewhere: Some(4000), was_ready: true, ..probed(young(grafana()), refused()) };
    assert_eq!(lead(&elsewhere).code, Code::TargetWarming);
}

#[test]
fn a_port_that_opens_before_the_one_that_is_asked_is_no_error_yet() {
    let evidence = |container| Evidence { elsewhere: Some(9090), ..probed(container, refused()) };
    let (young, old) = (lead(&evidence(young(grafana()))), lead(&evidence(grafana())));
    assert_eq!((young.code, young.severity), (Code::PortMismatch, Severity::Warning));
    assert_eq!((old.code, old.severity), (Code::PortMismatch, Severity::Error));
}

#[test]
fn a_check_that_cannot_be_run_is_no_reason_for_a_restart() {
    let output =
        |text: &str| Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, last_output: text.into() });
    let broken =
        Container { health: output("exec: \"curl\": executable file not found in $PATH: unknown"), ..grafana() };
    let finding = lead(&with(broken));
    assert!(finding.title.to_string().contains("its program is not in the image"), "{}", finding.title);
    assert!(commands_of(finding).iter().all(|command| !command.contains("restart")));
    let failing = Container { health: output("HTTP 503"), ..grafana() };
    assert!(commands(&with(failing)).iter().any(|command| command.ends_with("restart cvat_grafana")));
}

#[test]
fn a_job_that_has_ended_well_is_not_missed() {
    let mut target = grafana();
    target.compose.as_mut().expect("a service").depends_on =
        vec![Dependency { service: "migrate".into(), ends: false }];
    let job = |exit_code| {
        let job = Container {
            status: Status::Exited,
            exit_code,
            restart_policy: RestartPolicy::No,
            finished: ago(DAY),
            ..container("migrate")
        };
        Evidence { others: [job].into(), ..with(target.clone()) }
    };
    assert_eq!(ready_codes(&job(0)), []);
    assert_eq!(ready_codes(&job(1)), [Code::DependencyDown]);
    let unready = |exit_code| Evidence { probe: Some(Failure::NotReady { status: 503 }), ..job(exit_code) };
    assert_eq!(outlook(&unready(0)), Outlook::Running);
    assert_eq!(outlook(&unready(1)), Outlook::Pointless(Cause::DependencyDown));
}

#[test]
fn what_is_said_of_a_dependency_is_what_it_does() {
    let title = |service: &str, status| {
        let other = Container { status, exit_code: 1, ..container(service) };
        let mut target = grafana();
        target.compose.as_mut().expect("a service").depends_on = match service {
            "cvat_clickhouse" | "cvat_vector" => vec![],
            service => vec![Dependency { service: service.into(), ends: false }],
        };
        let evidence = Evidence { others: [other].into(), ..with(target) };
        let finding = diagnose(ready(), Duration::ZERO, evidence).findings.swap_remove(0);
        (finding.title.to_string(), commands_of(finding))
    };
    assert!(title("cvat_clickhouse", Status::Exited).0.ends_with("is exited: dashboards will be empty"));
    assert!(title("cvat_vector", Status::Exited).0.ends_with("is exited: dashboards get no new data"));
    assert!(title("cache", Status::Exited).0.ends_with("cache, which it needs, is exited"));
    assert!(title("cvat_clickhouse", Status::Paused).1[0].ends_with("unpause cvat_clickhouse"));
    let mut looping = container("cvat_clickhouse");
    (looping.status, looping.restart_count) = (Status::Restarting, 9);
    let evidence = Evidence { others: [looping].into(), ..evidence() };
    let finding = diagnose(ready(), Duration::ZERO, evidence).findings.swap_remove(0);
    assert_eq!(commands_of(finding), ["docker logs --tail 50 cvat_clickhouse"]);
}

#[test]
fn what_a_target_needed_is_said_beside_its_end() {
    let gone = Container { status: Status::Exited, exit_code: 1, ..container("cvat_clickhouse") };
    let evidence = Evidence { others: [gone].into(), ..with(looping()) };
    assert_eq!(codes(&verdict(&evidence)), [Code::TargetCrashLoop, Code::DependencyDown]);
    assert_eq!(codes(&verdict(&with(looping()))), [Code::TargetCrashLoop]);
}

#[test]
fn a_twin_that_restarts_answers_now_and_then() {
    let twin = |status| scenes::doubled(Container { status, ..container("old_grafana") });
    for (status, told) in [(Status::Running, true), (Status::Restarting, true), (Status::Exited, false)] {
        assert_eq!(ready_codes(&twin(status)) == [Code::AliasDuplicated], told, "{status:?}");
    }
}

#[test]
fn a_flag_of_memory_is_no_end_in_peace() {
    assert_eq!(lead(&with(Container { oom_killed: true, ..ended(0, 60) })).code, Code::TargetExited);
    assert_eq!(lead(&with(Container { oom_killed: true, ..ended(1, 60) })).code, Code::TargetOomKilled);
}

#[test]
fn what_cannot_be_executed_here_was_not_cut_off_by_a_power_failure() {
    let short = Container { started: ago(61), finished: ago(60), ..ended(255, 60) };
    assert_eq!(lead(&Evidence { booted_at: None, ..with(short) }).code, Code::TargetExited);
    assert_eq!(lead(&Evidence { booted_at: None, ..with(ended(255, 60)) }).code, Code::TargetNotRestarted);
}

#[test]
fn a_start_that_fails_for_another_reason_is_not_taken_for_a_permission_of_the_files() {
    let failed = |error: &str| {
        let container = Container {
            status: Status::Created,
            started: None,
            created: ago(MINUTE),
            error: error.into(),
            ..grafana()
        };
        let finding = lead(&with(container));
        (finding.code, commands_of(finding).swap_remove(0))
    };
    let network = failed("failed to create endpoint x on network y: iptables: Permission denied (you must be root)");
    assert_eq!(network.0, Code::TargetStartFailed);
    assert_eq!(failed("open /data: permission denied").0, Code::PermissionDenied);
    let foreign = failed("OCI runtime create failed: exec: \"/run.sh\": exec format error: unknown");
    assert!(foreign.0 == Code::TargetStartFailed && foreign.1.starts_with("docker image inspect "), "{foreign:?}");
    assert_eq!(
        failed("write /x: no space left on device"),
        (Code::TargetStartFailed, "docker system df -v".to_owned())
    );
    assert_eq!(failed("error mounting \"/x\" to rootfs: no space left on device").1, "docker system df -v");
    let port = "rootlessport cannot expose privileged port 80, listen tcp 0.0.0.0:80: bind: permission denied";
    assert_eq!(failed(port).0, Code::TargetStartFailed);
    for (address, publishes) in [
        ("host port for 0.0.0.0:3000:172.18.0.2:80/tcp", true),
        ("host port for [::]:3000:[fd00::2]:80/tcp", true),
        ("host port 0.0.0.0:3000/tcp", true),
        ("listen tcp4 0.0.0.0:3000: bind", true),
        ("something", false),
    ] {
        let (code, command) = failed(&format!("failed to bind {address}: address already in use"));
        assert!(code == Code::PortConflict && command.contains("publish=3000") == publishes, "{address}: {command}");
    }
    for sign in
        ["error mounting \"/x\"", "error while mounting", "bind source path does not exist: /x", "invalid mount config"]
    {
        assert_eq!(failed(sign).0, Code::MountFailed, "{sign}");
    }
}

#[test]
fn a_start_that_was_seen_is_as_old_as_our_own_clock_says() {
    // The wall's was set by an hour, or the engine's is behind by as much.
    let started = with(Container { started: ago(HOUR), ..grafana() });
    let told = |evidence: &Evidence, seen_for| {
        let finding = lead(&Evidence { probe: refused(), seen_for, ..evidence.clone() });
        (finding.code, finding.title.to_string())
    };
    assert_eq!(told(&started, None).0, Code::PortRefused);
    let (code, title) = told(&started, Some(Duration::from_secs(2)));
    assert!(code == Code::TargetWarming && title.contains("started 2 seconds ago"), "{title}");
    // Or the engine's is ahead.
    let ahead = with(Container { started: ago(0), ..grafana() });
    let (code, title) = told(&ahead, Some(Duration::from_secs(HOUR)));
    assert!(code == Code::PortRefused && title.contains("started 1 hour ago"), "{title}");
}

#[test]
fn a_login_backend_is_down_in_each_of_its_ways() {
    for (status, restarts, told) in [
        (Status::Exited, 0, Some("up -d cvat_server")),
        (Status::Paused, 0, Some("unpause cvat_server")),
        (Status::Dead, 0, Some("up -d cvat_server")),
        (Status::Created, 0, Some("up -d cvat_server")),
        (Status::Restarting, 9, Some("docker logs --tail 50 cvat_server")),
        (Status::Restarting, 1, None),
        (Status::Running, 0, None),
    ] {
        let server = Container { status, restart_count: restarts, exit_code: 1, ..container("cvat_server") };
        let evidence = Evidence { others: [server].into(), ..evidence() };
        let finding = diagnose(ready(), Duration::ZERO, evidence).findings.into_iter().next();
        let command = finding.map(|finding| commands_of(finding).swap_remove(0));
        assert_eq!(command.is_some(), told.is_some(), "{status:?}");
        assert!(command.iter().zip(told).all(|(command, told)| command.ends_with(told)), "{command:?}");
    }
}
