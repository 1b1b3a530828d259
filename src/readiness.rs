//! May requests pass? An explicit state machine: [`step`] is pure, total and knows no clock.
//!
//! ```text
//!             passed                      failed · connect failed · pointless
//! Unknown ─────────────▶ Ready ──────────────────────────────────────▶ Suspect
//!    │                   ▲ ▲ ▲                                         │ │ │
//!    │ failed            │ │ └────────────────── passed ───────────────┘ │ │
//!    ▼          passed   │ │ passed                                      │ │
//! Warming ───────────────┘ └─────────── Down ◀────── paused ─────────────┘ │
//!    ▲ │ ▲                              ▲  │                               │
//!    │ │ └───────── failed ─────────────┼──┼───────────────────────────────┘
//!    │ └─ pointless, no grace (left) ───┘  │
//!    └──────────── runs or comes ──────────┘
//! ```
//!
//! Not drawn: `Unknown` goes to `Down` when its first probe fails and waiting is pointless, every state when the target is
//! paused (its kernel still accepts connections, so no probe would notice), and to `Warming` when its health check
//! says unhealthy and nothing better than a TCP probe contradicts.
//!
//! Two things feed it: what a probe or a request met, and the [`Outlook`], which is what the engine's evidence says
//! about the future. A probe that passes outweighs an outlook that is gloomy, since evidence can be wrong about
//! which container serves a name; only `paused` outweighs the probe.

use std::time::{Duration, Instant, SystemTime};

use crate::evidence::{Container, Engine, Evidence, Failure, HealthStatus, Status, Target};

/// Whether requests may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was seen yet: a request waits for the first probe.
    Unknown,
    /// Requests pass.
    Ready { since: Instant },
    /// It was ready until something failed; one probe decides.
    Suspect { since: Instant },
    /// The target runs, or will, and may become ready: requests are held.
    Warming {
        since: Instant,
        /// Probes that failed meanwhile.
        attempts: u32,
        /// When it stopped being ready, if it was.
        fell: Option<Instant>,
    },
    /// Nothing will happen by itself: requests are answered at once.
    Down { since: Instant, cause: Cause },
}

impl State {
    /// The state as pages, logs and metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready { .. } => "ready",
            Self::Suspect { .. } => "suspect",
            Self::Warming { .. } => "warming",
            Self::Down { .. } => "down",
        }
    }

    /// Since when it lasts; `None` before anything was seen.
    pub const fn since(self) -> Option<Instant> {
        match self {
            Self::Unknown => None,
            Self::Ready { since }
            | Self::Suspect { since }
            | Self::Warming { since, .. }
            | Self::Down { since, .. } => Some(since),
        }
    }
}

/// Why waiting is pointless. Coarse: the finding says it in detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Exited,
    NeverStarted,
    Absent,
    Paused,
    Dead,
    CrashLoop,
    NetworkNotShared,
    NameNotResolved,
    NameResolvedOutside,
}

/// What the evidence says about the future of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is known: only probes speak.
    Blind,
    /// It runs, so it may become ready.
    Running,
    /// It does not run, but will without anybody's help.
    Coming,
    /// It runs, but its health check fails.
    Unhealthy,
    /// Nothing will happen by itself.
    Pointless(Cause),
}

/// What [`step`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe ended.
    Probe { passed: bool },
    /// A real request could not connect.
    ConnectFailed,
    /// The engine said something, or time passed.
    Look,
}

/// What the caller must do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// How long to wait before the next probe, counted from the last one; `None`: do not probe.
    pub probe_in: Option<Duration>,
    /// When to send [`Event::Look`] at the latest.
    pub look_at: Option<Instant>,
}

/// What [`step`] needs to know besides the state and the event.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    pub outlook: Outlook,
    /// The newest probe reached the target, though it did not pass.
    pub connects: bool,
    /// How many requests are held.
    pub waiting: usize,
    /// How long a target that was ready may stay away.
    pub grace: Duration,
}

/// Probing costs little, but a healthy target should hardly notice it.
const IDLE_PROBE: Duration = Duration::from_secs(2);
/// With requests waiting, 10 ms keep the added wait below what a person notices; the pace slows as hope does.
const EAGER_PROBE: [(Duration, Duration); 3] = [
    (Duration::from_secs(60), Duration::from_millis(10)),
    (Duration::from_secs(600), Duration::from_millis(25)),
    (Duration::MAX, Duration::from_millis(250)),
];
/// Once connections succeed, each probe is a GET that the target must work for.
const GET_PROBE: Duration = Duration::from_millis(50);
/// A target that the engine does not know is asked all the same now and then: the engine may be the wrong one.
const ABSENT_PROBE: Duration = Duration::from_secs(5);

/// Moves the machine: the next state, and what must be done for it.
pub fn step(state: State, event: Event, with: Circumstances, now: Instant) -> (State, Effects) {
    let next = transition(state, event, with, now);
    (next, effects(next, with, now))
}

fn transition(state: State, event: Event, with: Circumstances, now: Instant) -> State {
    use Event::{ConnectFailed, Look, Probe};
    use Outlook::{Blind, Coming, Pointless, Running, Unhealthy};

    let fallen = |fell: Instant| State::Warming { since: now, attempts: 1, fell: Some(fell) };
    let down = |cause: Cause| State::Down { since: now, cause };

    match (state, event, with.outlook) {
        // Paused outweighs every probe: the kernel of a frozen process still accepts connections.
        (State::Down { cause: Cause::Paused, .. }, _, Pointless(Cause::Paused)) => state,
        (_, _, Pointless(Cause::Paused)) => down(Cause::Paused),

        (State::Unknown, Probe { passed: true }, Unhealthy)
        | (State::Unknown, Probe { passed: false }, Blind | Running | Coming | Unhealthy) => {
            State::Warming { since: now, attempts: 1, fell: None }
        }
        (State::Unknown, Probe { passed: true }, _) => State::Ready { since: now },
        (State::Unknown, Probe { passed: false }, Pointless(cause)) => down(cause),
        (State::Unknown, Look | ConnectFailed, _) => state,

        (State::Ready { .. }, _, Unhealthy) => fallen(now),
        (State::Ready { .. }, Probe { passed: true }, _) => state,
        (State::Ready { .. }, Probe { passed: false } | ConnectFailed, _)
        | (State::Ready { .. }, Look, Pointless(_)) => State::Suspect { since: now },
        (State::Ready { .. }, Look, Blind | Running | Coming) => state,

        (State::Suspect { since }, _, Unhealthy) => fallen(since),
        (State::Suspect { .. }, Probe { passed: true }, _) => State::Ready { since: now },
        (State::Suspect { since }, Probe { passed: false }, _) => fallen(since),
        (State::Suspect { .. }, Look | ConnectFailed, _) => state,

        (State::Warming { .. }, Probe { passed: true }, Blind | Running | Coming | Pointless(_)) => {
            State::Ready { since: now }
        }
        (State::Warming { fell, .. }, Probe { passed: false } | Look, Pointless(cause)) => match fell {
            Some(fell) if now < fell + with.grace => state,
            Some(_) | None => down(cause),
        },
        (State::Warming { since, attempts, fell }, Probe { .. }, _) => {
            State::Warming { since, attempts: attempts.saturating_add(1), fell }
        }
        (State::Warming { .. }, Look | ConnectFailed, _) => state,

        (State::Down { .. }, Probe { passed: true }, Blind | Running | Coming | Pointless(_)) => {
            State::Ready { since: now }
        }
        (State::Down { since, .. }, _, Pointless(cause)) => State::Down { since, cause },
        (State::Down { .. }, _, Blind | Running | Coming | Unhealthy) => {
            State::Warming { since: now, attempts: 0, fell: None }
        }
    }
}

fn effects(state: State, with: Circumstances, now: Instant) -> Effects {
    let look_at = match state {
        State::Warming { fell: Some(fell), .. } => Some(fell + with.grace).filter(|end| *end > now),
        State::Unknown
        | State::Ready { .. }
        | State::Suspect { .. }
        | State::Warming { fell: None, .. }
        | State::Down { .. } => None,
    };
    Effects { probe_in: probe_in(state, with, now), look_at }
}

fn probe_in(state: State, with: Circumstances, now: Instant) -> Option<Duration> {
    let eager = |since: Instant| {
        let waited = now.saturating_duration_since(since);
        let pace = EAGER_PROBE.iter().find(|(until, _)| waited < *until).map_or(IDLE_PROBE, |(_, pace)| *pace);
        if with.connects { pace.max(GET_PROBE) } else { pace }
    };
    match (state, with.outlook) {
        (State::Unknown, _) => Some(EAGER_PROBE[0].1),
        (State::Suspect { since }, _) => Some(eager(since)),
        (State::Ready { .. }, _) => Some(IDLE_PROBE),
        // Its start event wakes the prober; until then there is nothing to connect to.
        (State::Warming { .. }, Outlook::Coming | Outlook::Pointless(_)) => None,
        (State::Warming { since, .. }, Outlook::Blind | Outlook::Running | Outlook::Unhealthy) => {
            Some(if with.waiting > 0 { eager(since) } else { IDLE_PROBE })
        }
        (State::Down { cause, .. }, _) => match cause {
            Cause::CrashLoop | Cause::NetworkNotShared | Cause::NameNotResolved | Cause::NameResolvedOutside => {
                Some(IDLE_PROBE)
            }
            Cause::Absent => Some(ABSENT_PROBE),
            Cause::Exited | Cause::NeverStarted | Cause::Paused | Cause::Dead => None,
        },
    }
}

/// A container that was created this recently is about to be started by whoever created it.
pub const ABOUT_TO_START: Duration = Duration::from_secs(10);
/// So many deaths within [`CRASH_LOOP_WINDOW`] are no accident. The engine's back-off (0.1 s, doubled each
/// time) reaches it after about three seconds.
pub const CRASH_LOOP_DEATHS: u64 = 5;
/// Long enough for a loop whose back-off has grown to the engine's maximum of a minute.
pub const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(6 * 60);
/// The engine forgets its back-off once a container has been up for this long, and so do we.
pub const SETTLED: Duration = Duration::from_secs(10);

/// What the evidence says about the future.
pub fn outlook(evidence: &Evidence) -> Outlook {
    match &evidence.engine {
        Engine::Available { .. } | Engine::Simulated => {}
        Engine::Unknown | Engine::Unavailable { .. } | Engine::Forbidden { .. } => return Outlook::Blind,
    }
    let container = match &evidence.target {
        Target::Unknown => return Outlook::Blind,
        // An upstream that was never a container of this engine need not be one.
        Target::Absent { last: None } if evidence.ourselves.is_none() || !single_label(&evidence.upstream.host) => {
            return Outlook::Blind;
        }
        Target::Absent { .. } => return Outlook::Pointless(Cause::Absent),
        Target::Found(container) => container,
    };
    match container.status {
        Status::Paused => Outlook::Pointless(Cause::Paused),
        Status::Dead => Outlook::Pointless(Cause::Dead),
        Status::Removing => Outlook::Pointless(Cause::Absent),
        Status::Created => created(container, evidence.seen_at),
        // Between two runs of a restart policy the engine says `restarting`. Exited is final: there is no policy, its
        // retries are used up, or somebody stopped it by hand.
        Status::Exited => Outlook::Pointless(Cause::Exited),
        Status::Restarting | Status::Running if crash_loop(container, evidence) => Outlook::Pointless(Cause::CrashLoop),
        Status::Restarting => Outlook::Coming,
        Status::Running => running(container, evidence),
        Status::Other => Outlook::Blind,
    }
}

/// Whether a host name is one that only a container network's own resolver can know: no dot, no address.
pub fn single_label(host: &str) -> bool {
    host != "localhost" && !host.contains(['.', ':'])
}

/// Whether the engine keeps restarting a container that keeps dying.
///
/// Neither sign is enough alone. The engine's count of restarts goes back to 0 only when somebody starts the container
/// by hand, so one that died once a month for a year has a high one; and deaths in a row may be somebody's own
/// `docker restart`. Where the events of the deaths were not seen, a last run that was short stands in for them.
pub fn crash_loop(container: &Container, evidence: &Evidence) -> bool {
    if container.restart_count < CRASH_LOOP_DEATHS {
        return false;
    }
    let recent = |at: SystemTime| evidence.seen_at.duration_since(at).is_ok_and(|ago| ago < CRASH_LOOP_WINDOW);
    let deaths = evidence.events.iter().filter(|event| &*event.action == "die" && recent(event.at.at)).count() as u64;
    let lasted = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    match (container.status, &container.started, &container.finished) {
        (Status::Restarting, Some(started), Some(finished)) => {
            deaths >= CRASH_LOOP_DEATHS || lasted(started.at, finished.at) < SETTLED
        }
        (Status::Running, Some(started), _) => {
            deaths >= CRASH_LOOP_DEATHS && lasted(started.at, evidence.seen_at) < SETTLED
        }
        _ => false,
    }
}

fn created(container: &Container, now: SystemTime) -> Outlook {
    let fresh = container
        .created
        .as_ref()
        .is_some_and(|created| now.duration_since(created.at).is_ok_and(|age| age < ABOUT_TO_START));
    if fresh && container.error.is_empty() { Outlook::Coming } else { Outlook::Pointless(Cause::NeverStarted) }
}

fn running(container: &Container, evidence: &Evidence) -> Outlook {
    // An address or a name with dots may be reached without a network in common.
    if let Some(ourselves) = &evidence.ourselves
        && single_label(&evidence.upstream.host)
        && !shares_network(container, ourselves)
    {
        return Outlook::Pointless(Cause::NetworkNotShared);
    }
    match &evidence.probe {
        Some(Failure::NameNotResolved { .. }) => return Outlook::Pointless(Cause::NameNotResolved),
        Some(Failure::NameResolvedOutside { .. }) => return Outlook::Pointless(Cause::NameResolvedOutside),
        Some(_) | None => {}
    }
    // Our own GET knows better than the container's health check; a bare TCP connection does not.
    let unhealthy = container.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
    if unhealthy && evidence.upstream.ready_path.is_none() { Outlook::Unhealthy } else { Outlook::Running }
}

/// Whether two containers are on one network, by the ids that they remember.
pub fn shares_network(one: &Container, other: &Container) -> bool {
    one.networks.iter().any(|mine| other.networks.iter().any(|theirs| mine.network_id == theirs.network_id))
}

#[cfg(test)]
mod tests;
