#![no_main]
//! Pages about hostile names and errors: nothing leaves its place, and no secret is told.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anteroom::config::Detail;
use anteroom::diagnosis::diagnose;
use anteroom::evidence::{
    Attachment, Bound, Compose, Container, Dependency, Engine, Evidence, Failure, Happening, Health, HealthStatus,
    Moment, Network, RestartPolicy, Scheme, Status, Stray, Target, Upstream,
};
use anteroom::page::{Audience, Brand, Format, Language, render};
use anteroom::readiness::State;
use anteroom::warmup::{Progress, Usual};
use libfuzzer_sys::fuzz_target;

/// What must not be told, and what must not become markup.
const SECRET: &str = "hunter2planted";
const MARK: &str = "<fuzz";

fuzz_target!(|input: ([u8; 12], i64, Vec<String>)| {
    let (choices, exit_code, texts) = input;
    let mut given = texts.iter().cycle();
    let mut text = move || format!("{}{MARK}>'\"&", given.next().map_or("", String::as_str));
    let error = |text: String| format!("https://robot:{SECRET}@registry/ --token={SECRET} {text}");
    let moment = |choice: u8, text: String| {
        (choice > 60).then(|| Moment {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 60 * u64::from(choice)),
            text: text.into(),
        })
    };
    let status = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Removing,
        Status::Exited,
        Status::Dead,
    ];
    let policies =
        [RestartPolicy::No, RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::OnFailure { most: 3 }];
    let pick = |choice: u8, among: usize| usize::from(choice) % among;
    let mut container = |choices: &[u8]| Container {
        id: "a".repeat(64).into(),
        name: text().into(),
        image: text().into(),
        created: moment(choices[0], text()),
        status: status[pick(choices[1], status.len())],
        exit_code,
        oom_killed: choices[2] % 5 == 0,
        error: if choices[2] % 2 == 0 { error(text()).into() } else { "".into() },
        started: moment(choices[3], text()),
        finished: moment(choices[4], text()),
        restart_count: choices[5].into(),
        restart_policy: policies[pick(choices[6], policies.len())],
        health: (choices[7] % 2 == 0).then(|| Health {
            status: if choices[7] % 4 == 0 { HealthStatus::Unhealthy } else { HealthStatus::Starting },
            failing_streak: choices[7].into(),
            last_output: error(text()).into(),
        }),
        memory_limit: Some(1 << 30),
        networks: vec![Attachment {
            network: text().into(),
            network_id: text().into(),
            aliases: vec![text().into()],
            address: None,
        }],
        exposed_ports: vec![choices[8].into()],
        routed_ports: vec![],
        borrows_network: false,
        compose: (choices[8] % 2 == 0).then(|| Compose {
            project: text().into(),
            service: text().into(),
            working_dir: format!("/{}", text()).into(),
            config_files: vec![text().into(), format!("/{}", text()).into()],
            env_files: vec![text().into()],
            depends_on: vec![Dependency { service: text().into(), ends: choices[8] % 4 == 0 }],
            one_off: choices[8] % 8 == 0,
        }),
    };
    let (target, other, ourselves) = (container(&choices[..9]), container(&choices[2..11]), container(&choices[3..]));
    let reason = error(target.name.to_string());
    let failures = [
        None,
        Some(Failure::NotHttp { reason: reason.clone().into() }),
        Some(Failure::NameNotResolved { reason: reason.clone().into() }),
        Some(Failure::Unreachable { reason: reason.clone().into() }),
        Some(Failure::Tls { reason: reason.into() }),
        Some(Failure::NoAnswer),
        Some(Failure::Loop),
    ];
    let evidence = Evidence {
        seen_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_020_000),
        was_ready: choices[9] % 2 == 0,
        upstream: Upstream::at(Scheme::Http, target.image.to_string(), 3000),
        speaks_http: choices[8] % 2 == 0,
        engine: Engine::Available { version: other.image.clone() },
        booted_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_010_000)),
        networks: [Network { id: other.name.clone(), name: other.image.clone() }].into(),
        events: moment(200, String::new())
            .map(|at| Happening { at, action: other.name.clone(), exit_code: Some(exit_code) })
            .into_iter()
            .collect(),
        ourselves: Some(Arc::new(ourselves)),
        target: match choices[9] % 4 {
            0 => Target::Absent { last: Some(Arc::new(target)) },
            1 => Target::Unknown,
            _ => Target::Found(Arc::new(target)),
        },
        others: [other].into(),
        probe: failures[pick(choices[10], failures.len())].clone(),
        exchange: failures[pick(choices[11], failures.len())].clone(),
        bound: (choices[10] % 3 == 0).then(|| Bound::Patience { held: Duration::from_millis(choices[11].into()) }),
        elsewhere: Some(choices[9].into()).filter(|port| *port > 100),
        log: choices.iter().map(|_| text().into()).collect(),
        strays: failures[pick(choices[9], failures.len())]
            .clone()
            .map(|failure| Stray { address: std::net::Ipv4Addr::LOCALHOST.into(), failure })
            .into_iter()
            .collect(),
        seen_for: (choices[9] % 3 == 0).then(|| Duration::from_secs(u64::from(choices[9]))),
        warmup: (choices[9] % 2 == 0).then(|| Progress {
            usual: Usual {
                median: Duration::from_secs(choices[10].into()),
                p95: Duration::from_secs(choices[11].into()),
                count: 1,
            },
            elapsed: Duration::from_secs(exit_code.unsigned_abs()),
        }),
    };
    let since = Instant::now();
    let brand = Brand::default();
    for state in [State::Unknown, State::Warming { since, attempts: 3, fell: None }, State::Suspect { since }] {
        let diagnosis = diagnose(state, Duration::from_secs(exit_code.unsigned_abs() % 10_000), evidence.clone());
        for detail in [Detail::Summary, Detail::State, Detail::Full] {
            let language = Language::all().nth(pick(choices[0], 2)).unwrap_or(Language::ENGLISH);
            let audience = Audience { detail, repeatable: true, request_id: "0123", language, brand: &brand };
            for format in [Format::Html, Format::Problem, Format::Text] {
                let body = render(&diagnosis, &audience, format).body;
                assert!(!body.contains(SECRET), "{body}");
                match format {
                    Format::Html => assert!(!body.contains(MARK), "{body}"),
                    Format::Problem => drop(serde_json::from_str::<serde_json::Value>(&body).expect("JSON")),
                    Format::Text => assert!(!body.contains(|c: char| c.is_control() && c != '\n'), "{body:?}"),
                }
            }
        }
    }
});
