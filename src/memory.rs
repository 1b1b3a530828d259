//! What is remembered over a restart of ours: how long targets take to warm up, in one small file.
//!
//! The file is replaced as a whole, by a rename, so that a crash leaves the old one or the new one. One that is damaged or
//! somebody else's is not believed, and put aside rather than written over.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::file::{self, Unreadable};
use crate::warmup::History;

const FILE: &str = "warmups.json";
/// In bytes: several times what all that is kept can come to.
const READ_MOST: usize = 1 << 20;

/// A directory that is ours to write to.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
}

impl Memory {
    /// Finds out whether the directory can be used, and reads what is there. What cannot be believed is warned of.
    ///
    /// # Errors
    /// The directory is missing, or nothing can be written to it.
    pub fn open(directory: &Path) -> io::Result<(Self, History)> {
        let memory = Self { directory: directory.to_owned() };
        memory.draft("")?;
        fs::remove_file(memory.path("new"))?;
        let history = memory.read().unwrap_or_else(|reason| {
            let file = memory.path("").display().to_string();
            tracing::warn!(file, reason, "what was learned before is not read, and put aside");
            // Where even that fails the next write will say so.
            let _ = fs::rename(memory.path(""), memory.path("ignored"));
            History::default()
        });
        Ok((memory, history))
    }

    /// Writes whatever is learned, until nobody learns any more.
    pub async fn keep(self, mut learned: watch::Receiver<History>) {
        let memory = std::sync::Arc::new(self);
        let mut failed = false;
        while learned.changed().await.is_ok() {
            let text = learned.borrow_and_update().to_text();
            let writer = std::sync::Arc::clone(&memory);
            // A disk may be slow, and this thread watches the upstream.
            let written = tokio::task::spawn_blocking(move || writer.write(&text)).await;
            let error = written.unwrap_or_else(|error| Err(io::Error::other(error))).err();
            if let Some(error) = error.as_ref().filter(|_| !failed) {
                tracing::warn!(error = error.to_string(), "what was learned cannot be kept");
            }
            failed = error.is_some();
        }
    }

    fn read(&self) -> Result<History, String> {
        let content = match file::read(&self.path(""), READ_MOST) {
            Ok(content) => content,
            Err(Unreadable::System(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            Err(reason) => return Err(format!("it {reason}")),
        };
        let text = String::from_utf8(content).map_err(|_| "it is no text".to_owned())?;
        History::parse(&text).map_err(|damage| damage.to_string())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        self.draft(text)?;
        fs::rename(self.path("new"), self.path(""))
    }

    /// Writes beside the file, down to the disk.
    fn draft(&self, text: &str) -> io::Result<()> {
        let mut draft =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path("new"))?;
        draft.write_all(text.as_bytes())?;
        draft.sync_all()
    }

    /// The file, or with a suffix one beside it.
    fn path(&self, suffix: &str) -> PathBuf {
        self.directory.join(if suffix.is_empty() { FILE.to_owned() } else { format!("{FILE}.{suffix}") })
    }
}
