//! A lock that outlives a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after somebody has panicked with it: what ours guard is whole between any two statements, and a bug in
/// one request must not cost all others their answers.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
