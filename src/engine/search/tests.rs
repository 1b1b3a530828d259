//! Whom the upstream's host means, by what the engine tells of each.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::evidence::{Compose, Happening, Health, Moment};

fn recorded() -> Container {
    let text = include_str!("../../../tests/fixtures/inspect/running.json");
    let inspected = serde_json::from_str(text).expect("a recorded answer");
    crate::engine::convert::container(inspected).expect("a container")
}

/// `name` on `network`, with `aliases`, of `project`'s service of the same name.
fn container(name: &str, project: &str, network: &str, aliases: &[&str]) -> Container {
    let compose = Compose { project: project.into(), service: name.into(), ..recorded().compose.expect("labels") };
    let attachment = Attachment {
        network: network.into(),
        network_id: format!("id-of-{network}").into(),
        aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
        address: None,
    };
    Container {
        id: format!("{:x<64}", name.bytes().map(|byte| format!("{byte:x}")).collect::<String>()).into(),
        name: name.into(),
        compose: Some(compose).filter(|_| !project.is_empty()),
        networks: vec![attachment],
        ..recorded()
    }
}

fn grafana() -> Container {
    container("cvat_grafana", "cvat", "cvat_cvat", &["grafana", "cvat_grafana"])
}

fn ours() -> Container {
    container("anteroom", "cvat", "cvat_cvat", &["anteroom"])
}

fn wanted(host: &str, name: Option<&str>) -> Wanted {
    Wanted { host: host.into(), container: name.map(Into::into), own_id: None, log: false }
}

fn found(wanted: &Wanted, ours: Option<&Container>, candidates: Vec<Container>) -> Option<String> {
    let candidates: Vec<_> = candidates.into_iter().map(Arc::new).collect();
    let target = Search { wanted, ours, last: None }.target(&candidates);
    target.map(|target| target.name.to_string())
}

#[test]
fn a_target_is_found_by_alias_service_name_and_address() {
    let address: IpAddr = "172.22.0.2".parse().expect("an address");
    let mut by_address = grafana();
    by_address.networks[0].address = Some(address);
    for (host, fits) in [
        ("grafana", true),
        ("GRAFANA", true),
        ("cvat_grafana", true),
        ("172.22.0.2", true),
        ("172.22.0.3", false),
        ("grafan", false),
        ("grafana.example.org", false),
    ] {
        let found = found(&wanted(host, None), Some(&ours()), vec![ours(), by_address.clone()]);
        assert_eq!(found.is_some(), fits, "{host}");
    }
}

#[test]
fn among_several_the_closest_then_the_liveliest_then_the_newest_is_chosen() {
    let stranger = || container("stranger", "other", "elsewhere", &["grafana"]);
    let neighbour = || container("neighbour", "other", "cvat_cvat", &["grafana"]);
    let orphan = || Container { name: "orphan".into(), id: "0f".into(), ..grafana() };
    let apart = || container("cvat_grafana", "cvat", "elsewhere", &["grafana"]);
    let apart_twin = || Container { name: "twin".into(), id: "1f".into(), ..apart() };
    let with = |container: Container, status| Container { status, ..container };
    let made = |container: Container, second| {
        let at = UNIX_EPOCH + Duration::from_secs(second);
        Container { created: Some(Moment { at, text: "".into() }), ..container }
    };
    let cases = [
        ("a project in common", vec![stranger(), grafana(), neighbour()], "cvat_grafana"),
        ("a network in common", vec![stranger(), with(neighbour(), Status::Exited)], "neighbour"),
        ("ours, though on no network of ours", vec![stranger(), apart(), neighbour()], "cvat_grafana"),
        ("ours, back in a moment", vec![with(grafana(), Status::Restarting), neighbour()], "cvat_grafana"),
        ("a substitute for ours", vec![with(grafana(), Status::Exited), neighbour()], "neighbour"),
        ("a substitute for ours elsewhere", vec![with(apart(), Status::Exited), neighbour()], "neighbour"),
        (
            "ours, where neither runs",
            vec![with(grafana(), Status::Exited), with(neighbour(), Status::Paused)],
            "cvat_grafana",
        ),
        ("the one on our network", vec![apart_twin(), with(grafana(), Status::Exited)], "cvat_grafana"),
        ("running", vec![with(orphan(), Status::Restarting), grafana()], "cvat_grafana"),
        ("restarting", vec![with(orphan(), Status::Paused), with(grafana(), Status::Restarting)], "cvat_grafana"),
        ("paused", vec![with(orphan(), Status::Exited), with(grafana(), Status::Paused)], "cvat_grafana"),
        ("not dying", vec![with(orphan(), Status::Removing), with(grafana(), Status::Created)], "cvat_grafana"),
        ("newest", vec![made(orphan(), 9), made(grafana(), 5)], "orphan"),
    ];
    for (why, mut candidates, want) in cases {
        for _ in 0..2 {
            let found = found(&wanted("grafana", None), Some(&ours()), candidates.clone());
            assert_eq!(found.as_deref(), Some(want), "{why}");
            candidates.reverse();
        }
    }
}

#[test]
fn of_several_replicas_the_one_that_is_well_and_was_taken_before_stays() {
    let (host, ours) = (wanted("grafana", None), ours());
    let made = |id: &str, second| {
        let at = UNIX_EPOCH + Duration::from_secs(second);
        Container { id: id.into(), created: Some(Moment { at, text: "".into() }), ..grafana() }
    };
    let (older, newer) = (made("0f", 5), made("1f", 9));
    let health = Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, last_output: "".into() });
    let ailing = Container { health, ..newer.clone() };
    let found = |last: &Container, newer: &Container| {
        let candidates = [older.clone(), newer.clone()].map(Arc::new);
        let target = Search { wanted: &host, ours: Some(&ours), last: Some(last) }.target(&candidates);
        target.map(|target| target.id.to_string())
    };
    assert_eq!(found(&older, &newer).as_deref(), Some("0f"));
    assert_eq!(found(&newer, &newer).as_deref(), Some("1f"));
    assert_eq!(found(&newer, &ailing).as_deref(), Some("0f"));
}

#[test]
fn a_stranger_with_neither_project_nor_network_in_common_is_no_target() {
    let (ours, stranger) = (ours(), container("grafana", "monitoring", "monitoring_default", &["grafana"]));
    let shared = container("grafana", "monitoring", "cvat_cvat", &[]);
    let by_hand = container("grafana", "", "bridge", &["grafana"]);
    let mut at_address = stranger.clone();
    at_address.networks[0].address = "172.22.0.2".parse().ok();
    let (by_name, by_address) = (wanted("grafana", None), wanted("172.22.0.2", None));
    let configured = wanted("grafana", Some("grafana"));
    let cases = [
        ("of another project", &by_name, Some(&ours), &stranger, false),
        ("of no project", &by_name, Some(&ours), &by_hand, false),
        ("on a network of ours", &by_name, Some(&ours), &shared, true),
        ("nobody knows where we are", &by_name, None, &stranger, true),
        ("configured", &configured, Some(&ours), &stranger, true),
        ("an address is no matter of names", &by_address, Some(&ours), &at_address, true),
    ];
    for (why, wanted, ours, candidate, fits) in cases {
        assert_eq!(found(wanted, ours, vec![candidate.clone()]).is_some(), fits, "{why}");
    }
    let seen = [Arc::new(stranger)];
    let search = Search { wanted: &by_name, ours: Some(&ours), last: None };
    assert!(search.others(None, &seen).is_empty(), "nor does it share our name");
}

#[test]
fn a_target_cut_off_or_removed_is_not_replaced_by_a_stranger() {
    let (ours, wanted) = (ours(), wanted("grafana", None));
    // The project's container has the stranger's name, and then the stranger takes it.
    let last = Container { id: "1a".into(), ..container("grafana", "cvat", "cvat_cvat", &[]) };
    let cut_off = Arc::new(Container { networks: Vec::new(), ..last.clone() });
    let stranger = Arc::new(container("grafana", "monitoring", "monitoring_default", &["grafana"]));
    let by_hand = Arc::new(container("grafana", "", "bridge", &["grafana"]));
    let shared = Arc::new(container("prometheus", "monitoring", "cvat_cvat", &["grafana"]));
    let last_of_other = container("web", "web", "cvat_cvat", &["grafana"]);
    let other_cut_off = Arc::new(Container { networks: Vec::new(), ..last_of_other.clone() });
    let search = Search { wanted: &wanted, ours: Some(&ours), last: Some(&last) };
    assert_eq!(search.target(&[stranger.clone(), cut_off.clone()]), Some(cut_off.clone()));
    assert_eq!(search.target(&[shared.clone(), cut_off.clone()]), Some(cut_off));
    assert_eq!(search.target(&[stranger.clone(), by_hand]), None);
    let search = Search { last: Some(&last_of_other), ..search };
    assert_eq!(search.target(&[shared, other_cut_off.clone()]), Some(other_cut_off));
}

#[test]
fn a_configured_container_is_found_by_name_before_it_is_found_by_id() {
    let named = Container { name: "cafe".into(), id: "aa".repeat(32).into(), ..grafana() };
    let by_id = Container { name: "other".into(), id: "cafe".repeat(16).into(), ..grafana() };
    let both = || vec![named.clone(), by_id.clone()];
    assert_eq!(found(&wanted("grafana", Some("cafe")), None, both()).as_deref(), Some("cafe"));
    assert_eq!(found(&wanted("grafana", Some("cafecafe")), None, both()).as_deref(), Some("other"));
    assert_eq!(found(&wanted("grafana", Some("grafana")), None, both()), None, "an alias is no name");
}

#[test]
fn neither_we_nor_a_one_off_container_is_ever_the_target() {
    let ours = container("anteroom", "cvat", "cvat_cvat", &["grafana"]);
    let mut one_off = grafana();
    one_off.compose = one_off.compose.map(|compose| Compose { one_off: true, ..compose });
    assert_eq!(found(&wanted("grafana", None), Some(&ours), vec![ours.clone(), one_off.clone()]), None);
    assert_eq!(found(&wanted("grafana", Some("anteroom")), Some(&ours), vec![ours.clone()]), None);
}

#[test]
fn a_target_that_lost_its_aliases_and_addresses_is_still_it() {
    let last = container("web", "cvat", "cvat_cvat", &["grafana"]);
    let cut_off = |id: &str| Arc::new(Container { id: id.into(), networks: Vec::new(), ..last.clone() });
    let stranger = Arc::new(container("stranger", "other", "cvat_cvat", &[]));
    for host in ["grafana", "172.22.0.2"] {
        let wanted = wanted(host, None);
        let search = Search { wanted: &wanted, ours: None, last: Some(&last) };
        for id in [&*last.id, "bb"] {
            assert_eq!(search.target(&[stranger.clone(), cut_off(id)]), Some(cut_off(id)), "{host}");
        }
        assert_eq!(search.target(std::slice::from_ref(&stranger)), None, "{host}");
        assert_eq!(Search { last: None, ..search }.target(&[cut_off("bb")]), None, "{host}");
    }
}

#[test]
fn where_nobody_answers_the_service_named_after_the_host_should() {
    let named = |service: &str| container(service, "cvat", "cvat_cvat", &[]);
    let wanted = wanted("grafana", None);
    assert_eq!(found(&wanted, Some(&ours()), vec![named("cvat_grafana")]).as_deref(), Some("cvat_grafana"));
    assert_eq!(found(&wanted, Some(&ours()), vec![named("notgrafana")]), None);
    assert_eq!(found(&wanted, None, vec![named("cvat_grafana")]), None, "not of our project");
    let twin = container("twin", "other", "cvat_cvat", &["grafana"]);
    let both = |status| vec![Container { status, ..named("cvat_grafana") }, twin.clone()];
    assert_eq!(found(&wanted, Some(&ours()), both(Status::Running)).as_deref(), Some("cvat_grafana"));
    assert_eq!(found(&wanted, Some(&ours()), both(Status::Exited)).as_deref(), Some("twin"));
    let redis = container("redis", "cvat", "cvat_cvat", &[]);
    let cache = container("cvat_redis", "cvat", "cvat_cvat", &[]);
    let exited = Container { status: Status::Exited, ..redis };
    let found = found(&self::wanted("redis", None), Some(&ours()), vec![exited, cache]);
    assert_eq!(found.as_deref(), Some("redis"), "likeness counts only where nobody has the name itself");
}

#[test]
fn others_are_the_project_and_whoever_answers_to_the_same_name() {
    let (wanted, ours, target) = (wanted("grafana", None), ours(), grafana());
    let twin = container("twin", "other", "cvat_cvat", &["grafana"]);
    let clickhouse = container("cvat_clickhouse", "cvat", "cvat_cvat", &["clickhouse"]);
    let stranger = container("stranger", "other", "cvat_cvat", &[]);
    let seen: Vec<_> = [&ours, &clickhouse, &target, &stranger, &twin].map(|one| Arc::new(one.clone())).into();
    let search = Search { wanted: &wanted, ours: Some(&ours), last: None };
    let names: Vec<_> = search.others(Some(&target), &seen).into_iter().map(|other| other.name).collect();
    assert_eq!(names, ["twin".into(), "cvat_clickhouse".into()] as [Box<str>; 2]);
}

#[test]
fn among_a_thousand_containers_only_the_likeliest_are_inspected() {
    let entry = |number: usize, name: &str, project: &str, network: &str| Listed {
        id: format!("{number:064x}").into(),
        name: name.into(),
        project: project.into(),
        alive: true,
        networks: vec![(network.into(), "".into())],
        ..Listed::default()
    };
    let mut list: Vec<_> = (0..1_000).map(|number| entry(number, "stranger", "other", "elsewhere")).collect();
    list.extend((1_000..1_100).map(|number| entry(number, "neighbour", "other", "cvat_cvat")));
    list.push(entry(2_000, "cvat_clickhouse", "cvat", "cvat_cvat"));
    list.push(entry(2_001, "grafana", "other", "elsewhere"));
    let (wanted, ours) = (wanted("grafana", None), ours());
    let search = Search { wanted: &wanted, ours: Some(&ours), last: None };
    let ids = search.worth_inspecting(&list);
    assert_eq!(ids.len(), INSPECTED_MOST);
    assert_eq!(ids[..3], [2_001, 2_000, 1_000].map(|number| format!("{number:064x}")));
    let on_a_host = Search { ours: None, ..search };
    let ids = on_a_host.worth_inspecting(&list);
    assert_eq!((ids.len(), ids[0]), (INSPECTED_MOST, &*format!("{:064x}", 2_001)));
}

#[test]
fn an_event_is_as_urgent_as_whom_it_is_about() {
    let (wanted, ours, last) = (wanted("grafana", None), ours(), grafana());
    let clickhouse = container("cvat_clickhouse", "cvat", "cvat_cvat", &[]);
    let at = Moment { at: UNIX_EPOCH, text: "".into() };
    let event = |container: &str, name: &str, project: &str, network: Option<&str>, action: &str| Occurrence {
        container: container.into(),
        name: name.into(),
        project: project.into(),
        service: "".into(),
        one_off: false,
        network: network.map(Into::into),
        happening: Happening { at: at.clone(), action: action.into(), exit_code: None },
    };
    let (ours_net, other_net) = (Some("id-of-cvat_cvat"), Some("id-of-elsewhere"));
    let (at_once, soon) = (Some(Urgency::AtOnce), Some(Urgency::Soon));
    let cases = [
        (event(&last.id, "cvat_grafana", "cvat", None, "die"), at_once, at_once),
        (event("new", "grafana", "", None, "create"), at_once, at_once),
        (event("new", "new", "cvat", None, "create"), at_once, at_once),
        (event(&clickhouse.id, "", "", other_net, "disconnect"), at_once, at_once),
        (event("new", "", "", ours_net, "connect"), soon, soon),
        (event("new", "", "", other_net, "connect"), None, None),
        (event("", "", "", other_net, "create"), soon, soon),
        (event("new", "stranger", "other", None, "start"), None, soon),
        (event("new", "stranger", "other", None, "die"), None, None),
    ];
    for (event, if_found, if_not_found) in cases {
        let search = Search { wanted: &wanted, ours: Some(&ours), last: Some(&last) };
        let others = std::slice::from_ref(&clickhouse);
        assert_eq!(search.urgency(&event, true, others), if_found, "{event:?}");
        assert_eq!(search.urgency(&event, false, others), if_not_found, "{event:?}");
    }
}
