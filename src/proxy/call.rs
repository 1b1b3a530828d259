//! What a request comes to be before anybody is asked.

use http::request;

use super::exchange::Exchange;
use super::head::{Asked, Caller};
use crate::admission::Refusal;
use crate::upstream::body::Tape;

/// A request, and what is to be done about it. Where that takes no body, it is kept all the same until the answer is written:
/// a connection that is closed with bytes unread is reset, and the reset may overtake the answer.
pub enum Call {
    Refuse(request::Parts, Tape, Caller, Refusal),
    TellStatus(request::Parts, Tape),
    /// It has passed here before.
    ExplainLoop(Exchange),
    /// It may go no further.
    TellOptions(request::Parts, Tape),
    Forward(Exchange),
}

impl Call {
    /// What is asked of what.
    pub fn asked(&self) -> Asked<'_> {
        match self {
            Self::Refuse(head, _, caller, _) => (&head.method, &head.uri, *caller),
            // A line tells of them only if their bodies break off, and not whose they were.
            Self::TellStatus(head, _) | Self::TellOptions(head, _) => (&head.method, &head.uri, Caller::default()),
            Self::ExplainLoop(exchange) | Self::Forward(exchange) => exchange.head.asked(),
        }
    }
}
