//! What ended a request's wait before the upstream was ready: consequences, which stand behind their cause.

use std::time::Duration;

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
    let exactly = || phrase!("{0} ms", held.as_millis());
    let roughly = if held < Duration::from_secs(1) { exactly() } else { facts::span(held) };
    let title = phrase!("The request was held for {0}, as long as one of its kind may be", roughly);
    Some(finding(Code::PatienceEnded, Severity::Info, title, row!("held for", exactly())))
}

/// There is no remedy but that of the cause.
fn finding(code: Code, severity: Severity, title: Phrase, row: Row) -> Finding {
    Finding { code, severity, confidence: Confidence::Certain, title, evidence: vec![row], remedies: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scenes;

    #[test]
    fn a_wait_of_less_than_a_second_is_not_one_of_no_seconds() {
        let (_, evidence, _) = scenes::all().swap_remove(0);
        for (millis, said) in [(999, "999 ms"), (1000, "1 second"), (2500, "2 seconds")] {
            let bound = Some(Bound::Patience { held: Duration::from_millis(millis) });
            let found = patience_ended(&Evidence { bound, ..evidence.clone() }).expect("it has waited");
            assert_eq!(
                found.title.to_string(),
                format!("The request was held for {said}, as long as one of its kind may be")
            );
            assert_eq!(found.evidence[0].1.to_string(), format!("{millis} ms"));
        }
    }
}
