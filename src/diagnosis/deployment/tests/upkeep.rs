//! What is found when the deployment itself is looked at, and no service of it.

use super::*;

#[test]
fn a_container_that_no_file_defines_is_an_orphan_and_only_where_all_files_were_read() {
    let defined = |services: &[&str]| {
        let one = |service: &&str| Definition {
            service: (*service).to_owned(),
            image: None,
            image_is_missing: false,
            optional: false,
        };
        Some(services.iter().map(one).collect::<Vec<_>>())
    };
    let all = ["cvat_grafana", "cvat_clickhouse", "cvat_server", "cvat_ui", "traefik"];
    assert_eq!(codes(&with(|it| it.definitions = defined(&all))), []);
    let without = with(|it| it.definitions = defined(&all[..3].iter().chain(&all[4..]).copied().collect::<Vec<_>>()));
    assert_eq!(codes(&without), [Code::ProjectOrphans]);
    assert!(commands(&without, Code::ProjectOrphans)[0].ends_with("up -d --remove-orphans"));
    assert_eq!(codes(&with(|it| it.definitions = None)), []);
    // What `run` made belongs to no file.
    let one_off = with(|it| {
        it.definitions = defined(&all);
        let mut container = container("tool");
        container.compose.as_mut().expect("a service").one_off = true;
        it.members.push(member(container));
    });
    assert_eq!(codes(&one_off), []);

    // A command with the files of the newest alone would take along what another file defines.
    let left_out = with(|it| {
        it.definitions = without.definitions.clone();
        let server = it.members.iter_mut().find(|it| it.service() == "cvat_server").expect("it is there");
        let compose = server.container.compose.as_mut().expect("a service");
        compose.config_files = [&compose.config_files[..], &["/home/ops/cvat/more.yml".into()]].concat();
    });
    assert_eq!(commands(&left_out, Code::ProjectOrphans), [""; 0]);
}

#[test]
fn missing_policies_and_health_checks_are_hints_with_one_snippet() {
    let project = with(|it| put(it, grafana()));
    assert_eq!(codes(&project), []);
    let snippets = commands(&project, Code::RestartPolicyMissing);
    assert_eq!(snippets, ["services:\n  cvat_grafana:\n    restart: always"]);
    assert_eq!(find(&healthy(), Code::RestartPolicyMissing).map(|it| it.title), None);
    assert!(
        find(&project, Code::HealthCheckMissing).is_some_and(|it| it
            .title
            .to_string()
            .contains("cvat_grafana, cvat_clickhouse")
            || it.title.to_string().contains("cvat_clickhouse, cvat_grafana"))
    );
}

#[test]
fn a_dashboard_that_is_not_enabled_is_a_hint() {
    let project = with(|it| it.silent_ports = vec![8090]);
    assert_eq!(codes(&project), []);
    assert!(find(&project, Code::DashboardNotEnabled).is_some());
    assert!(find(&healthy(), Code::DashboardNotEnabled).is_none());
}

#[test]
fn a_disk_is_full_nearly_full_or_neither() {
    const GIB: u64 = 1 << 30;
    for (available, total, want) in [
        (100 << 20, 100 * GIB, Some(Severity::Error)),
        (GIB / 2, 100 * GIB, Some(Severity::Error)),
        (150 * GIB, 16_000 * GIB, None),
        (3 * GIB, 100 * GIB, Some(Severity::Warning)),
        (40 * GIB, 1000 * GIB, None),
        (3 * GIB, 20 * GIB, None),
    ] {
        let project =
            with(|it| it.disk = Some(Disk { path: "/var/lib/docker".into(), available, total, files_left: None }));
        assert_eq!(find(&project, Code::DiskFull).map(|it| it.severity), want, "{available} of {total}");
    }
    for (files_left, want) in [(Some(3), Some(Severity::Error)), (Some(50_000), None), (None, None)] {
        let (available, total) = (90 * GIB, 100 * GIB);
        let project = with(|it| it.disk = Some(Disk { path: "/var/lib/docker".into(), available, total, files_left }));
        assert_eq!(find(&project, Code::DiskFull).map(|it| it.severity), want, "{files_left:?} inodes");
    }
}

#[test]
fn a_service_that_came_back_alone_has_restarted_lately() {
    let back =
        |seconds, count| with(|it| put(it, Container { started: ago(seconds), restart_count: count, ..grafana() }));
    assert_eq!(codes(&back(10 * MINUTE, 3)), [Code::RestartedLately]);
    assert_eq!(codes(&back(10 * MINUTE, 0)), []);
    assert_eq!(codes(&back(3 * HOUR, 3)), []);
    // A host that was restarted brings all of them back, whatever their counts.
    let rebooted = with(|it| {
        for member in &mut it.members {
            (member.container.started, member.container.restart_count) = (ago(10 * MINUTE), 3);
        }
    });
    assert_eq!(codes(&rebooted), []);
}

#[test]
fn no_health_check_over_http_is_offered_for_who_is_not_asked_over_http() {
    let refuses = |service: &str| {
        let silent = |it: &mut Project| {
            let container = if service == "cvat_grafana" { grafana() } else { container(service) };
            put(it, Container { health: None, started: ago(HOUR), ..container });
            fails(it, service, refused());
        };
        commands(&with(silent), Code::PortRefused).iter().any(|it| it.contains("healthcheck:"))
    };
    let unchecked = |asked_otherwise| {
        let silent = |it: &mut Project| {
            put(it, Container { health: None, ..grafana() });
            it.members[0].setup.asked_otherwise = asked_otherwise;
        };
        commands(&with(silent), Code::HealthCheckMissing).len()
    };
    assert_eq!((unchecked(false), unchecked(true)), (1, 0));
    assert!(refuses("cvat_grafana"));
    assert!(!refuses("cvat_clickhouse"));
}
