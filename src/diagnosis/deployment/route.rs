//! What users get: the answer to the URL that they ask for tells which part of the way is broken.

use std::collections::BTreeSet;

use super::super::redact::redact;
use super::{Row, found, reach_row};
use crate::diagnosis::{Code, Confidence, Finding, Remedy, Severity, facts, remedy};
use crate::evidence::{Container, Failure, Status};
use crate::project::traefik::{Complaint, Rule};
use crate::project::{Answered, Asked, Member, Project, Standing};

/// What the answer means. `broken`: a service is, so that this is most likely a consequence of it.
pub(super) fn asked(project: &Project, broken: bool) -> Option<Finding> {
    let asked = project.asked.as_ref()?;
    let mut finding = match &asked.outcome {
        Ok(answered) => of_answer(project, asked, answered, broken)?,
        Err(failure) => of_failure(project, asked, failure),
    };
    // The cause has been named already; what users see of it is worth a line, and no alarm of its own.
    // So is one that was only supposed to be where they ask, and that nobody answers at.
    if broken || asked.supposed && asked.outcome.is_err() {
        finding.severity = Severity::Info;
    }
    Some(finding)
}

/// What anteroom answers in the place of the service behind it, also where a login stands before both.
pub(super) fn refused_straight(project: &Project) -> Option<Finding> {
    let asked = project.straight.as_ref()?;
    let answered = asked.outcome.as_ref().ok()?;
    let (code, title) = answered.by_anteroom.as_ref()?;
    Some(told_by_anteroom(asked, answered, code, title))
}

fn of_answer(project: &Project, asked: &Asked, answered: &Answered, broken: bool) -> Option<Finding> {
    let url = &asked.url;
    let empty = answered.start.is_empty();
    let start = answered.start.trim();
    match answered.status {
        404 if start == "404 page not found" => Some(router_invalid(
            project,
            asked,
            answered,
            format!("Traefik has no router for {url}: it answers 404 itself"),
        )),
        // A redirect to a login or to TLS is the same for all paths, and no other service.
        200..=299 if answered.like_any_path => Some(router_invalid(
            project,
            asked,
            answered,
            format!("{url} is answered by whoever takes all other paths: Traefik has no router for it"),
        )),
        500 if empty => Some(auth_backend_down(project, asked, answered)),
        502 if start == "Bad Gateway" => Some(finding(
            Code::UpstreamError,
            Confidence::Likely,
            format!("Traefik answers 502 for {url}: what stands behind it refuses connections, or its name is not known"),
            rows(asked, answered, project.analytics()),
            project.traefik().and_then(|it| remedy::logs(&it.container)).into_iter().collect(),
        )),
        504 if start == "Gateway Timeout" => Some(ambiguous(project, asked, answered).unwrap_or_else(|| {
            finding(
                Code::ConnectTimeout,
                Confidence::Likely,
                format!("Traefik answers 504 for {url}: the address that it has leads nowhere, as one of another network does"),
                rows(asked, answered, project.analytics()),
                project.traefik().and_then(|it| remedy::logs(&it.container)).into_iter().collect(),
            )
        })),
        503 if start == "no available server" => Some(finding(
            Code::UpstreamError,
            Confidence::Certain,
            format!("Traefik answers 503 for {url}: its own health check takes every server behind it for down"),
            rows(asked, answered, project.analytics()),
            vec![],
        )),
        status => match &answered.by_anteroom {
            Some((code, title)) => (!broken).then(|| told_by_anteroom(asked, answered, code, title)),
            None => (500..=599).contains(&status).then(|| failing(project, asked, answered)),
        },
    }
}

/// In nobody's words that are known: so most likely in those of the service itself.
fn failing(project: &Project, asked: &Asked, answered: &Answered) -> Finding {
    let path = asked.url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|start| &rest[start..]));
    let behind = project.behind(path.unwrap_or("/"));
    let who = behind.map_or_else(|| "what stands behind it".to_owned(), |it| it.container.name.to_string());
    finding(
        Code::UpstreamError,
        Confidence::Likely,
        format!("{} is answered with {}: {who} fails to serve it", asked.url, answered.status),
        rows(asked, answered, behind),
        behind.or(project.traefik()).and_then(|it| remedy::logs(&it.container)).into_iter().collect(),
    )
}

/// anteroom, which stands nearer, sees what cannot be seen from here.
fn told_by_anteroom(asked: &Asked, answered: &Answered, code: &str, title: &str) -> Finding {
    let known = Code::ALL.into_iter().find(|known| known.as_str() == code);
    finding(
        known.unwrap_or(Code::UpstreamError),
        Confidence::Likely,
        format!("anteroom answers {} for {}: {}", answered.status, asked.url, redact(title)),
        rows(asked, answered, None),
        vec![],
    )
}

fn of_failure(project: &Project, asked: &Asked, failure: &Failure) -> Finding {
    let title = format!("{} cannot be asked: {}", asked.url, facts::failure(failure));
    let code = match failure {
        Failure::Refused { .. } => Code::PortRefused,
        Failure::NameNotResolved { .. } | Failure::NameResolvedOutside { .. } => Code::NameNotResolved,
        Failure::NoAnswer => Code::NoAnswer,
        Failure::Tls { .. } | Failure::SpeaksTls => Code::TlsMismatch,
        Failure::NotHttp { .. } => Code::NotHttp,
        Failure::ClosedEarly => Code::ClosedEarly,
        Failure::ConnectTimeout
        | Failure::Unreachable { .. }
        | Failure::NotReady { .. }
        | Failure::RetryBudgetSpent
        | Failure::Loop => Code::ConnectTimeout,
    };
    let mut rows = vec![("url", asked.url.clone()), ("connection", facts::failure(failure).to_string())];
    // Whom we trust is no matter of Traefik's.
    let is_tls = matches!(failure, Failure::Tls { .. });
    if is_tls {
        rows.push(("roots", "SSL_CERT_FILE can name the root to trust".to_owned()));
    }
    let logs = project.traefik().filter(|_| !is_tls).and_then(|it| remedy::logs(&it.container));
    finding(code, Confidence::Certain, title, rows, logs.into_iter().collect())
}

/// Traefik leaves out routers with an error, and those of containers that do not run or are not healthy.
fn router_invalid(project: &Project, asked: &Asked, answered: &Answered, title: String) -> Finding {
    let mut rows = rows(asked, answered, None);
    let (mut reason, mut guessed) = (String::new(), false);
    let labelled = project.analytics().filter(|it| !it.setup.routers.is_empty());
    let of_analytics = |complaint: &&Complaint| {
        let mut targets = project.analytics().into_iter().chain(project.anteroom());
        let in_files = labelled.is_none() && project.anteroom().is_none_or(|it| it.setup.routers.is_empty());
        targets.any(|it| complaint.is_about(it)) || complaint.is_of_files() && in_files && !project.rules.is_empty()
    };
    let mut row_of = |complaint: &Complaint| {
        rows.push(("router", complaint.router.clone()));
        rows.push(("Traefik's log", redact(&complaint.message)));
    };
    let causes = || project.complaints.iter().filter(|it| !is_of_a_spare(project, it));
    if let Some(complaint) = causes().find(of_analytics) {
        row_of(complaint);
        reason = format!(". Its log says: {}", redact(&complaint.message));
        // Which of the files' routers is that of analytics, only Traefik knows.
        guessed = complaint.is_of_files();
    } else if let Some(target) = labelled.filter(|it| project.standing(it) != Standing::Well) {
        rows.push(("router", target.setup.routers[0].router.clone()));
        reason = format!(
            ", since it leaves out what the labels of {} say while that container is {}",
            target.container.name,
            how(&target.container)
        );
    } else if let Some(complaint) = causes().next().or(project.complaints.first()) {
        // Of another router, as far as it can be told: worth a look, and no proof.
        row_of(complaint);
    } else if project.rules.is_empty() && labelled.is_none() {
        reason = ", and neither labels nor mounted rules ask for one".to_owned();
    }
    let confidence = if guessed || reason.is_empty() { Confidence::Likely } else { Confidence::Certain };
    let logs = project.traefik().and_then(|it| remedy::logs(&it.container));
    finding(Code::RouterInvalid, confidence, title + &reason, rows, logs.into_iter().collect())
}

/// Whether a router lacks nothing but its entry point, while another of the same rule and the same place does not: CVAT's
/// rules, its labels and ours have one for `websecure` beside that for `web`. Without HTTPS that entry point is not there,
/// and Traefik says so whenever it reads its configuration.
fn is_of_a_spare(project: &Project, complaint: &Complaint) -> bool {
    if !complaint.is_of_entry_points() {
        return false;
    }
    let complaints = || project.complaints.iter();
    if complaint.is_of_files() {
        // Their rules are known without the names of the routers, so they are counted.
        let named: BTreeSet<&str> = complaints().filter(|it| it.is_of_files()).map(|it| &*it.router).collect();
        let routers = |rule: &Rule| project.rules.iter().filter(|it| it.rule == rule.rule).count();
        return project.rules.iter().map(routers).min().is_some_and(|fewest| fewest > named.len());
    }
    project.members.iter().map(|it| &it.setup.routers).any(|routers| {
        let works = |rule: &&Rule| !complaints().any(|it| it.names(rule));
        let is_spare = |rule: &Rule| routers.iter().filter(works).any(|it| it.rule == rule.rule);
        routers.iter().filter(|rule| complaint.names(rule)).any(is_spare)
    })
}

fn how(container: &Container) -> &'static str {
    match (container.status, &container.health) {
        (Status::Running, Some(_)) => "not healthy yet",
        (status, _) => status.as_str(),
    }
}

/// Traefik asks before each request who may see it, and answers for one that it cannot ask with an empty 500.
fn auth_backend_down(project: &Project, asked: &Asked, answered: &Answered) -> Finding {
    let server = project.members.iter().find(|member| member.service() == "cvat_server");
    let ailing = server.filter(|server| project.standing(server) != Standing::Well);
    let who = match ailing {
        Some(server) => format!("{} is {}", server.container.name, how(&server.container)),
        None => "whoever it asks cannot be reached".to_owned(),
    };
    let evidence = ailing.map(|server| project.evidence_of(server));
    let start = ailing.zip(evidence.as_ref()).and_then(|(server, evidence)| match server.container.status {
        Status::Running => remedy::logs(&server.container),
        Status::Paused => remedy::unpause(evidence, &server.container),
        _ => remedy::start(evidence, &server.container),
    });
    finding(
        Code::AuthBackendDown,
        if ailing.is_some() { Confidence::Certain } else { Confidence::Likely },
        format!("{} gets an empty 500: Traefik asks first who may see it, and {who}", asked.url),
        rows(asked, answered, server),
        start.or_else(|| project.traefik().and_then(|it| remedy::logs(&it.container))).into_iter().collect(),
    )
}

/// It is on several networks, and Traefik may have taken its address on one where Traefik is not.
fn ambiguous(project: &Project, asked: &Asked, answered: &Answered) -> Option<Finding> {
    let (traefik, target) = (project.traefik()?, project.anteroom().or(project.analytics())?);
    let is_traefiks = |id: &str| traefik.container.networks.iter().any(|its| *its.network_id == *id);
    let (shared, strange): (Vec<_>, Vec<_>) =
        target.container.networks.iter().partition(|it| is_traefiks(&it.network_id));
    let (shared, strange) = (shared.first()?, strange.first()?);
    let mut rows = rows(asked, answered, None);
    rows.push(("its networks", facts::networks(&target.container).to_string()));
    rows.push(("networks of Traefik", facts::networks(&traefik.container).to_string()));
    Some(finding(
        Code::NetworkAmbiguous,
        Confidence::Likely,
        format!(
            "{} is on several networks, and Traefik seems to take its address on {}, where Traefik itself is not",
            target.container.name, strange.network
        ),
        rows,
        remedy::chosen_network(&shared.network, &target.container).into_iter().collect(),
    ))
}

fn rows(asked: &Asked, answered: &Answered, member: Option<&Member>) -> Vec<Row> {
    let start = redact(answered.start.trim());
    let mut rows = vec![("url", asked.url.clone()), ("status", answered.status.to_string())];
    rows.push(("body", if start.is_empty() { "empty".to_owned() } else { start }));
    rows.extend(member.and_then(reach_row));
    rows
}

fn finding(code: Code, confidence: Confidence, title: String, rows: Vec<Row>, remedies: Vec<Remedy>) -> Finding {
    found((code, Severity::Error, confidence), title, rows, remedies)
}
