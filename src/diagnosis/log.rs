//! What the target's own log says, where it is read: at level `full` alone, and of that the last lines.
//!
//! A log says anything, so a rule believes it only together with a state that fits, and what it quotes is redacted.

use super::facts::{self, Row, row};
use super::redact::redact_lines;
use super::{Code, Confidence, Finding, Severity, remedy};
use crate::evidence::{Container, Evidence, Status};
use crate::phrase::phrase;
use crate::readiness::crash_loop;

/// In characters: what a title quotes of a line.
const QUOTED_MOST: usize = 160;
/// Lines in which the reason of an end is looked for: what a program says when it gives up, it says last.
const LAST: usize = 20;

/// Grafana gave up since it could not get a plugin. CVAT's downloads one at each start. While it runs, such a line says
/// nothing: others of the same words do no harm, and a network that is lost is a cause of its own.
pub(super) fn plugin_download_failed(evidence: &Evidence) -> Option<Finding> {
    let container = gave_up(evidence)?;
    let line = last(evidence, |line| {
        let about = line.contains("plugin") && ["download", "install"].iter().any(|verb| line.contains(verb));
        about && FAILED.iter().any(|sign| line.contains(sign))
    })?;
    Some(Finding {
        code: Code::PluginDownloadFailed,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!("{0} could not get a plugin that it needs: {1}", container.name, line),
        evidence: facts::rows_after(vec![row!("log", line)], container),
        remedies: [remedy::logs(container), remedy::start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// It gave up since it may not use a file or a directory.
pub(super) fn permission_denied(evidence: &Evidence) -> Option<Finding> {
    let container = gave_up(evidence).filter(|container| container.error.is_empty())?;
    let line = last(evidence, |line| line.contains("permission denied") || line.contains("operation not permitted"))?;
    Some(Finding {
        code: Code::PermissionDenied,
        severity: Severity::Error,
        confidence: Confidence::Likely,
        title: phrase!("{0} ended, since it lacks a permission: {1}", container.name, line),
        evidence: facts::rows_after(vec![row!("log", line)], container),
        remedies: [remedy::mounts(container), remedy::start(evidence, container)].into_iter().flatten().collect(),
    })
}

/// The line that says that it listens where nobody else can reach it. Some programs call every address `localhost` in
/// the URL that they print, so it counts only where no line speaks of all of them.
pub(super) fn loopback(evidence: &Evidence) -> Option<String> {
    let port = evidence.upstream.port;
    let everywhere = ["0.0.0.0", "[::]", ":::", "all addresses", "all interfaces"];
    if evidence.log.iter().any(|line| everywhere.iter().any(|sign| line.to_lowercase().contains(sign))) {
        return None;
    }
    last(evidence, |line| {
        let speaks = ["listen", "serving", "address=", "bound", "running on"].iter().any(|sign| line.contains(sign));
        speaks && ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| line.contains(&format!("{host}:{port}")))
    })
}

/// What a container that ended, or ends again and again, said last, and how often it says so.
pub(super) fn last_words(evidence: &Evidence) -> Vec<Row> {
    let shape = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let Some(index) = evidence.log.iter().rposition(|line| !line.trim().is_empty()) else { return vec![] };
    let wanted = shape(&evidence.log[index]);
    let times = evidence.log.iter().filter(|other| shape(other) == wanted).count();
    let mut rows = vec![row!("last log line", quote(evidence, index))];
    if times > 1 {
        rows.push(row!("said", phrase!("{0} times in its last {1} lines", times, evidence.log.len())));
    }
    rows
}

/// In lower case.
const FAILED: [&str; 8] =
    ["fail", "error", "no such host", "timeout", "timed out", "refused", "unreachable", "temporary failure"];

/// The target, if its last run ended by an error of its own, or does so again and again. What was stopped, killed or cut
/// off did not end for what it had said before.
fn gave_up(evidence: &Evidence) -> Option<&Container> {
    facts::target(evidence).found().filter(|container| match container.status {
        Status::Exited | Status::Restarting => {
            !container.oom_killed && !matches!(container.exit_code, 0 | 130 | 137 | 143 | 255)
        }
        // Between two crashes it is up, and its code reads 0.
        Status::Running => crash_loop(container, evidence),
        Status::Created | Status::Paused | Status::Removing | Status::Dead | Status::Other => false,
    })
}

/// The last of the lines for which, in lower case, this is true; fit to be shown.
fn last(evidence: &Evidence, says: impl Fn(&str) -> bool) -> Option<String> {
    let first = evidence.log.len().saturating_sub(LAST);
    let found = (first..evidence.log.len()).rev().find(|index| says(&evidence.log[*index].to_lowercase()))?;
    Some(quote(evidence, found))
}

/// A line without secrets. They may begin lines before, so that all of them are read.
fn quote(evidence: &Evidence, index: usize) -> String {
    let clean = redact_lines(evidence.log.iter().map(|line| &**line)).swap_remove(index);
    let clean = clean.trim();
    match clean.char_indices().nth(QUOTED_MOST) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean.to_owned(),
    }
}
