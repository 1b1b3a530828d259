//! Every setting, in one table: name, default, unit and meaning. [`parse`] is pure: it turns arguments and
//! environment into a [`Config`], or into all that is wrong with them at once.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::{Scheme, Upstream};

mod brand;
mod notify;
mod peers;
mod settings;
mod value;

pub use brand::{Brand, Support};
pub use notify::{Notify, Receiver, Template};
pub use peers::TrustedPeers;
pub use settings::{Fallback, LATER, Later, SETTINGS, Setting};
pub use value::host_and_port;

/// What `anteroom serve` runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests arrive.
    pub listen: SocketAddr,
    /// Health, readiness and status for operators.
    pub admin_listen: SocketAddr,
    pub upstream: Upstream,
    pub patience: Patience,
    /// How long a target that was ready and died may stay away before waiting counts as pointless.
    pub grace: Duration,
    /// Requests held at once; more are answered at once.
    pub max_held: usize,
    /// Bytes of one request's body that are kept for a retry.
    pub replay_bytes: usize,
    /// Where what is beyond that goes while a request is held; `None` is nowhere.
    pub spool: Option<Spool>,
    pub connect_timeout: Duration,
    /// Until the answer's head; streams and upgrades have no limit.
    pub response_timeout: Duration,
    pub limits: Limits,
    pub host_header: HostHeader,
    /// Whose forwarding headers are believed.
    pub trusted_peers: TrustedPeers,
    pub detail: Detail,
    /// How an operator makes the page their own.
    pub brand: Brand,
    /// Name or id of the target, where it cannot be found.
    pub container: Option<Arc<str>>,
    /// Where to remember what was learned, over a restart.
    pub state_dir: Option<Arc<Path>>,
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// A tracing filter, e.g. `info` or `anteroom=debug`.
    pub log: String,
    pub log_format: LogFormat,
    /// `DOCKER_HOST`; `None` is the usual socket.
    pub docker_host: Option<String>,
    /// What TLS is served with; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// What an `https://` upstream is spoken to with.
    pub upstream_tls: UpstreamTls,
    /// Who is told that the upstream is down, or back; `None` is nobody.
    pub notify: Option<Notify>,
}

/// Where the bodies of held requests go that are too large for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    pub folder: Arc<Path>,
    /// Of all of them together.
    pub bytes: u64,
}

/// The files that TLS is served with. What is in them is for the shell to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub identity: Identity,
    /// With it, clients must show a certificate that one of these has signed.
    pub client_ca: Option<Arc<Path>>,
}

/// The files that TLS is spoken to the upstream with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The roots to trust instead of the system's.
    pub ca: Option<Arc<Path>>,
    /// What we show of ourselves, where the upstream asks.
    pub identity: Option<Identity>,
}

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: Arc<Path>,
    pub key: Arc<Path>,
}

/// How long a request may be held, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A page view: someone looks at a blank tab meanwhile.
    pub navigation: Duration,
    /// Anything else.
    pub request: Duration,
    /// A WebSocket or an event stream: its client may never come back once it was refused.
    pub stream: Duration,
}

/// What one client may take. `docs/limits.md` says what happens at the end of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, of all clients.
    pub connections: usize,
    /// Bytes of a head, and how many fields are in it.
    pub header_bytes: usize,
    pub headers: usize,
    /// From a head's first byte to its end; also for a TLS handshake.
    pub header_timeout: Duration,
    /// How long a connection may be silent between requests, or take nothing of its answer.
    pub idle_timeout: Duration,
    /// Requests on one connection, if they are limited.
    pub requests: Option<NonZeroUsize>,
    /// Bytes of a request's body, if they are limited.
    pub body_bytes: Option<u64>,
}

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The one that the client sent.
    Preserve,
    /// The upstream's own host and port.
    Upstream,
}

/// How much a page tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// No names: what happened, for visitors.
    Summary,
    /// State, findings, remedies.
    State,
    /// Also redacted log and health output.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What [`parse`] reads. It asks nothing of the system itself.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Flags without their dashes, and their values.
    pub flags: &'a [(String, String)],
    /// The whole environment.
    pub environment: &'a [(String, String)],
    /// How many threads can run at once.
    pub cores: NonZeroUsize,
    /// Says what is wrong with a tracing filter. The grammar belongs to the subscriber, which the core does not know.
    pub check_log: fn(&str) -> Result<(), String>,
}

/// A setting that is wrong. Its text shows no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// As it was written: `ANTEROOM_LISTEN`, or `--listen`.
    pub setting: String,
    /// The value as it may be shown; `None` where there is none or it may be a secret.
    pub value: Option<String>,
    /// What is wrong, and what is right.
    pub reason: String,
}

impl Invalid {
    /// Of a setting that names a file or folder.
    pub fn path(setting: &str, path: &Path, reason: impl fmt::Display) -> Self {
        let value = Some(format!("{:?}", path.display().to_string()));
        Self { setting: setting.to_owned(), value, reason: reason.to_string() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, reason } = self;
        match value {
            Some(value) => write!(f, "{setting}={value} {reason}"),
            None => write!(f, "{setting} {reason}"),
        }
    }
}

/// A variable that looks like one of ours and is none: perhaps misspelt, perhaps another program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub name: String,
    /// What may have been meant.
    pub similar: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no setting and is ignored", self.name)?;
        self.similar.map_or(Ok(()), |similar| write!(f, "; did you mean {similar}?"))
    }
}

/// Reads every setting. A flag wins over the environment, and an empty value counts as unset.
///
/// # Errors
/// Everything that is wrong, at once, in the order of [`SETTINGS`].
pub fn parse(input: Input<'_>) -> Result<(Config, Vec<Unknown>), Vec<Invalid>> {
    let mut reader = Reader { input, invalid: Vec::new() };

    let upstream = reader.read("ANTEROOM_UPSTREAM", value::upstream);
    let listen = reader.read("ANTEROOM_LISTEN", value::address);
    let admin_listen = reader.read("ANTEROOM_ADMIN_LISTEN", value::address);
    if let (Some(listen), Some(admin)) = (listen, admin_listen)
        && collide(listen, admin)
    {
        reader.refuse("ANTEROOM_ADMIN_LISTEN", "is taken by ANTEROOM_LISTEN: choose another port".to_owned());
    }
    let ready_path = reader.read_optional("ANTEROOM_READY_PATH", value::path);
    let navigation = reader.read("ANTEROOM_PATIENCE_NAVIGATION", value::duration);
    let request = reader.read("ANTEROOM_PATIENCE_REQUEST", value::duration);
    let stream = reader.read("ANTEROOM_PATIENCE_STREAM", value::duration);
    let grace = reader.read("ANTEROOM_GRACE", value::duration);
    let max_held = reader.read("ANTEROOM_MAX_HELD", |text| value::count(text, 0..=1_000_000));
    let replay_bytes = reader.read("ANTEROOM_REPLAY_BYTES", |text| value::size(text, 0..=REPLAY_MOST));
    let spool = reader.read_spool();
    let connect_timeout = reader.read("ANTEROOM_CONNECT_TIMEOUT", value::timeout);
    let response_timeout = reader.read("ANTEROOM_RESPONSE_TIMEOUT", value::timeout);
    let limits = limits(&mut reader);
    let host_header = reader.read("ANTEROOM_HOST_HEADER", |text| {
        value::one_of(text, &[("preserve", HostHeader::Preserve), ("upstream", HostHeader::Upstream)])
    });
    let trusted_peers = reader.read("ANTEROOM_TRUSTED_PEERS", peers::trusted_peers);
    let detail = reader.read("ANTEROOM_DETAIL", detail);
    let brand = brand::read(&mut reader);
    let container = reader.read_optional("ANTEROOM_CONTAINER", value::container);
    let state_dir = reader.read_optional("ANTEROOM_STATE_DIR", value::directory);
    let depends_on = reader.read_optional("ANTEROOM_DEPENDS_ON", value::services);
    let threads = reader.read_optional("ANTEROOM_THREADS", |text| value::count(text, 1..=512));
    let log = reader.read("ANTEROOM_LOG", |text| (input.check_log)(text).map(|()| text.to_owned()));
    let log_format = reader.read("ANTEROOM_LOG_FORMAT", |text| {
        value::one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let tls = reader.read_tls();
    let upstream_tls = reader.read_upstream_tls(upstream.as_ref().map(|(scheme, ..)| *scheme));
    let notify = notify::read(&mut reader);
    let docker_host = reader.read_optional("DOCKER_HOST", value::docker_host);
    reader.refuse_later();

    let config = || {
        let (scheme, host, port) = upstream?;
        Some(Config {
            listen: listen?,
            admin_listen: admin_listen?,
            upstream: Upstream { ready_path, depends_on, ..Upstream::at(scheme, host, port) },
            patience: Patience { navigation: navigation?, request: request?, stream: stream? },
            grace: grace?,
            max_held: max_held?,
            replay_bytes: replay_bytes?,
            spool,
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            limits: limits?,
            host_header: host_header?,
            trusted_peers: trusted_peers?,
            detail: detail?,
            brand,
            container,
            state_dir,
            threads: threads.and_then(NonZeroUsize::new).unwrap_or(input.cores),
            log: log?,
            log_format: log_format?,
            docker_host,
            tls,
            upstream_tls,
            notify,
        })
    };
    match config() {
        Some(config) if reader.invalid.is_empty() => Ok((config, unknown(input.environment))),
        Some(_) | None => Err(reader.invalid),
    }
}

/// All bodies together may keep this many bytes, so one may not keep more.
const REPLAY_MOST: usize = 64 << 20;

fn limits(reader: &mut Reader<'_>) -> Option<Limits> {
    let connections = reader.read("ANTEROOM_MAX_CONNECTIONS", |text| value::count(text, 1..=1_000_000));
    let header_bytes = reader.read("ANTEROOM_MAX_HEADER_BYTES", |text| value::size(text, 8 << 10..=1 << 20));
    let headers = reader.read("ANTEROOM_MAX_HEADERS", |text| value::count(text, 10..=10_000));
    let header_timeout = reader.read("ANTEROOM_HEADER_TIMEOUT", value::timeout);
    let idle_timeout = reader.read("ANTEROOM_IDLE_TIMEOUT", value::timeout);
    let requests = reader.read_optional("ANTEROOM_MAX_REQUESTS", |text| value::count(text, 1..=usize::MAX));
    let body_bytes = reader.read_optional("ANTEROOM_MAX_BODY_BYTES", |text| value::size(text, 0..=usize::MAX));
    Some(Limits {
        connections: connections?,
        header_bytes: header_bytes?,
        headers: headers?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        requests: requests.and_then(NonZeroUsize::new),
        body_bytes: body_bytes.map(|bytes| bytes as u64),
    })
}

/// Reads the admin address alone, for a program that only wants to ask there.
///
/// # Errors
/// What is wrong with it.
pub fn parse_admin_listen(input: Input<'_>) -> Result<SocketAddr, Vec<Invalid>> {
    let mut reader = Reader { input, invalid: Vec::new() };
    reader.read("ANTEROOM_ADMIN_LISTEN", value::address).ok_or(reader.invalid)
}

/// Looks values up, and collects what is wrong with them.
struct Reader<'a> {
    input: Input<'a>,
    invalid: Vec<Invalid>,
}

impl<'a> Reader<'a> {
    /// A setting that has a default or is required; `None` once something wrong with it is noted.
    fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let setting = settings::setting(name);
        let given = self.given(setting.name, setting.flag).map(|(_, value)| value);
        let Some(text) = given.or(match setting.default {
            Fallback::Value(value) => Some(value),
            Fallback::Required | Fallback::Otherwise(_) => None,
        }) else {
            let reason = format!("is not set. It takes {}", setting.takes);
            self.invalid.push(Invalid { setting: name.to_owned(), value: None, reason });
            return None;
        };
        read(text).map_err(|reason| self.refuse(name, reason)).ok()
    }

    /// A setting that may be left out.
    fn read_optional<T>(&mut self, name: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let setting = settings::setting(name);
        let (_, text) = self.given(setting.name, setting.flag)?;
        read(text).map_err(|reason| self.refuse(name, reason)).ok()
    }

    fn read_spool(&mut self) -> Option<Spool> {
        let folder = self.read_optional("ANTEROOM_SPOOL_DIR", value::directory);
        let bytes = self.read("ANTEROOM_SPOOL_BYTES", |text| value::size(text, 1..=usize::MAX));
        Some(Spool { folder: folder?, bytes: bytes? as u64 })
    }

    fn read_tls(&mut self) -> Option<Tls> {
        let identity = self.read_identity("ANTEROOM_TLS_CERT", "ANTEROOM_TLS_KEY");
        let client_ca = self.read_optional("ANTEROOM_TLS_CLIENT_CA", value::file);
        if client_ca.is_some() && !self.is_given("ANTEROOM_TLS_CERT") && !self.is_given("ANTEROOM_TLS_KEY") {
            self.refuse("ANTEROOM_TLS_CLIENT_CA", "needs ANTEROOM_TLS_CERT and ANTEROOM_TLS_KEY".to_owned());
        }
        identity.map(|identity| Tls { identity, client_ca })
    }

    fn read_upstream_tls(&mut self, scheme: Option<Scheme>) -> UpstreamTls {
        const ALL: [&str; 3] = ["ANTEROOM_UPSTREAM_CA", "ANTEROOM_UPSTREAM_CERT", "ANTEROOM_UPSTREAM_KEY"];
        // Whoever sets them believes that the way to the upstream is encrypted.
        if let Some(plain @ (Scheme::Http | Scheme::H2c)) = scheme {
            for name in ALL.into_iter().filter(|name| self.is_given(name)).collect::<Vec<_>>() {
                self.refuse(name, format!("needs an upstream that begins with https://, not {}://", plain.as_str()));
            }
            return UpstreamTls::default();
        }
        let [ca, certificate, key] = ALL;
        UpstreamTls { ca: self.read_optional(ca, value::file), identity: self.read_identity(certificate, key) }
    }

    /// Both of them or none.
    fn read_identity(&mut self, certificate: &'static str, key: &'static str) -> Option<Identity> {
        let files = [certificate, key].map(|name| self.read_optional(name, value::file));
        for (name, other) in [(certificate, key), (key, certificate)] {
            if self.is_given(name) && !self.is_given(other) {
                self.refuse(name, format!("needs {other} too"));
            }
        }
        let [certificate, key] = files;
        Some(Identity { certificate: certificate?, key: key? })
    }

    fn is_given(&self, name: &str) -> bool {
        let setting = settings::setting(name);
        self.given(setting.name, setting.flag).is_some()
    }

    fn refuse(&mut self, name: &'static str, reason: String) {
        let setting = settings::setting(name);
        let (written, value) = match self.given(setting.name, setting.flag) {
            Some((written, _)) if settings::is_secret(name) => (written, None),
            Some((written, value)) => (written, Some(value::shown(value))),
            None => (name.to_owned(), None),
        };
        let reason = format!("{reason}{} It takes {}", if reason.ends_with('?') { "" } else { "." }, setting.takes);
        self.invalid.push(Invalid { setting: written, value, reason });
    }

    fn refuse_later(&mut self) {
        for later in LATER {
            let Some((setting, value)) = self.given(later.name, later.flag) else { continue };
            if !later.is_asked_by(value) {
                continue;
            }
            let reason = format!("asks for {}, which this version cannot do yet. Unset it", later.meaning);
            self.invalid.push(Invalid { setting, value: None, reason });
        }
    }

    /// What a setting was given as, and its value.
    fn given(&self, name: &str, flag: &str) -> Option<(String, &'a str)> {
        let find = |pairs: &'a [(String, String)], key: &str| {
            let value = pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.trim());
            value.filter(|value| !value.is_empty())
        };
        match find(self.input.flags, flag) {
            Some(value) => Some((format!("--{flag}"), value)),
            None => find(self.input.environment, name).map(|value| (name.to_owned(), value)),
        }
    }
}

fn detail(text: &str) -> Result<Detail, String> {
    value::one_of(text, &[("summary", Detail::Summary), ("state", Detail::State), ("full", Detail::Full)])
}

/// Whether the second of two listeners could not be bound.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

/// Variables with our prefix that are no settings. Refusing them would be wrong: Kubernetes and container links
/// set `ANTEROOM_SERVICE_HOST` and `ANTEROOM_PORT=tcp://…` for a service that is called `anteroom`.
fn unknown(environment: &[(String, String)]) -> Vec<Unknown> {
    let known = |name: &str| SETTINGS.iter().any(|s| s.name == name) || LATER.iter().any(|l| l.name == name);
    let link = |name: &str, value: &str| {
        name.starts_with("ANTEROOM_SERVICE_")
            || name.starts_with("ANTEROOM_PORT_")
            || name == "ANTEROOM_PORT" && value.contains("://")
    };
    environment
        .iter()
        .filter(|(name, value)| name.starts_with("ANTEROOM_") && !known(name) && !link(name, value))
        .map(|(name, _)| Unknown { name: name.clone(), similar: settings::similar(name) })
        .collect()
}
