//! Which container is the target? Pure: the engine's answers in, a choice out.
//!
//! The upstream's host is a name that the engine's resolver answers: a container's name, a compose service, or an
//! alias that only this container has on this network. The list tells the first two, and inspecting the third. So
//! the search has two steps: choose from the list whom to inspect ([`Search::worth_inspecting`]), cheaply even among
//! a thousand, then choose among those ([`Search::target`]).

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Wanted;
use crate::engine::convert::{Listed, Occurrence, is_id};
use crate::evidence::{Attachment, Container, Status};

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

    /// The container behind the upstream's host. Among several: our own project first, then a network in common, then
    /// what is likelier to answer, then the newest.
    pub fn target(&self, candidates: &[Arc<Container>]) -> Option<Arc<Container>> {
        let preference = |container: &&Arc<Container>| {
            (
                self.ours.is_some_and(|ours| same_project(ours, container)),
                self.ours.is_some_and(|ours| network_in_common(ours, container)),
                liveliness(container.status),
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
        fitting(&|container| is_service(container) && self.answers(container))
            // Aliases and addresses go when a container is disconnected from its network: measured, it then has none.
            .or_else(|| {
                fitting(&|container| is_service(container) && self.last.is_some_and(|last| succeeds(last, container)))
            })
            .or_else(|| fitting(&|container| is_service(container) && self.resembles(container)))
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
        self.is_wanted_name(&container.name)
            || service.is_some_and(|service| self.is_wanted_name(service))
            || aliases.any(|alias| self.is_wanted_name(alias))
            || self.address().is_some_and(|wanted| container.networks.iter().any(|net| net.address == Some(wanted)))
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

/// Whether one container stands in the place of another that was there before: itself, or its recreation.
fn succeeds(last: &Container, container: &Container) -> bool {
    let same_service = match (&last.compose, &container.compose) {
        (Some(last), Some(now)) => last.project == now.project && last.service == now.service,
        (Some(_) | None, _) => false,
    };
    container.id == last.id || container.name == last.name || same_service
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
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::evidence::{Compose, Happening, Moment};

    fn recorded() -> Container {
        let text = include_str!("../../tests/fixtures/inspect/running.json");
        let inspected = serde_json::from_str(text).expect("a recorded answer");
        crate::engine::convert::container(inspected).expect("a container")
    }

    /// `name` on `network`, with `aliases`, of `project`'s service of the same name.
    fn container(name: &str, project: &str, network: &str, aliases: &[&str]) -> Container {
        let compose = Compose { project: project.into(), service: name.into(), ..recorded().compose.expect("labels") };
        let attachment = Attachment {
            network: network.into(),
            network_id: format!("id-of-{network}").into(),
            aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
            address: None,
        };
        Container {
            id: format!("{:x<64}", name.bytes().map(|byte| format!("{byte:x}")).collect::<String>()).into(),
            name: name.into(),
            compose: Some(compose).filter(|_| !project.is_empty()),
            networks: vec![attachment],
            ..recorded()
        }
    }

    fn grafana() -> Container {
        container("cvat_grafana", "cvat", "cvat_cvat", &["grafana", "cvat_grafana"])
    }

    fn ours() -> Container {
        container("anteroom", "cvat", "cvat_cvat", &["anteroom"])
    }

    fn wanted(host: &str, name: Option<&str>) -> Wanted {
        Wanted { host: host.into(), container: name.map(Into::into), own_id: None }
    }

    fn found(wanted: &Wanted, ours: Option<&Container>, candidates: Vec<Container>) -> Option<String> {
        let candidates: Vec<_> = candidates.into_iter().map(Arc::new).collect();
        let target = Search { wanted, ours, last: None }.target(&candidates);
        target.map(|target| target.name.to_string())
    }

    #[test]
    fn a_target_is_found_by_alias_service_name_and_address() {
        let address: IpAddr = "172.22.0.2".parse().expect("an address");
        let mut by_address = grafana();
        by_address.networks[0].address = Some(address);
        for (host, fits) in [
            ("grafana", true),
            ("GRAFANA", true),
            ("cvat_grafana", true),
            ("172.22.0.2", true),
            ("172.22.0.3", false),
            ("grafan", false),
            ("grafana.example.org", false),
        ] {
            let found = found(&wanted(host, None), Some(&ours()), vec![ours(), by_address.clone()]);
            assert_eq!(found.is_some(), fits, "{host}");
        }
    }

    #[test]
    fn among_several_the_closest_then_the_liveliest_then_the_newest_is_chosen() {
        let stranger = || container("stranger", "other", "elsewhere", &["grafana"]);
        let neighbour = || container("neighbour", "other", "cvat_cvat", &["grafana"]);
        let orphan = || Container { name: "orphan".into(), id: "0f".into(), ..grafana() };
        let with = |container: Container, status| Container { status, ..container };
        let made = |container: Container, second| {
            let at = UNIX_EPOCH + Duration::from_secs(second);
            Container { created: Some(Moment { at, text: "".into() }), ..container }
        };
        let cases = [
            ("a project in common", vec![stranger(), with(grafana(), Status::Exited), neighbour()], "cvat_grafana"),
            ("a network in common", vec![stranger(), with(neighbour(), Status::Exited)], "neighbour"),
            ("nothing in common", vec![stranger()], "stranger"),
            ("running", vec![with(orphan(), Status::Restarting), grafana()], "cvat_grafana"),
            ("restarting", vec![with(orphan(), Status::Paused), with(grafana(), Status::Restarting)], "cvat_grafana"),
            ("paused", vec![with(orphan(), Status::Exited), with(grafana(), Status::Paused)], "cvat_grafana"),
            ("not dying", vec![with(orphan(), Status::Removing), with(grafana(), Status::Created)], "cvat_grafana"),
            ("newest", vec![made(orphan(), 9), made(grafana(), 5)], "orphan"),
        ];
        for (why, mut candidates, want) in cases {
            for _ in 0..2 {
                let found = found(&wanted("grafana", None), Some(&ours()), candidates.clone());
                assert_eq!(found.as_deref(), Some(want), "{why}");
                candidates.reverse();
            }
        }
    }

    #[test]
    fn a_configured_container_is_found_by_name_before_it_is_found_by_id() {
        let named = Container { name: "cafe".into(), id: "aa".repeat(32).into(), ..grafana() };
        let by_id = Container { name: "other".into(), id: "cafe".repeat(16).into(), ..grafana() };
        let both = || vec![named.clone(), by_id.clone()];
        assert_eq!(found(&wanted("grafana", Some("cafe")), None, both()).as_deref(), Some("cafe"));
        assert_eq!(found(&wanted("grafana", Some("cafecafe")), None, both()).as_deref(), Some("other"));
        assert_eq!(found(&wanted("grafana", Some("grafana")), None, both()), None, "an alias is no name");
    }

    #[test]
    fn neither_we_nor_a_one_off_container_is_ever_the_target() {
        let ours = container("anteroom", "cvat", "cvat_cvat", &["grafana"]);
        let mut one_off = grafana();
        one_off.compose = one_off.compose.map(|compose| Compose { one_off: true, ..compose });
        assert_eq!(found(&wanted("grafana", None), Some(&ours), vec![ours.clone(), one_off.clone()]), None);
        assert_eq!(found(&wanted("grafana", Some("anteroom")), Some(&ours), vec![ours.clone()]), None);
    }

    #[test]
    fn a_target_that_lost_its_aliases_and_addresses_is_still_it() {
        let last = container("web", "cvat", "cvat_cvat", &["grafana"]);
        let cut_off = |id: &str| Arc::new(Container { id: id.into(), networks: Vec::new(), ..last.clone() });
        let stranger = Arc::new(container("stranger", "other", "cvat_cvat", &[]));
        for host in ["grafana", "172.22.0.2"] {
            let wanted = wanted(host, None);
            let search = Search { wanted: &wanted, ours: None, last: Some(&last) };
            for id in [&*last.id, "bb"] {
                assert_eq!(search.target(&[stranger.clone(), cut_off(id)]), Some(cut_off(id)), "{host}");
            }
            assert_eq!(search.target(std::slice::from_ref(&stranger)), None, "{host}");
            assert_eq!(Search { last: None, ..search }.target(&[cut_off("bb")]), None, "{host}");
        }
    }

    #[test]
    fn where_nobody_answers_the_service_named_after_the_host_should() {
        let named = |service: &str| container(service, "cvat", "cvat_cvat", &[]);
        let wanted = wanted("grafana", None);
        assert_eq!(found(&wanted, Some(&ours()), vec![named("cvat_grafana")]).as_deref(), Some("cvat_grafana"));
        assert_eq!(found(&wanted, Some(&ours()), vec![named("notgrafana")]), None);
        assert_eq!(found(&wanted, None, vec![named("cvat_grafana")]), None, "not of our project");
        let twin = container("twin", "other", "cvat_cvat", &["grafana"]);
        assert_eq!(found(&wanted, Some(&ours()), vec![named("cvat_grafana"), twin]).as_deref(), Some("twin"));
    }

    #[test]
    fn others_are_the_project_and_whoever_answers_to_the_same_name() {
        let (wanted, ours, target) = (wanted("grafana", None), ours(), grafana());
        let twin = container("twin", "other", "cvat_cvat", &["grafana"]);
        let clickhouse = container("cvat_clickhouse", "cvat", "cvat_cvat", &["clickhouse"]);
        let stranger = container("stranger", "other", "cvat_cvat", &[]);
        let seen: Vec<_> = [&ours, &clickhouse, &target, &stranger, &twin].map(|one| Arc::new(one.clone())).into();
        let search = Search { wanted: &wanted, ours: Some(&ours), last: None };
        let names: Vec<_> = search.others(Some(&target), &seen).into_iter().map(|other| other.name).collect();
        assert_eq!(names, ["twin".into(), "cvat_clickhouse".into()] as [Box<str>; 2]);
    }

    #[test]
    fn among_a_thousand_containers_only_the_likeliest_are_inspected() {
        let entry = |number: usize, name: &str, project: &str, network: &str| Listed {
            id: format!("{number:064x}").into(),
            name: name.into(),
            project: project.into(),
            alive: true,
            networks: vec![(network.into(), "".into())],
            ..Listed::default()
        };
        let mut list: Vec<_> = (0..1_000).map(|number| entry(number, "stranger", "other", "elsewhere")).collect();
        list.extend((1_000..1_100).map(|number| entry(number, "neighbour", "other", "cvat_cvat")));
        list.push(entry(2_000, "cvat_clickhouse", "cvat", "cvat_cvat"));
        list.push(entry(2_001, "grafana", "other", "elsewhere"));
        let (wanted, ours) = (wanted("grafana", None), ours());
        let search = Search { wanted: &wanted, ours: Some(&ours), last: None };
        let ids = search.worth_inspecting(&list);
        assert_eq!(ids.len(), INSPECTED_MOST);
        assert_eq!(ids[..3], [2_001, 2_000, 1_000].map(|number| format!("{number:064x}")));
        let on_a_host = Search { ours: None, ..search };
        let ids = on_a_host.worth_inspecting(&list);
        assert_eq!((ids.len(), ids[0]), (INSPECTED_MOST, &*format!("{:064x}", 2_001)));
    }

    #[test]
    fn an_event_is_as_urgent_as_whom_it_is_about() {
        let (wanted, ours, last) = (wanted("grafana", None), ours(), grafana());
        let clickhouse = container("cvat_clickhouse", "cvat", "cvat_cvat", &[]);
        let at = Moment { at: UNIX_EPOCH, text: "".into() };
        let event = |container: &str, name: &str, project: &str, network: Option<&str>, action: &str| Occurrence {
            container: container.into(),
            name: name.into(),
            project: project.into(),
            service: "".into(),
            one_off: false,
            network: network.map(Into::into),
            happening: Happening { at: at.clone(), action: action.into(), exit_code: None },
        };
        let (ours_net, other_net) = (Some("id-of-cvat_cvat"), Some("id-of-elsewhere"));
        let (at_once, soon) = (Some(Urgency::AtOnce), Some(Urgency::Soon));
        let cases = [
            (event(&last.id, "cvat_grafana", "cvat", None, "die"), at_once, at_once),
            (event("new", "grafana", "", None, "create"), at_once, at_once),
            (event("new", "new", "cvat", None, "create"), at_once, at_once),
            (event(&clickhouse.id, "", "", other_net, "disconnect"), at_once, at_once),
            (event("new", "", "", ours_net, "connect"), soon, soon),
            (event("new", "", "", other_net, "connect"), None, None),
            (event("", "", "", other_net, "create"), soon, soon),
            (event("new", "stranger", "other", None, "start"), None, soon),
            (event("new", "stranger", "other", None, "die"), None, None),
        ];
        for (event, if_found, if_not_found) in cases {
            let search = Search { wanted: &wanted, ours: Some(&ours), last: Some(&last) };
            let others = std::slice::from_ref(&clickhouse);
            assert_eq!(search.urgency(&event, true, others), if_found, "{event:?}");
            assert_eq!(search.urgency(&event, false, others), if_not_found, "{event:?}");
        }
    }
}
