//! A request on its way: what is kept of it so that it can be sent again, and what comes of sending it once.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use super::head::Head;
use super::journey::Setback;
use super::upgrade::Switch;
use crate::evidence::Failure;
use crate::phrase::{Phrase, phrase};
use crate::retry::{self, Reach};
use crate::spelling::Spelling;
use crate::upstream::body::Tape;
use crate::upstream::{self, Lease, Pool, framing, lease};

/// What takes longer than this is looked at more closely; most answers come before, and cost one timer.
const LONG: Duration = Duration::from_secs(1);

/// A request that is sent as often as it takes.
pub struct Exchange {
    pub head: Head,
    /// How it was written, if not as usual.
    pub spelling: Option<Spelling>,
    pub tape: Tape,
    /// What its client offers to switch to.
    pub switch: Option<Switch>,
    /// Its client asks for nothing more on this connection (RFC 9112 §9.6).
    pub closes: bool,
}

impl Exchange {
    /// What its head takes of memory in bytes, roughly: one that is not written as usual is kept as it came, too.
    pub fn size(&self) -> usize {
        self.head.size() + self.spelling.as_ref().map_or(0, |Spelling(head)| head.len())
    }

    /// Whether nothing of it is with its connection any more.
    pub fn is_all_here(&self) -> bool {
        self.switch.is_none() && !self.tape.has_body()
    }

    /// Sends it once, over a connection of `pool` that leads to the `run` of the target: a new one unless `pooled` may be
    /// used, too. `patience` is for the head of the answer, and `lost` ends when nobody has the peer's address any more.
    pub async fn send<F: Future<Output = ()>>(
        &mut self,
        pool: &Arc<Pool>,
        run: u64,
        pooled: bool,
        patience: Duration,
        lost: impl FnOnce(Option<IpAddr>) -> F,
    ) -> Result<(Response<Incoming>, Lease), Setback> {
        let protocols = pool.protocols(self.switch.is_some());
        let lease = if pooled { pool.take(run, protocols) } else { None };
        let mut lease = match lease {
            Some(lease) => lease,
            // Boxed, or every request would have room for the making of a connection, which few need.
            None => match Box::pin(pool.connect(run, protocols, pooled)).await {
                Ok(lease) => lease,
                Err(failure) => {
                    let connection = retry::Connection::New;
                    return Err(Setback { failure, connection, reach: Reach::Unsent });
                }
            },
        };
        let connection = lease.connection;
        let peer = lease.peer();
        let mut sending = pin!(lease.send(self.head.to_send(), self.spelling.as_ref(), &self.tape));
        let answer = tokio::select! {
            biased;
            answer = &mut sending => answer,
            failure = no_answer(&self.tape, patience, || lost(peer)) => {
                lease.forsake();
                return Err(Setback { failure, connection, reach: Reach::Sent });
            }
        };
        match answer {
            Ok(mut answer) => {
                match framing::unambiguous(answer.headers()).and_then(|()| self.switches_rightly(&answer)) {
                    Ok(()) => {
                        lease.keep_spelling(&mut answer);
                        Ok((answer, lease))
                    }
                    Err(reason) => {
                        let failure = Failure::NotHttp { reason };
                        Err(Setback { failure, connection, reach: Reach::Sent })
                    }
                }
            }
            Err(mut error) => {
                let reach = if lease::is_unprocessed(error.error()) {
                    Reach::Refused
                } else if error.take_message().is_some() {
                    Reach::Unsent
                } else {
                    Reach::Sent
                };
                Err(Setback { failure: upstream::failure(error.error(), connection), connection, reach })
            }
        }
    }

    /// An upstream may switch protocols only if the client offered to (RFC 9110 §7.8).
    fn switches_rightly(&self, answer: &Response<Incoming>) -> Result<(), Phrase> {
        match &self.switch {
            Some(switch) => switch.agreed(answer.status(), answer.headers()),
            None if answer.status() == StatusCode::SWITCHING_PROTOCOLS => Err(phrase!("it switched protocols unasked")),
            None => Ok(()),
        }
    }
}

/// Why an answer is not waited for any more.
async fn no_answer<F: Future<Output = ()>>(tape: &Tape, patience: Duration, lost: impl FnOnce() -> F) -> Failure {
    let begun = Instant::now();
    let end = begun + patience;
    sleep_until(begun + patience.min(LONG)).await;
    // Boxed, or every request would have room for what few need.
    Box::pin(async {
        tokio::select! {
            () = silence(tape, end, patience) => Failure::NoAnswer,
            () = lost() => Failure::ClosedEarly,
        }
    })
    .await
}

/// Ends when the upstream has kept silent for too long. An upload that still flows is not silence.
async fn silence(tape: &Tape, mut end: Instant, patience: Duration) {
    loop {
        sleep_until(end).await;
        match tape.progress().map(|progress| progress + patience) {
            Some(later) if later > Instant::now() => end = later,
            Some(_) | None => return,
        }
    }
}
