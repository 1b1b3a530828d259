//! A whole compose project at one moment, as plain data: what `anteroom doctor` and `anteroom wait` judge, where a page
//! judges one target. It holds what the engine, the deployment's files, Traefik and our own probes told, and says which
//! of it is what: who asks whom, who has done its work, who will come by itself.

pub mod awaited;
mod choice;
pub mod definitions;
pub mod traefik;
mod ways;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::definitions::{Definition, Unread};
use self::traefik::{Complaint, Rule};
use self::ways::{CVAT_GRAFANA, CVAT_GRAFANA_PORT};
use crate::evidence::{
    Compose, Container, Engine, Evidence, Failure, Happening, HealthStatus, Network, RestartPolicy, Scheme, Status,
    Target, Upstream, written_host,
};
use crate::readiness::{Cause, Outlook, declared_dependencies, has_done_its_work, outlook, was_ended};

pub use choice::{Candidate, Folder, Here, Meant, Unclear, choose, normal};

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
    /// Why that is not known, where it was looked for.
    pub undefined: Option<Unread>,
    /// What Traefik's mounted rules say.
    pub rules: Vec<Rule>,
    /// What Traefik wrote into its log of routers that it does not use.
    pub complaints: Vec<Complaint>,
    /// What came of asking the way that users ask.
    pub asked: Option<Asked>,
    /// What came of asking anteroom itself, which is not asked for who is not logged in.
    pub straight: Option<Asked>,
    /// Where users ask, or are sent on to, if nobody did, since there is nothing here by which to judge a certificate.
    pub unasked: Option<String>,
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
    /// 0: the engine chooses one when the container starts.
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

impl Asked {
    /// Whether the answer is no more than that HTTPS is to be asked.
    pub fn is_sent_on(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|answered| answered.only_to_tls)
    }
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

/// One start of one container.
pub type Run = (Box<str>, Option<SystemTime>);

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
        let Self { scheme, port, path, .. } = self;
        let host = written_host(&self.host);
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

impl Member {
    /// Compose's name of its service; of every member there is one.
    pub fn service(&self) -> &str {
        self.container.compose.as_ref().map_or("", |compose| &compose.service)
    }

    /// Which start of which container it is.
    pub fn run(&self) -> Run {
        let Container { id, started, .. } = &self.container;
        (id.clone(), started.as_ref().map(|moment| moment.at))
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

    /// The services that it needs.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        declared_dependencies(&self.container).iter().map(|it| &*it.service)
    }

    pub fn runs(&self) -> bool {
        self.container.status == Status::Running
    }
}

impl Project {
    /// What the labels say that were written last: how the project was started.
    pub fn newest(&self) -> Option<&Compose> {
        let members = self.members.iter().filter(|member| !member.is_one_off());
        members.max_by_key(|it| it.container.created.as_ref().map(|moment| moment.at))?.container.compose.as_ref()
    }

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
            undefined: None,
            rules: Vec::new(),
            complaints: Vec::new(),
            asked: None,
            straight: None,
            unasked: None,
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
        let services: Vec<&str> = member.needs().collect();
        self.members.iter().filter(|other| !other.is_one_off() && services.contains(&other.service())).collect()
    }

    /// Services that should have a container and have none, with what the files say of them: those that the files define,
    /// or, where these cannot be read, those that others need, as their labels say. One of which others need the end alone
    /// has ended, and was taken away, where one of them was started.
    pub fn absent(&self) -> Vec<(&str, Option<&Definition>)> {
        let mut absent: Vec<(&str, Option<&Definition>)> = Vec::new();
        let defined =
            self.definitions.iter().flatten().filter(|it| !it.optional && !self.has_done_its_part(&it.service));
        let labels = self.members.iter().filter(|it| !it.is_one_off()).filter_map(|it| it.container.compose.as_ref());
        let needed = labels.flat_map(|it| &it.depends_on).filter(|it| !it.ends && self.definitions.is_none());
        for (service, definition) in
            defined.map(|it| (&*it.service, Some(it))).chain(needed.map(|it| (&*it.service, None)))
        {
            if !self.has(service) && !absent.iter().any(|(known, _)| *known == service) {
                absent.push((service, definition));
            }
        }
        absent
    }

    /// Keeps what the files were `last` seen to define where they only did not answer this time.
    pub fn remember(&mut self, last: &mut Option<Vec<Definition>>) {
        if self.undefined == Some(Unread::Slow) && last.is_some() {
            (self.definitions, self.undefined) = (last.clone(), None);
        } else if self.definitions.is_some() {
            last.clone_from(&self.definitions);
        }
    }

    /// Whether a service has a container.
    pub fn has(&self, service: &str) -> bool {
        self.members.iter().any(|member| !member.is_one_off() && member.service() == service)
    }

    /// How a member does, as far as the engine and a connection tell.
    pub fn standing(&self, member: &Member) -> Standing {
        let ended_well = member.container.status == Status::Exited && member.container.exit_code == 0;
        let evidence = self.evidence_of(member);
        if has_done_its_work(&member.container, &evidence) && !self.is_asked(member)
            || ended_well && self.is_awaited(member)
        {
            return Standing::Done;
        }
        match outlook(&evidence) {
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
        let Container { status, exit_code, restart_policy, .. } = &member.container;
        let ended_well = *status == Status::Exited && *exit_code == 0;
        let ends = matches!(restart_policy, RestartPolicy::No | RestartPolicy::OnFailure { .. });
        let is_it = |other: &&Member| other.service() == member.service();
        let is_one_of_several = || self.members.iter().filter(is_it).count() > 1;
        let is_wanted = || self.is_asked(member) || self.is_needed(member);
        let by_itself = || !was_ended(&member.container, &self.evidence_of(member));
        ended_well && ends && !is_wanted() && !is_one_of_several() && by_itself()
    }

    /// Whether another service needs it, and not merely its end.
    fn is_needed(&self, member: &Member) -> bool {
        let needed =
            self.members.iter().filter(|it| !it.is_one_off()).flat_map(|it| declared_dependencies(&it.container));
        needed.into_iter().any(|it| !it.ends && *it.service == *member.service())
    }

    /// Whether another service waits for its end (`service_completed_successfully`).
    fn is_awaited(&self, member: &Member) -> bool {
        self.members.iter().any(|other| {
            let compose = other.container.compose.as_ref();
            compose.is_some_and(|it| it.depends_on.iter().any(|it| it.ends && *it.service == *member.service()))
        })
    }

    /// Whether a service need not be there any more: one that waited for its end was started, and nobody needs more of it.
    /// To make it anew would be to do its work twice.
    fn has_done_its_part(&self, service: &str) -> bool {
        let mut awaited = false;
        for other in self.members.iter().filter(|it| !it.is_one_off()) {
            for needed in declared_dependencies(&other.container).iter().filter(|it| *it.service == *service) {
                if !needed.ends {
                    return false;
                }
                awaited |= other.container.started.is_some();
            }
        }
        awaited
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
            speaks_http: self.speaks_http(member),
            probe: unanswered.or(probe),
            exchange: None,
            bound: None,
            warmup: None,
            seen_for: None,
            events: Arc::clone(&member.events),
            log: Arc::clone(&member.log),
        }
    }
}

/// How long ago a moment was; nothing if its clock is ahead of ours.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

#[cfg(test)]
mod tests;
