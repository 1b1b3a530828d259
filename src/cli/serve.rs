//! `anteroom serve`: settings in, an [`Instance`] that runs until a signal out.

use std::future::{Future, pending};
use std::pin::Pin;

use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::Failure;
use crate::config::{self, Input};
use crate::engine::docker;
use crate::instance::{BindError, EngineLink, Instance};
use crate::telemetry;

/// Serves until it is told to stop.
///
/// # Errors
/// Wrong settings, an address that is taken, or a system that gives no threads.
pub fn run(input: Input<'_>) -> Result<(), Failure> {
    let (config, unknown) = config::parse(input).map_err(Failure::Settings)?;
    let _log = telemetry::init(&config.log, config.log_format).map_err(Failure::Run)?;
    if !unknown.is_empty() {
        // In one line: of many from the same place in the source, the log would leave out most.
        tracing::warn!("{}", unknown.iter().map(ToString::to_string).collect::<Vec<_>>().join(". "));
    }
    block_on(async {
        let signals = Signals::listen()?;
        let upstream = config.upstream.clone();
        let docker_host = config.docker_host.clone();
        let instance = Instance::bind(config).map_err(|error| match error {
            BindError::Files(invalid) => Failure::Settings(invalid),
            error @ BindError::Listen { .. } => Failure::Listen(error),
        })?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %instance.address().map_err(Failure::Run)?,
            admin_listen = %instance.admin_address().map_err(Failure::Run)?,
            upstream = format_args!("{}://{}", upstream.scheme.as_str(), upstream.authority()),
            "anteroom listens"
        );
        until_signal(instance, signals, |EngineLink { wanted, look, sightings }| {
            docker::watch(docker_host, wanted, look, sightings)
        })
        .await
    })
}

/// Runs on the runtime of the main thread, which everything slow shares.
pub(super) fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // The runtime's loop is large, and each kind of future would have its own.
    let future: Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>> = Box::pin(future);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::Run)?;
    let outcome = runtime.block_on(future);
    // Does not wait for a resolver that hangs: it may for 10 s where the host's does not answer.
    runtime.shutdown_background();
    outcome
}

/// Runs an instance until a signal asks it to stop; a second one does not wait for what still runs.
pub(super) async fn until_signal<E: Future<Output = ()>>(
    instance: Instance,
    mut signals: Signals,
    engine: impl FnOnce(EngineLink) -> E,
) -> Result<(), Failure> {
    let (asked, again) = oneshot::channel();
    let shutdown = async {
        signals.next().await;
        // The receiver lives as long as this future does.
        drop(asked.send(signals));
    };
    let impatient = async {
        match again.await {
            Ok(mut signals) => signals.next().await,
            Err(_) => pending().await,
        }
    };
    select! {
        outcome = instance.run(engine, shutdown) => outcome.map_err(Failure::Run),
        _ = impatient => {
            tracing::warn!("stopped at once: the signal came twice");
            Ok(())
        }
    }
}

/// What asks a process to stop: an engine with SIGTERM, a terminal with SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called before anybody is told that we run: the first process of a container that listens to no signal
    /// does not even die of one.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Run);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Ends with the next one.
    pub(super) async fn next(&mut self) -> SignalKind {
        select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}
