//! What a connection and its requests let each other know.
//!
//! All who have to do with it are polled by the same worker, so nothing here is ever contended.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::pace::Pace;
use crate::conduit::Conduit;
use crate::lock::lock;
use crate::spelling::Spelling;

/// Of one connection.
#[derive(Debug, Default)]
pub struct Notes {
    /// The number of the request whose body is broken, the first is 1.
    pub(super) broken: AtomicUsize,
    /// The connection has become a tunnel.
    pub(super) switched: AtomicBool,
    /// How many requests were read, if what was read ends with the last one, or 0.
    pub(super) read: AtomicUsize,
    /// Of what hyper writes of the answers that have begun.
    pub(super) pace: Pace,
    /// How many requests have begun, and how many answers have ended.
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// The heads of requests that have not begun whose names are not written [as usual](crate::spelling), by the number of
    /// the request.
    unusual: Mutex<VecDeque<(usize, Spelling)>>,
    /// How the answer is written that begins next.
    answer: Mutex<Option<Spelling>>,
    /// For the bodies of large answers, where the connection speaks HTTP/1.1 in the clear.
    pub(super) conduit: Conduit,
}

impl Notes {
    /// Whether the body of the connection's request with this number is known to be broken.
    pub fn is_broken(&self, number: usize) -> bool {
        self.broken.load(Ordering::Relaxed) == number
    }

    /// Whether hyper has nothing but the request with this number, all of it: nothing after it was read, and what comes
    /// before it is answered, and written by hyper to the last byte.
    pub fn has_just(&self, number: usize) -> bool {
        self.read.load(Ordering::Relaxed) == number && !self.pace.is_behind()
    }

    /// Counts a request in. Says its number.
    pub fn begin(&self) -> usize {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer that has ended.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// How the request with this number is written, if not as usual. To be asked for each in turn.
    pub fn take_unusual(&self, number: usize) -> Option<Spelling> {
        let mut heads = lock(&self.unusual);
        while heads.pop_front_if(|(its, _)| *its < number).is_some() {}
        let (_, spelling) = heads.pop_front_if(|(its, _)| *its == number)?;
        if heads.is_empty() {
            // A connection that rests keeps no room for the crowd that it once brought.
            *heads = VecDeque::new();
        }
        Some(spelling)
    }

    /// Has the answer that begins next written so.
    pub fn spell_answer(&self, spelling: Spelling) {
        *lock(&self.answer) = Some(spelling);
    }

    pub(super) fn take_answer(&self) -> Option<Spelling> {
        lock(&self.answer).take()
    }

    pub(super) fn keep_unusual(&self, heads: Vec<(usize, Spelling)>) {
        if !heads.is_empty() {
            lock(&self.unusual).extend(heads);
        }
    }

    pub(super) fn between_answers(&self) -> bool {
        self.answered.load(Ordering::Relaxed) == self.begun.load(Ordering::Relaxed)
            && !self.switched.load(Ordering::Relaxed)
    }

    pub(super) fn have_begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// The client was told that the protocol is switched.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }
}
