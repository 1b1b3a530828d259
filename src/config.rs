//! Every setting, in one table: name, default, unit and meaning. [`parse`] is pure: it turns arguments and
//! environment into a [`Config`], or into all that is wrong with them at once.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::Upstream;

mod settings;
mod value;

pub use settings::{Fallback, LATER, Later, SETTINGS, Setting};

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
    pub connect_timeout: Duration,
    /// Until the answer's head; streams and upgrades have no limit.
    pub response_timeout: Duration,
    pub host_header: HostHeader,
    pub detail: Detail,
    /// Name or id of the target, where it cannot be found.
    pub container: Option<Arc<str>>,
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// A tracing filter, e.g. `info` or `anteroom=debug`.
    pub log: String,
    pub log_format: LogFormat,
    /// `DOCKER_HOST`; `None` is the usual socket.
    pub docker_host: Option<String>,
}

/// How long a request may be held, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A page view: someone looks at a blank tab meanwhile.
    pub navigation: Duration,
    /// Anything else.
    pub request: Duration,
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
    let grace = reader.read("ANTEROOM_GRACE", value::duration);
    let max_held = reader.read("ANTEROOM_MAX_HELD", |text| value::count(text, 0..=1_000_000));
    let replay_bytes = reader.read("ANTEROOM_REPLAY_BYTES", value::size);
    let connect_timeout = reader.read("ANTEROOM_CONNECT_TIMEOUT", value::timeout);
    let response_timeout = reader.read("ANTEROOM_RESPONSE_TIMEOUT", value::timeout);
    let host_header = reader.read("ANTEROOM_HOST_HEADER", |text| {
        value::one_of(text, &[("preserve", HostHeader::Preserve), ("upstream", HostHeader::Upstream)])
    });
    let detail = reader.read("ANTEROOM_DETAIL", detail);
    let container = reader.read_optional("ANTEROOM_CONTAINER", value::container);
    let threads = reader.read_optional("ANTEROOM_THREADS", |text| value::count(text, 1..=512));
    let log = reader.read("ANTEROOM_LOG", |text| (input.check_log)(text).map(|()| text.to_owned()));
    let log_format = reader.read("ANTEROOM_LOG_FORMAT", |text| {
        value::one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let docker_host = reader.read_optional("DOCKER_HOST", value::docker_host);
    reader.refuse_later();

    let config = || {
        let (host, port) = upstream?;
        Some(Config {
            listen: listen?,
            admin_listen: admin_listen?,
            upstream: Upstream { host, port, ready_path },
            patience: Patience { navigation: navigation?, request: request? },
            grace: grace?,
            max_held: max_held?,
            replay_bytes: replay_bytes?,
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            host_header: host_header?,
            detail: detail?,
            container,
            threads: threads.and_then(NonZeroUsize::new).unwrap_or(input.cores),
            log: log?,
            log_format: log_format?,
            docker_host,
        })
    };
    match config() {
        Some(config) if reader.invalid.is_empty() => Ok((config, unknown(input.environment))),
        Some(_) | None => Err(reader.invalid),
    }
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

    fn refuse(&mut self, name: &'static str, reason: String) {
        let setting = settings::setting(name);
        let (written, value) = match self.given(setting.name, setting.flag) {
            Some((written, value)) => (written, Some(value::shown(value))),
            None => (name.to_owned(), None),
        };
        let reason = format!("{reason}{} It takes {}", if reason.ends_with('?') { "" } else { "." }, setting.takes);
        self.invalid.push(Invalid { setting: written, value, reason });
    }

    fn refuse_later(&mut self) {
        for later in LATER {
            let Some((setting, value)) = self.given(later.name, later.flag) else { continue };
            // The one among them whose usual value can say no.
            if later.name == "DOCKER_TLS_VERIFY" && value == "0" {
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
    match value::one_of(text, &[("summary", Detail::Summary), ("state", Detail::State), ("full", Detail::Full)])? {
        Detail::Full => Err("asks for log and health output, which this version cannot show yet".to_owned()),
        detail @ (Detail::Summary | Detail::State) => Ok(detail),
    }
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
