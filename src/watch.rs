//! Watches one upstream: what the engine, the probe and real traffic say goes through the state machine, and the
//! result is published as a [`Snapshot`] that requests read without asking anyone.
//!
//! ```text
//! engine ──Sighting──▶ ┌─────────┐
//! prober ──Result────▶ │ watcher │ ──▶ step ──▶ Snapshot ──▶ every worker
//! proxy  ──Report────▶ └─────────┘
//! ```
//!
//! One task and one probe at a time, however many requests wait.

pub mod gauges;
mod snapshot;
mod survey;
mod warming;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

pub use self::snapshot::Snapshot;
use self::survey::Survey;
use self::warming::Warming;
use crate::diagnosis::diagnose;
use crate::engine::{Errors, Sighting};
use crate::evidence::{Container, Evidence, Failure, Moment, Scheme, Status, Stray, Upstream};
use crate::line::Order;
use crate::probe::Probe;
use crate::readiness::{self, Cause, Circumstances, Effects, Event, Outlook, State, Tally, outlook};
use crate::room::Room;
use crate::telemetry::meter::{Meter, Trouble};
use crate::warmup::History;

/// A request could not connect, though the snapshot with this number said that it could.
#[derive(Clone, Debug)]
pub struct Report {
    pub sequence: u64,
    pub failure: Failure,
}

/// Reports that may queue up; who finds no room waits. One is enough to start a probe.
pub const REPORTS_QUEUED: usize = 64;

/// What the watcher listens to.
pub struct Sources {
    pub sightings: watch::Receiver<Sighting>,
    pub reports: mpsc::Receiver<Report>,
    pub room: Arc<Room>,
    /// Tells the engine's task to look again.
    pub look: Arc<Notify>,
    /// What was learned of warm-ups, and where more is added.
    pub learned: watch::Sender<History>,
    pub meter: Arc<Meter>,
}

/// What never changes while the watcher runs.
#[derive(Clone, Debug)]
pub struct Subject {
    pub upstream: Upstream,
    pub booted_at: Option<SystemTime>,
    pub grace: Duration,
    /// The wall clock, to compare with the engine's moments. It may step: no deadline is read from it.
    pub clock: fn() -> SystemTime,
}

/// A failed start emits no event (measured on engine 20.10), and a stream can break: while something is wrong, the
/// engine is asked again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Before anything was seen.
pub fn first_snapshot(subject: &Subject) -> Arc<Snapshot> {
    let sighting = Sighting::default();
    let evidence = Evidence {
        seen_at: (subject.clock)(),
        upstream: subject.upstream.clone(),
        engine: sighting.engine,
        booted_at: subject.booted_at,
        ourselves: sighting.ourselves,
        target: sighting.target,
        others: sighting.others,
        networks: sighting.networks,
        probe: None,
        exchange: None,
        strays: Arc::new([]),
        elsewhere: None,
        was_ready: false,
        speaks_http: subject.upstream.scheme == Scheme::Http,
        bound: None,
        warmup: None,
        seen_for: None,
        events: sighting.events,
        log: sighting.log,
    };
    Arc::new(Snapshot { sequence: 0, run: 0, state: State::Unknown, evidence, usual: None, began: None, root: None })
}

/// Watches until nobody listens to `snapshots` any more. The channel starts with [`first_snapshot`].
pub async fn run(subject: Subject, prober: impl Probe, sources: Sources, snapshots: watch::Sender<Arc<Snapshot>>) {
    let Sources { mut sightings, mut reports, room, look, learned, meter } = sources;
    let _closing = Closing(Arc::clone(&room));
    let mut watcher = Watcher::new(subject, Arc::clone(&room), look, learned, meter, snapshots);
    let mut probe: Option<UnderWay<'_>> = None;
    let mut survey = None;
    let mut engine_gone = false;
    loop {
        let probe_at = watcher.effects.probe_in.filter(|_| probe.is_none()).map(|pace| watcher.probed_at + pace);
        tokio::select! {
            // In this order, so that a simulation can be played again.
            biased;
            () = watcher.snapshots.closed() => return,
            changed = sightings.changed(), if !engine_gone => {
                engine_gone = changed.is_err();
                let sighting = sightings.borrow_and_update().clone();
                if watcher.saw(sighting) == News::AnotherRun {
                    // The probe under way asks a process that is gone, or a resolver that hangs on its name.
                    (probe, survey) = (None, None);
                    watcher.probe_now();
                }
            }
            report = reports.recv() => match report {
                Some(report) => watcher.traffic_failed(&report),
                None => return,
            },
            result = finished(&mut probe) => {
                probe = None;
                watcher.probed(result.err(), prober.strays());
                if survey.is_none() && let Some((address, ports)) = watcher.survey.due(&watcher.current.evidence) {
                    survey = Some(Box::pin(prober.first_open(address, ports)));
                }
            }
            open = finished(&mut survey) => {
                survey = None;
                watcher.surveyed(open);
            }
            () = until(probe_at) => probe = Some(Box::pin(prober.probe())),
            () = until(watcher.look_at()) => watcher.time_passed(),
            () = room.arrival() => watcher.somebody_waits(),
        }
    }
}

/// The probe under way.
type UnderWay<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// Whether a sighting tells of a process that was not there before.
#[derive(PartialEq, Eq)]
enum News {
    SameRun,
    AnotherRun,
}

struct Watcher {
    room: Arc<Room>,
    look: Arc<Notify>,
    meter: Arc<Meter>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    grace: Duration,
    clock: fn() -> SystemTime,
    current: Snapshot,
    /// The last one that the engine told of, also while it tells nothing.
    known_run: Option<Run>,
    engine_errors: Errors,
    effects: Effects,
    tally: Tally,
    warming: Warming,
    survey: Survey,
    probed_at: Instant,
    looked_at: Instant,
}

impl Watcher {
    fn new(
        subject: Subject,
        room: Arc<Room>,
        look: Arc<Notify>,
        learned: watch::Sender<History>,
        meter: Arc<Meter>,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            room,
            look,
            meter,
            snapshots,
            grace: subject.grace,
            clock: subject.clock,
            current: Snapshot::clone(&first_snapshot(&subject)),
            known_run: None,
            engine_errors: Errors::default(),
            effects: Effects { probe_in: Some(Duration::ZERO), look_at: None },
            tally: Tally::default(),
            warming: Warming::new(learned),
            survey: Survey::default(),
            probed_at: now,
            looked_at: now,
        }
    }

    fn saw(&mut self, sighting: Sighting) -> News {
        self.count(sighting.errors);
        let after = sighting.target.found().map(run_of);
        let news = if after.is_some() && self.known_run != after { News::AnotherRun } else { News::SameRun };
        if news == News::AnotherRun {
            let former = std::mem::replace(&mut self.known_run, after);
            // At once, and not when it is ready: connections to the former run lead nowhere.
            self.current.run += u64::from(former.is_some());
        }
        let evidence = &mut self.current.evidence;
        evidence.engine = sighting.engine;
        evidence.ourselves = sighting.ourselves;
        evidence.target = sighting.target;
        evidence.others = sighting.others;
        evidence.networks = sighting.networks;
        evidence.events = sighting.events;
        evidence.log = sighting.log;
        if news == News::AnotherRun {
            // What a probe found of the former run says nothing of this one.
            (evidence.probe, evidence.elsewhere, evidence.was_ready) = (None, None, false);
            self.survey.forget();
        }
        self.warming.saw(self.current.evidence.target.found(), (self.clock)());
        self.step(Event::Look, Publish::Always);
        news
    }

    fn probed(&mut self, failure: Option<Failure>, strays: Arc<[Stray]>) {
        self.probed_at = Instant::now();
        self.meter.probed(failure.as_ref());
        let passed = failure.is_none();
        let evidence = &mut self.current.evidence;
        let news = failure != evidence.probe || strays != evidence.strays;
        if let Some(Stray { address, .. }) = strays.iter().find(|stray| !evidence.strays.contains(stray)) {
            tracing::warn!(%address, host = &*evidence.upstream.host, "one of the upstream's addresses does not answer");
        }
        if !matches!(failure, Some(Failure::Refused { .. })) {
            evidence.elsewhere = None;
        }
        evidence.probe = failure;
        evidence.strays = strays;
        if !passed {
            self.warming.is_away();
        }
        // Whatever run it is: another one may have begun without a fall, and between two probes.
        let serves = passed && matches!(self.current.state, State::Ready { .. });
        let news = news || serves && !evidence.was_ready;
        if serves {
            evidence.was_ready = true;
            self.warming.is_over();
        }
        self.step(Event::Probe { passed }, if news { Publish::Always } else { Publish::IfStateChanged });
    }

    fn surveyed(&mut self, open: Option<u16>) {
        let evidence = &mut self.current.evidence;
        let still_refuses = matches!(evidence.probe, Some(Failure::Refused { .. }));
        if still_refuses && evidence.elsewhere != open {
            evidence.elsewhere = open;
            self.step(Event::Look, Publish::Always);
        }
    }

    fn traffic_failed(&mut self, report: &Report) {
        // Who reports on an older snapshot saw what has been looked into since.
        if report.sequence == self.current.sequence {
            self.current.evidence.probe = Some(report.failure.clone());
            self.step(Event::ConnectFailed, Publish::Always);
        }
    }

    fn time_passed(&mut self) {
        if Instant::now() >= self.looked_at + LOOK_AGAIN {
            self.ask_engine();
        }
        self.step(Event::Look, Publish::IfStateChanged);
    }

    fn somebody_waits(&mut self) {
        self.step(Event::Look, Publish::IfStateChanged);
    }

    fn probe_now(&mut self) {
        self.probed_at = Instant::now() - self.effects.probe_in.unwrap_or_default();
    }

    fn look_at(&self) -> Option<Instant> {
        let again = match self.current.state {
            State::Ready { .. } => None,
            State::Unknown | State::Suspect { .. } | State::Warming { .. } | State::Down { .. } => {
                Some(self.looked_at + LOOK_AGAIN)
            }
        };
        let end_of_grace = self.effects.look_at.map(Instant::from_std);
        again.into_iter().chain(end_of_grace).min()
    }

    fn ask_engine(&mut self) {
        self.looked_at = Instant::now();
        self.look.notify_one();
    }

    fn step(&mut self, event: Event, publish: Publish) {
        let now = Instant::now().into_std();
        self.current.evidence.seen_at = (self.clock)();
        let before = self.current.state;
        let with = Circumstances {
            outlook: outlook(&self.current.evidence),
            connects: self.current.evidence.probe.as_ref().is_some_and(connects),
            waiting: self.room.waiting(),
            watched: self.room.is_watched(),
            grace: self.grace,
            ended_ago: ended_ago(before, now, &self.current.evidence),
        };
        let event = self.tally.count(before, event, with.connects);
        let (after, effects) = readiness::step(before, event, with, now);
        self.tally.moved(before, after, self.room.answers());
        self.current.state = after;
        self.effects = effects;
        // Only where a probe can decide: not of a frozen target, nor against a health check that fails.
        let is_decided = matches!(with.outlook, Outlook::Unhealthy | Outlook::Pointless(Cause::Paused));
        let asks = self.current.evidence.upstream.ready_path.is_some();
        if let Some(soon) = self.tally.confirm_in(after, asks).filter(|_| !is_decided) {
            self.effects.probe_in = Some(soon);
        }
        if kind(before) != kind(after) {
            self.changed(before, after, with.outlook);
        }
        if publish == Publish::Always || kind(before) != kind(after) {
            self.current.sequence += 1;
            (self.current.usual, self.current.began) = (self.warming.usual(), self.warming.began());
            self.name_root_cause();
            let snapshot = Arc::new(self.current.clone());
            self.snapshots.send_replace(snapshot);
            // After the publication: whoever is let go reads it.
            self.room.obey(order(after), self.current.sequence);
        }
    }

    fn name_root_cause(&mut self) {
        let root = match self.current.state {
            State::Ready { .. } => None,
            // The next probe decides.
            State::Unknown | State::Suspect { .. } => return,
            state @ (State::Warming { .. } | State::Down { .. }) => {
                let findings = diagnose(state, Duration::ZERO, self.current.evidence.clone()).findings;
                findings.first().map(|finding| finding.code)
            }
        };
        if let Some(code) = root.filter(|_| root != self.current.root) {
            self.meter.found(code);
        }
        self.current.root = root;
    }

    /// What the engine tells is counted since the beginning.
    fn count(&mut self, errors: Errors) {
        let before = std::mem::replace(&mut self.engine_errors, errors);
        self.meter.engine_failed(Trouble::Forbidden, errors.forbidden.saturating_sub(before.forbidden));
        self.meter.engine_failed(Trouble::Unavailable, errors.unavailable.saturating_sub(before.unavailable));
        self.meter.engine_failed(Trouble::Ended, errors.ended.saturating_sub(before.ended));
    }

    fn changed(&mut self, before: State, after: State, outlook: Outlook) {
        match after {
            State::Ready { .. } => {
                if !matches!(before, State::Suspect { .. }) {
                    self.current.run += 1;
                }
                self.current.evidence.was_ready = true;
                if let Some(took) = self.warming.is_ready() {
                    self.meter.warmed_up(took);
                }
                tracing::info!(from = before.name(), "upstream is ready");
                // What the engine told last may be of the run before: where it tells no events, it has to be asked.
                if before == State::Unknown && outlook == Outlook::Running {
                    return;
                }
            }
            State::Suspect { .. } | State::Unknown => tracing::debug!(from = before.name(), "upstream is suspect"),
            State::Warming { .. } | State::Down { .. } => {
                let diagnosis = diagnose(after, Duration::ZERO, self.current.evidence.clone());
                let finding = diagnosis.findings.first();
                // The title holds names and the engine's own words: as a field it is escaped, as a message it would
                // not be.
                tracing::warn!(
                    from = before.name(),
                    to = after.name(),
                    ?outlook,
                    finding = finding.map(|it| it.code.as_str()),
                    title = finding.map(|it| it.title.to_string()),
                    "upstream is not ready",
                );
            }
        }
        self.ask_engine();
    }
}

/// What a state means for those who wait.
fn order(state: State) -> Order {
    match state {
        State::Ready { .. } => Order::Go,
        State::Unknown | State::Suspect { .. } | State::Warming { .. } => Order::Wait,
        State::Down { .. } => Order::GiveUp,
    }
}

/// Dismisses everyone who waits once nobody watches any more: nothing would change for them.
struct Closing(Arc<Room>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.obey(Order::GiveUp, u64::MAX);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Publish {
    Always,
    IfStateChanged,
}

/// What tells two runs of a target apart: the container, when it was started, and where it can be reached.
type Run = (Box<str>, Option<SystemTime>, Vec<IpAddr>);

fn run_of(container: &Container) -> Run {
    let mut addresses: Vec<_> = container.networks.iter().filter_map(|network| network.address).collect();
    addresses.sort();
    (container.id.clone(), container.started.as_ref().map(|started| started.at), addresses)
}

/// What of a state is worth publishing: not the counter of attempts, which grows a hundred times a second.
fn kind(state: State) -> (std::mem::Discriminant<State>, Option<readiness::Cause>) {
    let cause = match state {
        State::Down { cause, .. } => Some(cause),
        State::Unknown | State::Ready { .. } | State::Suspect { .. } | State::Warming { .. } => None,
    };
    (std::mem::discriminant(&state), cause)
}

/// How long ago the target's process ended, if it does not run, and has not begun only after the target fell.
fn ended_ago(state: State, now: std::time::Instant, evidence: &Evidence) -> Option<Duration> {
    let container = evidence.target.found().filter(|container| container.status == Status::Exited)?;
    let ago = |moment: &Moment| evidence.seen_at.duration_since(moment.at).ok();
    let fell_ago = match state {
        State::Warming { fell: Some(fell), .. } => now.saturating_duration_since(fell),
        State::Unknown | State::Ready { .. } | State::Suspect { .. } | State::Warming { .. } | State::Down { .. } => {
            Duration::ZERO
        }
    };
    let began_ago = container.started.as_ref().and_then(ago);
    if began_ago.is_some_and(|began_ago| began_ago < fell_ago) { None } else { ago(container.finished.as_ref()?) }
}

/// Whether a probe that failed had got as far as a connection.
fn connects(failure: &Failure) -> bool {
    match failure {
        Failure::Tls { .. }
        | Failure::ClosedEarly
        | Failure::NoAnswer
        | Failure::SpeaksTls
        | Failure::NotHttp { .. }
        | Failure::NotReady { .. } => true,
        Failure::NameNotResolved { .. }
        | Failure::NameResolvedOutside { .. }
        | Failure::Refused { .. }
        | Failure::Unreachable { .. }
        | Failure::ConnectTimeout
        | Failure::RetryBudgetSpent
        | Failure::Loop => false,
    }
}

/// What a future comes to; without one, nothing ever.
pub(crate) async fn finished<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for a moment; without one, for ever.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
