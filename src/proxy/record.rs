//! A request's line in the log, written when its answer has ended: only then is it known how long it took, how much went
//! down, and whether it got to its end.
//!
//! The record travels with the answer's body and is written when that is dropped, however that comes about. Where the
//! log does not want it, there is none, and a request allocates nothing for it.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::head::{Asked, Caller};
use super::journey::Toll;
use crate::headers::TraceId;
use crate::telemetry::line::{self, ACCESS, key};
use crate::telemetry::meter::Fate;

/// In bytes: what a log line repeats of what a client sent, which may be as long as a head.
const LOGGED_MOST: usize = 1 << 10;

/// What is known when the head of the answer is.
pub struct Known {
    pub id: u64,
    pub started: Instant,
    pub toll: Toll,
    /// `None` where there is no answer.
    pub status: Option<StatusCode>,
    pub outcome: Fate,
    pub finding: Option<&'static str>,
}

/// The line, until it is written.
pub struct Record {
    known: Known,
    method: Method,
    target: Uri,
    caller: Caller,
    /// Of the answer's body, as far as it was taken.
    bytes: u64,
    end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not, or not that we know of: its client left.
    Open,
    Whole,
    /// The upstream did not bring it to its end.
    Broken,
}

impl Record {
    /// Of a request as it was forwarded, or refused, if the log wants it.
    pub fn of((method, target, caller): Asked<'_>, known: Known) -> Option<Box<Self>> {
        tracing::enabled!(target: ACCESS, tracing::Level::INFO).then(|| {
            let (method, target) = (method.clone(), target.clone());
            Box::new(Self { known, method, target, caller, bytes: 0, end: End::Open })
        })
    }

    /// So much of the body went down.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Nothing of the body is left.
    pub fn is_whole(&mut self) {
        if self.end == End::Open {
            self.end = End::Whole;
        }
    }

    /// What is left will not come.
    pub fn is_broken(&mut self) {
        self.end = End::Broken;
    }

    fn cut(&self) -> Option<&'static str> {
        match self.end {
            End::Whole => None,
            // There is nothing to take.
            End::Open if self.method == Method::HEAD || self.known.status.is_none() => None,
            End::Open => Some("client"),
            End::Broken => Some("upstream"),
        }
    }
}

/// Writes the line. What did not happen is left out of it.
impl Drop for Record {
    fn drop(&mut self) {
        let Known { id, started, ref toll, status, outcome, finding } = self.known;
        line::write(|line| {
            line.hexadecimal(key!("id"), id);
            let Caller { address, trace_id } = &self.caller;
            if let Some(client) = *address {
                line.address(key!("client"), client);
            }
            line.text(key!("method"), cut(self.method.as_str()));
            // The query may hold tokens, so only the path is logged.
            line.text(key!("path"), cut(self.target.path()));
            if let Some(status) = status {
                line.number(key!("status"), status.as_u16().into());
            }
            line.text(key!("outcome"), outcome.as_str());
            line.number(key!("took_ms"), millis(started.elapsed()));
            if !toll.held.is_zero() {
                line.number(key!("held_ms"), millis(toll.held));
            }
            if toll.retries > 0 {
                line.number(key!("retries"), toll.retries.into());
            }
            if self.bytes > 0 {
                line.number(key!("bytes"), self.bytes);
            }
            let trace_id = trace_id.as_ref().map(TraceId::as_str);
            for (key, value) in [(key!("cut"), self.cut()), (key!("finding"), finding), (key!("trace_id"), trace_id)] {
                if let Some(value) = value {
                    line.text(key, value);
                }
            }
        });
    }
}

/// A request's number, as the log and the page spell it.
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a log line repeats of a text.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_MOST)]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_repeats_only_the_beginning_of_a_long_text() {
        assert_eq!(cut("/short"), "/short");
        assert_eq!(cut(&"x".repeat(64 << 10)).len(), LOGGED_MOST);
        assert_eq!(cut(&"\u{20ac}".repeat(LOGGED_MOST)).len(), LOGGED_MOST - 1, "cut between two characters");
    }
}
