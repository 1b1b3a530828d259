//! Asks every service that runs whether it answers, by its address on the engine's networks, which Linux lets its host
//! reach. From where it does not, as from a desktop's virtual machine, nobody is called unreachable.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::evidence::{Container, Failure, HealthStatus, Scheme, Status, Upstream};
use crate::probe::{Probe, Prober};
use crate::project::{Member, Project, Reach, ago};
use crate::readiness::shares_network;
use crate::upstream::Dialer;

/// The engine's networks are on this machine: whoever listens accepts within microseconds.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// For the head of an answer to `GET /`.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);
/// Declared ports that are tried.
const PORTS_MOST: usize = 8;

/// The runs that have answered once, and on which port. Who looks again and again asks each but once: a database notes
/// every connection that says nothing.
#[derive(Debug, Default)]
pub struct Heard(HashMap<(Box<str>, Option<SystemTime>), u16>);

impl Heard {
    /// Keeps what answered, and forgets the runs that are over.
    pub fn note(&mut self, project: &Project) {
        let answers = project.members.iter().filter_map(|member| match member.reach {
            Reach::Answers { port } => Some((run(member), port)),
            Reach::Untried | Reach::Fails { .. } => None,
        });
        self.0 = answers.collect();
    }

    /// Whether somebody was not asked for its sake.
    pub fn spoke_for(&self, project: &Project) -> bool {
        project.members.iter().any(|member| self.0.contains_key(&run(member)))
    }
}

/// One start of one container.
fn run(member: &Member) -> (Box<str>, Option<SystemTime>) {
    let Container { id, started, .. } = &member.container;
    (id.clone(), started.as_ref().map(|moment| moment.at))
}

/// Fills in how each member could be reached.
pub(super) async fn ask_everyone(project: &mut Project, heard: &Heard) {
    let asked = project.members.iter().map(async |member| match heard.0.get(&run(member)) {
        Some(port) if member.container.status == Status::Running => (Reach::Answers { port: *port }, None),
        Some(_) | None => ask(member, speaks_http(project, member)).await,
    });
    let answers = join_all(asked).await;
    for (member, (reach, elsewhere)) in project.members.iter_mut().zip(answers) {
        (member.reach, member.elsewhere) = (reach, elsewhere);
    }
    let untold = |index: &usize| is_lost(project, *index) || is_no_port_of_its_own(project, *index);
    let untold: Vec<usize> = (0..project.members.len()).filter(untold).collect();
    for index in untold {
        project.members[index].reach = Reach::Untried;
    }
}

/// Who is asked by a router, or is CVAT's Grafana, speaks HTTP. An anteroom speaks it for the service behind it, whose
/// faults are not its own. A database would only note a connection that says nothing, and a request as an error; one that
/// is asked over TLS or in HTTP/2 takes no request in plain HTTP/1.1.
fn speaks_http(project: &Project, member: &Member) -> bool {
    let is = |it: Option<&Member>| it.is_some_and(|it| it.container.id == member.container.id);
    let is_asked = is(project.analytics()) || !member.container.routed_ports.is_empty();
    is_asked && !is(project.anteroom()) && !member.setup.asked_otherwise
}

async fn ask(member: &Member, http: bool) -> (Reach, Option<u16>) {
    let Container { status, networks, health, .. } = &member.container;
    let address = networks.iter().find_map(|network| network.address);
    let (Some(address), Some(first), Status::Running) = (address, member.port(), *status) else {
        return (Reach::Untried, None);
    };
    // The engine asks it already, and better. Nothing was heard from here by that.
    if !http && health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy) {
        return (Reach::Untried, None);
    }
    let declared = || {
        let ports = member.container.routed_ports.iter().chain(&member.container.exposed_ports).copied();
        ports.filter(move |port| *port != first).take(PORTS_MOST)
    };
    match if http { exchange(address, first).await } else { connect(address, first).await } {
        Ok(()) => (Reach::Answers { port: first }, None),
        Err(failure) => {
            let refused = matches!(failure, Failure::Refused { .. });
            let mut other = None;
            for port in declared().filter(|_| refused) {
                if other.is_none() && connect(address, port).await.is_ok() {
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

async fn connect(address: IpAddr, port: u16) -> Result<(), Failure> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(SocketAddr::new(address, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(Failure::Refused { address }),
        Ok(Err(error)) => Err(Failure::Unreachable { reason: error.to_string().into() }),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// `GET /`, whatever is answered: what matters is that something is.
async fn exchange(address: IpAddr, port: u16) -> Result<(), Failure> {
    let upstream = Upstream::at(Scheme::Http, address.to_string(), port);
    let dialer = Dialer::new(upstream, CONNECT_LIMIT, None, None);
    let host = HeaderValue::from_static("localhost");
    let prober = Prober::new(dialer, Some((PathAndQuery::from_static("/"), host)));
    match timeout(ANSWER_LIMIT, prober.probe()).await {
        Ok(Err(Failure::NotReady { status })) if !matches!(status, 502..=504) => Ok(()),
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::NoAnswer),
    }
}

/// Whether a refusal says nothing: nobody is known to ask on this port, which the image declares whatever runs in it.
/// CVAT's workers have the image of its server, and only the server listens. One that has just been started may still
/// open it, unless another container shows whose port it is.
fn is_no_port_of_its_own(project: &Project, index: usize) -> bool {
    const STARTS_WITHIN: Duration = Duration::from_secs(60);
    let member = &project.members[index];
    let refuses = matches!(&member.reach, Reach::Fails { failure: Failure::Refused { .. }, .. });
    let is_asked = speaks_http(project, member) || !member.setup.published.is_empty();
    let is_like = |other: &Member| other.container.image == member.container.image;
    let shared = project.members.iter().any(|other| is_like(other) && matches!(other.reach, Reach::Answers { .. }));
    let age = member.container.started.as_ref().map(|started| ago(started.at, project.seen_at));
    refuses && !is_asked && (shared || age.is_none_or(|age| age >= STARTS_WITHIN))
}

/// Whether silence says nothing: nobody else on its networks could be reached from here either.
fn is_lost(project: &Project, index: usize) -> bool {
    let member = &project.members[index];
    let silent = |reach: &Reach| {
        matches!(reach, Reach::Fails { failure: Failure::ConnectTimeout | Failure::Unreachable { .. }, .. })
    };
    let heard = |other: &Member| !silent(&other.reach) && other.reach != Reach::Untried;
    silent(&member.reach)
        && !project.members.iter().any(|other| shares_network(&other.container, &member.container) && heard(other))
}
