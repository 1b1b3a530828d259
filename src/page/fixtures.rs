//! Diagnoses to render, made by hand: the page's tests are about pages, not about rules.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use super::{Audience, Brand, Language};
use crate::config::Detail;
use crate::diagnosis::{Code, Confidence, Diagnosis, Finding, Remedy, Severity};
use crate::evidence::*;
use crate::phrase::Say as _;
use crate::readiness::{Cause, State};

pub const REQUEST_ID: &str = "01926a1f-7c3e-7b60-9d2e-5b1f0c4a8e37";

pub fn someone(detail: Detail) -> Audience<'static> {
    static PLAIN: LazyLock<Brand> = LazyLock::new(Brand::default);
    Audience { detail, repeatable: true, request_id: REQUEST_ID, language: Language::ENGLISH, brand: &PLAIN }
}

/// The same reader in each language.
pub fn everyone(detail: Detail) -> impl Iterator<Item = Audience<'static>> + Clone {
    Language::all().map(move |language| Audience { language, ..someone(detail) })
}

pub fn all() -> Vec<Diagnosis> {
    honest().into_iter().chain([hostile()]).collect()
}

pub fn honest() -> Vec<Diagnosis> {
    vec![
        warming(),
        exited(),
        not_shared(),
        dependency_down(),
        broken(),
        timed_out(),
        busy(),
        back(),
        no_engine(),
        absent(),
    ]
}

/// 2026-11-23T18:20:55Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_458_055)
}

fn moment(ago: u64, text: &str) -> Moment {
    Moment { at: now() - Duration::from_secs(ago), text: text.into() }
}

fn grafana() -> Container {
    Container {
        id: "5f3c8d21b9e0a47c6d18f2b3e4a5968790c1d2e3f40516273849a0b1c2d3e4f5".into(),
        name: "cvat_grafana".into(),
        image: "grafana/grafana-oss:10.1.2".into(),
        created: Some(moment(90_000, "2026-11-22T17:20:55Z")),
        status: Status::Running,
        exit_code: 0,
        oom_killed: false,
        error: "".into(),
        started: Some(moment(42, "2026-11-23T18:20:13Z")),
        finished: Some(moment(61, "2026-11-23T18:19:54Z")),
        restart_count: 0,
        restart_policy: RestartPolicy::No,
        health: None,
        memory_limit: None,
        networks: vec![Attachment {
            network: "cvat_cvat".into(),
            network_id: "n1".into(),
            aliases: vec!["grafana".into()],
            address: IpAddr::from([172, 28, 0, 7]).into(),
        }],
        exposed_ports: vec![3000],
        routed_ports: vec![],
        borrows_network: false,
        compose: Some(Compose {
            project: "cvat".into(),
            service: "cvat_grafana".into(),
            working_dir: "/home/annotation/cvat".into(),
            config_files: vec!["/home/annotation/cvat/docker-compose.yml".into()],
            env_files: vec![],
            depends_on: vec![],
            one_off: false,
        }),
    }
}

fn evidence(target: Target) -> Evidence {
    Evidence {
        seen_at: now(),
        upstream: Upstream::at(Scheme::Http, "grafana", 3000),
        engine: Engine::Available { version: "27.5.1".into() },
        booted_at: None,
        ourselves: None,
        target,
        others: Arc::new([]),
        networks: Arc::new([]),
        probe: None,
        exchange: None,
        strays: Arc::new([]),
        log: Arc::new([]),
        elsewhere: None,
        was_ready: false,
        speaks_http: true,
        bound: None,
        warmup: None,
        seen_for: None,
        events: Arc::new([]),
    }
}

fn found(change: impl FnOnce(&mut Container)) -> Target {
    let mut container = grafana();
    change(&mut container);
    Target::Found(Arc::new(container))
}

fn event(ago: u64, text: &str, action: &str, exit_code: Option<i64>) -> Happening {
    Happening { at: moment(ago, text), action: action.into(), exit_code }
}

fn remedy(command: &str, effect: &str, permanent: bool) -> Remedy {
    Remedy { command: command.into(), effect: effect.say(), permanent }
}

fn down(cause: Cause, lasted: u64, findings: Vec<Finding>, evidence: Evidence) -> Diagnosis {
    let state = State::Down { since: Instant::now(), cause };
    Diagnosis { state, lasted: Duration::from_secs(lasted), findings, evidence }
}

pub fn warming() -> Diagnosis {
    let mut evidence = evidence(found(|_| {}));
    evidence.probe = Some(Failure::Refused { address: IpAddr::from([172, 28, 0, 7]) });
    evidence.events = Arc::new([event(42, "2026-11-23T18:20:13Z", "start", None)]);
    Diagnosis {
        state: State::Warming { since: Instant::now(), attempts: 84, fell: None },
        lasted: Duration::from_secs(42),
        findings: vec![Finding {
            code: Code::TargetWarming,
            severity: Severity::Info,
            confidence: Confidence::Certain,
            title: "The container cvat_grafana runs, but does not accept connections on port 3000 yet.".say(),
            evidence: vec![
                ("state", "running".say()),
                ("started", "42 s ago".say()),
                ("connection", "refused by 172.28.0.7:3000".say()),
            ],
            remedies: vec![],
        }],
        evidence,
    }
}

pub fn exited() -> Diagnosis {
    let mut evidence = evidence(found(|container| {
        container.status = Status::Exited;
        container.exit_code = 1;
        container.started = Some(moment(3720, "2026-11-23T17:18:55Z"));
        container.finished = Some(moment(3600, "2026-11-23T17:20:55Z"));
    }));
    evidence.events = Arc::new([
        event(3720, "2026-11-23T17:18:55Z", "start", None),
        event(3600, "2026-11-23T17:20:55Z", "die", Some(1)),
    ]);
    let cd = "cd /home/annotation/cvat &&\ndocker compose -p cvat -f docker-compose.yml -f docker-compose.override.yml";
    let finding = Finding {
        code: Code::TargetExited,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: "The container cvat_grafana has exited with code 1, and nothing will start it again.".say(),
        evidence: vec![
            ("exit code", "1 (an error of the application)".say()),
            ("restart policy", "no".say()),
            ("finished", "2026-11-23T17:20:55Z".say()),
        ],
        remedies: vec![
            remedy(&format!("{cd} up -d cvat_grafana"), "Starts the container again.", false),
            remedy(
                "services:\n  cvat_grafana:\n    restart: always",
                "Lets the engine start it again after every exit and every reboot. Put it into docker-compose.override.yml.",
                true,
            ),
        ],
    };
    down(Cause::Exited, 3600, vec![finding], evidence)
}

pub fn not_shared() -> Diagnosis {
    let mut evidence = evidence(found(|container| {
        container.networks[0].network = "cvat_default".into();
        container.health =
            Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, last_output: "password=hunter2".into() });
        container.restart_policy = RestartPolicy::Always;
        container.restart_count = 2;
    }));
    evidence.probe = Some(Failure::NameNotResolved { reason: "no such host".into() });
    let files = "docker compose -p cvat -f docker-compose.yml -f components/serverless/docker-compose.serverless.yml \
                 -f docker-compose.override.yml";
    let findings = vec![
        Finding {
            code: Code::NetworkNotShared,
            severity: Severity::Error,
            confidence: Confidence::Certain,
            title: "cvat_grafana is on the network cvat_default only, where nobody can reach it: Traefik and anteroom \
                    are on cvat_cvat."
                .say(),
            evidence: vec![
                ("networks of cvat_grafana", "cvat_default".say()),
                ("networks of anteroom", "cvat_cvat".say()),
                ("name grafana", "not resolved: no such host".say()),
            ],
            remedies: vec![remedy(
                &format!("cd /home/annotation/cvat &&\n{files} down &&\n{files} up -d --remove-orphans"),
                "Removes the project's containers and networks and makes them anew. Volumes, and the data in them, stay.",
                false,
            )],
        },
        Finding {
            code: Code::TargetUnhealthy,
            severity: Severity::Warning,
            confidence: Confidence::Certain,
            title: "The health check of cvat_grafana has failed 3 times in a row.".say(),
            evidence: vec![("health", "unhealthy".say()), ("failing streak", "3".say())],
            remedies: vec![],
        },
    ];
    down(Cause::NetworkNotShared, 615, findings, evidence)
}

/// Grafana runs and says that it is not ready; ClickHouse, which it needs, was killed.
pub fn dependency_down() -> Diagnosis {
    let needed = [("cvat_clickhouse", false), ("cvat_migration", true)];
    let mut evidence = evidence(found(|container| {
        let depends_on = needed.map(|(service, ends)| Dependency { service: service.into(), ends });
        container.compose.as_mut().expect("compose made it").depends_on = depends_on.into();
    }));
    evidence.probe = Some(Failure::NotReady { status: 503 });
    let other = |(service, ends): (&str, bool)| {
        let exit_code = if ends { 0 } else { 137 };
        let mut container = Container { name: service.into(), status: Status::Exited, exit_code, ..grafana() };
        container.compose.as_mut().expect("compose made it").service = service.into();
        container
    };
    evidence.others = needed.map(other).into();
    let finding = Finding {
        code: Code::DependencyDown,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: "cvat_grafana says that it is not healthy, and cvat_clickhouse, which it needs, is exited.".say(),
        evidence: vec![("connection", "grafana:3000: answered 503".say()), ("needed by", "cvat_grafana".say())],
        remedies: vec![remedy("docker start cvat_clickhouse", "Starts the container again.", false)],
    };
    down(Cause::DependencyDown, 90, vec![finding], evidence)
}

fn ready(exchange: Option<Failure>, code: Code, title: &str) -> Diagnosis {
    let mut evidence = evidence(found(|_| {}));
    evidence.exchange = exchange;
    Diagnosis {
        state: State::Ready { since: Instant::now(), despite: None },
        lasted: Duration::from_secs(7000),
        findings: vec![Finding {
            code,
            severity: Severity::Error,
            confidence: Confidence::Certain,
            title: title.say(),
            evidence: vec![("connection", "accepted by 172.28.0.7:3000".say())],
            remedies: vec![remedy("docker logs --tail 50 cvat_grafana", "Shows what it wrote last.", false)],
        }],
        evidence,
    }
}

pub fn broken() -> Diagnosis {
    let title = "cvat_grafana accepted the request and closed the connection before it answered.";
    ready(Some(Failure::ClosedEarly), Code::ClosedEarly, title)
}

pub fn timed_out() -> Diagnosis {
    ready(Some(Failure::NoAnswer), Code::NoAnswer, "cvat_grafana accepted the request and has not answered in 60 s.")
}

pub fn busy() -> Diagnosis {
    ready(Some(Failure::RetryBudgetSpent), Code::RetryBudgetSpent, "Too many requests were tried again.")
}

pub fn back() -> Diagnosis {
    let mut diagnosis = ready(None, Code::TargetWarming, "");
    diagnosis.findings.clear();
    diagnosis
}

pub fn no_engine() -> Diagnosis {
    let mut evidence = evidence(Target::Unknown);
    evidence.engine = Engine::Unavailable { reason: "/var/run/docker.sock: no such file or directory".into() };
    evidence.probe = Some(Failure::ConnectTimeout);
    Diagnosis {
        state: State::Warming { since: Instant::now(), attempts: 3, fell: None },
        lasted: Duration::from_secs(200),
        findings: vec![
            Finding {
                code: Code::ConnectTimeout,
                severity: Severity::Error,
                confidence: Confidence::Certain,
                title: "Connections to port 3000 of grafana are not accepted in time.".say(),
                evidence: vec![("connection", "no answer within 2 s".say())],
                remedies: vec![],
            },
            Finding {
                code: Code::EngineUnavailable,
                severity: Severity::Warning,
                confidence: Confidence::Certain,
                title: "The Docker engine cannot be reached, so the state of the container is not known.".say(),
                evidence: vec![("engine", "/var/run/docker.sock: no such file or directory".say())],
                remedies: vec![remedy(
                    "services:\n  anteroom:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock:ro",
                    "Lets anteroom read container states.",
                    true,
                )],
            },
        ],
        evidence,
    }
}

pub fn absent() -> Diagnosis {
    let finding = Finding {
        code: Code::TargetAbsent,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: "There is no container that serves grafana; cvat_grafana was removed.".say(),
        evidence: vec![("last seen", "2026-11-23T18:19:54Z".say())],
        remedies: vec![],
    };
    down(Cause::Absent, 61, vec![finding], evidence(Target::Absent { last: Some(Arc::new(grafana())) }))
}

/// Every foreign string is an attack.
pub fn hostile() -> Diagnosis {
    const EVIL: &str =
        "evil</script><script>alert(1)</script>\" onload='x' ]]> \u{1b}]0;t\u{7} \u{202e}lru \0 {it} &lt;\r\n\u{7f}";
    let evil = || Box::<str>::from(EVIL);
    let mut evidence = evidence(found(|container| {
        container.id = evil();
        container.name = "evil".repeat(25_000).into();
        container.image = evil();
        container.status = Status::Exited;
        container.error = evil();
        container.started = Some(moment(5, EVIL));
        container.networks =
            vec![Attachment { network: evil(), network_id: evil(), aliases: vec![evil()], address: None }; 1000];
        container.health =
            Some(Health { status: HealthStatus::Unhealthy, failing_streak: 1, last_output: "hunter".into() });
        container.compose = Some(Compose {
            project: evil(),
            service: evil(),
            working_dir: evil(),
            config_files: vec![evil()],
            env_files: vec![],
            depends_on: vec![],
            one_off: true,
        });
    }));
    evidence.upstream.host = EVIL.into();
    evidence.engine = Engine::Forbidden { reason: evil() };
    evidence.events = vec![event(1, EVIL, EVIL, Some(-1)); EVENTS_KEPT].into();
    let finding = Finding {
        code: Code::TargetExited,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: EVIL.repeat(1000).say(),
        evidence: vec![("state", EVIL.say()); 100],
        remedies: vec![remedy(EVIL, EVIL, false), remedy("echo '</code><script>'", EVIL, true)],
    };
    down(Cause::Exited, u64::MAX, vec![finding], evidence)
}
