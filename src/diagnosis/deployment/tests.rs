//! Deployments in which something is wrong, each with its near miss: what is said first, and what is not said.

use std::net::{IpAddr, Ipv4Addr};

use super::super::fixtures::{
    self, HOUR, MINUTE, NETWORK, OTHER_NETWORK, ago, attachment, container, ended, grafana, now,
};
use super::*;
use crate::evidence::{Container, Failure, RestartPolicy, Status};
use crate::project::definitions::Definition;
use crate::project::traefik::{Complaint, Rule};
use crate::project::{Answered, Asked, Disk, Published, Setup};

mod upkeep;

const URL: &str = "http://localhost:8080/analytics/";

fn member(container: Container) -> Member {
    let reach = match (container.status, container.routed_ports.first().or(container.exposed_ports.first())) {
        (Status::Running, Some(port)) => Reach::Answers { port: *port },
        _ => Reach::Untried,
    };
    Member { container, setup: Setup::default(), reach, elsewhere: None, events: [].into(), log: [].into() }
}

fn traefik() -> Member {
    let published = [8080, 8090].map(|port| Published { inside: port, outside: port, only_at: None }).into();
    Member { setup: Setup { published, ..Setup::default() }, ..member(container("traefik")) }
}

/// CVAT as it should be, with the override's restart policy.
fn healthy() -> Project {
    let grafana = Container { restart_policy: RestartPolicy::Always, ..grafana() };
    let engine = fixtures::evidence().engine;
    let mut project = Project::of("cvat", engine, now());
    project.members =
        [grafana, container("cvat_clickhouse"), container("cvat_server"), container("cvat_ui")].map(member).into();
    project.members.push(traefik());
    project.networks = fixtures::evidence().networks;
    project
}

fn with(change: impl FnOnce(&mut Project)) -> Project {
    let mut project = healthy();
    change(&mut project);
    project
}

/// Replaces a member, as that container does it.
fn put(project: &mut Project, container: Container) {
    let service = container.compose.as_ref().expect("it is a service").service.clone();
    let place = project.members.iter_mut().find(|it| *it.service() == *service).expect("it is there");
    let setup = place.setup.clone();
    *place = Member { setup, ..member(container) };
}

fn fails(project: &mut Project, service: &str, failure: Failure) {
    let member = project.members.iter_mut().find(|it| it.service() == service).expect("it is there");
    member.reach = Reach::Fails { port: 3000, failure };
}

fn refused() -> Failure {
    Failure::Refused { address: IpAddr::V4(Ipv4Addr::new(172, 18, 0, 5)) }
}

fn answer(status: u16, start: &str) -> Option<Asked> {
    let answered =
        Answered { status, start: start.to_owned(), by_anteroom: None, like_any_path: false, only_to_tls: false };
    Some(Asked { url: URL.to_owned(), supposed: false, outcome: Ok(answered) })
}

fn told(project: &Project) -> Vec<Located> {
    examine(project, Instant::now())
}

fn wrong(project: &Project) -> Vec<(Code, String)> {
    let wrong = told(project).into_iter().filter(|it| it.finding.severity > Severity::Info);
    wrong.map(|it| (it.finding.code, it.service.unwrap_or_default().into())).collect()
}

fn codes(project: &Project) -> Vec<Code> {
    wrong(project).into_iter().map(|(code, _)| code).collect()
}

fn find(project: &Project, code: Code) -> Option<Finding> {
    told(project).into_iter().map(|it| it.finding).find(|finding| finding.code == code)
}

#[track_caller]
fn commands(project: &Project, code: Code) -> Vec<String> {
    let finding = find(project, code).unwrap_or_else(|| panic!("{code:?} is told: {:?}", codes(project)));
    finding.remedies.into_iter().map(|remedy| remedy.command).collect()
}

#[test]
fn a_healthy_deployment_has_hints_alone() {
    assert_eq!(codes(&healthy()), []);
    assert_eq!(codes(&with(|it| it.asked = answer(401, "<html>"))), []);
}

#[test]
fn a_fault_of_a_service_is_what_a_page_would_say_of_it() {
    let exited = with(|it| put(it, ended(1, MINUTE)));
    assert_eq!(wrong(&exited), [(Code::TargetExited, "cvat_grafana".to_owned())]);
    let commands = commands(&exited, Code::TargetExited);
    assert!(commands[0].ends_with("up -d cvat_grafana"), "{commands:?}");
}

#[test]
fn a_cause_stands_before_what_follows_from_it() {
    let project = with(|it| {
        put(
            it,
            Container { status: Status::Exited, exit_code: 1, finished: ago(MINUTE), ..container("cvat_clickhouse") },
        );
    });
    let want =
        [(Code::TargetStoppedByHand, "cvat_clickhouse".to_owned()), (Code::DependencyDown, "cvat_grafana".to_owned())];
    assert_eq!(wrong(&project), want);
    // The command that mends it is offered once.
    let all: Vec<String> = told(&project).into_iter().flat_map(|it| it.finding.remedies).map(|it| it.command).collect();
    assert_eq!(all.iter().filter(|it| it.ends_with("up -d cvat_clickhouse")).count(), 1, "{all:#?}");
}

#[test]
fn one_that_has_done_its_work_is_no_fault() {
    let migration = |exit_code| {
        let job = Container {
            exit_code,
            restart_policy: RestartPolicy::No,
            status: Status::Exited,
            finished: ago(HOUR),
            ..container("migrate")
        };
        with(|it| it.members.push(member(job)))
    };
    assert_eq!(codes(&migration(0)), []);
    assert_eq!(wrong(&migration(1)), [(Code::TargetExited, "migrate".to_owned())]);
    // One that offers a port is there to stay, whatever its exit code.
    assert_eq!(codes(&with(|it| put(it, ended(0, MINUTE)))), [Code::TargetExited]);
}

#[test]
fn a_name_that_nobody_has_on_the_askers_network_is_missing() {
    let project =
        with(|it| put(it, Container { networks: vec![attachment("cvat_cvat", NETWORK, &["other"])], ..grafana() }));
    assert_eq!(codes(&project), [Code::AliasMissing]);
    let told = find(&project, Code::AliasMissing).expect("it is told").title.to_string();
    assert!(told.ends_with("the name grafana on the network of Traefik"), "{told}");
    // Where Traefik goes by labels it asks for addresses, and names do not matter.
    let labelled = with(|it| {
        let networks = vec![attachment("cvat_cvat", NETWORK, &["other"])];
        put(it, Container { networks, routed_ports: vec![3000], ..grafana() });
    });
    assert_eq!(codes(&labelled), []);
}

#[test]
fn no_network_in_common_with_who_asks_is_told() {
    let project =
        with(|it| put(it, Container { networks: vec![attachment("other", OTHER_NETWORK, &["grafana"])], ..grafana() }));
    assert_eq!(codes(&project), [Code::NetworkNotShared]);
    let told = find(&project, Code::NetworkNotShared).expect("it is told");
    assert!(told.title.to_string().contains("shares no network with Traefik"), "{}", told.title);
    assert!(told.evidence.iter().any(|(name, _)| *name == "networks of Traefik"), "{told:?}");
    let beside = with(|it| {
        it.members.push(member(container("anteroom")));
        put(it, Container { networks: vec![attachment("other", OTHER_NETWORK, &["grafana"])], ..grafana() });
    });
    let told = find(&beside, Code::NetworkNotShared).expect("it is told");
    assert!(told.title.to_string().contains("shares no network with anteroom"), "{}", told.title);
}

#[test]
fn a_service_that_refuses_is_starting_and_later_at_fault() {
    let young = with(|it| {
        put(it, Container { started: ago(MINUTE), ..grafana() });
        fails(it, "cvat_grafana", refused());
    });
    assert_eq!(codes(&young), [Code::TargetWarming]);
    let old = with(|it| fails(it, "cvat_grafana", refused()));
    assert_eq!(codes(&old), [Code::PortRefused]);
}

#[test]
fn a_service_that_is_defined_and_not_there_is_absent_or_lacks_its_image() {
    let defined = |service: &str, missing, optional| Definition {
        service: service.to_owned(),
        image: Some("example/more:1".to_owned()),
        image_is_missing: missing,
        optional,
    };
    let project = |more: Definition| {
        with(|it| {
            let known: Vec<_> = it.members.iter().map(|member| defined(member.service(), false, false)).collect();
            it.definitions = Some([known, vec![more]].concat());
        })
    };
    assert_eq!(wrong(&project(defined("more", true, false))), [(Code::ImageMissing, "more".to_owned())]);
    let commands = commands(&project(defined("more", true, false)), Code::ImageMissing);
    assert!(commands.len() == 2 && commands[1].ends_with("up -d more"), "{commands:?}");
    assert_eq!(commands[0], "docker pull example/more:1");
    assert_eq!(wrong(&project(defined("more", false, false))), [(Code::TargetAbsent, "more".to_owned())]);
    assert_eq!(codes(&project(defined("more", true, true))), [], "a profile that is not started");
    assert_eq!(codes(&project(defined("cvat_ui", true, false))), [], "it has a container");
}

#[test]
fn traefiks_own_answers_tell_which_part_of_the_way_is_broken() {
    for (status, start, want) in [
        (404, "404 page not found\n", Some(Code::RouterInvalid)),
        (404, "<html>Grafana's own", None),
        (500, "", Some(Code::AuthBackendDown)),
        (500, "Internal Server Error", Some(Code::UpstreamError)),
        (502, "Bad Gateway", Some(Code::UpstreamError)),
        (502, "<html>nginx's", Some(Code::UpstreamError)),
        (503, "", Some(Code::UpstreamError)),
        (599, "?", Some(Code::UpstreamError)),
        (499, "?", None),
        (503, "no available server\n", Some(Code::UpstreamError)),
        (504, "Gateway Timeout", Some(Code::ConnectTimeout)),
        (200, "<html>", None),
        (302, "", None),
    ] {
        let told = codes(&with(|it| it.asked = answer(status, start)));
        assert_eq!(told, want.into_iter().collect::<Vec<_>>(), "{status} {start}");
    }
}

#[test]
fn an_error_in_a_services_own_words_is_told_with_its_logs() {
    let at = |url: &str| {
        with(|it| {
            let router = |rule: &str| vec![Rule { router: "x@docker".to_owned(), rule: rule.to_owned() }];
            it.members[2].setup.routers = router("PathPrefix(`/api/`)");
            it.members[3].setup.routers = router("Host(`localhost`)");
            it.asked = answer(500, "database is locked");
            it.asked.as_mut().expect("it was asked").url = url.to_owned();
        })
    };
    for (url, who) in [
        (URL, "cvat_grafana"),
        ("http://localhost:8080/api/server/about", "cvat_server"),
        ("http://localhost:8080/tasks", "cvat_ui"),
    ] {
        let project = at(url);
        let told = find(&project, Code::UpstreamError).expect("it is told");
        assert!(told.confidence == Confidence::Likely && told.title.to_string().contains(who), "{}", told.title);
        assert!(told.evidence.iter().any(|(_, value)| value.to_string() == "database is locked"), "{told:?}");
        assert!(commands(&project, Code::UpstreamError)[0].ends_with(who), "{:?}", told.remedies);
    }
}

#[test]
fn what_is_not_there_stands_before_who_needs_it_whether_files_or_labels_tell() {
    let needing = |it: &mut Project| {
        put(it, ended(1, MINUTE));
        let needs = |service: &str, ends| crate::evidence::Dependency { service: service.into(), ends };
        let compose = it.members[0].container.compose.as_mut().expect("a service");
        compose.depends_on = vec![needs("more", false), needs("migrate", true)];
    };
    let defined = |it: &mut Project| {
        let define = |service: &str| Definition {
            service: service.to_owned(),
            image: None,
            image_is_missing: false,
            optional: false,
        };
        let services = it.members.iter().map(|member| define(member.service()));
        it.definitions = Some(services.chain([define("more")]).collect());
    };
    let want = [(Code::TargetAbsent, "more".to_owned()), (Code::TargetExited, "cvat_grafana".to_owned())];
    let by_label = with(needing);
    assert_eq!(wrong(&by_label), want);
    let told = find(&by_label, Code::TargetAbsent).expect("it is told");
    assert_eq!(told.confidence, Confidence::Likely);
    assert!(told.title.to_string().contains("cvat_grafana needs more"), "{}", told.title);
    let by_files = with(|it| {
        needing(it);
        defined(it);
    });
    assert_eq!(wrong(&by_files), want);
    assert_eq!(find(&by_files, Code::TargetAbsent).map(|it| it.confidence), Some(Confidence::Certain));
}

#[test]
fn an_answer_that_every_path_gets_is_another_services() {
    let fallen = |status| {
        with(|it| {
            let like = Answered {
                status,
                start: "<html>".to_owned(),
                by_anteroom: None,
                like_any_path: true,
                only_to_tls: false,
            };
            it.asked = Some(Asked { url: URL.to_owned(), supposed: false, outcome: Ok(like) });
        })
    };
    assert_eq!(codes(&fallen(200)), [Code::RouterInvalid]);
    for status in [301, 302, 401] {
        assert_eq!(codes(&fallen(status)), [], "a login, or TLS, stands before all paths");
    }
}

#[test]
fn an_address_that_was_only_supposed_is_no_fault_if_nobody_is_there() {
    let asked = |supposed| Some(Asked { url: URL.to_owned(), supposed, outcome: Err(refused()) });
    assert_eq!(codes(&with(|it| it.asked = asked(true))), []);
    assert_eq!(codes(&with(|it| it.asked = asked(false))), [Code::PortRefused]);
}

#[test]
fn what_users_see_of_a_fault_is_no_fault_of_its_own() {
    let project = with(|it| {
        put(it, ended(1, MINUTE));
        it.asked = answer(502, "Bad Gateway");
    });
    assert_eq!(codes(&project), [Code::TargetExited]);
    assert_eq!(find(&project, Code::UpstreamError).map(|it| it.severity), Some(Severity::Info));
}

#[test]
fn a_router_that_is_left_out_is_said_with_the_reason() {
    let with_labels = |it: &mut Project| {
        let rule = Rule { router: "grafana@docker".to_owned(), rule: "PathPrefix(`/analytics`)".to_owned() };
        it.members[0].setup.routers = vec![rule];
        it.asked = answer(404, "404 page not found");
    };
    let title = |project: &Project| find(project, Code::RouterInvalid).expect("it is told").title.to_string();
    let complains = with(|it| {
        with_labels(it);
        it.complaints = vec![Complaint { router: "grafana@docker".into(), message: "port is missing".into() }];
    });
    assert!(title(&complains).contains("Its log says: port is missing"), "{}", title(&complains));
    let of_another = with(|it| {
        with_labels(it);
        it.complaints = vec![Complaint { router: "wiki@docker".into(), message: "port is missing".into() }];
    });
    let told = find(&of_another, Code::RouterInvalid).expect("it is told");
    assert_eq!(told.confidence, Confidence::Likely);
    assert!(!told.title.to_string().contains("port is missing"), "{}", told.title);
    let of_container = with(|it| {
        with_labels(it);
        let router = format!("cvat-grafana-cvat-{}", it.members[0].container.id);
        it.complaints = vec![Complaint { router, message: "port is missing".into() }];
    });
    assert!(title(&of_container).contains("Its log says: port is missing"), "{}", title(&of_container));
    let of_files = |mounted: bool| {
        with(|it| {
            it.asked = answer(404, "404 page not found");
            let rule = Rule { router: "grafana_conf.yml".to_owned(), rule: "PathPrefix(`/analytics`)".to_owned() };
            it.rules.extend(Some(rule).filter(|_| mounted));
            it.complaints = vec![Complaint { router: "@file".into(), message: "yaml: line 3".into() }];
        })
    };
    assert!(title(&of_files(true)).contains("Its log says: yaml: line 3"), "{}", title(&of_files(true)));
    let sure = |project: &Project| find(project, Code::RouterInvalid).map(|it| it.confidence);
    assert_eq!([&of_files(true), &of_container].map(sure), [Some(Confidence::Likely), Some(Confidence::Certain)]);
    assert!(!title(&of_files(false)).contains("yaml"), "{}", title(&of_files(false)));
    let stopped = with(|it| {
        with_labels(it);
        put(it, ended(0, MINUTE));
        it.complaints = vec![Complaint { router: "wiki@docker".into(), message: "port is missing".into() }];
    });
    assert!(title(&stopped).contains("cvat_grafana say while that container is exited"), "{}", title(&stopped));
    let nowhere = with(|it| it.asked = answer(404, "404 page not found"));
    assert!(title(&nowhere).contains("neither labels nor mounted rules"), "{}", title(&nowhere));
}

#[test]
fn a_router_for_an_entry_point_that_is_not_there_is_no_cause_beside_one_that_is() {
    const WORDS: &str = "EntryPoint doesn't exist";
    let complain = |of: &[(&str, &str)]| {
        let complaint =
            |(router, message): &(&str, &str)| Complaint { router: (*router).into(), message: (*message).into() };
        of.iter().map(complaint).collect()
    };
    let rule = |router: &str, rule: &str| Rule { router: router.to_owned(), rule: rule.to_owned() };
    let asked = || answer(404, "404 page not found");
    let labels = |complaints: &[(&str, &str)]| {
        with(|it| {
            let names = ["grafana@docker", "grafana-https@docker"];
            it.members[0].setup.routers = names.map(|name| rule(name, "PathPrefix(`/analytics`)")).into();
            it.complaints = complain(complaints);
            it.asked = asked();
        })
    };
    let files = |rules: &[&str], complaints: &[(&str, &str)]| {
        with(|it| {
            it.rules = rules.iter().map(|text| rule("grafana_conf.yml", text)).collect();
            it.complaints = complain(complaints);
            it.asked = asked();
        })
    };
    let told = |project: &Project| {
        let finding = find(project, Code::RouterInvalid).expect("it is told");
        let quoted = finding.evidence.iter().any(|(name, _)| *name == "Traefik's log");
        (finding.title.to_string().contains("Its log says"), quoted, finding.confidence)
    };
    let (no_cause, cause) = ((false, true, Confidence::Likely), (true, true, Confidence::Certain));
    let (https, http) = (("grafana-https@docker", WORDS), ("grafana@docker", WORDS));
    assert_eq!(told(&labels(&[https, ("grafana-https@docker", "No valid entryPoint for this router")])), no_cause);
    assert_eq!(told(&labels(&[https, http])), cause, "nobody takes the path");
    assert_eq!(
        told(&labels(&[("grafana-https@docker", "middleware \"a\" does not exist")])),
        cause,
        "who asks is not known"
    );
    assert_eq!(told(&labels(&[https, ("grafana@docker", "port is missing")])), cause);
    let words = |project: &Project| {
        let rows = find(project, Code::RouterInvalid).expect("it is told").evidence;
        let quoted = rows.iter().filter(|(name, _)| *name == "Traefik's log").map(|(_, value)| value.to_string());
        quoted.collect::<Vec<_>>()
    };
    assert_eq!(words(&labels(&[https, ("wiki@docker", "port is missing")])), ["port is missing"], "of two strangers");
    let both = ("grafana-https@docker", "EntryPoint doesn't exist; middleware \"a\" does not exist");
    assert_eq!(told(&labels(&[both])), cause);
    let (https, http) = (("grafana_https@file", WORDS), ("grafana@file", WORDS));
    let (two, one) = (["PathPrefix(`/analytics`)"; 2], ["PathPrefix(`/analytics`)"]);
    let cause = (true, true, Confidence::Likely);
    assert_eq!(told(&files(&two, &[https])), no_cause);
    assert_eq!(told(&files(&two, &[https, http])), cause);
    assert_eq!(told(&files(&one, &[http])), cause);
}

#[test]
fn a_login_backend_that_is_down_is_named_behind_an_empty_500() {
    let project = with(|it| {
        put(it, Container { status: Status::Paused, ..container("cvat_server") });
        it.asked = answer(500, "");
    });
    assert_eq!(codes(&project), [Code::TargetPaused]);
    let finding = find(&project, Code::AuthBackendDown).expect("it is told");
    assert!(finding.title.to_string().contains("cvat_server is paused"), "{}", finding.title);
}

#[test]
fn one_address_of_several_may_be_the_wrong_one() {
    let two = with(|it| {
        let networks = vec![attachment("cvat_cvat", NETWORK, &["grafana"]), attachment("other", OTHER_NETWORK, &[])];
        put(it, Container { networks, ..grafana() });
        it.asked = answer(504, "Gateway Timeout");
    });
    assert_eq!(codes(&two), [Code::NetworkAmbiguous]);
    assert!(commands(&two, Code::NetworkAmbiguous)[0].contains("traefik.docker.network: \"cvat_cvat\""));
    assert_eq!(codes(&with(|it| it.asked = answer(504, "Gateway Timeout"))), [Code::ConnectTimeout]);
}

#[test]
fn what_anteroom_says_counts_where_nothing_else_was_seen() {
    let said = |it: &mut Project| {
        let by = Some(("no-answer".to_owned(), "grafana:3000 did not answer".to_owned()));
        let answered =
            Answered { status: 504, start: "{".to_owned(), by_anteroom: by, like_any_path: false, only_to_tls: false };
        it.asked = Some(Asked { url: URL.to_owned(), supposed: false, outcome: Ok(answered) });
    };
    assert_eq!(codes(&with(said)), [Code::NoAnswer]);
    // Who is not logged in does not come so far, so it is asked itself.
    let behind_login = |it: &mut Project| {
        said(it);
        (it.straight, it.asked) = (it.asked.take(), answer(401, ""));
    };
    assert_eq!(codes(&with(behind_login)), [Code::NoAnswer]);
    // An unrelated warning hides nothing, and whoever is late was said to be.
    let beside = told(&with(|it| {
        behind_login(it);
        it.silent_ports.push(8090);
        put(it, Container { started: ago(3), ..grafana() });
        fails(it, "cvat_grafana", refused());
    }));
    assert!(beside.iter().any(|it| it.finding.code == Code::NoAnswer && it.finding.severity == Severity::Info));
    for said in [&said as &dyn Fn(&mut Project), &behind_login] {
        let both = with(|it| {
            said(it);
            put(it, ended(1, MINUTE));
        });
        assert_eq!(codes(&both), [Code::TargetExited]);
    }
}

#[test]
fn an_anteroom_that_labels_lead_to_has_no_health_check_on_purpose() {
    let lacks = |routed: &[u16]| {
        let ours = Container { health: None, routed_ports: routed.into(), ..container("anteroom") };
        let told = told(&with(|it| it.members.push(member(ours))));
        told.iter()
            .any(|it| it.finding.code == Code::HealthCheckMissing && it.finding.title.to_string().contains("anteroom"))
    };
    assert!(lacks(&[]) && !lacks(&[8080]));
}

#[test]
fn the_codes_of_deployments_stand_last() {
    // Each has its test above.
    assert!(Code::ALL.ends_with(&OF_DEPLOYMENTS));
}
