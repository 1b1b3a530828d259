//! What is waited for, and what one look after the other means.

use super::super::definitions::Definition;
use super::super::{Reach, Setup};
use super::*;
use crate::diagnosis::fixtures::{ago, grafana};
use crate::evidence::{Container, Dependency, Engine, Failure, Happening, Health, HealthStatus, Moment, RestartPolicy};

fn now() -> SystemTime {
    ago(0).expect("it is a moment").at
}

fn later(seconds: u64) -> Moment {
    Moment { at: now() + Duration::from_secs(seconds), text: "later".into() }
}

/// A service that runs, and needs these; with `/1`, only until it has ended.
fn service(name: &str, needs: &[&str]) -> Container {
    let mut container = Container { id: format!("{name:a<64}").into(), name: name.into(), ..grafana() };
    let compose = container.compose.as_mut().expect("made by compose");
    compose.service = name.into();
    compose.depends_on = needs
        .iter()
        .map(|needed| Dependency { service: needed.trim_end_matches("/1").into(), ends: needed.ends_with("/1") })
        .collect();
    container.networks[0].aliases = vec![name.into()];
    container
}

fn with(container: Container, change: impl FnOnce(&mut Container)) -> Container {
    let mut container = container;
    change(&mut container);
    container
}

fn exited(container: Container, code: i64) -> Container {
    with(container, |it| (it.status, it.exit_code, it.finished) = (Status::Exited, code, ago(5)))
}

/// Nothing that could be asked for, as of a migration.
fn job(container: Container) -> Container {
    with(container, |it| it.exposed_ports.clear())
}

fn starting(container: Container) -> Container {
    let health = Health { status: HealthStatus::Starting, failing_streak: 0, last_output: "".into() };
    with(container, |it| it.health = Some(health))
}

fn never_started(container: Container, seconds: u64) -> Container {
    with(container, |it| (it.status, it.created, it.started) = (Status::Created, ago(seconds), None))
}

fn looping(container: Container) -> Container {
    with(container, |it| {
        (it.status, it.restart_count, it.restart_policy) = (Status::Restarting, 6, RestartPolicy::Always);
        (it.started, it.finished) = (ago(4), ago(3));
    })
}

fn project(containers: Vec<Container>) -> Project {
    let members = containers.into_iter().map(|container| {
        let answers = container.status == Status::Running && !container.exposed_ports.is_empty();
        let reach = if answers { Reach::Answers { port: 3000 } } else { Reach::Untried };
        let died =
            |seconds| Happening { at: ago(seconds).expect("a moment"), action: "die".into(), exit_code: Some(1) };
        let events = (0..container.restart_count).map(|count| died(3 + count)).collect();
        Member { container, setup: Setup::default(), reach, elsewhere: None, events, log: [].into() }
    });
    let members = members.collect();
    Project { members, ..Project::of("cvat", Engine::Available { version: "20.10.24".into() }, now()) }
}

fn defines(services: &[&str]) -> Option<Vec<Definition>> {
    let of = |service: &&str| Definition {
        service: (*service).to_owned(),
        image: None,
        image_is_missing: false,
        optional: false,
    };
    Some(services.iter().map(of).collect())
}

fn vigil(names: &[&str], began: Instant) -> Vigil {
    Vigil::new(names.iter().map(|name| Box::from(*name)), began)
}

/// The services that are waited for with their standings, and the verdict, at the first look.
fn first(names: &[&str], project: &Project) -> (String, String) {
    let began = Instant::now();
    let mut vigil = vigil(names, began);
    let (awaited, verdict) = vigil.judge(project, began);
    let shown = awaited.iter().map(|it| format!("{} {}", it.service, it.standing.map_or("absent", Standing::as_str)));
    (shown.collect::<Vec<_>>().join(", "), format!("{verdict:?}"))
}

/// What it shows, the names, the containers, and then what is shown and meant.
type Case = (&'static str, &'static [&'static str], Vec<Container>, &'static str, &'static str);

#[test]
fn what_is_waited_for_and_what_a_first_look_means() {
    let db = || service("db", &[]);
    let web = || service("web", &["db", "migrate/1"]);
    let migrate = || job(service("migrate", &["db"]));
    let worker = || job(service("worker", &[]));
    let cases: Vec<Case> = vec![
        ("what a service needs stands first", &[], vec![web(), db()], "db well, web well", "Ready"),
        ("who has no port and no health check has to run", &[], vec![db(), worker()], "db well, worker well", "Ready"),
        ("and not to crash", &[], vec![db(), exited(worker(), 1)], "db well, worker down", "Pointless(\"worker\")"),
        ("only those that are named", &["worker"], vec![exited(db(), 1), worker()], "worker well", "Ready"),
        ("a name brings what it needs", &["web"], vec![web(), db(), worker()], "db well, web well", "Ready"),
        (
            "a job that has ended well is done",
            &[],
            vec![web(), db(), exited(migrate(), 0)],
            "db well, migrate done, web well",
            "Ready",
        ),
        (
            "one whose end is waited for is not ready while it runs",
            &["migrate"],
            vec![web(), db(), migrate()],
            "db well, migrate not ready",
            "Waiting",
        ),
        (
            "a job that has failed is down",
            &[],
            vec![web(), db(), exited(migrate(), 1)],
            "db well, migrate down, web well",
            "Pointless(\"migrate\")",
        ),
        (
            "a job whose image declares a port is done, if nobody asks for it",
            &["once"],
            vec![with(exited(service("once", &[]), 0), |it| it.restart_policy = RestartPolicy::No)],
            "once done",
            "Ready",
        ),
        (
            "but not a service that another one needs",
            &[],
            vec![with(exited(db(), 0), |it| it.restart_policy = RestartPolicy::No), service("web", &["db"])],
            "db down, web well",
            "Pointless(\"db\")",
        ),
        (
            "a service that is to stay and has ended with 0 is down",
            &[],
            vec![with(exited(db(), 0), |it| it.restart_policy = RestartPolicy::UnlessStopped)],
            "db down",
            "Pointless(\"db\")",
        ),
        ("a health check is waited for", &[], vec![starting(db())], "db not ready", "Waiting"),
        (
            "the first cause is told",
            &[],
            vec![exited(service("web", &["db"]), 1), exited(db(), 1)],
            "db down, web down",
            "Pointless(\"db\")",
        ),
        (
            "one that was created just now is about to start",
            &[],
            vec![never_started(db(), 3)],
            "db not ready",
            "Waiting",
        ),
        ("or never will", &[], vec![never_started(db(), 20)], "db down", "Pointless(\"db\")"),
        (
            "but while what it needs is not ready, compose has not tried",
            &[],
            vec![starting(db()), never_started(service("web", &["db"]), 20)],
            "db not ready, web not ready",
            "Waiting",
        ),
        (
            "the engine has, where it could not start it",
            &[],
            vec![
                starting(db()),
                with(never_started(service("web", &["db"]), 20), |it| it.error = "no such device".into()),
            ],
            "db not ready, web down",
            "Pointless(\"web\")",
        ),
        ("a crash loop is pointless", &[], vec![looping(db())], "db down", "Pointless(\"db\")"),
        (
            "but for lack of what it needs",
            &[],
            vec![starting(db()), looping(service("web", &["db"]))],
            "db not ready, web not ready",
            "Waiting",
        ),
        (
            "one that answers in a crash loop has yet to live on",
            &[],
            vec![with(looping(db()), |it| (it.status, it.started) = (Status::Running, ago(2)))],
            "db not ready",
            "Waiting",
        ),
        (
            "an old container that is replaced says nothing",
            &[],
            vec![exited(db(), 0), with(never_started(db(), 1), |it| it.id = "b".repeat(64).into())],
            "db not ready",
            "Waiting",
        ),
        (
            "of several, all have to run",
            &[],
            vec![exited(db(), 0), with(db(), |it| it.id = "b".repeat(64).into())],
            "db down",
            "Pointless(\"db\")",
        ),
        (
            "those of compose run are none",
            &[],
            vec![db(), with(exited(web(), 1), |it| it.compose.as_mut().expect("made by compose").one_off = true)],
            "db well",
            "Ready",
        ),
        ("one that is named twice counts once", &["db", "db"], vec![db()], "db well", "Ready"),
        ("who has no container yet may get one", &["db", "new"], vec![db()], "db well, new absent", "Waiting"),
        (
            "what labels need and nobody has made stands before who needs it",
            &[],
            vec![service("web", &["db"])],
            "db absent, web well",
            "Waiting",
        ),
        ("and comes with a name, too", &["web"], vec![service("web", &["db"])], "db absent, web well", "Waiting"),
        ("but not with another's", &["api"], vec![service("api", &[]), service("web", &["db"])], "api well", "Ready"),
        (
            "nor where only its end was needed: it has ended, and was taken away",
            &[],
            vec![service("web", &["migrate/1"])],
            "web well",
            "Ready",
        ),
        (
            "who crashes for lack of it has an excuse",
            &[],
            vec![looping(service("web", &["db"]))],
            "db absent, web not ready",
            "Waiting",
        ),
        (
            "and who has ended for lack of it, however far behind, is not the cause",
            &[],
            vec![exited(service("web", &["api"]), 1), service("api", &["db"])],
            "db absent, api well, web down",
            "Pointless(\"db\")",
        ),
        (
            "one that has just been restarted may die again",
            &[],
            vec![with(db(), |it| (it.restart_count, it.started) = (1, ago(4)))],
            "db not ready",
            "Waiting",
        ),
        (
            "until it has been up for ten seconds",
            &[],
            vec![with(db(), |it| (it.restart_count, it.started) = (1, ago(10)))],
            "db well",
            "Ready",
        ),
        (
            "who can be asked nothing has to live on for three seconds",
            &[],
            vec![with(worker(), |it| it.started = ago(2))],
            "worker not ready",
            "Waiting",
        ),
        ("and not for longer", &[], vec![with(worker(), |it| it.started = ago(3))], "worker well", "Ready"),
        ("where nobody is, somebody may yet come", &[], vec![], "", "Waiting"),
    ];
    for (what, names, containers, shown, verdict) in cases {
        let got = first(names, &project(containers));
        assert_eq!((got.0.as_str(), got.1.as_str()), (shown, verdict), "{what}");
    }
}

#[test]
fn a_connection_that_fails_is_waited_for() {
    let mut seen = project(vec![service("db", &[])]);
    seen.members[0].reach = Reach::Fails { port: 3000, failure: Failure::ConnectTimeout };
    assert_eq!(first(&[], &seen), ("db not ready".to_owned(), "Waiting".to_owned()));
}

/// Verdicts at these seconds.
fn over_time(names: &[&str], looks: &[(u64, &Project)]) -> Vec<String> {
    let began = Instant::now();
    let mut vigil = vigil(names, began);
    let verdicts =
        looks.iter().map(|(at, project)| format!("{:?}", vigil.judge(project, began + Duration::from_secs(*at)).1));
    verdicts.collect()
}

#[test]
fn who_has_no_container_gets_ten_seconds_unless_the_files_know_none() {
    let (there, none) = (project(vec![service("db", &[])]), project(vec![]));
    let known = Project { definitions: defines(&["db", "new"]), ..there.clone() };
    let unknown = Project { definitions: defines(&["db"]), ..there.clone() };
    let new = project(vec![service("db", &[]), service("new", &[])]);
    for (what, looks, want) in [
        ("a typing error", &[(0, &unknown)][..], &["Unknown(\"new\")"][..]),
        ("nothing tells", &[(9, &there), (10, &there)], &["Waiting", "Unknown(\"new\")"]),
        ("defined, and not made", &[(9, &known), (10, &known)], &["Waiting", "Pointless(\"new\")"]),
        ("it comes late", &[(9, &known), (10, &new)], &["Waiting", "Ready"]),
        (
            "it is made anew, in the same grace",
            &[(20, &with_starting(&new)), (29, &there), (30, &there)],
            &["Waiting", "Waiting", "Pointless(\"new\")"],
        ),
    ] {
        assert_eq!(over_time(&["new"], looks), want, "{what}");
    }
    assert_eq!(over_time(&[], &[(9, &none), (10, &none)]), ["Waiting", "Nothing"]);
}

#[test]
fn without_a_name_everybody_counts_whom_an_up_starts() {
    let stopped = |name: &str| exited(service(name, &[]), 137);
    let seen = project(vec![service("db", &[]), stopped("leftover"), stopped("debug"), service("extra", &[])]);
    let mut seen = Project { definitions: defines(&["db", "debug", "extra", "new"]), ..seen };
    assert_eq!(over_time(&[], &[(0, &seen)]), ["Pointless(\"debug\")"]);
    for definition in seen.definitions.iter_mut().flatten().filter(|it| it.service != "db" && it.service != "new") {
        definition.optional = true;
    }
    assert_eq!(first(&[], &seen), ("db well, extra well, new absent".to_owned(), "Waiting".to_owned()));
    assert_eq!(over_time(&[], &[(9, &seen), (10, &seen)]), ["Waiting", "Pointless(\"new\")"]);
    let whole = Project { definitions: defines(&["db", "extra"]), ..seen };
    assert_eq!(first(&[], &whole), ("db well, extra well".to_owned(), "Ready".to_owned()), "without the leftovers");
}

#[test]
fn who_comes_only_with_the_one_that_crashes_does_not_excuse_it() {
    let mut refused = project(vec![looping(service("db", &[])), service("web", &["db"])]);
    refused.members[1].reach = Reach::Fails { port: 3000, failure: Failure::ConnectTimeout };
    assert_eq!(over_time(&[], &[(0, &refused)]), ["Pointless(\"db\")"]);
    refused.members[1].container = never_started(service("web", &["db"]), 20);
    assert_eq!(over_time(&[], &[(0, &refused)]), ["Pointless(\"db\")"]);
    let strange = project(vec![looping(service("web", &[])), starting(service("db", &[]))]);
    let mut dies = strange.clone();
    dies.seen_at = now() + Duration::from_secs(150);
    (dies.members[0].container.started, dies.members[0].container.finished) = (Some(later(147)), Some(later(148)));
    assert_eq!(
        over_time(&[], &[(0, &strange), (89, &strange), (150, &dies)]),
        ["Waiting", "Waiting", "Pointless(\"web\")"]
    );
}

#[test]
fn a_start_that_has_failed_is_the_newest_whatever_its_times_say() {
    let failed = with(exited(service("x", &[]), 128), |it| {
        (it.started, it.finished, it.error) = (ago(5000), ago(4000), "network not found".into());
    });
    let seen = project(vec![service("db", &[]), failed]);
    assert_eq!(over_time(&[], &[(0, &seen)]), ["Pointless(\"x\")"], "with unread files");
    let mut optional = Project { definitions: defines(&["db", "x"]), ..seen };
    optional.definitions.iter_mut().flatten().filter(|it| it.service == "x").for_each(|it| it.optional = true);
    assert_eq!(over_time(&[], &[(0, &optional)]), ["Pointless(\"x\")"], "of a profile");
}

fn with_starting(project: &Project) -> Project {
    let mut project = project.clone();
    for member in &mut project.members {
        member.container = starting(member.container.clone());
    }
    project
}

#[test]
fn whoever_lacked_something_gets_one_more_try_once_it_is_there() {
    let web = || service("web", &["db"]);
    let lacking = project(vec![starting(service("db", &[])), looping(web())]);
    let rests = project(vec![service("db", &[]), looping(web())]);
    let mut tries = rests.clone();
    tries.members[1].container.status = Status::Running;
    let mut dies = rests.clone();
    dies.seen_at = now() + Duration::from_secs(60);
    (dies.members[1].container.started, dies.members[1].container.finished) = (Some(later(57)), Some(later(58)));
    assert_eq!(
        over_time(&[], &[(0, &lacking), (1, &rests), (50, &tries), (60, &dies)]),
        ["Waiting", "Waiting", "Waiting", "Pointless(\"web\")"]
    );

    let lacking = project(vec![starting(service("db", &[])), never_started(web(), 60)]);
    let there = project(vec![service("db", &[]), never_started(web(), 60)]);
    assert_eq!(
        over_time(&[], &[(0, &lacking), (9, &there), (10, &there)]),
        ["Waiting", "Waiting", "Pointless(\"web\")"]
    );
}

#[test]
fn a_crash_loop_is_excused_while_another_service_is_coming_though_nobody_declared_that_it_needs_it() {
    let (db, web) = (|| service("db", &[]), || service("web", &[]));
    let lacking = project(vec![looping(web()), starting(db())]);
    let rests = project(vec![looping(web()), db()]);
    let mut dies = rests.clone();
    dies.seen_at = now() + Duration::from_secs(60);
    (dies.members[0].container.started, dies.members[0].container.finished) = (Some(later(57)), Some(later(58)));
    assert_eq!(
        over_time(&[], &[(0, &lacking), (1, &rests), (60, &dies)]),
        ["Waiting", "Waiting", "Pointless(\"web\")"]
    );
    assert_eq!(over_time(&[], &[(0, &rests)]), ["Pointless(\"web\")"], "nothing is about to come");
    assert_eq!(over_time(&["web"], &[(0, &lacking)]), ["Pointless(\"web\")"], "nor anything that is waited for");
    let absent = Project { definitions: defines(&["db", "web"]), ..project(vec![looping(web())]) };
    assert_eq!(over_time(&[], &[(0, &absent), (10, &absent)]), ["Waiting", "Pointless(\"db\")"]);
    // Neither of two that only crash is the other's excuse, nor one that answers in between.
    let both = project(vec![looping(web()), looping(db())]);
    let answers = with(looping(db()), |it| (it.status, it.started) = (Status::Running, ago(2)));
    for seen in [both, project(vec![looping(web()), answers])] {
        assert!(over_time(&[], &[(0, &seen)])[0].starts_with("Pointless"));
    }
}

#[test]
fn who_had_ended_before_the_newest_container_was_made_is_a_leftover_where_the_files_are_not_read() {
    let old = || exited(service("old", &[]), 1);
    let new = || with(service("web", &[]), |it| it.created = ago(3));
    let seen = project(vec![old(), new()]);
    assert_eq!(first(&[], &seen), ("web well".to_owned(), "Ready".to_owned()));
    assert_eq!(vigil(&[], Instant::now()).leftovers(&seen), ["old"]);
    // By its name it counts, and so it does if it is needed, was started since, or is defined.
    assert_eq!(first(&["old"], &seen).1, "Pointless(\"old\")");
    assert!(vigil(&["old"], Instant::now()).leftovers(&seen).is_empty());
    let needed = project(vec![old(), with(service("web", &["old"]), |it| it.created = ago(3))]);
    let since = project(vec![with(old(), |it| it.finished = ago(2)), new()]);
    let defined = Project { definitions: defines(&["old", "web"]), ..seen };
    for seen in [needed, since, defined] {
        assert_eq!(first(&[], &seen).1, "Pointless(\"old\")");
        assert!(vigil(&[], Instant::now()).leftovers(&seen).is_empty());
    }
    // What `run` made is no `up`.
    let one_off = with(new(), |it| it.compose.as_mut().expect("made by compose").one_off = true);
    assert_eq!(first(&[], &project(vec![old(), one_off])).1, "Pointless(\"old\")");
}

#[test]
fn a_service_of_a_profile_that_crashed_at_once_is_meant_if_it_was_started_with_the_others() {
    let ended = |began: u64, lived: u64| {
        with(exited(service("extra", &[]), 1), |it| (it.started, it.finished) = (ago(began), ago(began - lived)))
    };
    let crashed = |began: u64| ended(began, 2);
    let verdict = |extra: Container, kill: Option<u64>| {
        let mut seen = project(vec![with(service("db", &[]), |it| it.started = ago(100)), extra]);
        let event = |seconds| Happening { at: ago(seconds).expect("a moment"), action: "kill".into(), exit_code: None };
        seen.members[1].events = kill.into_iter().map(event).collect();
        let mut definitions = defines(&["db", "extra"]);
        definitions.iter_mut().flatten().filter(|it| it.service == "extra").for_each(|it| it.optional = true);
        over_time(&[], &[(0, &Project { definitions, ..seen })]).remove(0)
    };
    for (began, want) in [(50, "Pointless(\"extra\")"), (110, "Pointless(\"extra\")"), (111, "Ready")] {
        assert_eq!(verdict(crashed(began), None), want, "{began}");
    }
    assert_eq!(verdict(crashed(50), Some(49)), "Ready", "somebody has stopped it");
    assert_eq!(verdict(ended(90, 60), None), "Ready", "it has worked, and may have been stopped long ago");
    assert_eq!(verdict(never_started(service("extra", &[]), 90), None), "Pointless(\"extra\")");
    assert_eq!(verdict(never_started(service("extra", &[]), 200), None), "Ready");
}

#[test]
fn what_labels_need_gets_ten_seconds_and_the_files_know_better() {
    let lacks = project(vec![looping(service("web", &["db"]))]);
    assert_eq!(over_time(&[], &[(9, &lacks), (10, &lacks)]), ["Waiting", "Pointless(\"db\")"]);
    let (fine, names) = (project(vec![service("web", &["db"])]), &["web"]);
    assert!(vigil(names, Instant::now()).needs_definitions(&fine));
    for (services, want) in [(&["web", "db"][..], "db absent, web well"), (&["web"], "web well")] {
        let known = Project { definitions: defines(services), ..fine.clone() };
        assert_eq!(first(names, &known).0, want);
        assert_eq!(first(&[], &known).0, want);
    }
}

#[test]
fn whoever_has_just_died_is_trusted_when_it_has_been_up_for_a_while_and_whoever_was_stopped_at_once() {
    let event = |seconds, action: &str| Happening {
        at: ago(seconds).expect("a moment"),
        action: action.into(),
        exit_code: None,
    };
    let mut seen = project(vec![with(service("db", &[]), |it| it.started = ago(4))]);
    seen.members[0].events = [event(5, "die"), event(4, "start")].into();
    assert_eq!(first(&[], &seen).1, "Waiting");
    seen.members[0].events = [event(6, "kill"), event(5, "die"), event(5, "stop"), event(4, "start")].into();
    assert_eq!(first(&[], &seen).1, "Ready");
    // A worker, whose image declares a port on which it does not listen, is asked nothing either.
    let mut worker = project(vec![with(service("worker", &[]), |it| it.started = ago(2))]);
    worker.members[0].reach = Reach::Untried;
    assert_eq!(first(&[], &worker).1, "Waiting");
    // Its host's clock is ahead of ours: then what we have seen ourselves counts.
    let mut ahead = project(vec![with(service("db", &[]), |it| it.restart_count = 1)]);
    ahead.members[0].container.started = Some(later(3600));
    assert_eq!(over_time(&[], &[(0, &ahead), (9, &ahead), (10, &ahead)]), ["Waiting", "Waiting", "Ready"]);
}
