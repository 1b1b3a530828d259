//! Everything that was seen of the upstream, as plain data.
//!
//! Evidence is gathered by the shell (the engine, the probe, real traffic) and judged by the core. It holds no
//! handle, no future and no clock, so a rule over it is a function that a recorded fixture can test. What must
//! never be shown (a container's environment) is not in here at all: what is not gathered cannot leak.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::phrase::Phrase;
use crate::warmup::Progress;

/// All that is known at one moment. Cheap to clone: the large parts are shared.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// When this was put together.
    pub seen_at: SystemTime,
    /// Where requests should go.
    pub upstream: Upstream,
    /// How the container engine answered when it was last asked.
    pub engine: Engine,
    /// When the host booted, where that can be told.
    pub booted_at: Option<SystemTime>,
    /// Our own container, if we run in one and the engine told us of it.
    pub ourselves: Option<Arc<Container>>,
    /// The container that should serve the upstream.
    pub target: Target,
    /// The other containers of the target's compose project, and every other container that answers to the
    /// upstream's name; neither the target nor ourselves.
    pub others: Arc<[Container]>,
    /// The networks that exist on the host now.
    pub networks: Arc<[Network]>,
    /// Addresses of the upstream's name that do not answer although another one does.
    pub strays: Arc<[Stray]>,
    /// Whether this run of the target has been ready before.
    pub was_ready: bool,
    /// It is asked over HTTP without TLS.
    pub speaks_http: bool,
    /// A port that the target declares, and on which it accepts connections, while it refuses them on the upstream's.
    pub elsewhere: Option<u16>,
    /// Why the newest probe failed; `None` if it passed or none has ended yet.
    pub probe: Option<Failure>,
    /// Why the request at hand failed; `None` if it was never sent.
    pub exchange: Option<Failure>,
    /// What kept the request at hand from being held, or from being held any longer; `None` if nothing did.
    pub bound: Option<Bound>,
    /// How far the target's warm-up has got, if it is known how long it usually takes.
    pub warmup: Option<Progress>,
    /// For how long the target runs, by our own clock, if it was seen to start. The engine's and the wall's may be set.
    pub seen_for: Option<Duration>,
    /// What happened to the target lately, oldest first, at most [`EVENTS_KEPT`].
    pub events: Arc<[Happening]>,
    /// The last lines of the target's log, oldest first, as the engine has them; none where they are not to be read.
    pub log: Arc<[Box<str>]>,
}

impl Evidence {
    /// Whether it is about one request that did not pass, rather than about the upstream alone.
    pub fn is_of_request(&self) -> bool {
        self.exchange.is_some() || self.bound.is_some()
    }
}

/// How many container events are kept: enough for a page's timeline, little enough to render at once.
pub const EVENTS_KEPT: usize = 20;

/// The service behind us, as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub scheme: Scheme,
    /// Host name or address literal, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// The path that says whether it is healthy, if one is set.
    pub ready_path: Option<Arc<str>>,
    /// The services that it needs, where that was configured; else the target's own labels say.
    pub depends_on: Option<Arc<[Dependency]>>,
}

impl Upstream {
    /// One of which nothing else is configured.
    pub fn at(scheme: Scheme, host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { scheme, host: host.into(), port, ready_path: None, depends_on: None }
    }

    /// `grafana:3000`, `[::1]:3000`.
    pub fn authority(&self) -> String {
        format!("{}:{}", written_host(&self.host), self.port)
    }

    /// The same without the port that the scheme implies, as `Host` has it.
    pub fn host_field(&self) -> String {
        if self.port == self.scheme.default_port() { written_host(&self.host).into_owned() } else { self.authority() }
    }
}

/// A host as URLs and `Host` spell it: an IPv6 address has brackets (RFC 3986 §3.2.2).
pub fn written_host(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// What is spoken with the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 in the clear, with prior knowledge (RFC 9113 §3.3).
    H2c,
}

impl Scheme {
    /// As a URL begins.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }

    /// The port that a URL, and a `Host` header, may leave out (RFC 9110 §4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// What the container engine has to say about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Not asked yet.
    Unknown,
    /// It answers. The version is the engine's own word, e.g. `20.10.24`; with [`PODMAN`] before it where that is what
    /// answers.
    Available { version: Box<str> },
    /// Nothing answers: no socket, connection refused, no answer in time. The reason is for people.
    Unavailable { reason: Box<str> },
    /// It is there, but we may not ask (permission denied on the socket, 401 or 403 from a socket proxy).
    Forbidden { reason: Box<str> },
    /// A stand-in of `anteroom demo`: everything the evidence says is simulated, and is labelled so.
    Simulated,
}

/// How the version of an engine begins that is no Docker.
pub const PODMAN: &str = "Podman ";

impl Engine {
    /// Whether it is operated by `podman` rather than by `docker`.
    pub fn is_podman(&self) -> bool {
        matches!(self, Self::Available { version } if version.starts_with(PODMAN))
    }
}

/// What is known of the container behind the upstream's host name.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The engine has not told (yet).
    Unknown,
    /// The engine answers, and no container fits. `last` is the one that did before it was removed.
    Absent { last: Option<Arc<Container>> },
    /// This one.
    Found(Arc<Container>),
}

impl Target {
    /// The container, if there is one now.
    pub fn found(&self) -> Option<&Container> {
        match self {
            Self::Found(container) => Some(container),
            Self::Unknown | Self::Absent { .. } => None,
        }
    }

    /// The container that is there, or else the one that was there last.
    pub fn last_known(&self) -> Option<&Container> {
        match self {
            Self::Found(container) | Self::Absent { last: Some(container) } => Some(container),
            Self::Unknown | Self::Absent { last: None } => None,
        }
    }
}

/// A moment, as the clock knows it and as the engine wrote it (RFC 3339, cut to seconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: SystemTime,
    pub text: Box<str>,
}

/// One container, reduced to what rules and pages need. Field names follow the engine's inspect answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Full id, 64 hex digits.
    pub id: Box<str>,
    /// Name without the leading slash.
    pub name: Box<str>,
    /// The image as it was asked for, e.g. `grafana/grafana-oss:10.1.2`.
    pub image: Box<str>,
    pub created: Option<Moment>,
    pub status: Status,
    /// Exit code of the last run; reads 0 while a looping container is up.
    pub exit_code: i64,
    pub oom_killed: bool,
    /// Why the engine could not start it; empty if it could.
    pub error: Box<str>,
    /// `None` if it never started.
    pub started: Option<Moment>,
    /// `None` if it never ended.
    pub finished: Option<Moment>,
    /// How often the engine restarted it by its policy.
    pub restart_count: u64,
    pub restart_policy: RestartPolicy,
    /// `None` without a health check.
    pub health: Option<Health>,
    /// In bytes; `None` if unlimited.
    pub memory_limit: Option<u64>,
    pub networks: Vec<Attachment>,
    /// It lives in the network of another container or of the host (`network_mode`), and has none of its own.
    pub borrows_network: bool,
    /// TCP ports that the image or the container declares.
    pub exposed_ports: Vec<u16>,
    /// Ports to which its labels have Traefik send requests.
    pub routed_ports: Vec<u16>,
    /// Where the container came from, if compose made it.
    pub compose: Option<Compose>,
}

impl Container {
    /// Whether the image, the container or a label of it says that it serves this port.
    pub fn declares(&self, port: u16) -> bool {
        self.exposed_ports.contains(&port) || self.routed_ports.contains(&port)
    }

    /// The ports of which one of them says so, the lowest first.
    pub fn declared_ports(&self) -> Vec<u16> {
        let mut ports = [&self.exposed_ports[..], &self.routed_ports].concat();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether it belongs to this service of a project, and is not made for one command.
    pub fn serves(&self, project: &str, service: &str) -> bool {
        self.compose.as_ref().is_some_and(|its| *its.project == *project && *its.service == *service && !its.one_off)
    }
}

/// `State.Status` of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    /// Between two runs of a restart policy. The engine says `Running: true` here too.
    Restarting,
    Removing,
    Exited,
    Dead,
    /// A word that this version does not know.
    Other,
}

impl Status {
    /// The engine's own word; not translated, since it is what `docker ps` prints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Other => "unknown",
        }
    }
}

/// `HostConfig.RestartPolicy`. An empty name (compose) and `no` (`docker run`) are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    No,
    Always,
    UnlessStopped,
    /// With the most retries that are allowed; 0 means without limit.
    OnFailure {
        most: u64,
    },
}

/// In compose's words.
impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure { most: 0 } => f.write_str("on-failure"),
            Self::OnFailure { most } => write!(f, "on-failure:{most}"),
        }
    }
}

/// `State.Health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub status: HealthStatus,
    /// Failed checks in a row.
    pub failing_streak: u64,
    /// What the last check printed. Foreign bytes; shown at detail `full` only, redacted.
    pub last_output: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// The engine's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name, e.g. `cvat_cvat`.
    pub network: Box<str>,
    /// The network's id as the container remembers it: not that of the live network after a re-creation.
    pub network_id: Box<str>,
    /// Names that the engine's resolver answers to on this network.
    pub aliases: Vec<Box<str>>,
    pub address: Option<IpAddr>,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub id: Box<str>,
    pub name: Box<str>,
}

/// What the labels `com.docker.compose.*` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compose {
    pub project: Box<str>,
    pub service: Box<str>,
    /// `project.working_dir`; empty if the label is missing.
    pub working_dir: Box<str>,
    /// `project.config_files`, split at its commas; mostly absolute paths.
    pub config_files: Vec<Box<str>>,
    /// `project.environment_file`: those that were given by `--env-file`; none for the default `.env`.
    pub env_files: Vec<Box<str>>,
    /// `depends_on`: the services of the same project that this one needs.
    pub depends_on: Vec<Dependency>,
    /// Made by `docker compose run`.
    pub one_off: bool,
}

/// A service that another one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub service: Box<str>,
    /// It has done its work when it has exited with 0 (`service_completed_successfully`), and is not needed any more.
    pub ends: bool,
}

/// A container event, for the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub at: Moment,
    /// The engine's word: `start`, `die`, `oom`, `health_status: unhealthy`, ...
    pub action: Box<str>,
    pub exit_code: Option<i64>,
}

/// Why an upstream could not be reached or did not answer: of a probe, or of a real request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The resolver does not know the name, or does not answer. The text is the resolver's, where it said any.
    NameNotResolved { reason: Phrase },
    /// A single-label name resolved to an address outside our own networks: not connected to.
    NameResolvedOutside { address: IpAddr },
    /// Connection refused by the address.
    Refused { address: IpAddr },
    /// No route, network unreachable, or any other error of `connect`.
    Unreachable { reason: Box<str> },
    /// No answer to the connection attempt in time.
    ConnectTimeout,
    /// Connected, but no TLS came about: a certificate, a version, or no TLS at all on the other side. In words, which
    /// may quote the other side.
    Tls { reason: Phrase },
    /// The connection was closed or reset before the head of an answer.
    ClosedEarly,
    /// The head of the answer did not come in time.
    NoAnswer,
    /// What came in answer to plain HTTP is TLS.
    SpeaksTls,
    /// What came is not HTTP.
    NotHttp { reason: Phrase },
    /// The ready path answered, but neither 2xx nor 3xx; or a request got a 502, 503 or 504, as all did so far.
    NotReady { status: u16 },
    /// It failed in a way that may be tried again, but the retries of the last seconds used up what is allowed.
    RetryBudgetSpent,
    /// It was never sent: it had been here before.
    Loop,
}

/// An address of the upstream's name that leads nowhere while another one answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub address: IpAddr,
    pub failure: Failure,
}

/// What bounds the holding of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many are held already.
    Number { most: usize },
    /// The heads of those that are held, and its own, would take more than so many bytes.
    Bytes { most: usize },
    /// It was held for so long, which is as long as its kind may be.
    Patience { held: Duration },
}
