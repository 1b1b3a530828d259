//! One running anteroom: listeners, workers, watcher and admin port, put together.
//!
//! ```text
//! worker threads (N)        own runtime, own listener, own pool of upstream connections
//!        ▲ snapshots, ▼ reports
//! the caller's thread       watcher, engine, admin port: everything slow
//! ```
//!
//! A connection lives and dies on its worker. What workers share is small, and nobody waits for it: the published snapshot,
//! the room of those who wait, bounds of what may be open, counters. So a slow engine never delays a request.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;
use std::{io, thread};

use tokio::runtime;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::conduit::Pipes;
use crate::config::{Config, Detail, Invalid};
use crate::engine::{Sighting, Wanted};
use crate::memory::Memory;
use crate::messenger::{Key, Messenger};
use crate::page::Brand;
use crate::probe::Prober;
use crate::proxy::{Proxy, Shared, host_of};
use crate::room::{HEADS_MOST, Room};
use crate::server::connection::Host;
use crate::server::descriptors::Shares;
use crate::server::http1::AtHand;
use crate::server::turns::Turns;
use crate::telemetry::meter::Meter;
use crate::tls::{self, Reload, Tls};
use crate::upstream::places::Places;
use crate::upstream::{Dialer, Pool, dial::Inside, spool};
use crate::warmup::History;
use crate::watch::gauges::Gauges;
use crate::watch::{REPORTS_QUEUED, Sources, Subject, first_snapshot};
use crate::{admin, brand, server, surroundings, telemetry, watch as watcher};

/// An anteroom that is bound to its addresses, but does not serve yet.
pub struct Instance {
    config: Config,
    listeners: Vec<TcpListener>,
    admin: TcpListener,
    tls: Tls,
    reload: Reload,
    brand: Brand,
    memory: Option<Memory>,
    learned: watch::Sender<History>,
    key: Option<Key>,
}

/// Why an anteroom cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address} ({setting})")]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    /// These settings name files that are missing or broken, or a folder that cannot be written to.
    #[error("files cannot be used")]
    Files(Vec<Invalid>),
}

/// What an engine's task is given.
pub struct EngineLink {
    pub wanted: Wanted,
    /// Rung when the watcher wants a fresh look.
    pub look: Arc<Notify>,
    pub sightings: watch::Sender<Sighting>,
}

impl Instance {
    /// Reads all files, tries the spool's folder and binds all addresses. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// All files that cannot be used, or the first address that cannot be bound.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let (tls, brand) = (tls::load(&config), brand::load(&config.brand));
        let (spool, memory, key) = (spool::refuse(&config), remember(&config), Key::load(&config));
        let ((tls, reload), brand, (memory, history), key) = match (tls, brand, spool, memory, key) {
            (Ok(tls), Ok(brand), None, Ok(memory), Ok(key)) => (tls, brand, memory, key),
            (tls, brand, spool, memory, key) => {
                let files = tls.err().into_iter().chain(brand.err()).flatten();
                let invalid = files.chain(spool).chain(memory.err()).chain(key.err());
                return Err(BindError::Files(invalid.collect()));
            }
        };
        let failed = |setting, address| move |source| BindError::Listen { setting, address, source };
        let listeners =
            server::bind(config.listen, config.threads.get()).map_err(failed("ANTEROOM_LISTEN", config.listen))?;
        let admin = TcpListener::bind(config.admin_listen)
            .and_then(|admin| admin.set_nonblocking(true).map(|()| admin))
            .map_err(failed("ANTEROOM_ADMIN_LISTEN", config.admin_listen))?;
        Ok(Self { config, listeners, admin, tls, reload, brand, memory, learned: watch::Sender::new(history), key })
    }

    /// Where requests arrive, with the port that was chosen if it was 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listeners.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Where the admin port is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until `shutdown` ends and what ran has finished. `engine` is started beside it.
    ///
    /// # Errors
    /// A thread or a runtime cannot be made.
    pub async fn run<E: Future<Output = ()>>(
        self,
        engine: impl FnOnce(EngineLink) -> E,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Self { config, listeners, admin, tls, reload, brand, memory, learned, key } = self;
        let subject = Subject {
            upstream: config.upstream.clone(),
            booted_at: surroundings::booted_at(),
            grace: config.grace,
            clock: SystemTime::now,
        };
        let room = Room::new(config.max_held, HEADS_MOST);
        let look = Arc::new(Notify::new());
        let (report, reports) = mpsc::channel(REPORTS_QUEUED);
        let (sighted, sightings) = watch::channel(Sighting::default());
        let (publish, snapshots) = watch::channel(first_snapshot(&subject));
        let stop = watch::Sender::new(false);

        let dialer = Dialer::new(config.upstream.clone(), config.connect_timeout, inside(), tls.upstream);
        let prober = Prober::new(dialer.clone(), ready_get(&config));
        let engine = engine(EngineLink {
            wanted: Wanted {
                host: Arc::clone(&config.upstream.host),
                container: config.container.clone(),
                own_id: surroundings::own_container_id().map(Into::into),
                log: config.detail == Detail::Full,
            },
            look: Arc::clone(&look),
            sightings: sighted,
        });
        // A task of its own: whatever befalls it, the rest goes on. It ends with this function.
        let mut messengers = JoinSet::new();
        if let Some(notify) = &config.notify {
            let messenger = Messenger::new(notify, key, tls.receiver, config.detail);
            messengers.spawn(messenger.run(snapshots.clone()));
        }
        let gauges = Gauges::new(snapshots.clone(), Arc::clone(&room));
        let meter = Arc::new(Meter::new([Box::new(gauges) as _, Box::new(tls.expiry) as _]));
        let status = Arc::new(admin::Status::new(snapshots.clone(), Arc::clone(&room), config.detail));
        let limits = config.limits;
        let spooled = if config.spool.is_some() { config.max_held } else { 0 };
        let Shares { connections, upstreams, pipes } = Shares::of_all(limits.connections, listeners.len(), spooled);
        if connections < limits.connections {
            tracing::info!(
                "{connections} connections of clients are open at once, and not {} (ANTEROOM_MAX_CONNECTIONS): \
                 the limit of open files (`ulimit -Hn`) has room for no more",
                limits.connections
            );
        }
        let permits = Arc::new(Semaphore::new(connections));
        let (places, pipes) = (Places::new(upstreams), pipes / listeners.len().max(1));
        let shared = Shared::new(config, brand, Arc::clone(&room), report, Arc::clone(&meter));
        let workers: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let proxy =
                    Proxy::new(Arc::clone(&shared), Pool::new(dialer.clone(), Arc::clone(&places)), snapshots.clone());
                let (meter, tls) = (Arc::clone(&meter), tls.served.clone());
                let host = Host {
                    proxy: Arc::new(proxy),
                    limits,
                    meter,
                    tls,
                    at_hand: AtHand::default(),
                    turns: Turns::default(),
                    pipes: Pipes::new(pipes),
                };
                spawn_worker(listener, Arc::new(host), Arc::clone(&permits), stop.subscribe())
            })
            .collect::<io::Result<_>>()?;
        drop((shared, snapshots));

        let draining = stop.subscribe();
        let stopped = async {
            shutdown.await;
            tracing::info!("stopping: requests that run may finish");
            stop.send_replace(true);
            for worker in workers {
                // An error means that the worker's thread is gone, which is what we wait for.
                let _ = worker.await;
            }
        };
        let keeping = {
            let learned = learned.subscribe();
            for_good(async {
                if let Some(memory) = memory {
                    memory.keep(learned).await;
                }
            })
        };
        let sources = Sources { sightings, reports, room, look, learned, meter: Arc::clone(&meter) };
        let mut stopping = stop.subscribe();
        let watching = for_good(async {
            // With the watcher goes the channel that held requests wait on: who is held when we stop is answered at
            // once, and not cut when the drain is over.
            tokio::select! {
                ((), ()) = async { tokio::join!(watcher::run(subject, prober, sources, publish), engine) } => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
        let admin = tokio::net::TcpListener::from_std(admin)?;
        let admin = admin::run(admin, draining, meter, status);
        tokio::select! {
            () = stopped => {}
            () = watching => {}
            () = for_good(reload.run()) => {}
            () = keeping => {}
            () = admin => {}
            () = telemetry::tell_of_repetition() => {}
        }
        telemetry::tell_of_last_repetition();
        Ok(())
    }
}

/// Does it, and goes on when it is done: what ends before the process does ends nothing else.
async fn for_good(work: impl Future<Output = ()>) {
    work.await;
    std::future::pending().await
}

/// What is remembered from before, and where more of it goes.
fn remember(config: &Config) -> Result<(Option<Memory>, History), Invalid> {
    let Some(path) = config.state_dir.as_deref() else { return Ok((None, History::default())) };
    let unwritable = |error| Invalid::path("ANTEROOM_STATE_DIR", path, format!("cannot be written to: {error}"));
    Memory::open(path).map_err(unwritable).map(|(memory, history)| (Some(memory), history))
}

/// One worker thread with its own runtime. The receiver ends with the worker.
fn spawn_worker(
    listener: TcpListener,
    host: Arc<Host>,
    permits: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("worker".to_owned()).spawn(move || {
        let _ended = ended;
        runtime.block_on(async {
            tokio::spawn(Arc::clone(&host.proxy).follow());
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    // An error means that nobody can tell us to stop any more: stop.
                    server::run(listener, host, permits, async { drop(stop.wait_for(|stop| *stop).await) }).await;
                }
                Err(error) => tracing::error!(%error, "a worker cannot use its listener"),
            }
        });
    })?;
    Ok(end)
}

/// In a container a single-label name must lead into one of our own networks.
fn inside() -> Option<Inside> {
    if !surroundings::in_container() {
        return None;
    }
    // Read anew each time: a network can be connected while we run.
    Some(Arc::new(|address| surroundings::own_networks().contains(address)))
}

fn ready_get(config: &Config) -> Option<(http::uri::PathAndQuery, http::HeaderValue)> {
    let path = config.upstream.ready_path.as_ref()?;
    let path = path.parse().expect("a ready path that was configured is a valid path");
    Some((path, host_of(config)))
}
