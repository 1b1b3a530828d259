//! Where a target listens that refuses connections on the upstream's port: asked only then, now and then, of the
//! ports that it declares and, after a long start, of the usual ones, so that a wrong number in a setting is told apart from a slow start.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::evidence::{Container, Evidence, Failure, Status};
use crate::readiness::LONG_START;

/// A service that opens one port after another is given time, and a container is not scanned without need.
const AGAIN: Duration = Duration::from_secs(2);
/// Ports that are asked.
const PORTS_MOST: usize = 16;
/// Where web services listen, if they declare nothing.
const USUAL: [u16; 8] = [80, 443, 3000, 5000, 8000, 8080, 8443, 8888];

/// When it was last asked.
#[derive(Default)]
pub(super) struct Survey {
    last: Option<Instant>,
}

impl Survey {
    /// Whom to ask for which ports, if it is time to.
    pub fn due(&mut self, evidence: &Evidence) -> Option<(IpAddr, Vec<u16>)> {
        let Some(Failure::Refused { address }) = evidence.probe else { return None };
        let target = evidence.target.found().filter(|target| target.status == Status::Running)?;
        let ports = candidates(target, evidence);
        if ports.is_empty() || self.last.is_some_and(|last| last.elapsed() < AGAIN) {
            return None;
        }
        self.last = Some(Instant::now());
        Some((address, ports))
    }

    /// Another process is there: what was found says nothing of it.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

fn candidates(target: &Container, evidence: &Evidence) -> Vec<u16> {
    let port = evidence.upstream.port;
    let declared = target.declared_ports();
    let age = target.started.as_ref().and_then(|started| evidence.seen_at.duration_since(started.at).ok());
    // One that declares the port that we ask may still open it: other services open theirs one after another, so that a
    // neighbour which is open says nothing yet.
    let is_old = age.is_some_and(|age| age >= LONG_START);
    // A label says where requests are sent, and may be what is wrong; the image says where it listens.
    let is_its_own = target.exposed_ports.contains(&port) || target.exposed_ports.is_empty() && target.declares(port);
    if (declared.is_empty() || is_its_own) && !is_old {
        return Vec::new();
    }
    let usual = USUAL.iter().filter(|port| is_old && !declared.contains(port));
    declared.iter().chain(usual).copied().filter(|other| *other != port).take(PORTS_MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixtures::{ago, grafana, refused, with};

    fn asked(started: u64, exposed: &[u16], port: u16) -> Vec<u16> {
        let target = Container { started: ago(started), exposed_ports: exposed.into(), ..grafana() };
        let mut evidence = Evidence { probe: refused(), ..with(target) };
        evidence.upstream.port = port;
        Survey::default().due(&evidence).map(|(_, ports)| ports).unwrap_or_default()
    }

    #[test]
    fn what_is_declared_elsewhere_is_asked_at_once_and_the_usual_ports_after_a_long_start() {
        assert_eq!(asked(5, &[3000, 9000], 4000), [3000, 9000]);
        assert_eq!(asked(5, &[3000], 3000), [0; 0]);
        assert_eq!(asked(5, &[], 3000), [0; 0]);
        assert_eq!(asked(299, &[9000, 3000], 3000), [0; 0]);
        assert_eq!(asked(300, &[9000, 3000], 3000), [9000, 80, 443, 5000, 8000, 8080, 8443, 8888]);
        assert_eq!(asked(300, &[], 4000), USUAL);
        // A label that still has the old number.
        let labelled = |exposed: &[u16]| {
            let routed =
                Container { exposed_ports: exposed.into(), routed_ports: vec![3000], started: ago(5), ..grafana() };
            Survey::default().due(&Evidence { probe: refused(), ..with(routed) }).map(|(_, ports)| ports)
        };
        assert_eq!(labelled(&[4000]), Some(vec![4000]));
        assert_eq!(labelled(&[]), None);
    }

    #[test]
    fn it_is_not_asked_again_at_once() {
        let evidence = Evidence { probe: refused(), ..with(Container { exposed_ports: vec![9000], ..grafana() }) };
        let mut survey = Survey::default();
        assert!(survey.due(&evidence).is_some());
        assert!(survey.due(&evidence).is_none());
        survey.forget();
        assert!(survey.due(&evidence).is_some());
        assert!(Survey::default().due(&Evidence { probe: None, ..evidence }).is_none(), "it does not refuse");
    }
}
