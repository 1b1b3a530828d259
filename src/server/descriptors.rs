//! How many file descriptors there are, and how many connections fit.
//!
//! Without one for the upstream a connection is of no use, and a crowd of clients would take them all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all that is no client's: listeners, the admin port, probes, the engine, files.
const SPARE: u64 = 128;
/// So many connections may have a request under way at once, each with a connection to the upstream. Of more, most rest.
const ACTIVE: u64 = 4_096;

/// Takes as many descriptors as the process may have, and says how many connections of clients have room, where so many
/// `pipes` may be open beside them.
///
/// The soft limit is often 1,024, for programs that use select(2), and the hard one is meant for all others; an engine that
/// systemd has started hands both on to its containers.
pub fn fitting(pipes: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = raised,
            Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
        }
    }
    limit.current.and_then(|most| usize::try_from(fitting_into(most, pipes as u64)).ok()).unwrap_or(usize::MAX)
}

/// The first take four, with their pipes' two ends and the connection to the upstream, further ones two, and those that rest
/// one.
fn fitting_into(descriptors: u64, pipes: u64) -> u64 {
    let (mut connections, mut left) = (0, descriptors.saturating_sub(SPARE));
    let pipes = pipes.min(ACTIVE);
    for (number, each) in [(pipes, 4), (ACTIVE - pipes, 2), (u64::MAX, 1)] {
        let these = number.min(left / each);
        connections += these;
        left -= these * each;
    }
    connections.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_with_what_they_need_have_a_descriptor_each() {
        for (descriptors, pipes, expected) in [
            (0, 500, 1),
            (128, 500, 1),
            (200, 500, 18),
            (1024, 500, 224),
            (2128, 500, 500),
            (2130, 500, 501),
            (1024, 0, 448),
            (20_000, 500, 14_776),
            (1 << 20, 5_000, (1 << 20) - 128 - 3 * 4_096),
        ] {
            let fitting = fitting_into(descriptors, pipes);
            assert_eq!(fitting, expected, "of {descriptors} with {pipes} pipes");
            let needed = fitting + fitting.min(ACTIVE) + 2 * fitting.min(pipes).min(ACTIVE) + SPARE;
            assert!(fitting == 1 || needed <= descriptors);
        }
    }
}
