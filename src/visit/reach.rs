//! Asks every service that runs whether it answers, by its address on the engine's networks, which Linux lets its host
//! reach. From where it does not, as from a desktop's virtual machine, nobody is called unreachable.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use crate::evidence::{Container, Failure, HealthStatus, Scheme, Status, Upstream};
use crate::probe::{Probe, Prober};
use crate::project::{Member, Project, Reach, Run};
use crate::readiness::shares_network;
use crate::upstream::Dialer;

/// The engine's networks are on this machine: whoever listens accepts within microseconds.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// For the head of an answer to `GET /`.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);
/// Addresses that are tried, each on a network of its own: the host may be kept from one and not from another.
const ADDRESSES_MOST: usize = 4;
/// Declared ports that are tried.
const PORTS_MOST: usize = 8;
/// What was heard this long ago may not be true any more.
const FADES_AFTER: Duration = Duration::from_secs(15);

/// The runs that have answered, on which port, and when that was heard. Who looks again and again does not ask each of
/// them each time: a database notes every connection that says nothing.
#[derive(Debug, Default)]
pub struct Heard(HashMap<Run, (u16, Instant)>);

impl Heard {
    /// Keeps what answered, and forgets the runs that are over.
    pub fn note(&mut self, project: &Project) {
        let now = Instant::now();
        let answers = project.members.iter().filter_map(|member| match member.reach {
            Reach::Answers { port } => Some((member.run(), port)),
            Reach::Untried | Reach::Fails { .. } => None,
        });
        let noted = answers.map(|(run, port)| {
            // Who was not asked anew was heard when it was asked.
            let at = self.0.get(&run).map_or(now, |(_, at)| *at);
            (run, (port, at))
        });
        self.0 = noted.collect();
    }

    /// Forgets those who may be asked again by now: whoever speaks HTTP at every look, the others now and then. For who
    /// looks on for as long as somebody watches.
    pub fn fade(&mut self, project: &Project) {
        let talkers: HashSet<Run> =
            project.members.iter().filter(|it| project.speaks_http(it)).map(Member::run).collect();
        self.0.retain(|run, (_, at)| at.elapsed() < FADES_AFTER && !talkers.contains(run));
    }

    /// Whether somebody was not asked for its sake.
    pub fn spoke_for(&self, project: &Project) -> bool {
        project.members.iter().any(|member| self.0.contains_key(&member.run()))
    }
}

/// Fills in how each member could be reached.
pub(super) async fn ask_everyone(project: &mut Project, heard: &Heard) {
    let asked = project.members.iter().map(async |member| match heard.0.get(&member.run()) {
        Some((port, _)) if member.container.status == Status::Running => (Reach::Answers { port: *port }, None),
        Some(_) | None => ask(member, project.speaks_http(member)).await,
    });
    let answers = join_all(asked).await;
    for (member, (reach, elsewhere)) in project.members.iter_mut().zip(answers) {
        (member.reach, member.elsewhere) = (reach, elsewhere);
    }
    let untold = |index: &usize| is_lost(project, *index) || project.is_no_port_of_its_own(&project.members[*index]);
    let untold: Vec<usize> = (0..project.members.len()).filter(untold).collect();
    for index in untold {
        project.members[index].reach = Reach::Untried;
    }
}

async fn ask(member: &Member, http: bool) -> (Reach, Option<u16>) {
    let Container { status, networks, health, .. } = &member.container;
    let addresses: Vec<IpAddr> = networks.iter().filter_map(|network| network.address).take(ADDRESSES_MOST).collect();
    let (false, Some(first), Status::Running) = (addresses.is_empty(), member.port(), *status) else {
        return (Reach::Untried, None);
    };
    // The engine asks it already, and better. Nothing was heard from here by that.
    if !http && health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy) {
        return (Reach::Untried, None);
    }
    let declared = || member.container.declared_ports().into_iter().filter(move |port| *port != first).take(PORTS_MOST);
    match ask_in_turn(&addresses, first, http).await {
        Ok(()) => (Reach::Answers { port: first }, None),
        Err(failure) => {
            let refused = matches!(failure, Failure::Refused { .. });
            let address = if let Failure::Refused { address } = failure { address } else { addresses[0] };
            let mut other = None;
            for port in declared().filter(|_| refused) {
                if other.is_none() && connect(address, port, CONNECT_LIMIT).await.is_ok() {
                    other = Some(port);
                }
            }
            match other {
                // Nobody is known to ask for a certain one of its ports.
                Some(port) if !http => (Reach::Answers { port }, None),
                elsewhere => (Reach::Fails { port: first, failure }, elsewhere),
            }
        }
    }
}

/// Asks at one address after the other until one is not silent; all of them in the time that there is for one. Else the
/// first failure.
async fn ask_in_turn(addresses: &[IpAddr], port: u16, http: bool) -> Result<(), Failure> {
    let until = Instant::now() + ANSWER_LIMIT;
    let for_each = CONNECT_LIMIT / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut first = None;
    for address in addresses {
        let asked = if http {
            exchange(*address, port, for_each, until).await
        } else {
            connect(*address, port, for_each).await
        };
        match asked {
            Err(failure) if is_silence(&failure) => first = first.or(Some(failure)),
            told => return told,
        }
    }
    first.map_or(Ok(()), Err)
}

fn is_silence(failure: &Failure) -> bool {
    matches!(failure, Failure::ConnectTimeout | Failure::Unreachable { .. })
}

async fn connect(address: IpAddr, port: u16, limit: Duration) -> Result<(), Failure> {
    match timeout(limit, TcpStream::connect(SocketAddr::new(address, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(Failure::Refused { address }),
        Ok(Err(error)) => Err(Failure::Unreachable { reason: error.to_string().into() }),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// `GET /`, whatever is answered: what matters is that something is.
async fn exchange(address: IpAddr, port: u16, connect_limit: Duration, until: Instant) -> Result<(), Failure> {
    let upstream = Upstream::at(Scheme::Http, address.to_string(), port);
    let dialer = Dialer::new(upstream, connect_limit, None, None);
    let host = HeaderValue::from_static("localhost");
    let prober = Prober::new(dialer, Some((PathAndQuery::from_static("/"), host)));
    match timeout_at(until.into(), prober.probe()).await {
        Ok(Err(Failure::NotReady { status })) if !matches!(status, 502..=504) => Ok(()),
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::NoAnswer),
    }
}

/// Whether silence says nothing: nobody else on its networks could be reached from here either.
fn is_lost(project: &Project, index: usize) -> bool {
    let member = &project.members[index];
    let silent = |reach: &Reach| matches!(reach, Reach::Fails { failure, .. } if is_silence(failure));
    let heard = |other: &Member| !silent(&other.reach) && other.reach != Reach::Untried;
    silent(&member.reach)
        && !project.members.iter().any(|other| shares_network(&other.container, &member.container) && heard(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixtures::{ago, grafana};
    use crate::evidence::Engine;
    use crate::project::Setup;

    #[test]
    fn what_was_heard_fades_and_of_whoever_speaks_http_at_once() {
        let member = |service: &str, routed: &[u16]| {
            let mut container = grafana();
            (container.id, container.routed_ports) = (service.into(), routed.into());
            container.compose.as_mut().expect("a service").service = service.into();
            let (setup, reach) = (Setup::default(), Reach::Answers { port: 3000 });
            Member { container, setup, reach, elsewhere: None, events: [].into(), log: [].into() }
        };
        let mut project = Project::of("cvat", Engine::Simulated, ago(0).expect("a moment").at);
        project.members = vec![member("db", &[]), member("web", &[8080])];
        let mut heard = Heard::default();
        heard.note(&project);
        heard.fade(&project);
        let whom = |heard: &Heard| heard.0.keys().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        assert_eq!(whom(&heard), ["db".into()]);
        for (_, at) in heard.0.values_mut() {
            *at = at.checked_sub(FADES_AFTER).expect("the clock has run for so long");
        }
        // By hearsay it stays as old as it is.
        heard.note(&project);
        heard.fade(&project);
        assert_eq!(whom(&heard), Vec::<Box<str>>::new());
    }

    #[tokio::test]
    async fn who_is_silent_at_one_address_is_asked_at_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        // Nothing may be connected to there.
        let silent = IpAddr::from([255, 255, 255, 255]);
        let here = IpAddr::from([127, 0, 0, 1]);
        let member = |addresses: &[IpAddr]| {
            let mut container = grafana();
            container.exposed_ports = vec![port];
            container.compose.as_mut().expect("a service").service = "db".into();
            let network = container.networks[0].clone();
            let at = |address: &IpAddr| crate::evidence::Attachment { address: Some(*address), ..network.clone() };
            container.networks = addresses.iter().map(at).collect();
            let (setup, reach) = (Setup::default(), Reach::Untried);
            Member { container, setup, reach, elsewhere: None, events: [].into(), log: [].into() }
        };
        assert_eq!(ask(&member(&[silent, here]), false).await.0, Reach::Answers { port });
        // Not for ever: a fifth one is not tried.
        for addresses in [&[silent; 2][..], &[silent, silent, silent, silent, here]] {
            let (reach, _) = ask(&member(addresses), false).await;
            assert!(matches!(&reach, Reach::Fails { failure, .. } if is_silence(failure)), "{reach:?}");
        }
        drop(listener);
        let (reach, _) = ask(&member(&[silent, here]), true).await;
        assert_eq!(reach, Reach::Fails { port, failure: Failure::Refused { address: here } });
    }
}
