//! What the evidence says about the future: may the target become ready, by itself?
//!
//! Several fields are read together, since one alone lies: a restarting container is `Running: true`, its exit code
//! reads 0 while it is up, and an address survives a power loss.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::Cause;
use crate::evidence::{Container, Dependency, Engine, Evidence, Failure, HealthStatus, RestartPolicy, Status, Target};

/// What the evidence says about the future of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is known: only probes speak.
    Blind,
    /// It runs, so it may become ready.
    Running,
    /// It does not run, but will without anybody's help.
    Coming,
    /// It runs, but its health check fails.
    Unhealthy,
    /// Nothing will happen by itself.
    Pointless(Cause),
}

impl Outlook {
    /// Why waiting is pointless, if it is.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Pointless(cause) => Some(cause),
            Self::Blind | Self::Running | Self::Coming | Self::Unhealthy => None,
        }
    }
}

/// A container that was created this recently is about to be started by whoever created it.
pub const ABOUT_TO_START: Duration = Duration::from_secs(10);
/// So many deaths within [`CRASH_LOOP_WINDOW`] are no accident. The engine's back-off (0.1 s, doubled each
/// time) reaches it after about three seconds.
pub const CRASH_LOOP_DEATHS: u64 = 5;
/// Long enough for a loop whose back-off has grown to the engine's maximum of a minute.
pub const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(6 * 60);
/// The engine forgets its back-off once a container has been up for this long, and so do we.
pub const SETTLED: Duration = Duration::from_secs(10);

/// A start that takes longer than this is no slow start any more. CVAT's Grafana needs about a minute when it
/// downloads its plugin over a bad line; five leave room for a slow disk.
pub const LONG_START: Duration = Duration::from_secs(5 * 60);

/// Containers that the same shutdown ended did so within this: the engine stops them all at once and kills those that
/// take longer than 15 s (dockerd, `--shutdown-timeout`).
pub const ENDED_TOGETHER: Duration = Duration::from_secs(30);
/// What a reboot ended, it ended at most this long before the kernel started: systemd gives each unit 90 s to stop, and
/// a server's self-test takes minutes. What ended earlier, somebody stopped, unless others tell otherwise.
pub const SHUTDOWN_MOST: Duration = Duration::from_secs(10 * 60);

/// What the evidence says about the future.
pub fn outlook(evidence: &Evidence) -> Outlook {
    match &evidence.engine {
        Engine::Available { .. } | Engine::Simulated => {}
        Engine::Unknown | Engine::Unavailable { .. } | Engine::Forbidden { .. } => return Outlook::Blind,
    }
    let container = match &evidence.target {
        Target::Unknown => return Outlook::Blind,
        Target::Absent { last: None } if !should_be_here(evidence) => return Outlook::Blind,
        Target::Absent { .. } => return Outlook::Pointless(Cause::Absent),
        Target::Found(container) => container,
    };
    match container.status {
        Status::Paused => Outlook::Pointless(Cause::Paused),
        Status::Dead => Outlook::Pointless(Cause::Dead),
        Status::Removing => Outlook::Pointless(Cause::Absent),
        Status::Created => created(container, evidence.seen_at),
        // Between two runs of a restart policy the engine says `restarting`. Exited is final: there is no policy, its
        // retries are used up, or somebody stopped it by hand.
        Status::Exited => Outlook::Pointless(Cause::Exited),
        Status::Restarting | Status::Running if crash_loop(container, evidence) => Outlook::Pointless(Cause::CrashLoop),
        Status::Restarting => Outlook::Coming,
        Status::Running => running(container, evidence),
        Status::Other => Outlook::Blind,
    }
}

/// Whether a host name is one that only a container network's own resolver can know: no dot, no address.
pub fn single_label(host: &str) -> bool {
    host != "localhost" && !host.contains(['.', ':'])
}

/// Whether the engine keeps restarting a container that keeps dying.
///
/// Neither sign is enough alone. The engine's count of restarts goes back to 0 only when somebody starts the container
/// by hand, so one that died once a month for a year has a high one; and deaths in a row may be somebody's own
/// `docker restart`. Where the events of the deaths were not seen, a last run that was short stands in for them.
pub fn crash_loop(container: &Container, evidence: &Evidence) -> bool {
    if container.restart_count < CRASH_LOOP_DEATHS {
        return false;
    }
    let recent = |at: SystemTime| apart(at, evidence.seen_at) < CRASH_LOOP_WINDOW;
    let deaths = evidence.events.iter().filter(|event| &*event.action == "die" && recent(event.at.at)).count() as u64;
    let lasted = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    match (container.status, &container.started, &container.finished) {
        (Status::Restarting, Some(started), Some(finished)) => {
            deaths >= CRASH_LOOP_DEATHS || lasted(started.at, finished.at) < SETTLED
        }
        (Status::Running, Some(started), _) => {
            deaths >= CRASH_LOOP_DEATHS && lasted(started.at, evidence.seen_at) < SETTLED
        }
        _ => false,
    }
}

/// How far two moments are from each other, whichever is first.
fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|ahead| ahead.duration())
}

fn created(container: &Container, now: SystemTime) -> Outlook {
    let fresh = container
        .created
        .as_ref()
        // The engine's clock may be ahead of ours.
        .is_some_and(|created| apart(created.at, now) < ABOUT_TO_START);
    if fresh && container.error.is_empty() { Outlook::Coming } else { Outlook::Pointless(Cause::NeverStarted) }
}

fn running(container: &Container, evidence: &Evidence) -> Outlook {
    // An address or a name with dots may be reached without a network in common.
    if let Some(ourselves) = &evidence.ourselves
        && single_label(&evidence.upstream.host)
        && has_own_network(container)
        && has_own_network(ourselves)
        && !shares_network(container, ourselves)
    {
        return Outlook::Pointless(Cause::NetworkNotShared);
    }
    match &evidence.probe {
        Some(Failure::NameNotResolved { .. }) => return Outlook::Pointless(Cause::NameNotResolved),
        Some(Failure::NameResolvedOutside { .. }) => return Outlook::Pointless(Cause::NameResolvedOutside),
        // It answers, and says itself that it is not well. One that does not answer yet may do without for all we know.
        Some(Failure::NotReady { .. }) if hopeless_dependency(container, evidence).is_some() => {
            return Outlook::Pointless(Cause::DependencyDown);
        }
        Some(_) | None => {}
    }
    // Our own GET knows better than the container's health check; a bare TCP connection does not.
    let unhealthy = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
    if unhealthy && evidence.upstream.ready_path.is_none() { Outlook::Unhealthy } else { Outlook::Running }
}

/// A service that the target needs and that will not come back by itself: the container that stands for it.
pub fn hopeless_dependency<'a>(target: &Container, evidence: &'a Evidence) -> Option<&'a Container> {
    dependency(target, evidence, |container, needed| is_hopeless(container, needed, evidence))
}

/// A service that the target needs and that is not well: it does not run, keeps crashing, or fails its health check.
pub fn ailing_dependency<'a>(target: &Container, evidence: &'a Evidence) -> Option<&'a Container> {
    dependency(target, evidence, |container, needed| {
        let unhealthy = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
        let crashes = container.status == Status::Restarting && container.restart_count >= CRASH_LOOP_DEATHS;
        is_hopeless(container, needed, evidence) || container.status == Status::Running && unhealthy || crashes
    })
}

/// What a container needs: as configured, or as [declared](declared_dependencies).
pub fn dependencies<'a>(container: &'a Container, evidence: &'a Evidence) -> &'a [Dependency] {
    evidence.upstream.depends_on.as_deref().unwrap_or_else(|| declared_dependencies(container))
}

/// What a container needs as compose's labels say, or as is known of CVAT, whose Grafana declares nothing.
pub fn declared_dependencies(container: &Container) -> &[Dependency] {
    static OF_CVAT_GRAFANA: LazyLock<[Dependency; 1]> =
        LazyLock::new(|| [Dependency { service: "cvat_clickhouse".into(), ends: false }]);
    match &container.compose {
        None => &[],
        Some(compose) if compose.depends_on.is_empty() && &*compose.service == "cvat_grafana" => &*OF_CVAT_GRAFANA,
        Some(compose) => &compose.depends_on,
    }
}

/// The first service that a container needs and of which all containers are as bad as `is_bad` says: one of them.
fn dependency<'a>(
    target: &Container,
    evidence: &'a Evidence,
    is_bad: impl Fn(&Container, &Dependency) -> bool,
) -> Option<&'a Container> {
    let compose = target.compose.as_ref()?;
    dependencies(target, evidence).iter().find_map(|needed| {
        let mut serving = evidence.others.iter().filter(|it| it.serves(&compose.project, &needed.service));
        let first = serving.next()?;
        // One that is there is enough.
        std::iter::once(first).chain(serving).all(|container| is_bad(container, needed)).then_some(first)
    })
}

fn is_hopeless(container: &Container, needed: &Dependency, evidence: &Evidence) -> bool {
    match container.status {
        Status::Exited => !(needed.ends && container.exit_code == 0 || has_done_its_work(container, evidence)),
        Status::Created => created(container, evidence.seen_at) != Outlook::Coming,
        Status::Dead | Status::Removing | Status::Paused => true,
        Status::Running | Status::Restarting | Status::Other => false,
    }
}

/// Whether a container is on networks that the engine tells of: one in the network of another or of the host shows none
/// of theirs, and can be reached where they can.
pub fn has_own_network(container: &Container) -> bool {
    !container.borrows_network
}

/// Whether the engine tells those on a network by their names.
pub fn has_names(network: &str) -> bool {
    !matches!(network, "bridge" | "host" | "none" | "podman")
}

/// Whether a container is on a network that has names.
pub fn hears_names(container: &Container) -> bool {
    has_own_network(container) && container.networks.iter().any(|it| has_names(&it.network))
}

/// Whether an upstream that was never seen should be a container of this engine: it has such a name, and anteroom is where
/// that would be known.
pub fn should_be_here(evidence: &Evidence) -> bool {
    evidence.ourselves.as_deref().is_some_and(hears_names) && single_label(&evidence.upstream.host)
}

/// Whether it was meant to end, and did so well and by itself: nothing is to restart it, and it offers nothing to be
/// asked for.
pub fn has_done_its_work(container: &Container, evidence: &Evidence) -> bool {
    let Container { restart_policy, exposed_ports, routed_ports, health, .. } = container;
    let ends = matches!(restart_policy, RestartPolicy::No | RestartPolicy::OnFailure { .. });
    let is_job = ends && exposed_ports.is_empty() && routed_ports.is_empty() && health.is_none();
    let ended_well = container.status == Status::Exited && container.exit_code == 0;
    is_job && ended_well && !was_ended(container, evidence)
}

/// Whether a container's end was another's doing: somebody stopped it, or its host went down. A program that leaves as
/// it is told to exits with 0, whatever was left to do.
pub fn was_ended(container: &Container, evidence: &Evidence) -> bool {
    was_stopped(container, evidence) || went_with_its_host(container, evidence)
}

/// Of others than the target no events are known.
fn was_stopped(container: &Container, evidence: &Evidence) -> bool {
    let is_target = evidence.target.found().is_some_and(|target| target.id == container.id);
    let in_this_run = |at: SystemTime| container.started.as_ref().is_none_or(|started| at >= started.at);
    is_target && evidence.events.iter().any(|it| matches!(&*it.action, "kill" | "stop") && in_this_run(it.at.at))
}

/// A job may have ended just before a shutdown. So whoever came back after the boot decides: a shutdown ends all at once.
/// Where nobody did, the time alone has to.
fn went_with_its_host(container: &Container, evidence: &Evidence) -> bool {
    let (Some(booted), Some(started), Some(finished)) = (evidence.booted_at, &container.started, &container.finished)
    else {
        return false;
    };
    if started.at >= booted || finished.at > booted {
        return false;
    }
    let others = evidence.ourselves.as_deref().into_iter().chain(evidence.others.iter());
    let back = others.filter(|it| it.status == Status::Running && it.id != container.id);
    let back = back.filter(|it| it.started.as_ref().is_some_and(|started| started.at >= booted));
    // One that was restarted again since, tells nothing of the shutdown.
    let ends = back.filter_map(|it| it.finished.as_ref()).map(|end| end.at).filter(|end| *end <= booted);
    let mut ends = ends.peekable();
    match ends.peek() {
        None => apart(booted, finished.at) <= SHUTDOWN_MOST,
        Some(_) => ends.any(|end| apart(end, finished.at) <= ENDED_TOGETHER),
    }
}

/// Whether two containers are on one network, by the ids that they remember.
pub fn shares_network(one: &Container, other: &Container) -> bool {
    one.networks.iter().any(|mine| other.networks.iter().any(|theirs| mine.network_id == theirs.network_id))
}

#[cfg(test)]
mod tests;
