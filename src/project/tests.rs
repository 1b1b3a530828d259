//! Which project is meant, where users ask, and how members stand to each other.

use super::ways::is_image;
use super::*;
use crate::diagnosis::fixtures::{ago as moment, grafana};
use crate::evidence::Dependency;

/// `name:service,service@folder`.
fn candidate(text: &str) -> Candidate {
    let (rest, folder) = text.split_once('@').unwrap_or((text, "/srv/unknown"));
    let (name, services) = rest.split_once(':').unwrap_or((rest, ""));
    Candidate {
        name: name.into(),
        services: services.split(',').map(Into::into).collect(),
        folders: vec![folder.into()],
    }
}

fn chosen(projects: &[&str], named: Option<&str>, folder: &str, may_be_elsewhere: bool) -> Result<String, Meant> {
    let projects: Vec<Candidate> = projects.iter().map(|it| candidate(it)).collect();
    let here = Here { named: named.map(str::to_owned), folders: folders(folder), may_be_elsewhere };
    choose(&projects, &here).map(String::from).map_err(|unclear| unclear.meant)
}

/// `folder=the name in its .env<the one above`.
fn folders(text: &str) -> Vec<Folder> {
    let folder = |text: &str| {
        let (path, named) = text.split_once('=').map_or((text, None), |(path, name)| (path, Some(name.to_owned())));
        Folder { paths: vec![path.to_owned()], named }
    };
    text.split('<').map(folder).collect()
}

#[test]
fn the_project_that_is_meant_is_the_named_the_folders_cvats_or_the_only_one() {
    let several = ["cvat:cvat_server,cvat_ui@/opt/cvat", "wiki:web@/opt/Docs", "my_app:web@/mnt/x"];
    for (what, projects, named, folder, want) in [
        ("a name", &several[..], Some("wiki"), "/opt/cvat", Ok("wiki")),
        ("a name that nobody has", &several, Some("nobody"), "/opt/cvat", Err(Meant::Named)),
        ("made in this folder, whatever it is called", &several, None, "/opt/Docs", Ok("wiki")),
        ("though another one is called like it", &["docs:a", "wiki:b@/opt/docs"], None, "/opt/docs", Ok("wiki")),
        ("as compose would call it", &several, None, "/home/me/_My_App.", Ok("my_app")),
        ("CVAT's", &several, None, "/elsewhere", Ok("cvat")),
        ("the only one", &["wiki:web"], None, "/elsewhere", Ok("wiki")),
        ("two of CVAT's", &["a:cvat_server", "b:cvat_server"], None, "/elsewhere", Err(Meant::Any)),
        ("none of several", &["a:web", "b:web"], None, "/", Err(Meant::Any)),
        ("two of one folder", &["a:cvat_server@/x/cvat", "b:web@/x/cvat"], None, "/x/cvat", Err(Meant::Any)),
        ("one of two is its namesake", &["cvat:web@/x/cvat", "b:web@/x/cvat"], None, "/x/cvat", Ok("cvat")),
        ("as its .env says", &several, None, "/opt/cvat=wiki", Ok("wiki")),
        ("but for a name that nobody has", &several, None, "/opt/cvat=nobody", Ok("cvat")),
        ("which is nobody else's", &several, None, "/elsewhere/wiki=nobody", Err(Meant::OfFolder)),
        ("and the environment counts before it", &several, Some("my_app"), "/opt/cvat=wiki", Ok("my_app")),
        ("made in this folder, by a file of another name", &several, None, "/opt/Docs</opt/cvat", Ok("wiki")),
        ("named in this folder", &several, None, "/opt/x=wiki</opt/cvat", Ok("wiki")),
        ("made in the folder above", &several, None, "/opt/cvat/wiki</opt/cvat", Ok("cvat")),
        ("as compose would call the folder above", &several, None, "/opt/my_app/wiki</opt/my_app", Ok("my_app")),
    ] {
        assert_eq!(chosen(projects, named, folder, true).as_deref(), want.as_deref(), "{what}");
    }
    // Where this folder has files of its own, nobody else's project is taken for its.
    assert_eq!(chosen(&several, None, "/elsewhere", false), Err(Meant::OfFolder));
    assert_eq!(chosen(&["wiki:web"], None, "/elsewhere", false), Err(Meant::OfFolder));
    assert_eq!(chosen(&several, None, "/opt/Docs", false).as_deref(), Ok("wiki"));
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

/// A service of this image that runs, declares a port and refuses on it; `/` between what it is and what it needs.
fn refusing(text: &str) -> Member {
    let (service, needs) = text.split_once('/').unwrap_or((text, ""));
    let mut container = Container { id: service.into(), name: service.into(), ..grafana() };
    (container.exposed_ports, container.started) = (vec![8080], moment(3600));
    container.image = if service.starts_with("cvat_") { "cvat/server:v2" } else { service }.into();
    let compose = container.compose.as_mut().expect("a service");
    compose.service = service.into();
    let needs = needs.split(',').filter(|it| !it.is_empty());
    compose.depends_on =
        needs.map(|it| Dependency { service: it.trim_end_matches('!').into(), ends: it.ends_with('!') }).collect();
    let failure = Failure::Refused { address: std::net::Ipv4Addr::LOCALHOST.into() };
    let reach = Reach::Fails { port: 8080, failure };
    Member { container, setup: Setup::default(), reach, elsewhere: None, events: [].into(), log: [].into() }
}

fn project(members: Vec<Member>) -> Project {
    let now = moment(0).expect("a moment").at;
    Project { members, ..Project::of("cvat", Engine::Available { version: "20.10.24".into() }, now) }
}

fn with(member: Member, change: impl FnOnce(&mut Member)) -> Member {
    let mut member = member;
    change(&mut member);
    member
}

#[test]
fn a_refusal_counts_where_somebody_is_known_to_ask_and_only_there() {
    let answering = |text| with(refusing(text), |it| it.reach = Reach::Answers { port: 8080 });
    let routed = |text| with(refusing(text), |it| it.container.routed_ports = vec![8080]);
    let young = |text| with(refusing(text), |it| it.container.started = moment(5));
    let published = || Published { inside: 8080, outside: 8080, only_at: None };
    let router = || Rule { router: "a@docker".to_owned(), rule: "PathPrefix(`/a`)".to_owned() };
    // What it shows, the members, and those of them whose refusal says nothing.
    type Case = (&'static str, Vec<Member>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        ("what another one needs is asked, however old", vec![refusing("db"), answering("web/db")], vec![]),
        ("who only waits for its end asks for nothing", vec![refusing("db"), answering("web/db!")], vec!["db"]),
        ("a worker alone, whose image declares a port", vec![refusing("worker")], vec!["worker"]),
        ("which it may still open", vec![young("worker")], vec![]),
        ("a worker beside its server", vec![answering("cvat_server"), young("cvat_worker")], vec!["cvat_worker"]),
        ("and while that is down", vec![routed("cvat_server"), young("cvat_worker")], vec!["cvat_worker"]),
        (
            "or needed, and not routed",
            vec![refusing("cvat_server"), young("cvat_worker"), refusing("ui/cvat_server")],
            vec!["cvat_worker", "ui"],
        ),
        (
            "of two alike that are needed, each",
            vec![answering("cvat_a"), refusing("cvat_b"), refusing("x/cvat_b")],
            vec!["x"],
        ),
        ("published", vec![with(refusing("a"), |it| it.setup.published = vec![published()])], vec![]),
        ("routed without a port", vec![with(refusing("a"), |it| it.setup.routers = vec![router()])], vec![]),
        (
            "Traefik's own dashboard is no port of its image",
            vec![with(refusing("traefik"), |it| it.setup.routers = vec![router()])],
            vec!["traefik"],
        ),
    ];
    for (what, members, want) in cases {
        let project = project(members);
        let untold = project.members.iter().filter(|it| project.is_no_port_of_its_own(it)).map(Member::service);
        assert_eq!(untold.collect::<Vec<_>>(), want, "{what}");
    }
}

#[test]
fn a_job_that_somebody_asks_for_or_that_was_stopped_has_not_done_its_work() {
    let ended = |change: fn(&mut Member)| {
        let job = with(refusing("job"), |it| {
            (it.container.status, it.reach) = (Status::Exited, Reach::Untried);
            it.container.exposed_ports.clear();
            (it.container.started, it.container.finished) = (moment(60), moment(30));
            change(it);
        });
        let project = project(vec![job]);
        (project.standing(&project.members[0]), project.may_be_a_job(&project.members[0]))
    };
    let event = |seconds, action: &str| Happening {
        at: moment(seconds).expect("a moment"),
        action: action.into(),
        exit_code: None,
    };
    assert_eq!(ended(|_| {}), (Standing::Done, true));
    let asked = (Standing::Hopeless, false);
    assert_eq!(ended(|it| it.setup.published = vec![Published { inside: 80, outside: 0, only_at: None }]), asked);
    let router = |it: &mut Member| it.setup.routers = vec![Rule { router: "a@docker".into(), rule: "".into() }];
    assert_eq!(ended(router), asked);
    let stopped = |at: u64, action: &'static str| {
        let job = with(refusing("job"), |it| {
            (it.container.status, it.reach) = (Status::Exited, Reach::Untried);
            (it.container.started, it.container.finished) = (moment(60), moment(30));
            it.events = [event(at, action)].into();
        });
        let project = project(vec![job]);
        project.may_be_a_job(&project.members[0])
    };
    assert_eq!(
        [stopped(31, "kill"), stopped(30, "stop"), stopped(61, "stop"), stopped(30, "die")],
        [false, false, true, true]
    );
}

#[test]
fn a_path_is_cvats_own_though_grafana_is_gone_and_no_page_is_that_takes_all() {
    let cvat = project(vec![refusing("cvat_server")]);
    assert_eq!(["/analytics/", "/", "/tasks"].map(|path| cvat.has_own(path)), [true, false, false]);
    assert!(!project(vec![refusing("web")]).has_own("/analytics/"));
}

#[test]
fn names_matter_only_to_who_asks_by_them() {
    let named = |service: &str, change: &dyn Fn(&mut Member)| {
        with(refusing(service), |it| {
            it.container.networks[0].aliases = vec![];
            it.reach = Reach::Answers { port: 8080 };
            change(it);
        })
    };
    let traefik = || named("traefik", &|_| {});
    let anteroom = || named("anteroom", &|_| {});
    let ui = |change: &dyn Fn(&mut Member)| {
        let project = project(vec![
            named("ui", &|it| {
                it.container.name = "x".into();
                change(it);
            }),
            traefik(),
            anteroom(),
        ]);
        let asker = project.asker_of(&project.members[0]).map(|it| it.service().to_owned());
        (asker.unwrap_or_default(), project.evidence_of(&project.members[0]).probe.is_some())
    };
    let router = || Rule { router: "ui@docker".to_owned(), rule: "PathPrefix(`/`)".to_owned() };
    assert_eq!(ui(&|_| {}), (String::new(), false));
    assert_eq!(ui(&|it| it.container.routed_ports = vec![80]), ("traefik".to_owned(), false));
    assert_eq!(ui(&|it| it.setup.routers = vec![router()]), ("traefik".to_owned(), false));
}

#[test]
fn what_the_files_defined_is_kept_while_they_do_not_answer() {
    let defined = || {
        let (service, image) = ("db".to_owned(), None);
        Some(vec![Definition { service, image, image_is_missing: false, optional: false }])
    };
    let looked = |definitions, undefined| Project { definitions, undefined, ..project(vec![]) };
    let mut last = None;
    let mut slow = looked(None, Some(Unread::Slow));
    slow.remember(&mut last);
    assert_eq!((&slow.definitions, &slow.undefined), (&None, &Some(Unread::Slow)));
    looked(defined(), None).remember(&mut last);
    slow.remember(&mut last);
    assert_eq!((slow.definitions, slow.undefined), (defined(), None));
    let mut gone = looked(None, Some(Unread::Elsewhere));
    gone.remember(&mut last);
    assert_eq!(gone.definitions, None);
}

#[test]
fn a_job_that_was_taken_away_is_not_absent_where_somebody_who_waited_for_its_end_was_started() {
    let defined = |service: &str| {
        let (service, image) = (service.to_owned(), None);
        Definition { service, image, image_is_missing: false, optional: false }
    };
    let absent = |members| {
        let definitions = Some(vec![defined("migrate"), defined("web"), defined("api")]);
        let project = Project { definitions, ..project(members) };
        project.absent().into_iter().map(|(service, _)| service.to_owned()).collect::<Vec<_>>()
    };
    let never = |text| with(refusing(text), |it| (it.container.status, it.container.started) = (Status::Created, None));
    assert_eq!(absent(vec![refusing("web/migrate!"), refusing("api")]), Vec::<String>::new());
    assert_eq!(absent(vec![refusing("web/migrate!"), never("api/migrate!")]), Vec::<String>::new());
    assert_eq!(absent(vec![never("web/migrate!"), refusing("api")]), ["migrate"], "a first start");
    assert_eq!(absent(vec![refusing("web/migrate!"), refusing("api/migrate")]), ["migrate"], "it is to stay");
    assert_eq!(absent(vec![refusing("web"), refusing("api")]), ["migrate"], "nobody waited for it");
}
