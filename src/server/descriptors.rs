//! How many file descriptors there are, and what they are for.
//!
//! Without one for the upstream a connection is of no use, and a crowd of clients would take them all; and whoever has none
//! left to look for the upstream would take it to be away.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use crate::conduit::PIPES_MOST;

/// For all that is not counted here: the admin port, probes, the engine, files; and for each worker, its listener and what
/// tokio needs.
const SPARE: u64 = 128;
const SPARE_OF_WORKER: u64 = 8;
/// Of all, so many are for pipes at most: one in eight. Without them answers pass all the same.
const FOR_A_PIPE: u64 = 16;
/// So many connections may have a request under way at once, each with a connection to the upstream. Of more, most rest.
const ACTIVE: u64 = 4_096;

/// How many there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub connections: usize,
    /// Connections to the upstream, besides those of probes.
    pub upstreams: usize,
    pub pipes: usize,
}

impl Shares {
    /// Takes as many descriptors as the process may have, for so many `workers`, `files` that may be open besides, and as
    /// many connections of clients as are `wanted`, if there is room.
    ///
    /// The soft limit is often 1,024, for programs that use select(2), and the hard one is meant for all others; an engine
    /// that systemd has started hands both on to its containers.
    pub fn of_all(wanted: usize, workers: usize, files: usize) -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let raised = Rlimit { current: limit.maximum, ..limit };
            match setrlimit(Resource::Nofile, raised) {
                Ok(()) => limit = raised,
                Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
            }
        }
        let spare = SPARE + SPARE_OF_WORKER * workers as u64 + files as u64;
        Self::of(limit.current.unwrap_or(u64::MAX), wanted as u64, spare)
    }

    /// The first connections take four, with their pipes' two ends and the connection to the upstream, further ones two, and
    /// those that rest one. What is left is for more requests at once over one connection.
    fn of(descriptors: u64, wanted: u64, spare: u64) -> Self {
        let all = descriptors - spare.min(descriptors / 2);
        let pipes = (all / FOR_A_PIPE).min(PIPES_MOST as u64);
        let (mut connections, mut left) = (0, all);
        for (number, each) in [(pipes, 4), (ACTIVE - pipes, 2), (u64::MAX, 1)] {
            let these = number.min(left / each).min(wanted - connections);
            connections += these;
            left -= these * each;
        }
        let upstreams = all - connections - 2 * pipes;
        let count = |number: u64| {
            usize::try_from(number.max(1)).map_or(Semaphore::MAX_PERMITS, |number| number.min(Semaphore::MAX_PERMITS))
        };
        Self { connections: count(connections), upstreams: count(upstreams), pipes: count(pipes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_open_at_once_has_a_descriptor() {
        for (descriptors, wanted, [connections, upstreams, pipes]) in [
            (0, 16_384, [1, 1, 1]),
            (200, 16_384, [44, 44, 6]),
            (272, 16_384, [60, 60, 8]),
            (1_024, 16_384, [389, 389, 55]),
            (1_024, 100, [100, 678, 55]),
            (20_000, 16_384, [14_768, 4_096, 500]),
            (1 << 20, 16_384, [16_384, (1 << 20) - 136 - 16_384 - 1_000, 500]),
            (u64::MAX, 1_000_000, [1_000_000, Semaphore::MAX_PERMITS, 500]),
        ] {
            let shares = Shares::of(descriptors, wanted, 136);
            assert_eq!(shares, Shares { connections, upstreams, pipes }, "of {descriptors}, with {wanted} wanted");
            let needed = connections as u64 + upstreams as u64 + 2 * pipes as u64;
            assert!(descriptors == 0 || needed + 136.min(descriptors / 2) <= descriptors, "{needed}");
        }
    }
}
