//! What the watcher publishes: everything that a request, a page or a metric wants to know of the upstream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::diagnosis::{Code, Diagnosis, diagnose};
use crate::evidence::{Bound, Container, Evidence, Failure, Status, Target};
use crate::readiness::State;
use crate::warmup::{Progress, Usual};

/// What the watcher last published.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows with every publication, so that a request can wait for news.
    pub sequence: u64,
    /// Which run of the upstream this is about: grows each time it becomes ready after it was gone.
    pub run: u64,
    pub state: State,
    pub evidence: Evidence,
    /// How long the target usually takes to become ready, if that was learned.
    pub usual: Option<Usual>,
    /// When the run that is warming up was started, if the engine told.
    pub began: Option<Instant>,
    /// Why it is not ready, if it is not.
    pub root: Option<Code>,
}

impl Snapshot {
    /// The same, as if nobody had read what the target's programs print.
    pub fn unread(&self) -> Self {
        let mut unread = self.clone();
        unread.evidence.log = Arc::default();
        unread
    }

    /// Judges it as of now, together with what a request met, if it is about one.
    pub fn diagnose(&self, exchange: Option<Failure>, bound: Option<Bound>) -> Diagnosis {
        let mut evidence = self.evidence.clone();
        (evidence.seen_at, evidence.exchange, evidence.bound) = (SystemTime::now(), exchange, bound);
        evidence.seen_for = self.began.map(|began| began.elapsed());
        evidence.warmup = self.usual.zip(self.elapsed()).map(|(usual, elapsed)| Progress { usual, elapsed });
        let lasted = self.state.since().map(|since| Instant::now().into_std().saturating_duration_since(since));
        diagnose(self.state, lasted.unwrap_or_default(), evidence)
    }

    /// Since the target's start; none where it does not run, and `None` where nobody tells of it, or whose clock is ahead
    /// does. A start that was not seen only the wall clocks can tell of. What has served since has no rest of it.
    fn elapsed(&self) -> Option<Duration> {
        let target = match (&self.evidence.target, self.began) {
            (_, Some(began)) => return Some(began.elapsed()),
            (Target::Unknown, None) => return None,
            (target, None) => target.found().filter(|target| target.status == Status::Running),
        };
        match target.and_then(|target| target.started.as_ref()) {
            Some(_) if self.evidence.was_ready => Some(Duration::MAX),
            Some(started) => SystemTime::now().duration_since(started.at).ok(),
            None => Some(Duration::ZERO),
        }
    }

    /// Whether the engine knows an address: the target's, or another container's that matters to it.
    pub fn knows(&self, address: IpAddr) -> bool {
        let Evidence { target, others, .. } = &self.evidence;
        let mut containers = target.found().into_iter().chain(others.iter());
        containers.any(|container| container.networks.iter().any(|network| network.address == Some(address)))
    }

    /// Whether the target is somewhere, and nobody that the engine knows has this address.
    pub fn has_lost(&self, address: IpAddr) -> bool {
        let is_somewhere = |target: &Container| target.networks.iter().any(|network| network.address.is_some());
        self.evidence.target.found().is_some_and(is_somewhere) && !self.knows(address)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config::Detail;
    use crate::diagnosis::scenes;
    use crate::evidence::{Moment, Target};
    use crate::page::{Audience, Brand, Format, Language, render};

    #[test]
    fn a_service_that_merely_stalls_is_not_at_the_beginning_of_a_start() {
        let seconds = Duration::from_secs;
        let usual = Some(Usual { median: seconds(60), p95: seconds(90), count: 7 });
        let state = State::Warming { since: std::time::Instant::now(), attempts: 9, fell: None };
        let (_, evidence, _) = scenes::all()
            .into_iter()
            .find(|(_, evidence, _)| matches!(&evidence.target, Target::Found(it) if it.status == Status::Running))
            .expect("one of them runs");
        let runs = Snapshot { sequence: 1, run: 1, state, evidence, usual, began: None, root: None };
        let mut exits = runs.clone();
        let Target::Found(target) = &mut exits.evidence.target else { unreachable!("found above") };
        Arc::make_mut(target).status = Status::Exited;
        let starts = Snapshot { began: Some(Instant::now()), ..runs.clone() };
        let is_seen = |snapshot: &Snapshot| snapshot.diagnose(None, None).evidence.seen_for.is_some();
        assert!(is_seen(&starts) && !is_seen(&runs));
        // A start that was not seen, as of an anteroom that came later.
        let mut late = runs.clone();
        let Target::Found(target) = &mut late.evidence.target else { unreachable!("found above") };
        let at = SystemTime::now() - seconds(20);
        Arc::make_mut(target).started = Some(Moment { at, text: "".into() });
        let mut fell = late.clone();
        fell.evidence.was_ready = true;
        // As an engine elsewhere tells it, whose clock is ahead.
        let mut ahead = runs.clone();
        let Target::Found(target) = &mut ahead.evidence.target else { unreachable!("found above") };
        let at = SystemTime::now() + seconds(20);
        Arc::make_mut(target).started = Some(Moment { at, text: "".into() });
        let mut unknown = runs.clone();
        unknown.evidence.target = Target::Unknown;
        for (snapshot, retry_after, remaining) in [
            (runs, 2, None),
            (exits, 60, Some(60)),
            (starts, 60, Some(60)),
            (late, 40, Some(40)),
            (fell, 2, None),
            (ahead, 2, None),
            (unknown, 2, None),
        ] {
            let (brand, language) = (Brand::default(), Language::ENGLISH);
            let reader = Audience { detail: Detail::State, repeatable: true, request_id: "", language, brand: &brand };
            let page = render(&snapshot.diagnose(None, None), &reader, Format::Problem);
            let told: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
            assert_eq!(page.retry_after, Some(retry_after), "{told:#}");
            assert_eq!(told["warmup"]["remaining_seconds"].as_u64(), remaining, "{told:#}");
        }
    }
}
