//! What a request comes to be before anybody is asked.

use http::{Method, Uri, request};
use hyper::body::Incoming;

use super::exchange::Exchange;
use crate::admission::Refusal;

/// A request, and what is to be done about it. Where that takes no body, it is kept all the same until there is an answer:
/// hyper reads what is left of it only after that.
pub enum Call {
    Refuse(request::Parts, Incoming, Refusal),
    TellStatus(request::Parts, Incoming),
    /// It has passed here before.
    ExplainLoop(Exchange),
    /// It may go no further.
    TellOptions(request::Parts, Incoming),
    Forward(Exchange),
}

impl Call {
    /// What is asked of what.
    pub fn asked(&self) -> (&Method, &Uri) {
        match self {
            Self::Refuse(head, ..) | Self::TellStatus(head, _) | Self::TellOptions(head, _) => {
                (&head.method, &head.uri)
            }
            Self::ExplainLoop(exchange) | Self::Forward(exchange) => exchange.asked(),
        }
    }
}
