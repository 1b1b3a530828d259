//! Who sends requests to whom in a deployment, where, and under which name; and whether silence there means anything.

use std::sync::Arc;
use std::time::Duration;

use super::traefik::{DASHBOARD, Rule};
use super::{Address, Member, Project, Published, Reach, ago};
use crate::evidence::{Container, Failure, Scheme, Status};
use crate::readiness::shares_network;

/// CVAT's service behind `/analytics`, and the name by which its own router asks for it.
pub(super) const CVAT_GRAFANA: (&str, &str) = ("cvat_grafana", "grafana");

/// The service that makes a project CVAT's.
pub(super) const CVAT_SERVER: &str = "cvat_server";

/// Where users ask for Grafana.
const ANALYTICS: &str = "/analytics";

/// Where CVAT's router, and the override that comes with anteroom, ask it.
pub(super) const CVAT_GRAFANA_PORT: u16 = 3000;

impl Project {
    /// Whether a path is one that somebody in this project is asked for by it, rather than everybody's.
    pub fn has_own(&self, path: &str) -> bool {
        // CVAT's, though its container be gone.
        let is_cvat = self.analytics().is_some() || self.has(CVAT_SERVER);
        let analytics = is_cvat.then_some(ANALYTICS);
        let rules = self.members.iter().flat_map(|member| &member.setup.routers).chain(&self.rules);
        rules.filter_map(Rule::path).chain(analytics).any(|prefix| prefix != "/" && path.starts_with(prefix))
    }

    /// The member that is Traefik.
    pub fn traefik(&self) -> Option<&Member> {
        self.members.iter().find(|member| is_image(&member.container.image, "traefik") || member.service() == "traefik")
    }

    /// Whether a member is Traefik.
    pub fn is_traefik(&self, member: &Member) -> bool {
        self.traefik().is_some_and(|it| it.container.id == member.container.id)
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

    /// The member that a path leads to: Grafana for CVAT's, else the one whose router asks for the longest part of it.
    pub fn behind(&self, path: &str) -> Option<&Member> {
        let of_analytics = self.analytics().filter(|_| path.starts_with(ANALYTICS));
        let asks_for = |member: &Member| {
            let paths = member.setup.routers.iter().map(|rule| rule.path().unwrap_or("/"));
            paths.filter(|prefix| path.starts_with(prefix)).map(str::len).max()
        };
        let routed = self.members.iter().filter(|it| !it.is_one_off()).filter_map(|it| Some((asks_for(it)?, it)));
        of_analytics.or_else(|| routed.max_by_key(|(length, _)| *length).map(|(_, member)| member))
    }

    /// Where users may ask for analytics, as far as Traefik's ports and rules tell, the likeliest first; none in a
    /// deployment without them. Which of its ports are entry points, only Traefik knows.
    pub fn public_addresses(&self) -> Vec<Address> {
        let traefik = self.traefik().filter(|it| it.runs());
        let Some((traefik, _)) = traefik.zip(self.analytics()) else { return Vec::new() };
        let rank = |port: &&Published| match port.inside {
            8080 => 0,
            80 => 1,
            443 | 8443 => 3,
            _ => 2,
        };
        let mut published: Vec<&Published> =
            traefik.setup.published.iter().filter(|port| port.inside != DASHBOARD && port.outside > 0).collect();
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

    /// Where anteroom is asked without Traefik, and without the login that it asks for.
    pub fn straight_address(&self) -> Option<Address> {
        let anteroom = self.anteroom().filter(|it| it.runs())?;
        let at = anteroom.container.networks.iter().find_map(|network| network.address)?;
        let path = if self.analytics().is_some() { format!("{ANALYTICS}/") } else { "/".to_owned() };
        Some(Address { scheme: Scheme::Http, host: at.to_string(), port: anteroom.port()?, path, at: Some(at) })
    }

    /// Who sends users' requests to a member, if anybody does.
    pub fn asker_of(&self, member: &Member) -> Option<&Member> {
        let is_analytics = member.service() == CVAT_GRAFANA.0;
        let asker = match self.anteroom() {
            Some(anteroom) if is_analytics => Some(anteroom),
            _ => self.traefik().filter(|_| is_analytics || member.is_routed()),
        };
        asker.filter(|asker| asker.container.id != member.container.id)
    }

    /// Whether it is known that somebody sends requests to a member from outside: a router, who publishes its port, or
    /// CVAT's rule file. A router of Traefik's own is that of its dashboard.
    pub(super) fn is_asked(&self, member: &Member) -> bool {
        let is_analytics = member.service() == CVAT_GRAFANA.0;
        is_analytics || member.is_routed() && !self.is_traefik(member) || !member.setup.published.is_empty()
    }

    /// Who is asked by a router, or is CVAT's Grafana, speaks HTTP. An anteroom speaks it for the service behind it, whose
    /// faults are not its own. A database would only note a connection that says nothing, and a request as an error; one
    /// that is asked over TLS or in HTTP/2 takes no request in plain HTTP/1.1.
    pub fn speaks_http(&self, member: &Member) -> bool {
        let is = |it: Option<&Member>| it.is_some_and(|it| it.container.id == member.container.id);
        let is_asked = is(self.analytics()) || member.is_routed() && !self.is_traefik(member);
        is_asked && !is(self.anteroom()) && !member.setup.asked_otherwise
    }

    /// Whether a refusal says nothing: nobody is known to ask on this port, which the image declares whatever runs in it.
    /// CVAT's workers have the image of its server, and only the server listens; so they are let off while it answers,
    /// and while it is the one that should. One that nobody asks and nobody shows the port of may still open it soon
    /// after its start, and after that is taken for a worker.
    pub fn is_no_port_of_its_own(&self, member: &Member) -> bool {
        const STARTS_WITHIN: Duration = Duration::from_secs(60);
        let refuses = matches!(&member.reach, Reach::Fails { failure: Failure::Refused { .. }, .. });
        let should_listen = |it: &Member| self.is_asked(it) || self.is_needed(it);
        let is_the_ports = |other: &Member| matches!(other.reach, Reach::Answers { .. }) || should_listen(other);
        let is_like = |other: &&Member| {
            other.container.image == member.container.image && other.container.id != member.container.id
        };
        let is_shared = || self.members.iter().filter(is_like).any(is_the_ports);
        let age = member.container.started.as_ref().map(|started| ago(started.at, self.seen_at));
        refuses && !should_listen(member) && (age.is_none_or(|age| age >= STARTS_WITHIN) || is_shared())
    }

    /// The name by which it is asked for.
    pub(super) fn name_of(&self, member: &Member) -> Arc<str> {
        if member.service() == CVAT_GRAFANA.0 { CVAT_GRAFANA.1.into() } else { member.service().into() }
    }

    /// What the engine's resolver would say to who asks for a member by a name that nobody has there. Only of names that
    /// are asked for as such: Traefik takes the addresses of its labelled containers from the engine.
    pub(super) fn unresolved(&self, member: &Member, asker: &Member) -> Option<Failure> {
        let name = self.name_of(member);
        let is_anteroom = self.anteroom().is_some_and(|it| it.container.id == asker.container.id);
        let by_name = is_anteroom || !member.is_routed();
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

impl Member {
    /// Whether its labels make Traefik send requests to it: with a router, or with a port for one.
    pub fn is_routed(&self) -> bool {
        !self.container.routed_ports.is_empty() || !self.setup.routers.is_empty()
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

/// Whether an image is called so, in whatever registry and version.
pub(super) fn is_image(image: &str, name: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next() == Some(name)
}
