//! What ended a request's wait before the upstream was ready: consequences, which stand behind their cause.

use super::facts::{self, Row, row};
use super::{Code, Confidence, Finding, Severity};
use crate::evidence::{Bound, Evidence};
use crate::phrase::{Phrase, phrase};

/// More requests wait than may.
pub(super) fn waiting_room_full(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Number { most }) = evidence.bound else { return None };
    let title = phrase!("{0} requests are waiting already: this one was answered at once", most);
    Some(finding(Code::WaitingRoomFull, Severity::Warning, title, row!("requests held", most)))
}

/// Those that wait are larger than may be.
pub(super) fn held_bytes_spent(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Bytes { most }) = evidence.bound else { return None };
    let title = phrase!(
        "The requests that are waiting already take all of the {0} MiB that they may: this one was answered at once",
        most >> 20
    );
    Some(finding(Code::HeldBytesSpent, Severity::Warning, title, row!("bytes of heads allowed", most)))
}

/// It has waited for as long as it may.
pub(super) fn patience_ended(evidence: &Evidence) -> Option<Finding> {
    let Some(Bound::Patience { held }) = evidence.bound else { return None };
    let title = phrase!("The request was held for {0}, as long as one of its kind may be", facts::span(held));
    Some(finding(Code::PatienceEnded, Severity::Info, title, row!("held for", phrase!("{0} ms", held.as_millis()))))
}

/// There is no remedy but that of the cause.
fn finding(code: Code, severity: Severity, title: Phrase, row: Row) -> Finding {
    Finding { code, severity, confidence: Confidence::Certain, title, evidence: vec![row], remedies: vec![] }
}
