//! Addresses of the upstream's name that lead nowhere while another one answers: a leftover beside the live container.
//!
//! They are tried last, so that not every new connection has to wait for them, and told to the watcher, since a person
//! should know. The memory is bounded twice: in number, and in time, since an address may come to life.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::evidence::{Failure, Stray};
use crate::lock::lock;

/// As many are remembered. A name with more bad addresses than this has other troubles.
const MOST: usize = 8;
/// After so long without having failed again an address is tried in its turn.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What all connections to the upstream know together. Locked for a few instructions, and only where a name has several
/// addresses.
#[derive(Clone, Debug, Default)]
pub struct Strays(Arc<Mutex<Vec<(Stray, Instant)>>>);

impl Strays {
    /// Those that are known now.
    pub fn known(&self) -> Arc<[Stray]> {
        let strays = lock(&self.0);
        strays.iter().filter(|(_, seen)| seen.elapsed() < REMEMBERED).map(|(stray, _)| stray.clone()).collect()
    }

    /// Puts the known ones last; the order is the resolver's otherwise.
    pub fn put_last(&self, addresses: &mut [SocketAddr]) {
        let strays = lock(&self.0);
        let is_stray = |address: &SocketAddr| {
            strays.iter().any(|(stray, seen)| stray.address == address.ip() && seen.elapsed() < REMEMBERED)
        };
        addresses.sort_by_key(is_stray);
    }

    /// Remembers what a connection to one of several addresses has taught: which one answered, and how others failed.
    ///
    /// A name often has an address of each family (`localhost` has), and a server that listens on one of them only is
    /// no oddity. So an address is one only beside another of its own family.
    pub fn learn(&self, answered: IpAddr, failed: Vec<(SocketAddr, Failure)>, resolved: &[SocketAddr]) {
        let now = Instant::now();
        let mut strays = lock(&self.0);
        strays.retain(|(stray, seen)| {
            let still_there = resolved.iter().any(|address| address.ip() == stray.address);
            stray.address != answered && still_there && seen.elapsed() < REMEMBERED
        });
        for (address, failure) in failed {
            let address = address.ip();
            if address.is_ipv4() != answered.is_ipv4() {
                continue;
            }
            strays.retain(|(stray, _)| stray.address != address);
            strays.push((Stray { address, failure }, now));
        }
        let surplus = strays.len().saturating_sub(MOST);
        strays.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn refused(text: &str) -> (SocketAddr, Failure) {
        (address(text), Failure::Refused { address: address(text).ip() })
    }

    const ANSWERS: &str = "172.20.0.3:3000";
    const REFUSES: &str = "172.20.0.9:3000";

    #[tokio::test(start_paused = true)]
    async fn what_answers_again_or_is_gone_or_was_long_ago_is_no_stray() {
        let all = [address(ANSWERS), address(REFUSES)];
        let strays = Strays::default();
        let learn = || strays.learn(address(ANSWERS).ip(), vec![refused(REFUSES)], &all);
        learn();
        learn();
        assert_eq!(strays.known().len(), 1, "known once, however often it fails");
        strays.learn(address(REFUSES).ip(), vec![], &all);
        assert!(strays.known().is_empty(), "it answers");
        learn();
        strays.learn(address(ANSWERS).ip(), vec![], &[address(ANSWERS), address("172.20.0.4:3000")]);
        assert!(strays.known().is_empty(), "its name does not lead there any more");
        learn();
        tokio::time::advance(REMEMBERED).await;
        assert!(strays.known().is_empty(), "it may have come to life");
    }

    #[tokio::test]
    async fn an_address_of_the_other_family_is_none() {
        let strays = Strays::default();
        let all = [address("[::1]:3000"), address("127.0.0.1:3000")];
        strays.learn(all[1].ip(), vec![refused("[::1]:3000")], &all);
        assert!(strays.known().is_empty());
    }

    #[tokio::test]
    async fn as_many_are_remembered_as_there_is_room_for() {
        let strays = Strays::default();
        let all: Vec<_> = (1..=20).map(|last| address(&format!("172.20.0.{last}:3000"))).collect();
        let failed = all[1..].iter().map(|it| (*it, Failure::ConnectTimeout)).collect();
        strays.learn(all[0].ip(), failed, &all);
        assert_eq!(strays.known().len(), MOST);
    }
}
