//! May requests pass? An explicit state machine: [`step`] is pure, total and knows no clock.
//!
//! ```text
//! Unknown ──passed──▶ Ready
//! Unknown ──failed──▶ Warming, or Down if waiting is pointless
//! Ready   ──failed · connect failed · pointless──▶ Suspect ──passed──▶ Ready
//!                                                  Suspect ──failed──▶ Warming (fallen)
//! Ready, Suspect ──unhealthy──▶ Warming (fallen)
//! Warming ──passed──▶ Ready
//! Warming ──pointless, and no grace (left)──▶ Down
//! Down    ──passed──▶ Ready
//! Down    ──runs, or comes──▶ Warming
//! any     ──paused──▶ Down
//! ```
//!
//! Two things feed it: what a probe or a request met, and the [`Outlook`], which is what the engine's evidence says
//! about the future. A probe that passes outweighs an outlook that is gloomy, since evidence can be wrong about
//! which container serves a name. Two things outweigh the probe: a paused target, whose kernel still accepts
//! connections, and a health check that fails where we have no better question than a connection.
//!
//! What a probe says goes through a [`Tally`] first, so that a target that flaps does not make the machine flap.

mod outlook;
mod tally;

use std::time::{Duration, Instant};

pub use outlook::{
    ABOUT_TO_START, CRASH_LOOP_DEATHS, CRASH_LOOP_WINDOW, ENDED_TOGETHER, LONG_START, Outlook, SETTLED, SHUTDOWN_MOST,
    ailing_dependency, crash_loop, declared_dependencies, dependencies, has_done_its_work, has_names, has_own_network,
    hears_names, hopeless_dependency, outlook, shares_network, should_be_here, single_label, was_ended,
};
pub use tally::Tally;

/// Whether requests may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was seen yet: a request waits for the first probe.
    Unknown,
    /// Requests pass.
    Ready {
        since: Instant,
        /// The probe passed although the evidence said that this kept it down: old news, until it changes.
        despite: Option<Cause>,
    },
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
            Self::Ready { since, .. }
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
    /// The target says that it is not healthy, and what it needs will not come back by itself.
    DependencyDown,
    NetworkNotShared,
    NameNotResolved,
    NameResolvedOutside,
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
    /// Somebody looks at a waiting page.
    pub watched: bool,
    /// How long a target that was ready may stay away.
    pub grace: Duration,
    /// How long ago the process ended that was ready, if it has: a target that stops slowly is gone later than it fell.
    pub ended_ago: Option<Duration>,
}

/// Probing costs little, but a healthy target should hardly notice it.
const IDLE_PROBE: Duration = Duration::from_secs(2);
/// With requests waiting, this keeps the added wait below what a person notices; the pace slows as hope does. Most restarts
/// are over within the first seconds, and a probe costs 0.15 ms of a core: 2 % over the first ten.
const EAGER_PROBE: [(Duration, Duration); 4] = [
    (Duration::from_secs(4), Duration::from_millis(5)),
    (Duration::from_secs(60), Duration::from_millis(10)),
    (Duration::from_secs(600), Duration::from_millis(25)),
    (Duration::MAX, Duration::from_millis(250)),
];
/// Where nobody is held, but a page is looked at, which asks for the state once a second; and in the first minute of a
/// start, since a warm-up that is seen to end two seconds late would be learned as two seconds longer than it is.
const UNHURRIED_PROBE: Duration = Duration::from_millis(250);
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Once connections succeed, each probe is a GET that the target must work for.
const GET_PROBE: Duration = Duration::from_millis(50);
/// A target that does not run is asked all the same now and then: the name may be served by something that the engine
/// does not know, or by another container than the one that was taken for the target.
const GONE_PROBE: Duration = Duration::from_secs(5);

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
    let ready = || State::Ready { since: now, despite: with.outlook.cause() };

    match (state, event, with.outlook) {
        // Paused outweighs every probe: the kernel of a frozen process still accepts connections.
        (State::Down { cause: Cause::Paused, .. }, _, Pointless(Cause::Paused)) => state,
        (_, _, Pointless(Cause::Paused)) => down(Cause::Paused),

        (State::Unknown, Probe { passed: true }, Unhealthy)
        | (State::Unknown, Probe { passed: false }, Blind | Running | Coming | Unhealthy) => {
            State::Warming { since: now, attempts: 1, fell: None }
        }
        (State::Unknown, Probe { passed: true }, _) => ready(),
        (State::Unknown, Probe { passed: false }, Pointless(cause)) => down(cause),
        (State::Unknown, Look | ConnectFailed, _) => state,

        (State::Ready { .. }, _, Unhealthy) => fallen(now),
        (State::Ready { since, .. }, Probe { passed: true }, _) => {
            State::Ready { since, despite: with.outlook.cause() }
        }
        (State::Ready { .. }, Probe { passed: false } | ConnectFailed, _) => State::Suspect { since: now },
        (State::Ready { despite: Some(known), .. }, Look, Pointless(cause)) if known == cause => state,
        (State::Ready { .. }, Look, Pointless(_)) => State::Suspect { since: now },
        (State::Ready { since, .. }, Look, Blind | Running | Coming) => State::Ready { since, despite: None },

        (State::Suspect { since }, _, Unhealthy) => fallen(since),
        (State::Suspect { .. }, Probe { passed: true }, _) => ready(),
        (State::Suspect { since }, Probe { passed: false }, _) => fallen(since),
        (State::Suspect { .. }, Look | ConnectFailed, _) => state,

        (State::Warming { .. }, Probe { passed: true }, Blind | Running | Coming | Pointless(_)) => ready(),
        (State::Warming { fell, .. }, Probe { passed: false } | Look, Pointless(cause)) => {
            match fell.map(|fell| end_of_grace(fell, with, now)) {
                Some(end) if now < end => state,
                Some(_) | None => down(cause),
            }
        }
        (State::Warming { since, attempts, fell }, Probe { .. }, _) => {
            State::Warming { since, attempts: attempts.saturating_add(1), fell }
        }
        (State::Warming { .. }, Look | ConnectFailed, _) => state,

        (State::Down { .. }, Probe { passed: true }, Blind | Running | Coming | Pointless(_)) => ready(),
        (State::Down { since, .. }, _, Pointless(cause)) => State::Down { since, cause },
        (State::Down { .. }, _, Blind | Running | Coming | Unhealthy) => {
            State::Warming { since: now, attempts: 0, fell: None }
        }
    }
}

/// Until when a target that was ready may stay away: counted from its fall, or from its end if that came later, as it
/// does where a service stops listening long before its process has ended.
fn end_of_grace(fell: Instant, with: Circumstances, now: Instant) -> Instant {
    let ended = match with.outlook {
        Outlook::Pointless(Cause::Exited) => with.ended_ago.and_then(|ago| now.checked_sub(ago)),
        Outlook::Blind | Outlook::Running | Outlook::Coming | Outlook::Unhealthy | Outlook::Pointless(_) => None,
    };
    ended.map_or(fell, |ended| ended.max(fell)) + with.grace
}

fn effects(state: State, with: Circumstances, now: Instant) -> Effects {
    let look_at = match state {
        State::Warming { fell: Some(fell), .. } => Some(end_of_grace(fell, with, now)).filter(|end| *end > now),
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
        // Its health check decides, and an event tells when that passes.
        (State::Warming { .. }, Outlook::Unhealthy) => Some(IDLE_PROBE),
        (
            State::Warming { since, .. },
            Outlook::Blind
            | Outlook::Running
            // It runs, and a probe has said so: no event tells when the name leads to it, only another probe.
            | Outlook::Pointless(Cause::NameNotResolved | Cause::NameResolvedOutside),
        ) => {
            let is_new = now.saturating_duration_since(since) < STARTS_WITHIN;
            Some(match () {
                () if with.waiting > 0 => eager(since),
                () if with.watched || is_new => UNHURRIED_PROBE.max(eager(since)),
                () => IDLE_PROBE,
            })
        }
        // Its start event wakes the prober. Until then somebody else may serve the name: evidence can be wrong about who does.
        (State::Warming { .. }, Outlook::Coming | Outlook::Pointless(_)) => {
            Some(if with.waiting > 0 { UNHURRIED_PROBE } else { IDLE_PROBE })
        }
        (State::Down { cause, .. }, _) => match cause {
            Cause::CrashLoop
            | Cause::DependencyDown
            | Cause::NetworkNotShared
            | Cause::NameNotResolved
            | Cause::NameResolvedOutside => Some(IDLE_PROBE),
            Cause::Absent | Cause::Exited | Cause::NeverStarted | Cause::Dead => Some(GONE_PROBE),
            Cause::Paused => None,
        },
    }
}

#[cfg(test)]
mod tests;
