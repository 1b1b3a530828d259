//! What is wrong with a deployment as a whole: [`examine`] asks the rules of a page about every service, and adds what
//! only who stands on the host can see: what the compose files define, what Traefik is told and says, what users get.

mod route;
mod upkeep;

use std::time::{Duration, Instant};

use super::{Code, Confidence, Finding, Remedy, Severity, command, diagnose, facts, offer_once, remedy};
use crate::phrase::Say;
use crate::project::{Member, Project, Reach, Standing};
use crate::readiness::{Outlook, State, outlook};

/// The codes that no page has: they are told here alone.
pub const OF_DEPLOYMENTS: [Code; 9] = [
    Code::DiskFull,
    Code::ImageMissing,
    Code::RouterInvalid,
    Code::NetworkAmbiguous,
    Code::RestartedLately,
    Code::ProjectOrphans,
    Code::RestartPolicyMissing,
    Code::HealthCheckMissing,
    Code::DashboardNotEnabled,
];

/// A finding, and whom it is about.
#[derive(Clone, Debug)]
pub struct Located {
    /// Compose's name of the service; `None` if it is about the deployment.
    pub service: Option<Box<str>>,
    pub finding: Finding,
}

/// Everything that is wrong, first causes first: errors before warnings, what a service needs before the service, causes
/// before what follows from them. `now` is when the project was seen.
pub fn examine(project: &Project, now: Instant) -> Vec<Located> {
    let mut all: Vec<Located> = of_deployment(upkeep::disk_full(project));
    let mut missing = missing(project);
    for member in project.services() {
        // One that is not there stands before the first that needs it.
        let needs: Vec<&str> = member.needs().collect();
        all.extend(missing.extract_if(.., |it| it.service.as_deref().is_some_and(|it| needs.contains(&it))));
        let service = Some(Box::from(member.service()));
        all.extend(
            of_member(project, member, now).into_iter().map(|finding| Located { service: service.clone(), finding }),
        );
    }
    all.extend(missing);
    let broken = all.iter().any(|it| it.finding.severity == Severity::Error);
    all.extend(of_deployment(route::asked(project, broken)));
    // It may follow from what was said before, and is no news where whoever was asked nearer to it has said the same.
    let is_said = all.iter().any(|it| it.finding.severity > Severity::Info);
    let straight = route::refused_straight(project).filter(|it| all.iter().all(|other| other.finding.code != it.code));
    all.extend(of_deployment(straight.map(|mut finding| {
        if is_said {
            finding.severity = Severity::Info;
        }
        finding
    })));
    all.extend(of_deployment(upkeep::restarted_lately(project)));
    all.extend(of_deployment(upkeep::orphans(project)));
    all.extend(of_deployment(upkeep::restart_policies(project)));
    all.extend(of_deployment(upkeep::health_checks(project)));
    all.extend(of_deployment(upkeep::dashboard(project)));
    all.sort_by_key(|it| (std::cmp::Reverse(it.finding.severity), follows(&it.finding)));
    offer_once(all.iter_mut().map(|it| &mut it.finding));
    command::in_words_of(&project.engine, all.iter_mut().flat_map(|it| &mut it.finding.remedies));
    all
}

/// What a page would say of this member, but for what it says of the rest of the project: that is looked at itself.
pub fn of_member(project: &Project, member: &Member, now: Instant) -> Vec<Finding> {
    let standing = project.standing(member);
    if standing == Standing::Done {
        return Vec::new();
    }
    let evidence = project.evidence_of(member);
    let state = match (standing, outlook(&evidence)) {
        (Standing::Well | Standing::Done, view) => State::Ready { since: now, despite: view.cause() },
        (Standing::Hopeless, Outlook::Pointless(cause)) => State::Down { since: now, cause },
        (Standing::Coming | Standing::Hopeless, _) => State::Warming { since: now, attempts: 1, fell: None },
    };
    let mut findings = diagnose(state, Duration::ZERO, evidence).findings;
    findings.retain(|finding| finding.code != Code::AuthBackendDown);
    if let Some(traefik) = project.asker_of(member).filter(|it| project.is_traefik(it)) {
        findings.iter_mut().for_each(|finding| in_traefiks_place(finding, member, traefik));
    }
    findings
}

/// A page's words are those of an anteroom in front of the service.
fn in_traefiks_place(finding: &mut Finding, member: &Member, traefik: &Member) {
    let (member, traefik) = (&member.container, &traefik.container);
    if finding.code == Code::NetworkNotShared {
        let (its, theirs) = (facts::networks(member), facts::networks(traefik));
        let name = &member.name;
        finding.title =
            format!("{name} runs, but shares no network with Traefik: it is on {its}, Traefik on {theirs}").say();
    }
    let asked_for =
        finding.evidence.iter().find(|(name, _)| *name == "name asked for").map(|(_, host)| host.to_string());
    if let Some(host) = asked_for.filter(|_| finding.code == Code::AliasMissing) {
        let name = &member.name;
        finding.title = format!("{name} runs, but does not answer to the name {host} on the network of Traefik").say();
    }
    for (name, _) in finding.evidence.iter_mut().filter(|(name, _)| *name == "our networks") {
        *name = "networks of Traefik";
    }
}

/// Whether a finding is the consequence of another one rather than a cause.
fn follows(finding: &Finding) -> bool {
    matches!(finding.code, Code::DependencyDown | Code::RouterInvalid | Code::AuthBackendDown | Code::UpstreamError)
}

fn of_deployment(found: impl IntoIterator<Item = Finding>) -> Vec<Located> {
    found.into_iter().map(|finding| Located { service: None, finding }).collect()
}

/// Services for which no container stands: those that the files define, or that others need.
fn missing(project: &Project) -> Vec<Located> {
    let absent = project.absent().into_iter();
    absent
        .map(|(service, definition)| {
            let image = definition.and_then(|it| it.image.as_deref().filter(|_| it.image_is_missing));
            let needing = project.members.iter().find(|it| it.needs().any(|needed| needed == service));
            let mut rows: Vec<Row> = vec![("state", "absent".to_owned()), ("service", service.to_owned())];
            let (code, confidence, title) = match (image, definition, needing) {
                (Some(image), _, _) => {
                    let image = super::redact::redact(image);
                    rows.push(("image", image.clone()));
                    (
                        Code::ImageMissing,
                        Confidence::Certain,
                        format!("{service} has no container, and its image {image} is not on this host"),
                    )
                }
                (None, None, Some(needing)) => (
                    Code::TargetAbsent,
                    Confidence::Likely,
                    format!("{} needs {service}, and there is no container for it", needing.service()),
                ),
                (None, _, _) => (
                    Code::TargetAbsent,
                    Confidence::Certain,
                    format!("{service} is defined, but there is no container for it"),
                ),
            };
            let image = image.and_then(|image| remedy::image(service, image));
            let remedies = image.into_iter().chain(remedy::of_service(project, service));
            let finding = found((code, Severity::Error, confidence), title, rows, remedies);
            Located { service: Some(service.into()), finding }
        })
        .collect()
}

/// One line of evidence.
type Row = (&'static str, String);

/// A finding in English alone: the doctor speaks nothing else, and no page has it.
fn found(
    (code, severity, confidence): (Code, Severity, Confidence),
    title: String,
    rows: impl IntoIterator<Item = (&'static str, impl Say)>,
    remedies: impl IntoIterator<Item = Remedy>,
) -> Finding {
    let evidence = rows.into_iter().map(|(name, value)| (name, value.say())).collect();
    Finding { code, severity, confidence, title: title.say(), evidence, remedies: remedies.into_iter().collect() }
}

/// Rows about who is asked and what it said.
fn reach_row(member: &Member) -> Option<Row> {
    let service = member.service();
    match &member.reach {
        Reach::Untried => None,
        Reach::Answers { port } => Some(("connection", format!("{service}:{port} accepts connections"))),
        Reach::Fails { port, failure } => {
            Some(("connection", format!("{service}:{port}: {}", facts::failure(failure))))
        }
    }
}

#[cfg(test)]
mod tests;
