//! Every setting, in one table: name, default, unit and meaning. [`parse`] is pure: it turns arguments and
//! environment into a [`Config`], or into all that is wrong with them at once.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::Upstream;

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
