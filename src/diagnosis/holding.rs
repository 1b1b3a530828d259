//! What ended a request's wait before the upstream was ready: consequences, which stand behind their cause.

use super::{Code, Confidence, Finding, Severity, facts};
use crate::evidence::{Bound, Evidence};

/// More requests wait than may.
pub(super) fn waiting_room_full(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Number { most }) = evidence.bound else { return None };
    let title = format!("{most} requests are waiting already: this one was answered at once");
    Some(finding(Code::WaitingRoomFull, Severity::Warning, title, ("requests held", most.to_string())))
}

/// Those that wait are larger than may be.
pub(super) fn held_bytes_spent(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Bytes { most }) = evidence.bound else { return None };
    let title = format!(
        "The requests that are waiting already take all of the {} MiB that they may: this one was answered at once",
        most >> 20
    );
    Some(finding(Code::HeldBytesSpent, Severity::Warning, title, ("bytes of heads allowed", most.to_string())))
}

/// It has waited for as long as it may.
pub(super) fn patience_ended(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Patience { held }) = evidence.bound else { return None };
    let title = format!("The request was held for {}, as long as one of its kind may be", facts::span(held));
    Some(finding(Code::PatienceEnded, Severity::Info, title, ("held for", format!("{} ms", held.as_millis()))))
}

/// There is no remedy but that of the cause.
fn finding(code: Code, severity: Severity, title: String, row: facts::Row) -> Finding {
    Finding { code, severity, confidence: Confidence::Certain, title, evidence: vec![row], remedies: vec![] }
}
