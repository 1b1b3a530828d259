//! A CVAT deployment as the engine shows it, and the ways in which it was seen to fail.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::evidence::{
    Attachment, Compose, Container, Engine, Evidence, Failure, Happening, Health, HealthStatus, Moment, Network,
    RestartPolicy, Scheme, Status, Target, Upstream,
};

pub(super) const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// The files of CVAT with serverless functions and an override, as the labels carry them.
pub(super) const FILES: [&str; 3] = [
    "/home/ops/cvat/docker-compose.yml",
    "/home/ops/cvat/components/serverless/docker-compose.serverless.yml",
    "/home/ops/cvat/docker-compose.override.yml",
];
/// What every command for that deployment begins with.
pub(super) const COMPOSE: &str = "cd /home/ops/cvat &&\ndocker compose -p cvat -f docker-compose.yml -f \
     components/serverless/docker-compose.serverless.yml -f docker-compose.override.yml";

pub(super) const NETWORK: &str = "5f0c3a9e41d27b86";
pub(super) const OTHER_NETWORK: &str = "c41b7702d99eaa05";
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 5));

/// 2024-07-20T12:00:00Z.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_721_476_800)
}

pub(super) fn before(seconds: u64) -> SystemTime {
    now() - Duration::from_secs(seconds)
}

/// A moment that many seconds ago, at most twenty days.
pub(crate) fn ago(seconds: u64) -> Option<Moment> {
    let (days, left) = ((20 * DAY + 12 * HOUR - seconds) / DAY, (20 * DAY + 12 * HOUR - seconds) % DAY);
    let text = format!("2024-07-{days:02}T{:02}:{:02}:{:02}Z", left / HOUR, left % HOUR / MINUTE, left % MINUTE);
    Some(Moment { at: before(seconds), text: text.into() })
}

pub(super) fn compose(service: &str) -> Compose {
    Compose {
        project: "cvat".into(),
        service: service.into(),
        working_dir: "/home/ops/cvat".into(),
        config_files: FILES.iter().map(|&file| file.into()).collect(),
        env_files: vec![],
        depends_on: vec![],
        one_off: false,
    }
}

pub(super) fn attachment(network: &str, id: &str, aliases: &[&str]) -> Attachment {
    Attachment {
        network: network.into(),
        network_id: id.into(),
        aliases: aliases.iter().map(|&alias| alias.into()).collect(),
        address: Some(ADDRESS),
    }
}

/// A container of the project that has been running for two days and came back with its policy then.
pub(super) fn container(service: &str) -> Container {
    Container {
        id: format!("{service:a<64}").into(),
        name: service.into(),
        image: format!("example/{service}:1").into(),
        created: ago(10 * DAY),
        status: Status::Running,
        exit_code: 0,
        oom_killed: false,
        error: "".into(),
        started: ago(2 * DAY),
        finished: None,
        restart_count: 0,
        restart_policy: RestartPolicy::Always,
        health: None,
        memory_limit: None,
        networks: vec![attachment("cvat_cvat", NETWORK, &[service])],
        exposed_ports: vec![],
        routed_ports: vec![],
        borrows_network: false,
        compose: Some(compose(service)),
    }
}

/// CVAT's Grafana before October 2024: no restart policy, no health check.
pub(crate) fn grafana() -> Container {
    Container {
        image: "grafana/grafana-oss:10.1.2".into(),
        restart_policy: RestartPolicy::No,
        networks: vec![attachment("cvat_cvat", NETWORK, &["cvat_grafana", "grafana"])],
        exposed_ports: vec![3000],
        routed_ports: vec![],
        ..container("cvat_grafana")
    }
}

/// Grafana, ended that many seconds ago after a day's run.
pub(super) fn ended(exit_code: i64, seconds: u64) -> Container {
    Container { status: Status::Exited, exit_code, started: ago(seconds + DAY), finished: ago(seconds), ..grafana() }
}

pub(super) fn health(status: HealthStatus, failing_streak: u64) -> Option<Health> {
    Some(Health { status, failing_streak, last_output: "wget: can't connect".into() })
}

pub(super) fn happening(seconds: u64, action: &str, exit_code: Option<i64>) -> Happening {
    Happening { at: ago(seconds).expect("it is a moment"), action: action.into(), exit_code }
}

/// A healthy deployment: anteroom, Grafana and their neighbours; the last probe passed.
pub(super) fn evidence() -> Evidence {
    with(grafana())
}

/// The deployment with this container as its Grafana.
pub(crate) fn with(grafana: Container) -> Evidence {
    let networks = [(NETWORK, "cvat_cvat"), ("0000aaaa1111bbbb", "bridge"), (OTHER_NETWORK, "monitoring_default")];
    Evidence {
        seen_at: now(),
        upstream: Upstream::at(Scheme::Http, "grafana", 3000),
        engine: Engine::Available { version: "20.10.24".into() },
        booted_at: Some(before(15 * DAY)),
        ourselves: Some(Arc::new(container("cvat_anteroom"))),
        target: Target::Found(Arc::new(grafana)),
        others: ["traefik", "cvat_server", "cvat_clickhouse"].map(container).into(),
        networks: networks.map(|(id, name)| Network { id: id.into(), name: name.into() }).into(),
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

/// What the engine knows nothing of: no target, no one else.
pub(super) fn blind(engine: Engine) -> Evidence {
    Evidence {
        engine,
        ourselves: None,
        target: Target::Unknown,
        others: Arc::new([]),
        networks: Arc::new([]),
        ..evidence()
    }
}

pub(crate) fn refused() -> Option<Failure> {
    Some(Failure::Refused { address: ADDRESS })
}

pub(super) fn not_resolved() -> Option<Failure> {
    Some(Failure::NameNotResolved { reason: "no such host".into() })
}

pub(super) fn resolved_outside() -> Option<Failure> {
    Some(Failure::NameResolvedOutside { address: IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34)) })
}

/// Everything was ended by one shutdown that many seconds ago and came back a minute later, but Grafana.
pub(super) fn shut_down(exit_code: i64, seconds: u64) -> Evidence {
    let back =
        |container: Container| Container { started: ago(seconds - MINUTE), finished: ago(seconds - 4), ..container };
    Evidence {
        ourselves: Some(Arc::new(back(container("cvat_anteroom")))),
        others: ["traefik", "cvat_server", "cvat_clickhouse"].map(|service| back(container(service))).into(),
        ..with(ended(exit_code, seconds))
    }
}

/// Grafana between two crashes of a loop.
pub(super) fn looping() -> Container {
    Container {
        status: Status::Restarting,
        exit_code: 1,
        started: ago(3),
        finished: ago(2),
        restart_count: 7,
        restart_policy: RestartPolicy::Always,
        ..grafana()
    }
}
