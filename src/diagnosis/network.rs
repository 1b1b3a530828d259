//! Why a container that is there cannot be found: networks and names.

use super::facts::{self, Row, row};
use super::redact::redact;
use super::{Code, Confidence, Finding, Severity, remedy};
use crate::evidence::{Attachment, Container, Evidence, Failure, Status, Stray};
use crate::phrase::{Phrase, Say as _, phrase};
use crate::readiness::{has_names, has_own_network, hears_names, shares_network, single_label};

/// It cannot start, since the network that it was made for was removed, and perhaps made anew under the same name.
pub(super) fn stale(evidence: &Evidence) -> Option<Finding> {
    let container = facts::target(evidence).found()?;
    let attachment = stale_attachment(evidence, container)?;
    let live = evidence.networks.iter().find(|network| network.name == attachment.network);
    let (name, network) = (&container.name, &attachment.network);
    let (title, now) = match live {
        Some(live) => (
            phrase!("{0} cannot start: its network {1} was removed and made anew", name, network),
            short(&live.id).say(),
        ),
        None => (phrase!("{0} cannot start: its network {1} no longer exists", name, network), phrase!("none")),
    };
    let decisive: Vec<Row> = vec![
        row!("network it was made for", phrase!("{0} ({1})", network, short(&attachment.network_id))),
        row!("network of that name now", now),
    ];
    Some(Finding {
        code: Code::NetworkStale,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title,
        evidence: facts::rows_after(decisive, container),
        remedies: remedies_of_stale(evidence, container, attachment, live.is_some()),
    })
}

/// Compose makes the networks of its own project anew, and no others.
fn remedies_of_stale(
    evidence: &Evidence,
    container: &Container,
    attachment: &Attachment,
    exists: bool,
) -> Vec<super::Remedy> {
    let project = container.compose.as_ref().map(|compose| format!("{}_", compose.project));
    if project.is_none_or(|prefix| attachment.network.starts_with(&prefix)) {
        return remedy::reattach(evidence, container).into_iter().collect();
    }
    let create = remedy::create_network(&attachment.network).filter(|_| !exists);
    [create, remedy::recreate(evidence, container)].into_iter().flatten().collect()
}

/// The attachment that keeps a container from starting. It shows before any start is tried: the container remembers
/// the id of its network, and no live network has it.
pub(super) fn stale_attachment<'a>(evidence: &Evidence, container: &'a Container) -> Option<&'a Attachment> {
    // A running container holds its networks: the engine does not remove them.
    if !matches!(container.status, Status::Created | Status::Exited | Status::Dead) {
        return None;
    }
    let known = |id: &str| {
        // Podman's service gives the name in place of the id.
        evidence.networks.iter().any(|network| &*network.id == id || &*network.name == id)
    };
    let stale = |attachment: &&Attachment| {
        let id = &*attachment.network_id;
        // Empty before the first start. An empty list of networks was not asked for, or refused.
        !id.is_empty() && !evidence.networks.is_empty() && !known(id)
            || !id.is_empty() && container.error.contains(&format!("network {id} not found"))
    };
    container.networks.iter().find(stale)
}

/// It runs, but on no network that we are on.
pub(super) fn not_shared(evidence: &Evidence) -> Option<Finding> {
    let (container, ourselves) = (facts::running(evidence)?, evidence.ourselves.as_deref()?);
    // An address or a name with dots may be reached without a network in common.
    let told = has_own_network(container) && has_own_network(ourselves);
    if !single_label(&evidence.upstream.host) || !told || shares_network(container, ourselves) {
        return None;
    }
    let decisive: Vec<Row> =
        vec![row!("its networks", facts::networks(container)), row!("our networks", facts::networks(ourselves))];
    let network = meeting_place(container, ourselves, evidence);
    Some(Finding {
        code: Code::NetworkNotShared,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!(
            "{0} runs, but shares no network with anteroom: it is on {1}, anteroom on {2}",
            container.name,
            on_which(container),
            on_which(ourselves)
        ),
        evidence: facts::rows_after(decisive, container),
        remedies: [
            network.and_then(|network| remedy::connect(&evidence.upstream.host, &network.network, container)),
            network.and_then(|network| remedy::joins(&evidence.upstream.host, &network.network, container)),
            // Mends what was moved by hand, and not what the files themselves say.
            remedy::rebuild(evidence, container),
        ]
        .into_iter()
        .flatten()
        .collect(),
    })
}

/// It shares a network with us, but does not answer to the upstream's name there.
pub(super) fn alias_missing(evidence: &Evidence) -> Option<Finding> {
    let (container, ourselves) = (facts::running(evidence)?, evidence.ourselves.as_deref()?);
    let host = &evidence.upstream.host;
    // Only a name that does not resolve is missing: otherwise something answers to it.
    let unresolved = facts::failures(evidence)
        .any(|failure| matches!(failure, Failure::NameNotResolved { .. } | Failure::NameResolvedOutside { .. }));
    let shares = shares_network(container, ourselves);
    if !unresolved || !single_label(host) || !shares || answers_to(container, host, ourselves).is_some() {
        return None;
    }
    let aliases = container.networks.iter().flat_map(|attachment| &attachment.aliases);
    let names = [&container.name].into_iter().chain(aliases).map(|name| &**name);
    let decisive: Vec<Row> = vec![row!("name asked for", host), row!("names it answers to", Phrase::list(", ", names))];
    Some(Finding {
        code: Code::AliasMissing,
        severity: Severity::Error,
        confidence: Confidence::Certain,
        title: phrase!("{0} runs, but does not answer to the name {1} on our network", container.name, host),
        evidence: facts::rows_after(decisive, container),
        remedies: remedy::recreate(evidence, container).into_iter().collect(),
    })
}

/// Another running container answers to the same name: connections go now to the one, now to the other.
pub(super) fn alias_duplicated(evidence: &Evidence) -> Option<Finding> {
    twin(evidence).or_else(|| stray(evidence))
}

/// One of the name's addresses does not answer although another one does. Who is behind it, only the engine could tell.
fn stray(evidence: &Evidence) -> Option<Finding> {
    let stray = evidence.strays.first()?;
    let host = &evidence.upstream.host;
    let mut rows = vec![row!("name asked for", host)];
    rows.extend(stray_rows(evidence));
    Some(Finding {
        code: Code::AliasDuplicated,
        severity: Severity::Warning,
        confidence: Confidence::Certain,
        title: phrase!("The name {0} has several addresses, and {1} does not answer", host, stray.address),
        evidence: rows,
        remedies: vec![],
    })
}

fn stray_rows(evidence: &Evidence) -> impl Iterator<Item = Row> {
    evidence.strays.iter().map(|Stray { address, failure }| {
        let has_address = |container: &&Container| container.networks.iter().any(|net| net.address == Some(*address));
        let whose = evidence.others.iter().find(has_address);
        let who = whose.map_or_else(|| address.say(), |container| phrase!("{0} ({1})", address, container.name));
        row!("does not answer", phrase!("{0}: {1}", who, facts::failure(failure)))
    })
}

fn twin(evidence: &Evidence) -> Option<Finding> {
    let container = facts::running(evidence)?;
    let host = &evidence.upstream.host;
    let beside = evidence.ourselves.as_deref().unwrap_or(container);
    answers_to(container, host, beside)?;
    let (other, place) = evidence
        .others
        .iter()
        .filter(|other| matches!(other.status, Status::Running | Status::Paused | Status::Restarting))
        .filter(|other| !scaled(other, container))
        .find_map(|other| answers_to(other, host, beside).map(|place| (other, place)))?;
    let project = |container: &Container| container.compose.as_ref().map(|compose| compose.project.clone());
    // Taking our project down does not touch a container of another one.
    let same_project = project(other).is_some() && project(other) == project(container);
    let ours = project(container).is_some() && project(container) == evidence.ourselves.as_deref().and_then(project);
    let remedy = if same_project {
        remedy::rebuild(evidence, container).or_else(|| remedy::stop(other).filter(|_| ours))
    } else {
        // Which of two strangers is the odd one out, nobody can tell.
        remedy::disconnect(&place.network, other).filter(|_| ours)
    };
    let decisive: Vec<Row> = vec![
        row!("name asked for", host),
        row!("also answered by", other.name),
        row!("its project", project(other).map_or_else(|| phrase!("none"), |project| project.say())),
        row!("its image", redact(&other.image)),
        row!("on network", place.network),
    ]
    .into_iter()
    .chain(stray_rows(evidence))
    .collect();
    Some(Finding {
        code: Code::AliasDuplicated,
        severity: Severity::Warning,
        confidence: Confidence::Certain,
        title: phrase!(
            "Two containers answer to the name {0}: {1} and {2}, so requests may reach the wrong one",
            host,
            container.name,
            other.name
        ),
        evidence: facts::rows_after(decisive, container),
        remedies: remedy.into_iter().collect(),
    })
}

/// Whether both are replicas of one service (`up --scale`): then they share its name on purpose. A one-off container
/// (`run --use-aliases`) is no replica.
fn scaled(one: &Container, other: &Container) -> bool {
    let service = |container: &Container| {
        let compose = container.compose.as_ref().filter(|compose| !compose.one_off)?;
        Some((compose.project.clone(), compose.service.clone()))
    };
    service(one).is_some() && service(one) == service(other)
}

/// The name leads to a stranger.
pub(super) fn resolved_outside(evidence: &Evidence) -> Option<Finding> {
    let address = facts::failures(evidence).find_map(|failure| match failure {
        Failure::NameResolvedOutside { address } => Some(address),
        _ => None,
    })?;
    let host = &evidence.upstream.host;
    let decisive: Vec<Row> = vec![row!("name asked for", host), row!("address", address)];
    let rows = match facts::target(evidence).found() {
        Some(container) => facts::rows_after(decisive, container),
        None => decisive,
    };
    Some(Finding {
        code: Code::NameResolvedOutside,
        // Even as a consequence it is a risk: something else would have connected to the stranger.
        severity: if is_consequence(evidence) { Severity::Warning } else { Severity::Error },
        confidence: Confidence::Certain,
        title: phrase!(
            "The name {0} leads to {1}, which is on none of our networks: not connected to, since a stranger would get \
             the users' cookies",
            host,
            address
        ),
        evidence: rows,
        remedies: unresolved_remedy(evidence),
    })
}

/// The name leads nowhere. Where the container or its network is at fault, this is the mere consequence.
pub(super) fn not_resolved(evidence: &Evidence) -> Option<Finding> {
    let reason = facts::failures(evidence).find_map(|failure| match failure {
        Failure::NameNotResolved { reason } => Some(reason.with_foreign(redact)),
        _ => None,
    })?;
    let host = &evidence.upstream.host;
    let title = if has_no_names(evidence) {
        phrase!("The name {0} cannot be resolved: anteroom is on no network on which the engine resolves names", host)
    } else if facts::away(evidence) {
        phrase!("The name {0} cannot be resolved: the engine's DNS knows containers only while they run", host)
    } else if single_label(host) {
        phrase!("The name {0} cannot be resolved: no running container on our networks answers to it", host)
    } else {
        phrase!("The name {0} cannot be resolved", host)
    };
    let mut rows: Vec<Row> = vec![row!("name asked for", host), row!("resolver", reason)];
    if let Some(ourselves) = &evidence.ourselves {
        rows.push(row!("our networks", facts::networks(ourselves)));
    }
    Some(Finding {
        code: Code::NameNotResolved,
        severity: if is_consequence(evidence) { Severity::Info } else { Severity::Error },
        confidence: Confidence::Certain,
        title,
        evidence: rows,
        remedies: unresolved_remedy(evidence),
    })
}

/// Whether no name of a container can be resolved where we are: on the host, or on a network of all.
fn has_no_names(evidence: &Evidence) -> bool {
    let is_known = match &evidence.ourselves {
        Some(ourselves) => !hears_names(ourselves),
        None => facts::running(evidence).is_some(),
    };
    is_known && single_label(&evidence.upstream.host)
}

/// Whether a name that leads nowhere, or elsewhere, is explained by a finding that comes before.
fn is_consequence(evidence: &Evidence) -> bool {
    facts::away(evidence) || not_shared(evidence).is_some() || alias_missing(evidence).is_some()
}

/// Only a container that runs and should be found is mended by making it anew; else the root cause has the remedy.
fn unresolved_remedy(evidence: &Evidence) -> Vec<super::Remedy> {
    let container = facts::running(evidence).filter(|_| !is_consequence(evidence) && !has_no_names(evidence));
    container.and_then(|container| remedy::recreate(evidence, container)).into_iter().collect()
}

/// A container's networks, in a title.
fn on_which(container: &Container) -> Phrase {
    if container.networks.is_empty() { phrase!("no network") } else { facts::networks(container) }
}

/// Where a container answers to a name for someone else: by alias (among which is its host name, where the engine's
/// resolver answers to that), by its name, or by its short id.
fn answers_to<'a>(container: &'a Container, host: &str, asker: &Container) -> Option<&'a Attachment> {
    container.networks.iter().find(|place| {
        let asked_there = asker.networks.iter().any(|mine| mine.network_id == place.network_id);
        let by_alias = place.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(host));
        asked_there
            && (by_alias
                || container.name.eq_ignore_ascii_case(host)
                || short(&container.id).eq_ignore_ascii_case(host))
    })
}

/// Which of our networks the target should join: of its own project's the one where most of the project is, since another
/// may be there to keep something apart, as a socket proxy's is. None on which the engine resolves no names.
fn meeting_place<'a>(container: &Container, ourselves: &'a Container, evidence: &Evidence) -> Option<&'a Attachment> {
    let prefix = container.compose.as_ref().map(|compose| format!("{}_", compose.project));
    let named = ourselves.networks.iter().filter(|it| has_names(&it.network));
    let crowd = |place: &Attachment| {
        let is_there = |other: &&Container| other.networks.iter().any(|it| it.network_id == place.network_id);
        evidence.others.iter().filter(is_there).count()
    };
    let of_project = |place: &Attachment| prefix.as_deref().is_some_and(|prefix| place.network.starts_with(prefix));
    // The first of those that are equal.
    named.rev().max_by_key(|place| (of_project(place), crowd(place)))
}

/// An id as the engine's own tools show it.
fn short(id: &str) -> &str {
    id.char_indices().nth(12).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::diagnosis::fixtures::*;
    use crate::evidence::Compose;

    /// A container of another project, which somebody configured as the target.
    fn foreign(container: Container, network_id: &str) -> Container {
        let compose =
            Compose { project: "monitoring".into(), working_dir: "/srv/monitoring".into(), ..compose("grafana") };
        let networks = vec![attachment("monitoring_default", network_id, &["grafana"])];
        Container { name: "monitoring_grafana".into(), compose: Some(compose), networks, ..container }
    }

    fn commands(finding: Option<Finding>) -> Vec<String> {
        finding.expect("a finding").remedies.into_iter().map(|remedy| remedy.command).collect()
    }

    #[test]
    fn an_address_that_leads_nowhere_is_named_with_its_container() {
        let address: IpAddr = "172.28.0.99".parse().expect("an address");
        let strays = || [Stray { address, failure: Failure::Refused { address } }].into();
        let row = |evidence: &Evidence| {
            let finding = alias_duplicated(evidence).expect("it speaks");
            finding.evidence.iter().find(|(name, _)| *name == "does not answer").map(|(_, value)| value.to_string())
        };
        let mut old = container("old_clickhouse");
        old.networks[0].address = Some(address);
        let known = Evidence { strays: strays(), others: [old].into(), ..evidence() };
        let expected = "172.28.0.99 (old_clickhouse): connection refused by 172.28.0.99";
        assert_eq!(row(&known).as_deref(), Some(expected));
        let unknown = Evidence { strays: strays(), others: [].into(), ..evidence() };
        assert_eq!(row(&unknown).as_deref(), Some("172.28.0.99: connection refused by 172.28.0.99"));
        assert_eq!(alias_duplicated(&evidence()), None, "all addresses answer");
    }

    #[test]
    fn a_project_that_is_not_ours_is_never_taken_down() {
        let connect = "docker network connect --alias grafana cvat_cvat monitoring_grafana";
        let apart = with(foreign(grafana(), OTHER_NETWORK));
        assert_eq!(commands(not_shared(&apart)), [connect]);

        let stale_one = with(foreign(ended(0, MINUTE), "0ld0ld0ld0ld0ld0"));
        let [reattach] = &commands(stale(&stale_one))[..] else { panic!("one remedy") };
        assert!(reattach.ends_with(" up -d --force-recreate grafana") && !reattach.contains("down"), "{reattach}");

        let mut twin = Container { name: "twin".into(), id: "bb".into(), ..foreign(grafana(), NETWORK) };
        twin.compose = twin.compose.map(|compose| Compose { service: "former_grafana".into(), ..compose });
        let doubled = Evidence { others: [twin].into(), ..with(foreign(grafana(), NETWORK)) };
        assert_eq!(commands(alias_duplicated(&doubled)), [""; 0]);
    }

    #[test]
    fn a_project_may_be_taken_down_where_it_is_ours_or_ours_is_not_known() {
        let own = with(Container { networks: vec![], ..grafana() });
        let unlabelled = Arc::new(Container { compose: None, ..container("cvat_anteroom") });
        let without_labels = Evidence { ourselves: Some(unlabelled), ..with(foreign(grafana(), OTHER_NETWORK)) };
        for evidence in [own, without_labels] {
            let commands = commands(not_shared(&evidence));
            assert!(commands.len() >= 2 && commands[0].starts_with("docker network connect "), "{commands:?}");
            assert!(commands.last().is_some_and(|last| last.contains(" down &&\n")), "{commands:?}");
            let joins = |command: &String| {
                command.ends_with("    networks:\n      \"cvat\":\n        aliases:\n          - \"grafana\"")
            };
            assert_eq!(commands.iter().filter(|it| joins(it)).count(), commands.len() - 2, "{commands:?}");
        }
    }
}
