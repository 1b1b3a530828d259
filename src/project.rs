//! A whole compose project at one moment, as plain data: what `anteroom doctor` and `anteroom wait` judge, where a page
//! judges one target. It holds what the engine, the deployment's files, Traefik and our own probes told, and says which
//! of it is what: who asks whom, who has done its work, who will come by itself.

pub mod awaited;
pub mod definitions;
pub mod traefik;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::definitions::Definition;
use self::traefik::{Complaint, Rule};
use crate::evidence::{
    Container, Engine, Evidence, Failure, Happening, HealthStatus, Network, RestartPolicy, Scheme, Status, Target,
    Upstream,
};
use crate::readiness::{Cause, Outlook, dependencies, has_done_its_work, outlook, shares_network};

/// Everything that was seen of one project.
#[derive(Clone, Debug)]
pub struct Project {
    pub name: Box<str>,
    pub seen_at: SystemTime,
    pub engine: Engine,
    pub booted_at: Option<SystemTime>,
    /// Its containers.
    pub members: Vec<Member>,
    /// Containers of others that are on its networks.
    pub neighbours: Vec<Container>,
    /// The networks that exist on the host.
    pub networks: Arc<[Network]>,
    /// What its compose files define; `None` where they cannot be read, or do not say all.
    pub definitions: Option<Vec<Definition>>,
    /// What Traefik's mounted rules say.
    pub rules: Vec<Rule>,
    /// What Traefik wrote into its log of routers that it does not use.
    pub complaints: Vec<Complaint>,
    /// What came of asking the way that users ask.
    pub asked: Option<Asked>,
    /// The ports of Traefik's that nobody listens behind, as that of a dashboard which is not enabled.
    pub silent_ports: Vec<u16>,
    pub disk: Option<Disk>,
}

/// One container of the project.
#[derive(Clone, Debug)]
pub struct Member {
    pub container: Container,
    pub setup: Setup,
    pub reach: Reach,
    /// A port that it declares and on which it accepts connections, while it refuses them on the one that is asked.
    pub elsewhere: Option<u16>,
    /// What happened to it lately, oldest first.
    pub events: Arc<[Happening]>,
    /// Its last lines, if it is not well.
    pub log: Arc<[Box<str>]>,
}

/// What is read of a container's configuration beside what a page needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Ports of the host that lead to it.
    pub published: Vec<Published>,
    pub mounts: Vec<Mount>,
    /// The routers that its labels make.
    pub routers: Vec<Rule>,
    /// Traefik asks it over TLS or in HTTP/2, by a label.
    pub asked_otherwise: bool,
}

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub inside: u16,
    pub outside: u16,
    /// The only address of the host that it is published on, if it is not all of them.
    pub only_at: Option<IpAddr>,
}

impl Published {
    /// Where the host itself reaches it.
    pub fn near(&self) -> SocketAddr {
        SocketAddr::new(self.only_at.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.outside)
    }
}

/// A file or folder of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: Box<str>,
    pub destination: Box<str>,
}

/// What a connection to a member came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does not run, declares no port, or cannot be reached from here at all.
    Untried,
    Answers {
        port: u16,
    },
    Fails {
        port: u16,
        failure: Failure,
    },
}

/// What came of asking a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub url: String,
    /// Nobody has said that users ask there: Traefik's ports and rules did.
    pub supposed: bool,
    pub outcome: Result<Answered, Failure>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// The first bytes of the body.
    pub start: String,
    /// By a page of ours, whose first finding has this code and title.
    pub by_anteroom: Option<(String, String)>,
    /// A path that nobody serves gets the very same answer: no router took it.
    pub like_any_path: bool,
    /// It only sends on to the same address over TLS.
    pub only_to_tls: bool,
}

/// The file system on which the engine keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub path: Box<str>,
    /// In bytes.
    pub available: u64,
    pub total: u64,
    /// How many files more it can hold (inodes), if that has a limit.
    pub files_left: Option<u64>,
}

/// Where users ask for the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub scheme: Scheme,
    /// Whom the request is addressed to.
    pub host: String,
    pub port: u16,
    pub path: String,
    /// Where it is reached, whatever the name of the host leads to.
    pub at: Option<IpAddr>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, port, path, .. } = self;
        let port = if *port == scheme.default_port() { String::new() } else { format!(":{port}") };
        write!(f, "{}://{host}{port}{path}", scheme.as_str())
    }
}

/// How a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, and nothing speaks against it.
    Well,
    /// It has done what it was started for.
    Done,
    /// It may become well by itself.
    Coming,
    /// It does not work, and nothing will happen by itself.
    Hopeless,
}

impl Standing {
    /// As tables and documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Done => "done",
            Self::Coming => "not ready",
            Self::Hopeless => "down",
        }
    }
}

/// CVAT's service behind `/analytics`, and the name by which its own router asks for it.
const CVAT_GRAFANA: (&str, &str) = ("cvat_grafana", "grafana");

/// Where users ask for it.
const ANALYTICS: &str = "/analytics";

/// Where CVAT's router, and the override that comes with anteroom, ask it.
const CVAT_GRAFANA_PORT: u16 = 3000;

impl Member {
    /// Compose's name of its service; of every member there is one.
    pub fn service(&self) -> &str {
        self.container.compose.as_ref().map_or("", |compose| &compose.service)
    }

    /// Whether `docker compose run` made it.
    pub fn is_one_off(&self) -> bool {
        self.container.compose.as_ref().is_some_and(|compose| compose.one_off)
    }

    /// The port that others ask: where a router sends requests, or CVAT's own, or else the lowest that it declares.
    pub fn port(&self) -> Option<u16> {
        let Container { routed_ports, exposed_ports, .. } = &self.container;
        let of_cvat = (self.service() == CVAT_GRAFANA.0).then_some(CVAT_GRAFANA_PORT);
        routed_ports.first().copied().or(of_cvat).or(exposed_ports.first().copied())
    }

    fn runs(&self) -> bool {
        self.container.status == Status::Running
    }
}

impl Project {
    /// What was seen, before any of it was asked.
    pub fn of(name: &str, engine: Engine, seen_at: SystemTime) -> Self {
        Self {
            name: name.into(),
            seen_at,
            engine,
            booted_at: None,
            members: Vec::new(),
            neighbours: Vec::new(),
            networks: Arc::new([]),
            definitions: None,
            rules: Vec::new(),
            complaints: Vec::new(),
            asked: None,
            silent_ports: Vec::new(),
            disk: None,
        }
    }

    /// The members that serve, dependencies before their dependants; those of `compose run` are none.
    pub fn services(&self) -> Vec<&Member> {
        let members = || self.members.iter().filter(|member| !member.is_one_off());
        let mut ordered: Vec<&Member> = Vec::new();
        let mut visited = HashSet::new();
        for member in members() {
            self.visit(member, &mut visited, &mut ordered);
        }
        ordered
    }

    /// Depth first. A circle, which compose refuses, is cut where it closes.
    fn visit<'a>(&'a self, member: &'a Member, visited: &mut HashSet<&'a str>, ordered: &mut Vec<&'a Member>) {
        if !visited.insert(&*member.container.id) {
            return;
        }
        for needed in self.needs(member) {
            self.visit(needed, visited, ordered);
        }
        ordered.push(member);
    }

    /// The members that one needs.
    pub fn needs(&self, member: &Member) -> Vec<&Member> {
        let evidence = self.evidence_of(member);
        let services: Vec<&str> = dependencies(&member.container, &evidence).iter().map(|it| &*it.service).collect();
        self.members.iter().filter(|other| !other.is_one_off() && services.contains(&other.service())).collect()
    }

    /// How a member does, as far as the engine and a connection tell.
    pub fn standing(&self, member: &Member) -> Standing {
        let ended_well = member.container.status == Status::Exited && member.container.exit_code == 0;
        if has_done_its_work(&member.container) || ended_well && self.is_awaited(member) {
            return Standing::Done;
        }
        match outlook(&self.evidence_of(member)) {
            // The host reaches every network of the engine's; who asks for the member does not.
            Outlook::Pointless(Cause::NameNotResolved | Cause::NameResolvedOutside | Cause::NetworkNotShared) => {
                Standing::Hopeless
            }
            Outlook::Pointless(_) if matches!(member.reach, Reach::Answers { .. }) && member.runs() => Standing::Well,
            Outlook::Pointless(_) => Standing::Hopeless,
            Outlook::Coming | Outlook::Unhealthy | Outlook::Blind => Standing::Coming,
            Outlook::Running => {
                let starting =
                    member.container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Starting);
                if starting || matches!(member.reach, Reach::Fails { .. }) { Standing::Coming } else { Standing::Well }
            }
        }
    }

    /// Whether a member that has ended well may have been meant to, though its image declares a port: its policy lets it
    /// end, and nobody is known to ask it for anything.
    fn may_be_a_job(&self, member: &Member) -> bool {
        let Container { status, exit_code, restart_policy, routed_ports, .. } = &member.container;
        let ends = matches!(restart_policy, RestartPolicy::No | RestartPolicy::OnFailure { .. });
        let is_asked =
            !routed_ports.is_empty() || !member.setup.published.is_empty() || member.service() == CVAT_GRAFANA.0;
        let is_it = |other: &Member| other.service() == member.service();
        let is_one_of_several = || self.members.iter().filter(|other| is_it(other)).count() > 1;
        let is_needed = || self.members.iter().any(|other| self.needs(other).into_iter().any(is_it));
        *status == Status::Exited && *exit_code == 0 && ends && !is_asked && !is_one_of_several() && !is_needed()
    }

    /// Whether a path is one that somebody in this project is asked for by it, rather than everybody's.
    pub fn has_own(&self, path: &str) -> bool {
        let analytics = self.analytics().map(|_| ANALYTICS);
        let rules = self.members.iter().flat_map(|member| &member.setup.routers).chain(&self.rules);
        rules.filter_map(Rule::path).chain(analytics).any(|prefix| prefix != "/" && path.starts_with(prefix))
    }

    /// Whether another service waits for its end (`service_completed_successfully`).
    fn is_awaited(&self, member: &Member) -> bool {
        self.members.iter().any(|other| {
            let compose = other.container.compose.as_ref();
            compose.is_some_and(|it| it.depends_on.iter().any(|it| it.ends && *it.service == *member.service()))
        })
    }

    /// What is known of one member, as rules over a single target read it.
    pub fn evidence_of(&self, member: &Member) -> Evidence {
        let others = self.members.iter().filter(|other| other.container.id != member.container.id);
        let asker = self.asker_of(member);
        let probe = match &member.reach {
            Reach::Fails { failure, .. } => Some(failure.clone()),
            Reach::Untried | Reach::Answers { .. } => None,
        };
        let unanswered = asker.filter(|_| member.runs()).and_then(|asker| self.unresolved(member, asker));
        Evidence {
            seen_at: self.seen_at,
            upstream: Upstream::at(Scheme::Http, self.name_of(member), member.port().unwrap_or(80)),
            engine: self.engine.clone(),
            booted_at: self.booted_at,
            ourselves: asker.map(|asker| Arc::new(asker.container.clone())),
            target: Target::Found(Arc::new(member.container.clone())),
            others: others.map(|it| it.container.clone()).chain(self.neighbours.iter().cloned()).collect(),
            networks: Arc::clone(&self.networks),
            strays: Arc::new([]),
            elsewhere: member.elsewhere,
            was_ready: false,
            probe: unanswered.or(probe),
            exchange: None,
            bound: None,
            warmup: None,
            events: Arc::clone(&member.events),
            log: Arc::clone(&member.log),
        }
    }

    /// The member that is Traefik.
    pub fn traefik(&self) -> Option<&Member> {
        self.members.iter().find(|member| is_image(&member.container.image, "traefik") || member.service() == "traefik")
    }

    /// The member that is an anteroom.
    pub fn anteroom(&self) -> Option<&Member> {
        let is_ours =
            |member: &&Member| is_image(&member.container.image, "anteroom") || member.service() == "anteroom";
        self.members.iter().find(is_ours)
    }

    /// The service behind CVAT's `/analytics`.
    pub fn analytics(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.service() == CVAT_GRAFANA.0 && !member.is_one_off())
    }

    /// Where users may ask for analytics, as far as Traefik's ports and rules tell, the likeliest first; none in a
    /// deployment without them. Which of its ports are entry points, only Traefik knows.
    pub fn public_addresses(&self) -> Vec<Address> {
        const DASHBOARD: u16 = 8090;
        let Some((traefik, _)) = self.traefik().zip(self.analytics()) else { return Vec::new() };
        let rank = |port: &&Published| match port.inside {
            8080 => 0,
            80 => 1,
            443 | 8443 => 3,
            _ => 2,
        };
        let mut published: Vec<&Published> =
            traefik.setup.published.iter().filter(|port| port.inside != DASHBOARD).collect();
        published.sort_by_key(rank);
        let labels = || self.members.iter().flat_map(|member| &member.setup.routers);
        let asked_for = labels().chain(&self.rules).find(|rule| rule.path() == Some(ANALYTICS)).and_then(Rule::host);
        // A template in the rule: then whatever host the rest of the deployment is asked by.
        let host = asked_for.or_else(|| labels().find_map(Rule::host)).unwrap_or("localhost");
        let address = |port: &Published| Address {
            scheme: if matches!(port.inside, 443 | 8443) { Scheme::Https } else { Scheme::Http },
            host: host.to_owned(),
            port: port.outside,
            path: format!("{ANALYTICS}/"),
            at: Some(port.near().ip()),
        };
        published.into_iter().map(address).collect()
    }

    /// Who sends users' requests to a member, if anybody does.
    fn asker_of(&self, member: &Member) -> Option<&Member> {
        let is_analytics = member.service() == CVAT_GRAFANA.0;
        let asker = match self.anteroom() {
            Some(anteroom) if is_analytics => Some(anteroom),
            _ => self.traefik().filter(|_| is_analytics || !member.container.routed_ports.is_empty()),
        };
        asker.filter(|asker| asker.container.id != member.container.id)
    }

    /// The name by which it is asked for.
    fn name_of(&self, member: &Member) -> Arc<str> {
        if member.service() == CVAT_GRAFANA.0 { CVAT_GRAFANA.1.into() } else { member.service().into() }
    }

    /// What the engine's resolver would say to who asks for a member by a name that nobody has there. Only of names that
    /// are asked for as such: Traefik takes the addresses of its labelled containers from the engine.
    fn unresolved(&self, member: &Member, asker: &Member) -> Option<Failure> {
        let name = self.name_of(member);
        let by_name = self.anteroom().is_some() || member.container.routed_ports.is_empty();
        let shares = shares_network(&member.container, &asker.container);
        let everyone = || self.members.iter().map(|member| &member.container).chain(&self.neighbours);
        if !by_name || !shares || everyone().any(|it| answers_to(it, &name, &asker.container)) {
            return None;
        }
        Some(Failure::NameNotResolved {
            reason: format!("no container on the networks of {} has this name", asker.container.name).into(),
        })
    }
}

/// Whether a running container has a name on a network that it shares with who asks.
fn answers_to(container: &Container, name: &str, asker: &Container) -> bool {
    let is_it = |other: &str| other.eq_ignore_ascii_case(name);
    container.status == Status::Running
        && container.networks.iter().any(|place| {
            asker.networks.iter().any(|theirs| theirs.network_id == place.network_id)
                && (is_it(&container.name) || place.aliases.iter().any(|alias| is_it(alias)))
        })
}

/// Which of the projects of a host is meant.
///
/// # Errors
/// There is none, or nothing tells which: all their names.
pub fn choose(projects: &[(Box<str>, Vec<Box<str>>)], wanted: Option<&str>, folder: &str) -> Result<Box<str>, Unclear> {
    let find = |fits: &dyn Fn(&str, &[Box<str>]) -> bool| {
        let mut fitting = projects.iter().filter(|(name, services)| fits(name, services));
        // Of two that fit equally none is chosen.
        fitting.next().filter(|_| fitting.next().is_none()).map(|(name, _)| name.clone())
    };
    let names = || projects.iter().map(|(name, _)| name.clone()).collect();
    match wanted {
        Some(wanted) => find(&|name, _| name == wanted).ok_or_else(|| Unclear { wanted: true, projects: names() }),
        None => find(&|name, _| name == folder)
            .or_else(|| {
                find(&|_, services| services.iter().any(|it| &**it == CVAT_GRAFANA.0 || &**it == "cvat_server"))
            })
            .or_else(|| find(&|_, _| true))
            .ok_or_else(|| Unclear { wanted: false, projects: names() }),
    }
}

/// Nothing tells which project is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    /// One was named, and is not there.
    pub wanted: bool,
    pub projects: Vec<Box<str>>,
}

/// Whether an image is called so, in whatever registry and version.
fn is_image(image: &str, name: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next() == Some(name)
}

/// How long ago a moment was; nothing if its clock is ahead of ours.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

#[cfg(test)]
mod tests;
