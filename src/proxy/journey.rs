//! From a request's arrival to its answer, or to the reason why there is none: wait, send, and begin again as often as
//! the retry table, the budget and the request's patience allow.
//!
//! What is sent, and how, is an [`Errand`]: the proxy's goes over a connection, and the simulation has its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::Budget;
use super::hold::{Door, End, Stay};
use crate::admission::Refusal;
use crate::backoff;
use crate::evidence::{Bound, Failure};
use crate::readiness::State;
use crate::retry::{self, Reach, Verdict};
use crate::room::Held;
use crate::watch::{Report, Snapshot};

/// Something that can be sent as often as it takes.
pub trait Errand {
    type Answer;

    /// Sends it once, to the run of the target that `known` is about; over a connection that is there already only if
    /// `pooled`.
    fn send(&mut self, known: &Arc<Snapshot>, pooled: bool) -> impl Future<Output = Sent<Self::Answer>>;

    /// RFC 9110 §9.2.2.
    fn is_idempotent(&self) -> bool;

    /// Whether it can be sent again from its first byte.
    fn is_replayable(&self) -> bool;

    /// What it brings into the waiting room.
    fn stay(&self) -> Stay;

    /// What it does there. Ends only if it finds a reason not to wait any longer.
    fn while_held(&self) -> impl Future<Output = Refusal>;

    /// It will be sent again because of this.
    fn is_retried(&self, _because: &Failure) {}

    /// Whether the run of the target that it was sent to has answered anyone as one that is ready does.
    fn is_target_proven(&self, run: u64) -> bool;
}

/// What came of sending it once.
pub enum Sent<A> {
    Answered(A),
    /// Answered by an upstream that is not ready yet; passed on if it may not be sent again.
    Premature(A, Setback),
    Failed(Setback),
    /// The client's own mistake, as a rule.
    Refused(Refusal),
}

/// Why an attempt did not bring an answer, and what it leaves open.
#[derive(Debug)]
pub struct Setback {
    pub failure: Failure,
    pub connection: retry::Connection,
    pub reach: Reach,
}

/// How it ended.
pub enum Outcome<A> {
    Answered(A),
    Refused(Refusal),
    /// There is no answer: what was known then, what the last attempt met, and what bounded its wait.
    Stranded(Arc<Snapshot>, Option<Failure>, Option<Bound>),
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    /// How long it was held.
    pub held: Duration,
    /// Since when it is held, while it is.
    since: Option<Instant>,
    /// How often it was sent again.
    pub retries: u32,
}

impl Toll {
    /// It is held from now on.
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// It is not held any more.
    pub fn end(&mut self) {
        self.held += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }
}

/// What all journeys need.
pub struct Way<'a> {
    pub door: &'a Door,
    pub budget: &'a Budget,
    pub reports: &'a mpsc::Sender<Report>,
}

/// What is known of an errand that could not pass at once, or was sent in vain.
#[derive(Default)]
struct Detour {
    last_failure: Option<Failure>,
    /// The snapshot with this number said that the upstream is ready, and nobody was there.
    refuted: Option<u64>,
    held: Option<Held>,
    /// From now on it is not sent over a connection that was there before.
    unpooled: bool,
}

/// What to do after a setback.
enum Next {
    /// Send again on a new connection.
    AtOnce,
    /// Send again after a pause.
    After(Duration),
    /// Send again when the budget allows it, or when the upstream turns out to answer others.
    WhenWelcome,
    /// Let the watcher look into it, and send again when it has found the upstream ready.
    OnNews,
    /// Answer.
    GiveUp(Failure),
}

/// A request that finds nobody there reports it at once, and one probe more decides.
const FALL_SEEN_WITHIN: Duration = Duration::from_millis(100);

impl Way<'_> {
    /// Brings an errand to its end, which may pass at once by what is `known` from its [`Door`]. `toll` is kept while it lasts.
    pub async fn travel<E: Errand>(
        &self,
        known: Option<Arc<Snapshot>>,
        errand: &mut E,
        toll: &mut Toll,
    ) -> Outcome<E::Answer> {
        // What only those need that wait or are sent again is boxed, or every request would have room for it.
        let Some(snapshot) = known else {
            return Box::pin(self.go_on(errand, toll, Detour::default())).await;
        };
        match errand.send(&snapshot, true).await {
            Sent::Answered(answer) => Outcome::Answered(answer),
            sent => Box::pin(self.begin_again(errand, toll, snapshot, sent)).await,
        }
    }

    /// Goes on with an errand that could pass at once, and has no answer.
    async fn begin_again<E: Errand>(
        &self,
        errand: &mut E,
        toll: &mut Toll,
        snapshot: Arc<Snapshot>,
        sent: Sent<E::Answer>,
    ) -> Outcome<E::Answer> {
        let mut detour = Detour::default();
        match self.weigh(errand, toll, &mut detour, snapshot, sent).await {
            Some(outcome) => outcome,
            None => Box::pin(self.go_on(errand, toll, detour)).await,
        }
    }

    /// Holds and sends an errand until it has come to its end.
    async fn go_on<E: Errand>(&self, errand: &mut E, toll: &mut Toll, mut detour: Detour) -> Outcome<E::Answer> {
        loop {
            let stay = || {
                toll.begin();
                errand.stay()
            };
            let hold = tokio::select! {
                // Whoever passes at once does nothing else.
                biased;
                hold = self.door.pass(&mut detour.held, detour.refuted, stay) => hold,
                refusal = errand.while_held() => {
                    toll.end();
                    return Outcome::Refused(refusal);
                }
            };
            // Who may not wait was not held, however long it took to find out.
            toll.since = None;
            toll.held += hold.waited;
            let snapshot = hold.snapshot;
            match hold.end {
                End::Passed => {}
                End::Pointless => return Outcome::Stranded(snapshot, detour.last_failure, None),
                End::Bounded(bound) => return Outcome::Stranded(snapshot, detour.last_failure, Some(bound)),
            }
            let sent = {
                let sending = Box::pin(errand.send(&snapshot, !detour.unpooled));
                match &detour.held {
                    None => sending.await,
                    Some(held) => held.on_the_way(sending).await,
                }
            };
            if let Some(outcome) = Box::pin(self.weigh(errand, toll, &mut detour, snapshot, sent)).await {
                return outcome;
            }
        }
    }

    /// Looks at what came of sending an errand, and waits as long as it has to before it may be sent again, if it may.
    async fn weigh<E: Errand>(
        &self,
        errand: &mut E,
        toll: &mut Toll,
        detour: &mut Detour,
        snapshot: Arc<Snapshot>,
        sent: Sent<E::Answer>,
    ) -> Option<Outcome<E::Answer>> {
        let (setback, premature) = match sent {
            Sent::Answered(answer) => {
                if let Some(held) = detour.held.take() {
                    held.answered();
                }
                return Some(Outcome::Answered(answer));
            }
            Sent::Refused(refusal) => return Some(Outcome::Refused(refusal)),
            Sent::Premature(answer, setback) => (setback, Some(answer)),
            Sent::Failed(setback) => (setback, None),
        };
        if setback.reach == Reach::Unsent && setback.connection == retry::Connection::New {
            // No connection came about: the watcher shall know, whether this request goes on or not. An error means
            // that it is gone.
            let report = Report { sequence: snapshot.sequence, failure: setback.failure.clone() };
            let _ = self.reports.send(report).await;
        }
        let mut is_of_account = true;
        match self.next(errand, *toll, &setback, &snapshot).await {
            Next::AtOnce => detour.unpooled = true,
            Next::After(pause) => {
                // Neither its connection nor its turn is kept from others meanwhile.
                drop(premature);
                if let Some(held) = &detour.held {
                    held.step_out();
                }
                sleep(pause).await;
            }
            Next::WhenWelcome => {
                let stay = errand.stay();
                let aside = match (self.door.step_aside(&mut detour.held, &stay), premature) {
                    (Ok(aside), _) => aside,
                    (Err(_), Some(answer)) => return Some(Outcome::Answered(answer)),
                    (Err(bound), None) => {
                        return Some(Outcome::Stranded(self.door.newest(), Some(setback.failure), Some(bound)));
                    }
                };
                toll.begin();
                let is_welcome = self.is_welcome(errand, aside, snapshot.run, stay.deadline).await;
                toll.end();
                if !is_welcome {
                    let bound = Bound::Patience { held: toll.held };
                    return Some(Outcome::Stranded(self.door.newest(), Some(setback.failure), Some(bound)));
                }
                // What a target said that is not there any more is of no account.
                is_of_account = self.is_ready();
            }
            Next::OnNews => detour.refuted = Some(snapshot.sequence),
            Next::GiveUp(failure) => {
                return Some(match premature {
                    Some(answer) => Outcome::Answered(answer),
                    None => Outcome::Stranded(self.door.newest(), Some(failure), None),
                });
            }
        }
        errand.is_retried(&setback.failure);
        toll.retries += 1;
        detour.last_failure = is_of_account.then_some(setback.failure);
        None
    }

    /// Looks the setback up in the retry table, and bounds what it allows by the budget and by the client's patience.
    async fn next(&self, errand: &impl Errand, toll: Toll, setback: &Setback, known: &Snapshot) -> Next {
        let Setback { failure, connection, reach } = setback;
        let (idempotent, replayable) = (errand.is_idempotent(), errand.is_replayable());
        let verdict = retry::verdict(failure, *connection, retry::Request { idempotent, reach: *reach, replayable });
        let now = Instant::now();
        let pause = match reach {
            Reach::Unsent => Duration::ZERO,
            Reach::Refused | Reach::Sent => backoff::delay(toll.retries + 1, fastrand::f64()),
        };
        match verdict {
            Verdict::GiveUp => Next::GiveUp(failure.clone()),
            Verdict::WithinPatience if now + pause > errand.stay().deadline => Next::GiveUp(failure.clone()),
            // Nothing was sent, so going back to the waiting room is no load on anyone; at once, it costs a connection.
            Verdict::WithinPatience if *reach == Reach::Unsent => Next::OnNews,
            Verdict::AtOnce if *reach == Reach::Unsent => Next::AtOnce,
            Verdict::AtOnce | Verdict::WithinPatience if !self.budget.spend(now) => {
                let may_look = now + FALL_SEEN_WITHIN <= errand.stay().deadline;
                if matches!(failure, Failure::NotReady { .. }) {
                    Next::WhenWelcome
                } else if may_look && *failure == Failure::ClosedEarly && self.falls(known).await {
                    // It waits with all others until the upstream is back, which is no load on anyone.
                    Next::After(Duration::ZERO)
                } else {
                    Next::GiveUp(Failure::RetryBudgetSpent)
                }
            }
            Verdict::AtOnce => Next::AtOnce,
            Verdict::WithinPatience => Next::After(pause),
        }
    }

    /// Waits, aside, until an upstream that is not ready yet may be asked again: when the budget has something left, or this
    /// request is the scout of all that wait; when it has answered another one, and it is this one's turn; or when there
    /// is news for all who wait. False if patience ends before.
    async fn is_welcome(&self, errand: &impl Errand, aside: &Held, run: u64, deadline: Instant) -> bool {
        loop {
            if errand.is_target_proven(run) || !self.is_ready() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            if self.budget.spend(now) || self.budget.scout(now) {
                return true;
            }
            // As spread as the last of many retries.
            let pause = sleep_until(deadline.min(now + backoff::delay(u32::MAX, fastrand::f64())));
            tokio::select! {
                _ = aside.turn() => return true,
                () = pause => {}
            }
        }
    }

    /// Whether the upstream turns out to have gone away since that was `known`: those whose connections it cut, and who
    /// may still be sent, find out at once.
    async fn falls(&self, known: &Snapshot) -> bool {
        sleep(FALL_SEEN_WITHIN).await;
        !self.is_ready() || self.door.newest().run != known.run
    }

    fn is_ready(&self) -> bool {
        matches!(self.door.newest().state, State::Ready { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::watch;

    use super::*;
    use crate::evidence::{Scheme, Upstream};
    use crate::line::Place;
    use crate::retry::Connection;
    use crate::room::Room;
    use crate::watch::{Subject, first_snapshot};

    /// Meets a connection that has died of age, and is answered over a new one.
    struct Unsent;

    impl Errand for Unsent {
        type Answer = ();

        async fn send(&mut self, _: &Arc<Snapshot>, pooled: bool) -> Sent<()> {
            let (connection, reach) = (Connection::Pooled, Reach::Unsent);
            if pooled {
                Sent::Failed(Setback { failure: Failure::ClosedEarly, connection, reach })
            } else {
                Sent::Answered(())
            }
        }

        fn is_idempotent(&self) -> bool {
            false
        }

        fn is_replayable(&self) -> bool {
            true
        }

        fn stay(&self) -> Stay {
            let now = Instant::now();
            Stay { place: Place { arrived: now.into_std(), id: 0 }, bytes: 0, deadline: now }
        }

        async fn while_held(&self) -> Refusal {
            pending().await
        }

        fn is_target_proven(&self, _: u64) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn what_was_not_sent_is_sent_anew_though_no_retry_is_left() {
        let upstream = Upstream::at(Scheme::Http, "grafana", 3000);
        let clock = std::time::SystemTime::now;
        let first = first_snapshot(&Subject { upstream, booted_at: None, grace: Duration::ZERO, clock });
        let state = State::Ready { since: Instant::now().into_std(), despite: None };
        let (_publish, snapshots) = watch::channel(Arc::new(Snapshot { state, ..Snapshot::clone(&first) }));
        let (reports, _heard) = mpsc::channel(1);
        let (door, budget) = (Door::new(snapshots, Room::new(1, 1)), Budget::default());
        let now = Instant::now();
        while budget.spend(now) {}
        let way = Way { door: &door, budget: &budget, reports: &reports };
        let outcome = way.travel(Some(door.newest()), &mut Unsent, &mut Toll::default()).await;
        assert!(matches!(outcome, Outcome::Answered(())));
    }
}
