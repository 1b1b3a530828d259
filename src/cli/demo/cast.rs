//! The containers of the demo: named, labelled and connected like those of a CVAT deployment, and none of them real.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::engine::{Errors, Sighting};
use crate::evidence::{
    Attachment, Compose, Container, EVENTS_KEPT, Engine, Happening, Moment, Network, RestartPolicy, Status, Target,
};

const NETWORK: &str = "cvat_cvat";
const NETWORK_ID: &str = "d3305e1ec0de0000000000000000000000000000000000000000000000000000";
/// The others have been up for a while when the curtain rises.
const UP_BEFORE: Duration = Duration::from_secs(3600);

/// Who is on stage besides the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    ClickHouse,
    Vector,
    Traefik,
}

impl Role {
    const ALL: [Self; 4] = [Self::Server, Self::ClickHouse, Self::Vector, Self::Traefik];

    /// Service (and container), alias, image.
    fn of(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Server => ("cvat_server", "cvat-server", "cvat/server:v2.15.0"),
            Self::ClickHouse => ("cvat_clickhouse", "clickhouse", "clickhouse/clickhouse-server:23.11-alpine"),
            Self::Vector => ("cvat_vector", "vector", "timberio/vector:0.26.0-alpine"),
            Self::Traefik => ("traefik", "traefik", "traefik:v3.7"),
        }
    }
}

/// Moves the target and its neighbours, and tells of it.
pub(super) struct Cast {
    engine: watch::Sender<Sighting>,
    target: Container,
    others: Vec<(Role, Container)>,
    events: Vec<Happening>,
}

impl Cast {
    /// The target is created, the others run. Nothing is told before something happens.
    pub(super) fn new(engine: watch::Sender<Sighting>) -> Self {
        let now = SystemTime::now();
        let others = Role::ALL.map(|role| (role, running_since(role, now - UP_BEFORE)));
        let target = container("cvat_grafana", "grafana", "grafana/grafana-oss:10.1.2", now);
        Self { engine, target, others: others.into(), events: Vec::new() }
    }

    /// The target has been up for as long as the others: what ails it is no slow start.
    pub(super) fn has_run(&mut self) {
        let started = moment(SystemTime::now() - UP_BEFORE);
        self.target.created = Some(started.clone());
        self.target.started = Some(started.clone());
        self.target.status = Status::Running;
        self.events.push(Happening { at: started, action: "start".into(), exit_code: None });
        self.tell();
    }

    /// The target's process starts.
    pub(super) fn starts(&mut self) {
        if self.target.status == Status::Restarting {
            self.target.restart_count += 1;
        }
        self.target.status = Status::Running;
        // The engine forgets the last exit code while the next run lasts.
        self.target.exit_code = 0;
        self.target.started = Some(moment(SystemTime::now()));
        self.happens("start", None);
        self.tell();
    }

    /// The target has started and died before, long enough ago to look at ease and recently enough to count.
    pub(super) fn died_before(&mut self, times: u32, every: Duration, exit_code: i64) {
        self.target.restart_policy = RestartPolicy::Always;
        self.target.status = Status::Restarting;
        self.target.restart_count = u64::from(times);
        self.target.exit_code = exit_code;
        let now = SystemTime::now();
        for round in (1..=times).rev() {
            let died = now - every * round;
            self.events.push(Happening { at: moment(died - every / 2), action: "start".into(), exit_code: None });
            self.events.push(Happening { at: moment(died), action: "die".into(), exit_code: Some(exit_code) });
        }
    }

    /// The target's process ends, and its container is then what `status` says.
    pub(super) fn dies(&mut self, exit_code: i64, status: Status) {
        self.target.status = status;
        self.target.exit_code = exit_code;
        self.target.finished = Some(moment(SystemTime::now()));
        self.happens("die", Some(exit_code));
        self.tell();
    }

    /// Somebody else has exited already.
    pub(super) fn loses(&mut self, role: Role, exit_code: i64) {
        let now = SystemTime::now();
        for (_, container) in self.others.iter_mut().filter(|(other, _)| *other == role) {
            container.status = Status::Exited;
            container.exit_code = exit_code;
            container.finished = Some(moment(now));
        }
    }

    fn happens(&mut self, action: &str, exit_code: Option<i64>) {
        if self.events.len() == EVENTS_KEPT {
            self.events.remove(0);
        }
        self.events.push(Happening { at: moment(SystemTime::now()), action: action.into(), exit_code });
    }

    fn tell(&self) {
        self.engine.send_replace(Sighting {
            engine: Engine::Simulated,
            ourselves: None,
            target: Target::Found(Arc::new(self.target.clone())),
            others: self.others.iter().map(|(_, container)| container.clone()).collect(),
            networks: Arc::new([Network { id: NETWORK_ID.into(), name: NETWORK.into() }]),
            events: self.events.as_slice().into(),
            log: Arc::new([]),
            errors: Errors::default(),
        });
    }
}

fn running_since(role: Role, started: SystemTime) -> Container {
    let (service, alias, image) = role.of();
    let started = Some(moment(started));
    let restart_policy = RestartPolicy::Always;
    Container {
        status: Status::Running,
        started,
        restart_policy,
        ..container(service, alias, image, SystemTime::now())
    }
}

fn container(service: &str, alias: &str, image: &str, created: SystemTime) -> Container {
    Container {
        id: id_of(service),
        name: service.into(),
        image: image.into(),
        created: Some(moment(created)),
        status: Status::Created,
        exit_code: 0,
        oom_killed: false,
        error: "".into(),
        started: None,
        finished: None,
        restart_count: 0,
        // As CVAT had it until October 2024, which is why a stopped Grafana stays away.
        restart_policy: RestartPolicy::No,
        health: None,
        memory_limit: None,
        networks: vec![Attachment {
            network: NETWORK.into(),
            network_id: NETWORK_ID.into(),
            aliases: vec![alias.into(), service.into()],
            address: None,
        }],
        exposed_ports: Vec::new(),
        routed_ports: vec![],
        borrows_network: false,
        compose: Some(Compose {
            project: "cvat".into(),
            service: service.into(),
            working_dir: "/opt/cvat".into(),
            config_files: vec![
                "/opt/cvat/docker-compose.yml".into(),
                "/opt/cvat/components/serverless/docker-compose.serverless.yml".into(),
                "/opt/cvat/docker-compose.override.yml".into(),
            ],
            env_files: vec![],
            depends_on: vec![],
            one_off: false,
        }),
    }
}

/// 64 hex digits that nobody takes for real ones: the name's bytes, and zeros.
fn id_of(service: &str) -> Box<str> {
    let hex: String = service.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64}").into()
}

fn moment(at: SystemTime) -> Moment {
    Moment { at, text: humantime::format_rfc3339_seconds(at).to_string().into() }
}
