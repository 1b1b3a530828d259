//! After `101 Switching Protocols`: two connections become one tunnel.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::watch;

use crate::telemetry::meter::{Counted, Meter};

/// Counts the tunnels of one worker, so that stopping can wait for them.
#[derive(Clone, Debug)]
pub struct Tunnels(watch::Sender<usize>);

impl Default for Tunnels {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Tunnels {
    /// Counts a tunnel until the guard is dropped.
    pub fn open(&self, meter: &Arc<Meter>) -> Open {
        self.0.send_modify(|open| *open += 1);
        Open { open: self.0.clone(), _counted: meter.tunnel() }
    }

    /// Ends when no tunnel is open.
    pub async fn closed(&self) {
        // An error would mean that the sender is gone, but we hold it.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// An open tunnel.
pub struct Open {
    open: watch::Sender<usize>,
    _counted: Counted,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

/// Copies both ways until both sides have ended. Each direction ends by itself (half-close), without a time limit:
/// a dashboard's socket may be silent for hours.
pub async fn splice(client: OnUpgrade, upstream: OnUpgrade, _open: Open) {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was agreed on, but did not happen");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    match copy_bidirectional(&mut client, &mut upstream).await {
        Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
        Err(error) => tracing::debug!(%error, "a tunnel broke"),
    }
}
