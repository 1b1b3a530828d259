//! The boundary between a container engine and the watcher.
//!
//! An engine runs as a task of its own and publishes [`Sighting`]s: the part of the evidence that only it can fill
//! in. So an engine that is slow, absent or restarting delays nobody, and a simulated one (the demo's) is simply
//! another task that publishes.
//!
//! Below it, from the wire to the watcher: `client` asks and names what went wrong, `convert` turns the engine's
//! models into evidence, `search` says which container is the target, `timeline` remembers what happened to it, and
//! [`docker`] is the task that ties them together.

pub mod docker;

pub mod client;
pub mod convert;
pub(crate) mod search;
mod timeline;

use std::sync::Arc;

use crate::evidence::{self, Container, Happening, Network, Target};

/// Everything an engine told at one moment.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub engine: evidence::Engine,
    /// Our own container, if we run in one.
    pub ourselves: Option<Arc<Container>>,
    pub target: Target,
    /// See [`evidence::Evidence::others`].
    pub others: Arc<[Container]>,
    /// The networks that exist now.
    pub networks: Arc<[Network]>,
    /// The target's latest events, oldest first.
    pub events: Arc<[Happening]>,
    /// The last lines of the target's log, if they are wanted.
    pub log: Arc<[Box<str>]>,
    pub errors: Errors,
}

/// How often the engine did not tell what it was asked, since we began to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// We may not ask.
    pub forbidden: u64,
    /// It is not there, or did not answer in time.
    pub unavailable: u64,
    /// Its stream of events ended.
    pub ended: u64,
}

impl Default for Sighting {
    /// Nothing was seen yet.
    fn default() -> Self {
        Self {
            engine: evidence::Engine::Unknown,
            ourselves: None,
            target: Target::Unknown,
            others: Arc::new([]),
            networks: Arc::new([]),
            events: Arc::new([]),
            log: Arc::new([]),
            errors: Errors::default(),
        }
    }
}

/// What an engine is to look for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The upstream's host name or address.
    pub host: Arc<str>,
    /// Name or id of the target's container, where it was configured.
    pub container: Option<Arc<str>>,
    /// The id of our own container, if we run in one.
    pub own_id: Option<Arc<str>>,
    /// Whether the last lines of the target's log are wanted, too.
    pub log: bool,
}
