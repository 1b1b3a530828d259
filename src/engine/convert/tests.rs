//! Recorded answers of an engine, and hostile ones.

use super::*;

fn recorded(name: &str) -> Container {
    let path = format!("{}/tests/fixtures/inspect/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a recorded fixture");
    container(serde_json::from_str(&text).expect("an inspect answer")).expect("a container")
}

#[test]
fn a_recorded_container_keeps_what_rules_need() {
    let running = recorded("running");
    assert_eq!(&*running.name, "enginefix_grafana");
    assert_eq!(&*running.image, "grafana-stand-in:10.1.2");
    assert_eq!(running.status, Status::Running);
    assert_eq!(running.exposed_ports, [3000, 9000]);
    assert_eq!(running.restart_policy, RestartPolicy::No);
    assert_eq!((running.health, running.memory_limit, running.finished), (None, None, None));
    assert_eq!(running.started.map(|at| at.text.len()), Some("2026-11-23T18:27:32Z".len()));
    let [network] = &*running.networks else { panic!("one network: {:?}", running.networks) };
    assert_eq!((&*network.network, network.network_id.len()), ("enginefix_cvat", 64));
    assert!(network.address.is_some() && network.aliases.iter().any(|alias| &**alias == "grafana"));
    let compose = running.compose.expect("made with compose's labels");
    assert_eq!((&*compose.project, &*compose.service, compose.one_off), ("cvat", "cvat_grafana", false));
    assert_eq!(&*compose.working_dir, "/opt/cvat");
    assert_eq!(compose.config_files.len(), 3);
}

#[test]
fn files_of_which_not_all_can_be_kept_are_unknown() {
    let given = |files: String| files_of(&HashMap::from([(CONFIG_FILES.to_owned(), files)]));
    let many = |count: usize| (0..count).map(|number| format!("/opt/{number}.yml")).collect::<Vec<_>>().join(",");
    assert_eq!(given(many(64)), 64);
    assert_eq!(given(many(65)), 0, "a command with some of them would remove what the others define");
    assert_eq!(given(format!("/opt/a.yml,/{}", "x".repeat(5000))), 0);
}

fn files_of(labels: &HashMap<String, String>) -> usize {
    files(labels, CONFIG_FILES).len()
}

#[test]
fn ports_of_the_host_and_what_traefik_is_told_are_kept() {
    let bindings = |ips: &[&str]| {
        let of = |ip: &&str| serde_json::json!({"HostIp": ip, "HostPort": "8080"});
        ips.iter().map(of).collect::<Vec<_>>()
    };
    let told = |ips: &[&str], scheme: &str| {
        let inspected = serde_json::json!({
            "NetworkSettings": {"Ports": {"80/tcp": bindings(ips), "53/udp": bindings(&["0.0.0.0"]), "81/tcp": null}},
            "Config": {"Labels": {"traefik.http.services.Web.LoadBalancer.Server.Scheme": scheme}},
        });
        setup(&serde_json::from_value(inspected).expect("an inspect answer"))
    };
    let near = |ips: &[&str]| told(ips, "http").published.iter().map(|it| it.near().to_string()).collect::<Vec<_>>();
    assert_eq!(near(&["0.0.0.0", "::"]), ["127.0.0.1:8080"]);
    assert_eq!(near(&["192.0.2.7", "::1"]), ["192.0.2.7:8080", "[::1]:8080"]);
    assert_eq!(near(&[]), Vec::<String>::new());
    assert_eq!(["http", "https", "h2c"].map(|scheme| told(&[], scheme).asked_otherwise), [false, true, true]);
}

#[test]
fn of_a_container_that_does_not_run_it_is_known_what_was_to_be_published() {
    let told = |open: serde_json::Value, wanted: &str| {
        let bindings = serde_json::json!({ "3000/tcp": [{ "HostIp": "", "HostPort": wanted }], "53/udp": null });
        let inspected = serde_json::json!({
            "HostConfig": { "PortBindings": bindings },
            "NetworkSettings": { "Ports": open },
        });
        let setup = setup(&serde_json::from_value(inspected).expect("an inspect answer"));
        setup.published.iter().map(|it| (it.inside, it.outside)).collect::<Vec<_>>()
    };
    assert_eq!(told(serde_json::json!({}), "8080"), [(3000, 8080)]);
    assert_eq!(told(serde_json::json!({}), ""), [(3000, 0)]);
    let open = serde_json::json!({ "3000/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "32768" }] });
    assert_eq!(told(open, ""), [(3000, 32768)]);
}

#[test]
fn lists_of_files_are_split_at_their_commas() {
    // As compose 5.6 writes it for `--env-file prod.env --env-file .env`.
    let needed = |text: &str| {
        let needed = depends_on(&HashMap::from([(DEPENDS_ON.to_owned(), text.to_owned())]));
        needed.into_iter().map(|it| (it.service.into_string(), it.ends)).collect::<Vec<_>>()
    };
    let written = "clickhouse:service_healthy:true,init:service_completed_successfully:false,,vector";
    assert_eq!(needed(written), [("clickhouse".into(), false), ("init".into(), true), ("vector".into(), false)]);
    let labels = HashMap::from([(ENV_FILES.to_owned(), "/opt/cvat/prod.env,/opt/cvat/.env".to_owned())]);
    assert_eq!(files(&labels, ENV_FILES), ["/opt/cvat/prod.env".into(), "/opt/cvat/.env".into()]);
    assert!(files(&labels, CONFIG_FILES).is_empty());
}

#[test]
fn every_recorded_state_is_told_from_the_others() {
    let cases = [
        ("running", Status::Running, 0, false),
        ("exited-1", Status::Exited, 1, false),
        ("oom-killed", Status::Exited, 137, true),
        ("created-never-started", Status::Created, 0, false),
        ("start-failed", Status::Created, 127, false),
        ("paused", Status::Paused, 0, false),
        ("restarting", Status::Restarting, 3, false),
    ];
    for (name, status, exit_code, oom_killed) in cases {
        let container = recorded(name);
        assert_eq!((container.status, container.exit_code), (status, exit_code), "{name}");
        assert_eq!(container.oom_killed, oom_killed, "{name}");
        assert_eq!(container.error.is_empty(), name != "start-failed", "{name}");
        assert_eq!(container.started.is_none(), status == Status::Created, "{name}");
    }
    assert_eq!(recorded("oom-killed").memory_limit, Some(20 << 20));
    assert!(recorded("restarting").restart_count >= 4);
    assert_eq!(recorded("restarting").restart_policy, RestartPolicy::Always);
    assert_eq!(recorded("healthy").restart_policy, RestartPolicy::OnFailure { most: 3 });
}

#[test]
fn health_is_kept_with_the_last_output() {
    let health = |name| recorded(name).health.expect("a health check");
    assert_eq!(health("starting").status, HealthStatus::Starting);
    assert_eq!(health("healthy").status, HealthStatus::Healthy);
    let unhealthy = health("unhealthy");
    assert_eq!((unhealthy.status, unhealthy.failing_streak), (HealthStatus::Unhealthy, 2));
    assert_eq!(&*unhealthy.last_output, "GET /api/health: 1\n");
}

#[test]
fn nothing_of_the_environment_survives() {
    let secret = "never-show-this";
    let text = include_str!("../../../tests/fixtures/inspect/running.json");
    assert!(text.contains(secret), "the fixture has one");
    assert!(!format!("{:?}", recorded("running")).contains(secret));
}

#[test]
fn the_list_tells_names_project_and_networks() {
    let list: Vec<models::ContainerSummary> =
        serde_json::from_str(include_str!("../../../tests/fixtures/list.json")).expect("a recorded list");
    let listed: Vec<_> = list.into_iter().filter_map(listed).collect();
    let [entry] = &*listed else { panic!("one entry: {listed:?}") };
    assert_eq!((&*entry.name, &*entry.project, &*entry.service), ("enginefix_grafana", "cvat", "cvat_grafana"));
    assert!(entry.alive && entry.networks.len() == 1 && entry.addresses.len() == 1);
}

#[test]
fn recorded_events_tell_whom_they_concern() {
    let lines = include_str!("../../../tests/fixtures/events.jsonl").lines();
    let events: Vec<_> = lines.map(|line| serde_json::from_str(line).expect("a recorded event")).collect();
    let occurrences: Vec<_> = events.into_iter().filter_map(occurrence).collect();
    let death = occurrences.iter().find(|event| &*event.happening.action == "die").expect("one died");
    assert_eq!((&*death.project, &*death.service, death.happening.exit_code), ("cvat", "cvat_grafana", Some(137)));
    let connected = occurrences.iter().find(|event| &*event.happening.action == "connect").expect("one connected");
    assert_eq!((connected.container.len(), connected.network.as_ref().map(|id| id.len())), (64, Some(64)));
    assert!(occurrences.iter().any(|event| &*event.happening.action == "health_status: unhealthy"));
}

#[test]
fn moments_are_read_in_every_zone_and_cut_to_seconds() {
    let cases = [
        ("2024-10-10T08:09:10.123456789Z", Some("2024-10-10T08:09:10Z")),
        ("2024-10-10T08:09:10Z", Some("2024-10-10T08:09:10Z")),
        ("2024-10-10T10:09:10.5+02:00", Some("2024-10-10T08:09:10Z")),
        ("2024-10-09T22:39:10-09:30", Some("2024-10-10T08:09:10Z")),
        ("1970-01-01T00:30:00+01:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("2024-10-10T08:09:10", None),
        ("2024-10-10T08:09:10+é:0", None),
        ("yesterday", None),
        ("", None),
    ];
    for (text, want) in cases {
        assert_eq!(moment(Some(text)).as_ref().map(|moment| &*moment.text), want, "{text}");
    }
}

#[test]
fn a_cut_takes_the_whole_of_the_word_that_it_meets() {
    let before = "x".repeat(LINE_MOST - 40);
    let line = format!("{before} to postgres://cvat:correcthorse@db.example.org:5432/cvat failed");
    assert_eq!(log(line.as_bytes()), [Box::from(format!("{before} to"))]);
    assert_eq!(log("y".repeat(LINE_MOST + 1).as_bytes()), [Box::from("")]);
    assert_eq!(&*cut_prose("one two", 3), "one");
    assert_eq!(&*cut_prose("one two", 7), "one two");
}

#[test]
fn podman_is_known_by_its_component() {
    let component = |name: &str| models::SystemVersionComponents {
        name: name.to_owned(),
        version: "5.4.2".to_owned(),
        details: None,
    };
    let told = |name: &str| {
        let components = Some(vec![component(name)]);
        version(models::SystemVersion { version: Some("5.4.2".to_owned()), components, ..Default::default() })
    };
    assert_eq!((&*told("Podman Engine"), &*told("Engine")), ("Podman 5.4.2", "5.4.2"));
}

#[test]
fn hostile_lengths_are_cut_between_characters() {
    let inspected = models::ContainerInspectResponse {
        id: Some("a".repeat(64)),
        name: Some(format!("/{}", "ä".repeat(9_000))),
        state: Some(models::ContainerState { error: Some("é é".repeat(9_000)), ..Default::default() }),
        config: Some(models::ContainerConfig {
            exposed_ports: Some((1..9_000).map(|port| format!("{port}/tcp")).collect()),
            ..Default::default()
        }),
        restart_count: Some(-1),
        ..Default::default()
    };
    let container = container(inspected).expect("it has an id");
    assert_eq!(container.name.len(), NAME_MOST);
    assert!((TEXT_MOST - 8..=TEXT_MOST).contains(&container.error.len()), "{}", container.error.len());
    assert_eq!((container.exposed_ports.len(), container.restart_count), (ENTRIES_MOST, 0));
    assert_eq!(container.status, Status::Other);
}

#[test]
fn an_id_that_could_leave_its_place_in_a_path_is_refused() {
    for id in ["", "../images", "abc/..", "ABCDEFG", "ä"] {
        assert!(!is_id(id), "{id}");
    }
    assert!(is_id("c15b328e0261"));
}

#[test]
fn the_names_of_newer_engines_resolvers_are_known() {
    let text = include_str!("../../../tests/fixtures/inspect/running.json");
    let mut told: serde_json::Value = serde_json::from_str(text).expect("a recorded answer");
    for network in told["NetworkSettings"]["Networks"].as_object_mut().expect("networks").values_mut() {
        network["Aliases"] = serde_json::json!(["cvat_grafana"]);
        network["DNSNames"] = serde_json::json!(["cvat_grafana", "by-hostname"]);
    }
    let container = container(serde_json::from_value(told).expect("an answer")).expect("a container");
    assert_eq!(container.networks[0].aliases, ["cvat_grafana".into(), "by-hostname".into()]);
}
