//! The body of a large answer on its way from one socket to the other without coming into this process: through a pipe,
//! by splice(2). It takes half of the CPU time that reading and writing takes.
//!
//! hyper writes what a body gives it, and has to go on counting. So a body moves what comes into its connection's
//! [`Conduit`], gives hyper [as many bytes that stand for it](is_stand_in), and where the connection is to write those, it
//! moves what is in the conduit instead.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// How much a pipe holds, in bytes, if the kernel is not asked for more.
const PIPE: usize = 64 << 10;
/// The same of the first few. Bulk takes 18 % more CPU time with the usual ones, and no less with a MiB; but a client that
/// takes nothing keeps so much of the kernel's memory.
const LARGE: usize = 256 << 10;
const LARGE_MOST: usize = 64;
/// Pipes of all workers: each takes two file descriptors. Answers for which there is none pass as all others do. The kernel
/// gives a user 64 MiB in all of them before it makes them smaller (`man 7 pipe`); these may come to 43.
pub const PIPES_MOST: usize = 500;

/// What stands for bytes in a pipe is known by where it is: nobody else hands out this memory. It is never touched, so it
/// takes none; a plain static would be as large in the program's file.
static STAND_IN: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; LARGE].into());

/// Whether a piece that is to be written stands for as many bytes in the conduit.
pub fn is_stand_in(piece: &[u8]) -> bool {
    !piece.is_empty() && STAND_IN.as_ptr_range().contains(&piece.as_ptr())
}

/// The pipes that the connections of a worker may have.
#[derive(Clone, Debug)]
pub struct Pipes {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Pipes {
    /// So many at once.
    pub fn new(most: usize) -> Self {
        let semaphore = |most| Arc::new(Semaphore::new(most));
        Self { all: semaphore(most), large: semaphore((most * LARGE_MOST).div_ceil(PIPES_MOST)) }
    }

    /// How many there may be beside those that there are.
    pub fn left(&self) -> usize {
        self.all.available_permits()
    }
}

impl Default for Pipes {
    fn default() -> Self {
        Self::new(PIPES_MOST)
    }
}

/// The way around hyper into a client's connection. It has a pipe only while a body goes through it.
///
/// The lock is never contended: body and connection are polled by the same task.
#[derive(Clone, Debug, Default)]
pub struct Conduit(Arc<Mutex<Option<Pipe>>>);

#[derive(Debug)]
struct Pipe {
    inlet: OwnedFd,
    outlet: OwnedFd,
    /// In bytes.
    filled: usize,
    /// No more is to come.
    is_last: bool,
    /// Who waits until it is empty.
    waits: Option<Waker>,
    _place: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl Pipe {
    fn open(pipes: &Pipes) -> Option<Self> {
        let place = Arc::clone(&pipes.all).try_acquire_owned().ok()?;
        let large = Arc::clone(&pipes.large).try_acquire_owned().ok();
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Whoever has more pipes than the kernel likes gets some of two pages, and no larger ones.
        let size = match large {
            Some(_) => fcntl_setpipe_size(&inlet, LARGE).or_else(|_| fcntl_getpipe_size(&inlet)),
            None => fcntl_getpipe_size(&inlet),
        };
        if size.ok()? < PIPE {
            return None;
        }
        Some(Self { inlet, outlet, filled: 0, is_last: false, waits: None, _place: place, _large: large })
    }

    /// Moves what `source` has, at most so much. To be called only while it is empty: of one that is full, the kernel
    /// says the same as of a source that has nothing.
    fn fill(&mut self, source: &TcpStream, most: usize) -> io::Result<Bytes> {
        let moved = splice(source, None, &self.inlet, None, most.min(LARGE), SpliceFlags::NONBLOCK)?;
        self.filled = moved;
        Ok(Bytes::from_static(&STAND_IN[..moved]))
    }
}

impl Conduit {
    /// Makes a pipe for a body, if there may be one more.
    pub fn open(&self, pipes: &Pipes) -> bool {
        let mut pipe = lock(&self.0);
        // One that has to be emptied of another body would be in its way.
        if pipe.is_some() {
            return false;
        }
        *pipe = Pipe::open(pipes);
        pipe.is_some()
    }

    /// Moves something, as soon as what was moved before is written. Nothing is the source's end.
    pub fn poll_fill(&self, cx: &mut Context<'_>, source: &TcpStream, most: usize) -> Poll<io::Result<Bytes>> {
        let mut guard = lock(&self.0);
        let Some(pipe) = guard.as_mut() else { return Poll::Ready(Err(ErrorKind::BrokenPipe.into())) };
        if pipe.filled > 0 {
            pipe.waits = Some(cx.waker().clone());
            return Poll::Pending;
        }
        loop {
            ready!(source.poll_read_ready(cx))?;
            match source.try_io(Interest::READABLE, || pipe.fill(source, most)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// The body has ended: the pipe is closed as soon as it is empty.
    pub fn finish(&self) {
        let mut guard = lock(&self.0);
        match guard.as_mut() {
            Some(pipe) if pipe.filled > 0 => pipe.is_last = true,
            _ => *guard = None,
        }
    }

    /// Writes what is in the pipe, at most so much.
    pub fn poll_empty(&self, cx: &mut Context<'_>, sink: &TcpStream, most: usize) -> Poll<io::Result<usize>> {
        let mut guard = lock(&self.0);
        let Some(pipe) = guard.as_mut().filter(|pipe| pipe.filled > 0) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let moved = loop {
            ready!(sink.poll_write_ready(cx))?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.outlet, None, sink, None, most.min(pipe.filled), SpliceFlags::NONBLOCK)?)
            });
            match moved {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                moved => break moved?,
            }
        };
        pipe.filled -= moved;
        if pipe.filled == 0 {
            if let Some(body) = pipe.waits.take() {
                body.wake();
            }
            if pipe.is_last {
                *guard = None;
            }
        }
        Poll::Ready(Ok(moved))
    }
}
