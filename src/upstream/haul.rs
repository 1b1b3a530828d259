//! An answer's body that goes [around hyper](crate::conduit): what hyper has already read of it comes from there, and the
//! rest from the upstream's socket into the client's.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::half_open::HalfOpen;
use super::heads::Watcher;
use crate::conduit::{Conduit, Pipes};
use crate::tls::Stream;

/// Of a body, in bytes. A pipe has to be made, and hyper's part of the connection anew: with 96 KiB that takes as much
/// CPU time as it saves, with 128 KiB a little less, and with 256 KiB an answer takes a fifth less in all.
const LEAST: u64 = 128 << 10;

/// What is left of such a body.
#[derive(Debug)]
pub struct Haul {
    /// Where it comes from, until nothing is left.
    source: Option<HalfOpen<Stream>>,
    conduit: Conduit,
    /// What hyper has yet to hand over, and what comes after it, in bytes.
    ahead: u64,
    behind: u64,
    /// Why nothing more comes.
    broken: Option<io::Error>,
}

impl Haul {
    /// Takes what is left of a body from hyper. `None` if that is not worth it, or cannot be done.
    pub(super) fn begin(
        watcher: &Watcher<HalfOpen<Stream>>,
        length: u64,
        conduit: &Conduit,
        pipes: &Pipes,
    ) -> Option<Self> {
        if length < LEAST {
            return None;
        }
        let mut ahead = 0;
        let source = watcher.take_back(|io, read| {
            ahead = read;
            // What a write has met is told to who reads.
            let fits = length.checked_sub(read) >= Some(LEAST) && !io.get_ref().is_tls() && !io.has_failed();
            fits && conduit.open(pipes)
        })?;
        Some(Self { source: Some(source), conduit: conduit.clone(), ahead, behind: length - ahead, broken: None })
    }

    /// What is left of the body, in bytes.
    pub fn left(&self) -> u64 {
        self.ahead + self.behind
    }

    /// Whether the next piece comes from hyper.
    pub fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// A piece came from there.
    pub fn came(&mut self, piece: &Bytes) {
        self.ahead = self.ahead.saturating_sub(piece.len() as u64);
    }

    /// What stands for the next piece.
    ///
    /// # Errors
    /// The connection broke or ended before the body.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let Self { source: Some(source), conduit, behind, broken, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let most = usize::try_from(*behind).unwrap_or(usize::MAX);
        match ready!(conduit.poll_fill(cx, source.get_ref().tcp(), most)) {
            Ok(piece) if !piece.is_empty() => {
                *behind -= piece.len() as u64;
                return Poll::Ready(Ok(piece));
            }
            Ok(_) => *broken = Some(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => *broken = Some(error),
        }
        // When hyper meets an error it drops what it has yet to write. So it gets one more turn before.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The connection, for the next answer, once nothing is left of this one.
    pub(super) fn take_source(&mut self) -> Option<HalfOpen<Stream>> {
        self.source.take_if(|_| self.ahead + self.behind == 0)
    }
}

impl Drop for Haul {
    fn drop(&mut self) {
        self.conduit.finish();
    }
}
