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
    read: Box<dyn Fn() -> Result<T, Vec<Invalid>> + Send>,
    seen: Vec<Option<Stamp>>,
    /// Why they could not be read when they were looked at last, as it was said.
    complaint: Option<String>,
    publish: watch::Sender<T>,
}

/// What tells one state of a file from another: when it was changed, and when anything about it was, as who may read it,
/// in seconds and nanoseconds; length, inode. The last two catch what happens within one tick of the file system's clock.
type Stamp = ([i64; 4], u64, u64);

impl<T> Source<T> {
    /// Reads the files for the first time.
    pub(super) fn new(
        files: Vec<Arc<Path>>,
        read: impl Fn() -> Result<T, Vec<Invalid>> + Send + 'static,
    ) -> Result<Self, Vec<Invalid>> {
        // Stamped before they are read: a change in between is then seen as one.
        let seen = stamps(&files);
        let publish = watch::Sender::new(read()?);
        Ok(Self { files, read: Box::new(read), seen, complaint: None, publish })
    }
}

impl<T: Send + Sync> Look for Source<T> {
    fn look(&mut self) {
        let now = stamps(&self.files);
        // What could not be read is tried again: a folder that was closed to us changes none of the files in it.
        if now == self.seen && self.complaint.is_none() {
            return;
        }
        self.seen = now;
        match (self.read)() {
            Ok(read) => {
                self.complaint = None;
                self.publish.send_replace(read);
                tracing::info!(files = ?self.files, "files of TLS changed, and hold for new connections");
            }
            Err(invalid) => {
                let complaint = invalid.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("what was read before stays in use: {complaint}");
                }
                self.complaint = Some(complaint);
            }
        }
    }
}

fn stamps(files: &[Arc<Path>]) -> Vec<Option<Stamp>> {
    // Symbolic links are followed, as Kubernetes and certbot replace them.
    let stamp = |file: &Arc<Path>| {
        let found = fs::metadata(file).ok()?;
        Some(([found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()], found.len(), found.ino()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn what_could_not_be_read_is_read_again_though_its_files_stay_as_they_are() {
        let file = std::env::temp_dir().join(format!("anteroom-reload-{}", std::process::id()));
        fs::write(&file, "old").expect("a file of ours");
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let invalid = Invalid { setting: "ANTEROOM_TLS_KEY".to_owned(), value: None, reason: String::new() };
        let read = move || match counted.fetch_add(1, Relaxed) {
            1 | 2 => Err(vec![invalid.clone()]),
            time => Ok(time),
        };
        let mut source = Source::new(vec![file.as_path().into()], read).expect("it is there");
        let published = source.publish.subscribe();
        source.look();
        assert_eq!(times.load(Relaxed), 1, "nothing has changed");
        fs::write(&file, "longer").expect("a file of ours");
        for (looks, newest) in [(2, 0), (3, 0), (4, 3), (4, 3)] {
            source.look();
            assert_eq!((times.load(Relaxed), *published.borrow()), (looks, newest));
        }
        fs::remove_file(&file).expect("it is there");
    }
}
