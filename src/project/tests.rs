//! Which project is meant, where users ask, and how members stand to each other.

use super::*;
use crate::diagnosis::fixtures::grafana;

fn names(projects: &[&str]) -> Vec<(Box<str>, Vec<Box<str>>)> {
    projects
        .iter()
        .map(|project| {
            let (name, services) = project.split_once(':').unwrap_or((project, ""));
            (name.into(), services.split(',').map(Into::into).collect())
        })
        .collect()
}

#[test]
fn the_project_that_is_meant_is_the_named_the_folders_cvats_or_the_only_one() {
    let several = names(&["cvat:cvat_server,cvat_ui", "wiki:web"]);
    let chosen = |projects: &[_], wanted, folder| choose(projects, wanted, folder).ok().map(String::from);
    for (wanted, folder, want) in [
        (Some("wiki"), "cvat", Some("wiki")),
        (Some("nobody"), "cvat", None),
        (None, "wiki", Some("wiki")),
        (None, "elsewhere", Some("cvat")),
    ] {
        assert_eq!(chosen(&several, wanted, folder).as_deref(), want, "{wanted:?} {folder}");
    }
    assert_eq!(chosen(&names(&["wiki:web"]), None, "elsewhere").as_deref(), Some("wiki"));
    assert_eq!(chosen(&names(&["a:cvat_server", "b:cvat_server"]), None, "elsewhere"), None);
    let unclear = choose(&several, Some("nobody"), "").expect_err("there is none");
    assert_eq!((unclear.wanted, unclear.projects.len()), (true, 2));
}

#[test]
fn an_image_is_known_by_its_last_part() {
    for (image, is) in [
        ("traefik", true),
        ("traefik:v3.7", true),
        ("docker.io/library/traefik@sha256:0", true),
        ("registry.example.org:5000/mirror/traefik:v2", true),
        ("traefik-forward-auth", false),
        ("traefik/whoami", false),
        ("", false),
    ] {
        assert_eq!(is_image(image, "traefik"), is, "{image}");
    }
}

#[test]
fn the_port_is_the_one_that_is_asked_and_not_the_one_that_happens_to_be_declared() {
    let member = |service: &str, routed: &[u16]| {
        let mut container = grafana();
        (container.exposed_ports, container.routed_ports) = (vec![4000, 5000], routed.into());
        container.compose.as_mut().expect("a service").service = service.into();
        let (setup, reach) = (Setup::default(), Reach::Untried);
        Member { container, setup, reach, elsewhere: None, events: [].into(), log: [].into() }.port()
    };
    assert_eq!(member("cvat_grafana", &[]), Some(3000));
    assert_eq!(member("cvat_grafana", &[9000]), Some(9000));
    assert_eq!(member("cvat_clickhouse", &[]), Some(4000));
}
