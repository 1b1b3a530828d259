//! What an engine would tell, for tests that play it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anteroom::engine::Sighting;
use anteroom::evidence::{Compose, Container, Engine, Moment, RestartPolicy, Status, Target};

/// Grafana's container, as an engine would describe it.
pub fn container(status: Status) -> Container {
    let moment =
        |ago| Some(Moment { at: SystemTime::now() - Duration::from_secs(ago), text: "2026-01-01T00:00:00Z".into() });
    Container {
        id: "4f1d".repeat(16).into(),
        name: "cvat_grafana".into(),
        image: "grafana/grafana-oss:10.1.2".into(),
        created: moment(600),
        status,
        exit_code: if status == Status::Exited { 1 } else { 0 },
        oom_killed: false,
        error: "".into(),
        started: moment(500),
        finished: (status == Status::Exited).then(|| moment(60)).flatten(),
        restart_count: 0,
        restart_policy: RestartPolicy::No,
        health: None,
        memory_limit: None,
        networks: vec![],
        exposed_ports: vec![3000],
        routed_ports: vec![],
        borrows_network: false,
        compose: Some(Compose {
            project: "cvat".into(),
            service: "cvat_grafana".into(),
            working_dir: "/opt/cvat".into(),
            config_files: vec!["/opt/cvat/docker-compose.yml".into()],
            env_files: vec![],
            depends_on: vec![],
            one_off: false,
        }),
    }
}

/// The target is in this state; each call tells of another run of it.
pub fn sighting(status: Status) -> Sighting {
    Sighting {
        engine: Engine::Available { version: "20.10.24".into() },
        target: Target::Found(Arc::new(container(status))),
        ..Sighting::default()
    }
}
