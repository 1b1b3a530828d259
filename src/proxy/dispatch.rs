//! What the [journey](super::journey) of a request asks: how it is sent, and how long it may wait.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Proxy;
use super::exchange::Exchange;
use super::hold::Stay;
use super::journey::{Errand, Sent, Setback};
use crate::admission::Refusal;
use crate::evidence::Failure;
use crate::line::Place;
use crate::patience::{self, Kind};
use crate::retry::{self, Reach};
use crate::upstream::Lease;
use crate::upstream::reel::Fault;
use crate::warmup::patience_for_page_view;
use crate::watch::Snapshot;

/// An exchange, as often as it is sent.
pub(super) struct Dispatch<'a> {
    proxy: &'a Proxy,
    place: Place,
    exchange: &'a mut Exchange,
    /// How long a page view may wait by what was known of a warm-up. It stays so when that is over.
    granted: OnceLock<Duration>,
}

impl<'a> Dispatch<'a> {
    /// `place` is that of its request in the waiting room.
    pub(super) fn new(proxy: &'a Proxy, place: Place, exchange: &'a mut Exchange) -> Self {
        Self { proxy, place, exchange, granted: OnceLock::new() }
    }
}

impl Errand for Dispatch<'_> {
    type Answer = (Response<Incoming>, Lease);

    async fn send(&mut self, known: &Arc<Snapshot>, pooled: bool) -> Sent<Self::Answer> {
        let Proxy { shared, pool, door, .. } = self.proxy;
        let (run, patience) = (known.run, shared.config.response_timeout);
        let lost = |peer| door.loses(known, peer);
        let setback = match self.exchange.send(pool, run, pooled, patience, lost).await {
            Ok((answer, lease)) if self.proxy.premature(answer.status(), run) => {
                let failure = Failure::NotReady { status: answer.status().as_u16() };
                let setback = Setback { failure, connection: lease.connection, reach: Reach::Sent };
                return self.mistake().map_or_else(|| Sent::Premature((answer, lease), setback), Sent::Refused);
            }
            Ok(answered) => return Sent::Answered(answered),
            Err(setback) => setback,
        };
        if setback.connection == retry::Connection::New && setback.reach == Reach::Unsent {
            self.proxy.ledger.did_not_connect(&setback.failure);
        }
        let stalls = setback.failure == Failure::NoAnswer && self.exchange.tape.awaits_client();
        match self.mistake() {
            Some(mistake) => Sent::Refused(mistake),
            None if stalls => Sent::Refused(Refusal::BodyTooSlow),
            None => Sent::Failed(setback),
        }
    }

    fn is_idempotent(&self) -> bool {
        retry::idempotent(&self.exchange.head.method)
    }

    fn is_replayable(&self) -> bool {
        self.exchange.tape.replayable()
    }

    async fn while_held(&self) -> Refusal {
        self.exchange.tape.fill().await;
        match self.mistake() {
            Some(mistake) => mistake,
            None => std::future::pending().await,
        }
    }

    fn is_retried(&self, because: &Failure) {
        self.proxy.ledger.retried(because);
    }

    fn is_target_proven(&self, run: u64) -> bool {
        self.proxy.is_proven(run)
    }

    fn stay(&self) -> Stay {
        let Self { place, exchange: Exchange { head, tape, .. }, proxy, granted } = self;
        let fields = head.fields();
        let kind = patience::kind(&head.method, &fields, tape.fits());
        let configured = patience::patience(kind, &fields, &proxy.shared.config.patience);
        let patience = if kind == Kind::PageView && patience::preferred_wait(&fields).is_none() {
            let Snapshot { began, usual, .. } = &*proxy.door.newest();
            let by = |began: Instant| patience_for_page_view(configured, place.arrived, Some(began.into_std()), *usual);
            let known = began.map(|began| *granted.get_or_init(|| by(began)));
            known.or_else(|| granted.get().copied()).unwrap_or(configured)
        } else {
            configured
        };
        Stay { place: *place, bytes: self.exchange.size(), deadline: Instant::from_std(place.arrived) + patience }
    }
}

impl Dispatch<'_> {
    /// What is wrong with the body, as far as it was read.
    fn mistake(&self) -> Option<Refusal> {
        self.exchange.tape.fault().map(|fault| match fault {
            Fault::Broken => Refusal::BodyBroken,
            Fault::TooLarge => Refusal::BodyTooLarge,
            Fault::Lost => Refusal::BodyLost,
        })
    }
}
