//! What a held request's body has beyond the memory that it may take, in a file: the client has sent it by then, and
//! whoever stands before us does not cut it for being slow.
//!
//! A file has its name for an instant only, so nothing is left behind however we end. A worker never waits for the
//! disk: each piece is written and read on a thread for what blocks, a few at once.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::{self, Config, Invalid};
use crate::lock::lock;

/// What is written or read at once, in bytes: enough that handing it to a thread costs less than the disk does, and as
/// little as every body that is spooled may have in memory.
pub(super) const PIECE: usize = 64 << 10;
/// How many pieces are written and read at once. A disk that is slow gets no faster by more, and threads cost memory.
const AT_ONCE: usize = 16;
/// Of a disk that is full every request would tell.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Names are random, so that one that is taken is no accident; somebody may want to see us try for ever.
const NAMES_TRIED: usize = 8;

/// Where bodies are spooled, and how much more of all together.
#[derive(Debug)]
pub struct Spool {
    folder: Arc<Path>,
    /// In bytes.
    left: AtomicU64,
    at_once: Arc<Semaphore>,
    warned: Mutex<Option<Instant>>,
}

/// Says what is wrong with the folder that is configured, if anything is.
pub fn refuse(config: &Config) -> Option<Invalid> {
    let folder = &config.spool.as_ref()?.folder;
    let error = create(folder).err()?;
    Some(Invalid::path("ANTEROOM_SPOOL_DIR", folder, format!("is no folder that files can be made in: {error}")))
}

impl Spool {
    /// As it was configured.
    pub fn new(settings: &config::Spool) -> Arc<Self> {
        Arc::new(Self {
            folder: Arc::clone(&settings.folder),
            left: AtomicU64::new(settings.bytes),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            warned: Mutex::default(),
        })
    }

    /// How many bytes more may be spooled.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Relaxed)
    }

    /// Does something that blocks.
    fn job<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Job<T> {
        let at_once = Arc::clone(&self.at_once);
        Box::pin(async move {
            let permit = at_once.acquire_owned().await.map_err(io::Error::other)?;
            // Its future may be dropped meanwhile, and the work goes on.
            let work = move || {
                let done = work();
                drop(permit);
                done
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
        })
    }

    fn warn(&self, error: &io::Error, what: &'static str) {
        let mut warned = lock(&self.warned);
        if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(%error, folder = %self.folder.display(), "{what}");
        }
    }
}

/// Something that is done on a thread for what blocks.
pub(super) type Job<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// The part of one body that is in a file.
pub(super) struct Roll {
    sheet: Arc<Sheet>,
    /// In bytes.
    length: u64,
    /// What is on its way into the file.
    writing: Option<(Bytes, Job<()>)>,
    /// It takes no more: the limit is reached, or the disk is.
    full: bool,
}

impl Roll {
    /// Nothing is taken of the limit yet, and there is no file.
    pub(super) fn new(spool: &Arc<Spool>) -> Self {
        let sheet = Sheet { file: OnceLock::new(), spool: Arc::clone(spool), taken: AtomicU64::new(0) };
        Self { sheet: Arc::new(sheet), length: 0, writing: None, full: false }
    }

    /// How many bytes can be read.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Appends all of `bytes`. What is left of them afterwards cannot be taken.
    pub(super) fn poll_append(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<()> {
        loop {
            if let Some((piece, job)) = &mut self.writing {
                match ready!(job.as_mut().poll(cx)) {
                    Ok(()) => self.length += piece.len() as u64,
                    Err(error) => {
                        self.sheet.spool.warn(&error, "bodies cannot be spooled; their clients have to wait");
                        self.full = true;
                        // Nothing is read while something is written, so nothing stands before it.
                        *bytes = BytesMut::from(std::mem::take(piece));
                    }
                }
                self.writing = None;
            }
            if bytes.is_empty() || self.full {
                return Poll::Ready(());
            }
            if self.sheet.take(bytes.len() as u64) {
                let (piece, sheet, at) = (bytes.split().freeze(), Arc::clone(&self.sheet), self.length);
                let written = piece.clone();
                self.writing = Some((piece, self.sheet.spool.job(move || sheet.file()?.write_all_at(&written, at))));
            } else {
                self.full = true;
            }
        }
    }

    /// Reads a piece that begins at `at`, which is less than its length.
    pub(super) fn read(&self, at: u64) -> Job<Bytes> {
        let length = usize::try_from(self.length - at).unwrap_or(PIECE).min(PIECE);
        let sheet = Arc::clone(&self.sheet);
        self.sheet.spool.job(move || {
            let mut piece = BytesMut::zeroed(length);
            let read = sheet.file().and_then(|file| file.read_exact_at(&mut piece, at));
            read.inspect_err(|error| sheet.spool.warn(error, "what was spooled of a body cannot be read"))?;
            Ok(piece.freeze())
        })
    }
}

/// A file, and what it has taken of the limit.
struct Sheet {
    file: OnceLock<File>,
    spool: Arc<Spool>,
    taken: AtomicU64,
}

impl Sheet {
    /// Takes so many bytes of the limit, if there are as many.
    fn take(&self, bytes: u64) -> bool {
        let taken = self.spool.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if taken {
            self.taken.fetch_add(bytes, Relaxed);
        }
        taken
    }

    /// Blocks. One at a time asks for it: the pieces of a body are written one after the other, and then read.
    fn file(&self) -> io::Result<&File> {
        match self.file.get() {
            Some(file) => Ok(file),
            None => create(&self.spool.folder).map(|file| self.file.get_or_init(|| file)),
        }
    }
}

impl Drop for Sheet {
    /// To close a large file frees its blocks, which takes time.
    fn drop(&mut self) {
        let (file, spool, taken) = (self.file.take(), Arc::clone(&self.spool), *self.taken.get_mut());
        let is_there = file.is_some();
        let close = move || {
            drop(file);
            spool.left.fetch_add(taken, Relaxed);
        };
        match Handle::try_current() {
            Ok(runtime) if is_there => drop(runtime.spawn_blocking(close)),
            _ => close(),
        }
    }
}

/// Makes a file that nobody else finds, and that is gone when it is closed.
fn create(folder: &Path) -> io::Result<File> {
    for _ in 0..NAMES_TRIED {
        let path = folder.join(format!("anteroom-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
        // Neither a file nor a link that somebody has put there is followed or used.
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
