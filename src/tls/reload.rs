//! Looks whether files have changed, and publishes what is in the new ones.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::Invalid;

/// Who renews a certificate does it days before the old one ends, so nobody waits for it; short enough to see the
/// effect of what one has just written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Everything that is read again when its files change.
#[derive(Default)]
pub struct Reload {
    sources: Vec<Box<dyn Look>>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("sources", &self.sources.len()).finish()
    }
}

trait Look: Send {
    fn look(&mut self);
}

impl Reload {
    /// Looks until it is dropped; ends at once where no file is configured.
    pub async fn run(mut self) {
        while !self.sources.is_empty() {
            sleep(LOOK_EVERY).await;
            // A network file system may hang, and with it would everything else on this thread.
            match spawn_blocking(move || {
                self.look();
                self
            })
            .await
            {
                Ok(looked) => self = looked,
                Err(error) => {
                    tracing::error!(%error, "files of TLS are no longer read again");
                    return;
                }
            }
        }
    }

    /// Looks once. Reads from disk.
    pub fn look(&mut self) {
        self.sources.iter_mut().for_each(|source| source.look());
    }

    pub(super) fn add<T: Send + Sync + 'static>(&mut self, source: Source<T>) -> watch::Receiver<T> {
        let newest = source.publish.subscribe();
        self.sources.push(Box::new(source));
        newest
    }
}

/// Some files, and what is made of them.
pub(super) struct Source<T> {
    files: Vec<Arc<Path>>,
    read: Box<dyn Fn() -> Result<T, Invalid> + Send>,
    seen: Vec<Option<Stamp>>,
    publish: watch::Sender<T>,
}

/// What tells one state of a file from another: time of change in seconds and nanoseconds, length, inode. The last two
/// catch what happens within one tick of the file system's clock.
type Stamp = (i64, i64, u64, u64);

impl<T> Source<T> {
    /// Reads the files for the first time.
    pub(super) fn new(
        files: Vec<Arc<Path>>,
        read: impl Fn() -> Result<T, Invalid> + Send + 'static,
    ) -> Result<Self, Invalid> {
        // Stamped before they are read: a change in between is then seen as one.
        let seen = stamps(&files);
        let publish = watch::Sender::new(read()?);
        Ok(Self { files, read: Box::new(read), seen, publish })
    }
}

impl<T: Send + Sync> Look for Source<T> {
    fn look(&mut self) {
        let now = stamps(&self.files);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match (self.read)() {
            Ok(read) => {
                self.publish.send_replace(read);
                tracing::info!(files = ?self.files, "files of TLS changed, and hold for new connections");
            }
            // Said once: only another change leads here again. A file that is half written will change.
            Err(invalid) => tracing::warn!("what was read before stays in use: {invalid}"),
        }
    }
}

fn stamps(files: &[Arc<Path>]) -> Vec<Option<Stamp>> {
    // Symbolic links are followed, as Kubernetes and certbot replace them.
    let stamp = |file: &Arc<Path>| {
        let found = fs::metadata(file).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
    };
    files.iter().map(stamp).collect()
}
