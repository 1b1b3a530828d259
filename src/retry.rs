//! May this failure of this request be tried again? Pure, and one table:
//!
//! | failure | idempotent, or nothing was sent | otherwise |
//! |---|---|---|
//! | no connection came about, or no TLS on it | within patience | within patience: nothing was sent |
//! | TLS refused by the upstream after the request was sent | within patience | no |
//! | pooled connection closed before any byte of the answer | once, at once, on a new connection | no |
//! | new connection closed before the answer's head | within patience | no |
//! | refused unprocessed by an HTTP/2 upstream | as a connection that closed; on a new one after a pause | the same |
//! | 502, 503, 504 from an upstream that has never answered otherwise since it started | within patience | no |
//! | head not in time, answer not HTTP, anything else | no | no |
//!
//! "Nothing was sent" is the connection's own word: it hands an unsent request back. What an upstream says that it did
//! not process counts as that. A body that was read from the client beyond what was kept cannot be sent twice, so such a
//! request is never tried again.

use std::time::Duration;

use http::Method;

use crate::evidence::Failure;

/// What the table asks about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// RFC 9110 §9.2.2.
    pub idempotent: bool,
    pub reach: Reach,
    /// Whether its body, as far as it was read, can be sent again from the start.
    pub replayable: bool,
}

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No byte of it can have reached the upstream.
    Unsent,
    /// The upstream said that it did nothing about it (RFC 9113 §8.7): it lives, and wants less.
    Refused,
    /// A part of it may have reached the upstream.
    Sent,
}

/// Whether the connection that failed had carried an answer before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    New,
    Pooled,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it again on a new connection: the old one had died of age, the upstream need not be at fault.
    AtOnce,
    /// Hold it until the upstream is ready, and send it again.
    WithinPatience,
    /// Answer with the diagnosis.
    GiveUp,
}

/// Looks a failure up in the table.
pub fn verdict(failure: &Failure, connection: Connection, request: Request) -> Verdict {
    let repeatable = request.replayable && (request.idempotent || request.reach != Reach::Sent);
    match failure {
        Failure::NameNotResolved { .. }
        | Failure::NameResolvedOutside { .. }
        | Failure::Refused { .. }
        | Failure::Unreachable { .. }
        | Failure::ConnectTimeout => Verdict::WithinPatience,
        // TLS 1.3 lets us send before the other side has refused our certificate: then the request counts as sent.
        Failure::Tls { .. } if request.reach == Reach::Unsent || repeatable => Verdict::WithinPatience,
        Failure::ClosedEarly if repeatable => match connection {
            Connection::Pooled => Verdict::AtOnce,
            Connection::New => Verdict::WithinPatience,
        },
        // Only asked of an upstream that has never answered otherwise: see `proxy`.
        Failure::NotReady { .. } if repeatable => Verdict::WithinPatience,
        Failure::Tls { .. }
        | Failure::ClosedEarly
        | Failure::NotReady { .. }
        | Failure::NoAnswer
        | Failure::SpeaksTls
        | Failure::NotHttp { .. }
        | Failure::RetryBudgetSpent
        | Failure::Loop => Verdict::GiveUp,
    }
}

/// Whether a method may be repeated without changing its meaning (RFC 9110 §9.2.2).
pub fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Over how long requests and retries are counted for the budget.
pub const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// How many retries a window with so many requests allows: 20 % of them, and 10 a second so that a quiet service
/// can retry at all. Beyond that retries would be the outage.
pub const fn budget(requests: u64) -> u64 {
    requests / 5 + 10 * BUDGET_WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::Reach::{Refused, Sent, Unsent};
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn request(idempotent: bool, reach: Reach, replayable: bool) -> Request {
        Request { idempotent, reach, replayable }
    }

    #[test]
    fn without_a_connection_every_request_is_tried_again() {
        let failures = [
            Failure::NameNotResolved { reason: "".into() },
            Failure::NameResolvedOutside { address: ADDRESS },
            Failure::Refused { address: ADDRESS },
            Failure::Unreachable { reason: "".into() },
            Failure::ConnectTimeout,
            Failure::Tls { reason: "".into() },
        ];
        for failure in failures {
            for idempotent in [false, true] {
                let verdict = verdict(&failure, Connection::New, request(idempotent, Unsent, true));
                assert_eq!(verdict, Verdict::WithinPatience, "{failure:?}");
            }
        }
    }

    #[test]
    fn a_connection_that_closes_early_is_judged_by_what_was_sent() {
        use Connection::{New, Pooled};
        use Verdict::{AtOnce, GiveUp, WithinPatience};
        let table = [
            // connection, idempotent, sent, replayable, verdict
            (Pooled, true, Sent, true, AtOnce),
            (Pooled, true, Sent, false, GiveUp),
            (Pooled, false, Unsent, true, AtOnce),
            (Pooled, false, Sent, true, GiveUp),
            (New, true, Sent, true, WithinPatience),
            (New, true, Sent, false, GiveUp),
            (New, false, Unsent, true, WithinPatience),
            (New, false, Sent, true, GiveUp),
            (Pooled, false, Refused, true, AtOnce),
            (New, false, Refused, true, WithinPatience),
            (New, false, Refused, false, GiveUp),
        ];
        for (connection, idempotent, reach, replayable, expected) in table {
            let request = request(idempotent, reach, replayable);
            assert_eq!(verdict(&Failure::ClosedEarly, connection, request), expected, "{connection:?} {request:?}");
        }
    }

    #[test]
    fn a_request_that_tls_1_3_sent_too_early_is_judged_by_its_method() {
        let failure = Failure::Tls { reason: "".into() };
        assert_eq!(verdict(&failure, Connection::New, request(true, Sent, true)), Verdict::WithinPatience);
        assert_eq!(verdict(&failure, Connection::New, request(false, Sent, true)), Verdict::GiveUp);
    }

    #[test]
    fn an_answer_that_is_late_or_foreign_is_never_asked_for_twice() {
        for failure in [Failure::NoAnswer, Failure::SpeaksTls, Failure::NotHttp { reason: "".into() }, Failure::Loop] {
            assert_eq!(verdict(&failure, Connection::New, request(true, Sent, true)), Verdict::GiveUp);
        }
    }

    #[test]
    fn a_warming_upstreams_503_is_tried_again_only_where_that_is_safe() {
        let failure = Failure::NotReady { status: 503 };
        assert_eq!(verdict(&failure, Connection::New, request(true, Sent, true)), Verdict::WithinPatience);
        assert_eq!(verdict(&failure, Connection::New, request(false, Sent, true)), Verdict::GiveUp);
    }

    #[test]
    fn post_and_patch_are_not_idempotent() {
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!idempotent(&method), "{method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE] {
            assert!(idempotent(&method), "{method}");
        }
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_traffic_and_ten_a_second() {
        assert_eq!([budget(0), budget(50), budget(1000)], [100, 110, 300]);
    }
}
