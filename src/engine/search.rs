//! Which container is the target? Pure: the engine's answers in, a choice out.
//!
//! The upstream's host is a name that the engine's resolver answers: a container's name, a compose service, or an
//! alias that only this container has on this network. The list tells the first two, and inspecting the third. So
//! the search has two steps: choose from the list whom to inspect ([`Search::worth_inspecting`]), cheaply even among
//! a thousand, then choose among those ([`Search::target`]).
//!
//! A host runs many a `grafana`. Where we know our own container, one with which we share neither project nor network
//! is a stranger that no name leads us to: it is never the target, unless it was configured. Better no target than a
//! page that tells somebody to mend another team's deployment.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Wanted;
use crate::engine::convert::{Listed, Occurrence, is_id};
use crate::evidence::{Attachment, Container, HealthStatus, Status};

/// Containers inspected in one step of a look, at most. A project rarely has more; each costs the engine about 1 ms.
pub const INSPECTED_MOST: usize = 64;

/// What is known when the search begins.
pub struct Search<'a> {
    pub wanted: &'a Wanted,
    pub ours: Option<&'a Container>,
    /// The target of the last search that found one, though it may be gone.
    pub last: Option<&'a Container>,
}

/// How soon an event deserves a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It is about the target, us, or one of our projects.
    AtOnce,
    /// It is about a stranger that may turn out to be the target.
    Soon,
}

impl Search<'_> {
    /// The ids of the containers that may be the target or matter to it, the likeliest first.
    pub fn worth_inspecting<'l>(&self, list: &'l [Listed]) -> Vec<&'l str> {
        let mut ranked: Vec<_> = list.iter().filter_map(|entry| Some((self.rank(entry)?, entry))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().take(INSPECTED_MOST).map(|(_, entry)| &*entry.id).collect()
    }

    /// Members of the target's project that were not inspected yet: they may be what the target depends on.
    pub fn rest_of_project<'l>(&self, target: &Container, list: &'l [Listed], seen: &[Arc<Container>]) -> Vec<&'l str> {
        let Some(compose) = &target.compose else { return Vec::new() };
        list.iter()
            .filter(|entry| entry.project == compose.project && !self.is_us(&entry.id))
            .filter(|entry| !seen.iter().any(|container| container.id == entry.id))
            .take(INSPECTED_MOST)
            .map(|entry| &*entry.id)
            .collect()
    }

    /// The container behind the upstream's host.
    ///
    /// Our own project's comes first, also if it lost its name or its network: that is then what is wrong. Another one
    /// that answers on a network of ours stands in for it only while ours does not run.
    pub fn target(&self, candidates: &[Arc<Container>]) -> Option<Arc<Container>> {
        let preference = |container: &&Arc<Container>| {
            let is_unhealthy = container.health.as_ref().is_some_and(|it| it.status == HealthStatus::Unhealthy);
            (
                self.ours.is_some_and(|ours| network_in_common(ours, container)),
                liveliness(container.status),
                // Of several replicas one that is well is enough, and the same one as long as it is: each change of the
                // target suspends requests.
                !is_unhealthy,
                container.status == Status::Running && self.last.is_some_and(|last| last.id == container.id),
                container.created.as_ref().map(|created| created.at),
            )
        };
        let fitting = |fits: &dyn Fn(&Container) -> bool| {
            let others = candidates.iter().filter(|container| !self.is_us(&container.id));
            others.filter(|container| fits(container)).max_by_key(preference).cloned()
        };
        if let Some(wanted) = &self.wanted.container {
            // As the engine reads it: `cafe` is a name before it is the beginning of an id.
            return fitting(&|container| *container.name == **wanted)
                .or_else(|| fitting(&|container| is_id(wanted) && container.id.starts_with(&**wanted)));
        }
        let is_service = |container: &Container| !container.compose.as_ref().is_some_and(|compose| compose.one_off);
        let is_kin = |container: &Container| self.ours.is_none_or(|ours| same_project(ours, container));
        let kin = fitting(&|container| is_service(container) && is_kin(container) && self.answers(container))
            // Aliases and addresses go when a container is disconnected from its network: measured, it then has none.
            .or_else(|| {
                fitting(&|container| is_service(container) && self.last.is_some_and(|last| succeeds(last, container)))
            })
            .or_else(|| fitting(&|container| is_service(container) && self.resembles(container)));
        // One that restarts is back in a moment; were it replaced meanwhile, the target would change with each crash.
        let is_up = |container: &Container| matches!(container.status, Status::Running | Status::Restarting);
        if kin.as_ref().is_some_and(|kin| is_up(kin)) {
            return kin;
        }
        let substitute = fitting(&|container| is_service(container) && !is_kin(container) && self.answers(container));
        let answers_now = |container: &Container| container.status == Status::Running;
        if kin.is_none() || substitute.as_ref().is_some_and(|it| answers_now(it)) { substitute } else { kin }
    }

    /// The other containers of our project and the target's, and others that answer to the same name, these first.
    pub fn others(&self, target: Option<&Container>, seen: &[Arc<Container>]) -> Vec<Container> {
        let known = [self.ours, target.or(self.last)];
        let mut others: Vec<_> = seen
            .iter()
            .filter(|container| !self.is_us(&container.id) && target.is_none_or(|target| target.id != container.id))
            .filter(|container| {
                self.answers(container) || known.iter().flatten().any(|known| same_project(known, container))
            })
            .collect();
        others.sort_by_key(|container| (Reverse(self.answers(container)), container.name.clone()));
        others.truncate(INSPECTED_MOST);
        others.into_iter().map(|container| (**container).clone()).collect()
    }

    /// Whether, and how soon, an event deserves a look. `found`: the target is there; `others`: see [`Self::others`].
    pub fn urgency(&self, occurrence: &Occurrence, found: bool, others: &[Container]) -> Option<Urgency> {
        let mut known = self.ours.into_iter().chain(self.last).chain(others);
        let concerns = |known: &Container| {
            known.id == occurrence.container
                || known.compose.as_ref().is_some_and(|compose| compose.project == occurrence.project)
        };
        if [&occurrence.name, &occurrence.service].iter().any(|name| self.is_wanted_name(name)) || known.any(concerns) {
            return Some(Urgency::AtOnce);
        }
        let soon = match (&occurrence.network, self.ours) {
            // A network that is made or removed says so without a container, and rarely.
            (Some(_), _) if occurrence.container.is_empty() => true,
            (Some(network), Some(ours)) => ours.networks.iter().any(|mine| mine.network_id == *network),
            // Outside a container any network may be the one that matters.
            (Some(_), None) => !found,
            (None, _) => !found && matches!(&*occurrence.happening.action, "start" | "rename"),
        };
        soon.then_some(Urgency::Soon)
    }

    /// Smaller is likelier; `None` for a container that has nothing to do with us.
    fn rank(&self, entry: &Listed) -> Option<u8> {
        if self.is_us(&entry.id) {
            return None;
        }
        let configured = self.wanted.container.as_ref();
        let is_configured = configured.is_some_and(|wanted| *entry.name == **wanted || entry.id.starts_with(&**wanted));
        let is_last = self.last.is_some_and(|last| last.id == entry.id);
        let is_named = self.is_wanted_name(&entry.name) || self.is_wanted_name(&entry.service);
        let has_address = self.address().is_some_and(|address| entry.addresses.contains(&address));
        let in_project = [self.ours, self.last]
            .into_iter()
            .flatten()
            .any(|known| known.compose.as_ref().is_some_and(|compose| compose.project == entry.project));
        let on_our_network = self.ours.is_some_and(|ours| {
            entry.networks.iter().any(|(name, id)| ours.networks.iter().any(|network| is_same(network, name, id)))
        });
        match () {
            () if is_configured || is_last => Some(0),
            () if is_named || has_address => Some(1),
            () if in_project => Some(2),
            () if on_our_network => Some(if entry.alive { 3 } else { 4 }),
            () if self.ours.is_none() => Some(if entry.alive { 5 } else { 6 }),
            () => None,
        }
    }

    /// Whether the engine's resolver, or the engine itself, takes the upstream's host for this container.
    fn answers(&self, container: &Container) -> bool {
        let service = container.compose.as_ref().map(|compose| &compose.service);
        let mut aliases = container.networks.iter().flat_map(|network| &network.aliases);
        let is_called = self.is_wanted_name(&container.name)
            || service.is_some_and(|service| self.is_wanted_name(service))
            || aliases.any(|alias| self.is_wanted_name(alias));
        // An address belongs to one container of the host alone, whereas a name has a meaning on each network.
        is_called && self.is_near(container)
            || self.address().is_some_and(|wanted| container.networks.iter().any(|net| net.address == Some(wanted)))
    }

    /// Whether a name may lead from us to this container, now or once a network of our own project is mended. Outside
    /// a container any may be meant.
    fn is_near(&self, container: &Container) -> bool {
        self.ours.is_none_or(|ours| same_project(ours, container) || network_in_common(ours, container))
    }

    /// Whether a container of our own project is named after the upstream's host, as CVAT's `cvat_grafana` is after
    /// `grafana`: where nobody answers, this one should.
    fn resembles(&self, container: &Container) -> bool {
        let Some(compose) = &container.compose else { return false };
        let prefix = compose.service.strip_suffix(&*self.wanted.host);
        prefix.is_some_and(|prefix| prefix.ends_with(['_', '-']))
            && self.ours.is_some_and(|ours| same_project(ours, container))
    }

    /// Names of hosts have no case.
    fn is_wanted_name(&self, name: &str) -> bool {
        !name.is_empty() && name.eq_ignore_ascii_case(&self.wanted.host)
    }

    fn address(&self) -> Option<IpAddr> {
        self.wanted.host.parse().ok()
    }

    fn is_us(&self, id: &str) -> bool {
        self.ours.is_some_and(|ours| *ours.id == *id)
    }
}

fn same_project(one: &Container, other: &Container) -> bool {
    match (&one.compose, &other.compose) {
        (Some(one), Some(other)) => one.project == other.project,
        (Some(_) | None, _) => false,
    }
}

/// By id or by name: a container that was never started has no id yet, and one whose network was made anew
/// remembers the old one.
fn network_in_common(one: &Container, other: &Container) -> bool {
    one.networks
        .iter()
        .any(|mine| other.networks.iter().any(|theirs| is_same(mine, &theirs.network, &theirs.network_id)))
}

fn is_same(network: &Attachment, name: &str, id: &str) -> bool {
    *network.network == *name || *network.network_id == *id && !id.is_empty()
}

/// Whether one container stands in the place of another that was there before: itself, or its recreation. A name
/// that became free may be taken by another project: that is no succession.
fn succeeds(last: &Container, container: &Container) -> bool {
    let takes_its_place = match (&last.compose, &container.compose) {
        (Some(last_of), Some(of)) => {
            last_of.project == of.project && (last_of.service == of.service || last.name == container.name)
        }
        (None, None) => last.name == container.name,
        (Some(_), None) | (None, Some(_)) => false,
    };
    container.id == last.id || takes_its_place
}

fn liveliness(status: Status) -> u8 {
    match status {
        Status::Running => 4,
        Status::Restarting => 3,
        Status::Paused => 2,
        Status::Created | Status::Exited | Status::Other => 1,
        Status::Removing | Status::Dead => 0,
    }
}

#[cfg(test)]
mod tests;
