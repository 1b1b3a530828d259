//! An answer's body that goes [around hyper](crate::conduit): what hyper has already read of it comes from there, and the
//! rest from the upstream's socket into the client's.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::pool::Line;
use crate::conduit::{Conduit, Pipes};

/// Of a body, in bytes. A pipe has to be made, and hyper's part of the connection anew: with 96 KiB that takes as much
/// CPU time as it saves, with 128 KiB a little less, and with 256 KiB an answer takes a fifth less in all.
const LEAST: u64 = 128 << 10;

/// What is left of such a body.
#[derive(Debug)]
pub struct Haul {
    line: Line,
    conduit: Conduit,
    /// What hyper has yet to hand over, and what comes after it, in bytes.
    ahead: u64,
    behind: u64,
    /// What was moved first.
    first: Bytes,
    /// Nothing more comes.
    has_ended: bool,
}

impl Haul {
    /// Takes what is left of a body away from hyper. `None` if that is not worth it, or cannot be done.
    pub(super) fn begin(line: Line, length: u64, conduit: &Conduit, pipes: &Pipes) -> Option<Self> {
        let ahead = line.beyond();
        let behind = length.checked_sub(ahead).filter(|behind| *behind >= LEAST)?;
        let first = line.with(|io| {
            // What a write has met has to be told to who reads.
            let stream = io.get_ref();
            let is_plain = !stream.is_tls() && !io.has_failed();
            if is_plain { conduit.begin(pipes, stream.tcp(), most(behind)) } else { None }
        })?;
        line.take_away();
        Some(Self { line, conduit: conduit.clone(), ahead, behind, first, has_ended: false })
    }

    /// What is left of the body, in bytes.
    pub fn left(&self) -> u64 {
        self.ahead + self.behind
    }

    /// The connection that it came over, once nothing is left, for the next answer.
    pub(super) fn line(&self) -> Line {
        self.line.bring_back();
        self.line.clone()
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
        let mut piece = std::mem::take(&mut self.first);
        if piece.is_empty() {
            let Self { line, conduit, behind, .. } = self;
            // The kernel tells of an error once, and of an end after it.
            piece =
                ready!(line.with(|io| conduit.poll_fill(cx, io.get_ref().tcp(), most(*behind)))).unwrap_or_default();
        }
        if piece.is_empty() {
            if self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            // hyper drops what it has yet to write when it meets an error. So it is met in another turn.
            self.has_ended = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.behind -= piece.len() as u64;
        Poll::Ready(Ok(piece))
    }
}

impl Drop for Haul {
    fn drop(&mut self) {
        self.conduit.finish();
    }
}

fn most(behind: u64) -> usize {
    usize::try_from(behind).unwrap_or(usize::MAX)
}
