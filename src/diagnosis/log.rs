//! What the target's own log says, where it is read: at level `full` alone, and of that the last lines.
//!
//! A log says anything, so a rule believes it only together with a state that fits, and what it quotes is redacted.

use super::facts::{self, Row, row};
use super::redact::redact;
use super::{Code, Confidence, Finding, Severity, remedy};
use crate::evidence::{Container, Evidence, Failure, Status};
use crate::phrase::phrase;

/// In characters: what a title quotes of a line.
const QUOTED_MOST: usize = 160;
/// Lines in which the reason of an end is looked for: what a program says when it gives up, it says last.
const LAST: usize = 20;

/// Grafana gave up since it could not get a plugin, or waits for one that does not come. CVAT's downloads one at each
/// start.
pub(super) fn plugin_download_failed(evidence: &Evidence) -> Option<Finding> {
    let container = ended_badly(evidence).or_else(|| facts::running(evidence).filter(|_| evidence.probe.is_some()))?;
    let line = last(evidence, |line| {
        let about = line.contains("plugin") && ["download", "install", "fetch"].iter().any(|verb| line.contains(verb));
        about && FAILED.iter().any(|sign| line.contains(sign))
    })?;
    Some(Finding {
        code: Code::PluginDownloadFailed,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!("{0} could not get a plugin that it needs: {1}", container.name, quote(line)),
        evidence: facts::rows_after(vec![row!("log", quote(line))], container),
        remedies: [remedy::logs(container), remedy::start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// It gave up since it may not use a file or a directory.
pub(super) fn permission_denied(evidence: &Evidence) -> Option<Finding> {
    let container = ended_badly(evidence).filter(|container| container.error.is_empty())?;
    let line = last(evidence, |line| line.contains("permission denied") || line.contains("operation not permitted"))?;
    Some(Finding {
        code: Code::PermissionDenied,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!("{0} ended, since it lacks a permission: {1}", container.name, quote(line)),
        evidence: facts::rows_after(vec![row!("log", quote(line))], container),
        remedies: [remedy::mounts(container), remedy::start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// The line that says that it listens where nobody else can reach it.
pub(super) fn loopback(evidence: &Evidence) -> Option<&str> {
    let port = evidence.upstream.port;
    last(evidence, |line| {
        let speaks = ["listen", "serving", "address=", "bound", "running on"].iter().any(|sign| line.contains(sign));
        speaks && ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| line.contains(&format!("{host}:{port}")))
    })
}

/// What a container that ended, or ends again and again, said last, and how often it says so.
pub(super) fn last_words(evidence: &Evidence) -> Vec<Row> {
    let shape = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let Some(line) = evidence.log.iter().rev().find(|line| !line.trim().is_empty()) else { return vec![] };
    let wanted = shape(line);
    let times = evidence.log.iter().filter(|other| shape(other) == wanted).count();
    let mut rows = vec![row!("last log line", quote(line))];
    if times > 1 {
        rows.push(row!("said", phrase!("{0} times in its last {1} lines", times, evidence.log.len())));
    }
    rows
}

/// In lower case.
const FAILED: [&str; 8] =
    ["fail", "error", "no such host", "timeout", "timed out", "refused", "unreachable", "temporary failure"];

/// The target, if its last run ended otherwise than well.
fn ended_badly(evidence: &Evidence) -> Option<&Container> {
    facts::target(evidence).found().filter(|container| match container.status {
        Status::Exited | Status::Restarting => container.exit_code != 0,
        // Between two crashes it is up, and its code reads 0.
        Status::Running => container.restart_count > 0 && evidence.probe.as_ref().is_some_and(is_refused),
        Status::Created | Status::Paused | Status::Removing | Status::Dead | Status::Other => false,
    })
}

fn is_refused(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { .. } | Failure::NameNotResolved { .. })
}

/// The last of the lines, in lower case, for which this is true.
fn last(evidence: &Evidence, says: impl Fn(&str) -> bool) -> Option<&str> {
    let lines = evidence.log.iter().rev().take(LAST);
    lines.map(|line| &**line).find(|line| says(&line.to_lowercase()))
}

fn quote(line: &str) -> String {
    let clean = redact(line.trim());
    match clean.char_indices().nth(QUOTED_MOST) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}
