//! The doctor's report for programs. `docs/doctor.schema.json` describes it; later versions only add members.

use serde::Serialize;

use crate::diagnosis::deployment::Located;
use crate::diagnosis::{Remedy, Severity};
use crate::evidence::Engine;
use crate::page::foreign::{self, line};
use crate::project::{Member, Project, Reach};

#[derive(Serialize)]
struct Document {
    project: String,
    /// Whether nothing but hints was found.
    healthy: bool,
    /// The engine's own word.
    engine_version: String,
    services: Vec<Service>,
    asked: Option<Asked>,
    /// Where they ask, if there is nothing here by which to judge a certificate.
    unasked: Option<String>,
    /// Why the compose files could not be read, if so.
    compose_files_unread: Option<String>,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Service {
    service: String,
    container: String,
    /// `well`, `done`, `not ready` or `down`.
    standing: &'static str,
    /// The engine's word.
    state: &'static str,
    exit_code: i64,
    health: Option<&'static str>,
    restart_count: u64,
    restart_policy: String,
    /// The port on which it answers; `null` if it does not, or was not asked.
    answers_on: Option<u16>,
}

#[derive(Serialize)]
struct Asked {
    url: String,
    /// `null` without an answer.
    status: Option<u16>,
}

#[derive(Serialize)]
struct Found {
    code: &'static str,
    service: Option<String>,
    severity: &'static str,
    confidence: &'static str,
    title: String,
    evidence: Vec<Fact>,
    remedies: Vec<Offer>,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Offer {
    /// `null` where it cannot be shown exactly as it would run.
    command: Option<String>,
    effect: String,
    permanent: bool,
}

/// The document's text; in one line if others follow it.
pub(super) fn write(project: &Project, findings: &[Located], in_one_line: bool) -> String {
    let document = Document {
        project: line(&project.name),
        healthy: findings.iter().all(|it| it.finding.severity == Severity::Info),
        engine_version: match &project.engine {
            Engine::Available { version } => line(version),
            _ => String::new(),
        },
        services: project.services().into_iter().map(|member| service(project, member)).collect(),
        asked: project.asked.as_ref().map(|asked| Asked {
            url: line(&asked.url),
            status: asked.outcome.as_ref().ok().map(|answered| answered.status),
        }),
        unasked: project.unasked.as_deref().map(line),
        compose_files_unread: project.undefined.as_ref().map(|why| line(&why.to_string())),
        findings: findings.iter().map(found).collect(),
    };
    // Strings, numbers and lists under string keys: serde_json has no reason to refuse any of them.
    let text = if in_one_line { serde_json::to_string(&document) } else { serde_json::to_string_pretty(&document) };
    text.expect("a document of plain data always serializes")
}

fn service(project: &Project, member: &Member) -> Service {
    let container = &member.container;
    Service {
        service: line(member.service()),
        container: line(&container.name),
        standing: project.standing(member).as_str(),
        state: container.status.as_str(),
        exit_code: container.exit_code,
        health: container.health.as_ref().map(|health| health.status.as_str()),
        restart_count: container.restart_count,
        restart_policy: container.restart_policy.to_string(),
        answers_on: match member.reach {
            Reach::Answers { port } => Some(port),
            Reach::Untried | Reach::Fails { .. } => None,
        },
    }
}

fn found(located: &Located) -> Found {
    let finding = &located.finding;
    Found {
        code: finding.code.as_str(),
        service: located.service.as_deref().map(line),
        severity: finding.severity.as_str(),
        confidence: finding.confidence.as_str(),
        title: line(&finding.title.to_string()),
        evidence: finding.evidence.iter().map(|(name, value)| Fact { name, value: line(&value.to_string()) }).collect(),
        remedies: finding.remedies.iter().map(offer).collect(),
    }
}

fn offer(remedy: &Remedy) -> Offer {
    Offer {
        command: foreign::command(&remedy.command),
        effect: line(&remedy.effect.to_string()),
        permanent: remedy.permanent,
    }
}

#[cfg(test)]
mod tests;
