//! What does not break anything now, and will, or did: a disk that is full, leftovers, missing restart policies.

use std::time::Duration;

use super::super::redact::redact;
use super::found;
use crate::diagnosis::{Code, Confidence, Finding, Severity, facts, remedy};
use crate::evidence::{Container, RestartPolicy, Status};
use crate::project::{Disk, Member, Project, Standing, ago};

/// Below this nothing can be written: databases stop, containers cannot start.
const FULL: (u64, u64) = (256 << 20, 1);
/// Below both of these it soon will be. Bytes, and percent of the whole.
const NEARLY_FULL: (u64, u64) = (5 << 30, 5);

/// A container's start alone makes dozens of files.
const FILES_FEW: u64 = 1000;

/// There is no room where the engine keeps its data.
pub(super) fn disk_full(project: &Project) -> Option<Finding> {
    let Disk { path, available, total, files_left } = project.disk.as_ref()?;
    if let Some(left) = files_left.filter(|left| *left < FILES_FEW) {
        return Some(found(
            (Code::DiskFull, Severity::Error, Confidence::Certain),
            format!("The disk of {path} can hold no more files: {left} inodes are left"),
            vec![("path", path.to_string()), ("inodes left", left.to_string()), ("free", size(*available))],
            vec![remedy::disk_use()],
        ));
    }
    let percent = available.saturating_mul(100) / (*total).max(1);
    let severity = if *available < FULL.0 || *available < NEARLY_FULL.0 && percent < FULL.1 {
        Severity::Error
    } else if *available < NEARLY_FULL.0 && percent < NEARLY_FULL.1 {
        Severity::Warning
    } else {
        return None;
    };
    Some(found(
        (Code::DiskFull, severity, Confidence::Certain),
        format!(
            "The disk of {path} is {}: {} are free",
            if severity == Severity::Error { "full" } else { "nearly full" },
            size(*available)
        ),
        vec![("path", path.to_string()), ("free", size(*available)), ("of", size(*total))],
        vec![remedy::disk_use()],
    ))
}

/// Its policy brought it back within the last hour, while others ran on: it works now, and something is wrong with it.
pub(super) fn restarted_lately(project: &Project) -> Vec<Finding> {
    const LATELY: Duration = Duration::from_secs(60 * 60);
    const TOGETHER: Duration = Duration::from_secs(60);
    let apart = |one: &Member, other: &Member| {
        let (Some(one), Some(other)) = (&one.container.started, &other.container.started) else { return true };
        one.at.max(other.at).duration_since(one.at.min(other.at)).unwrap_or_default() > TOGETHER
    };
    let restarted = project.services().into_iter().filter(|member| {
        let Container { status, restart_count, started, .. } = &member.container;
        let recent = started.as_ref().is_some_and(|started| ago(started.at, project.seen_at) < LATELY);
        // What an engine or a host that was restarted has brought back, it brought back together.
        let alone =
            project.services().iter().filter(|other| apart(member, other)).count() * 2 >= project.services().len();
        *status == Status::Running
            && *restart_count > 0
            && recent
            && alone
            && project.standing(member) == Standing::Well
    });
    let told = restarted.map(|member| {
        let container = &member.container;
        found(
            (Code::RestartedLately, Severity::Warning, Confidence::Certain),
            format!(
                "{} works, but its restart policy had to start it again {} times, last {} ago",
                container.name,
                container.restart_count,
                container
                    .started
                    .as_ref()
                    .map_or_else(String::new, |it| facts::span(ago(it.at, project.seen_at)).to_string())
            ),
            facts::rows(container),
            remedy::logs(container),
        )
    });
    told.collect()
}

/// Containers of services that the files no longer define: they take ports, names and memory, and answer in the place of
/// what replaced them.
pub(super) fn orphans(project: &Project) -> Option<Finding> {
    let definitions = project.definitions.as_ref()?;
    let is_orphan =
        |member: &&Member| !member.is_one_off() && !definitions.iter().any(|it| *it.service == *member.service());
    let orphans: Vec<&Member> = project.members.iter().filter(is_orphan).collect();
    orphans.first()?;
    let names: Vec<&str> = orphans.iter().map(|member| &*member.container.name).collect();
    let rows = orphans.iter().map(|it| {
        ("orphan", format!("{} ({}, {})", it.container.name, it.container.status.as_str(), redact(&it.container.image)))
    });
    Some(found(
        (Code::ProjectOrphans, Severity::Warning, Confidence::Likely),
        format!("The compose files do not define {} any more, and it is still there", names.join(", ")),
        rows,
        remedy::remove_orphans(project, &orphans, &names),
    ))
}

/// Services that stay down after a reboot.
pub(super) fn restart_policies(project: &Project) -> Option<Finding> {
    let lacking: Vec<&Member> =
        services(project).filter(|it| it.container.restart_policy == RestartPolicy::No).collect();
    let names = names(&lacking)?;
    Some(found(
        (Code::RestartPolicyMissing, Severity::Info, Confidence::Certain),
        format!("Nothing starts {names} again after a crash or a reboot: no restart policy"),
        lacking.iter().map(|it| ("restart policy", format!("{}: no", it.container.name))),
        remedy::always_restart_all(lacking.iter().map(|it| it.service())),
    ))
}

/// Services of which nobody can tell whether they work.
pub(super) fn health_checks(project: &Project) -> Option<Finding> {
    // Traefik leaves out what labels say while a check has yet to pass: an anteroom with such has none on purpose.
    let is_routed_anteroom =
        |it: &Member| project.anteroom().is_some_and(|ours| ours.container.id == it.container.id) && it.is_routed();
    let lacking: Vec<&Member> =
        services(project).filter(|it| it.container.health.is_none() && !is_routed_anteroom(it)).collect();
    let names = names(&lacking)?;
    let works = if lacking.len() == 1 { "works" } else { "work" };
    Some(found(
        (Code::HealthCheckMissing, Severity::Info, Confidence::Certain),
        format!("The engine cannot tell whether {names} {works}: no health check"),
        lacking.iter().map(|it| ("health", format!("{}: no health check", it.container.name))),
        lacking
            .iter()
            .find(|it| project.analytics().is_some_and(|target| target.container.id == it.container.id))
            .and_then(|it| remedy::health_check(&project.evidence_of(it), &it.container)),
    ))
}

/// A port of Traefik's that nobody answers on: of CVAT it is that of the dashboard.
pub(super) fn dashboard(project: &Project) -> Option<Finding> {
    let port = project.silent_ports.first()?;
    Some(found(
        (Code::DashboardNotEnabled, Severity::Info, Confidence::Likely),
        format!(
            "Port {port} is published by Traefik and does not answer: its dashboard is not enabled, which is no fault"
        ),
        vec![("port", port.to_string())],
        vec![],
    ))
}

/// Members that are there to stay.
fn services(project: &Project) -> impl Iterator<Item = &Member> {
    let stays =
        |member: &&Member| project.standing(member) != Standing::Done && member.container.status == Status::Running;
    project.services().into_iter().filter(stays)
}

fn names(members: &[&Member]) -> Option<String> {
    let names: Vec<&str> = members.iter().map(|it| &*it.container.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes < GIB { format!("{} MiB", bytes >> 20) } else { format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB) }
}
