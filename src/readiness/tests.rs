//! Every edge of the machine.

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn with(outlook: Outlook) -> Circumstances {
    Circumstances { outlook, connects: false, waiting: 0, watched: false, grace: GRACE, ended_ago: None }
}

/// A state as the tables below spell it, and the moment in which it began.
fn states(now: Instant) -> [(&'static str, State); 7] {
    [
        ("unknown", State::Unknown),
        ("ready", State::Ready { since: now, despite: None }),
        ("suspect", State::Suspect { since: now }),
        ("warming", State::Warming { since: now, attempts: 3, fell: None }),
        ("fallen", State::Warming { since: now, attempts: 3, fell: Some(now) }),
        ("down", State::Down { since: now, cause: Cause::Exited }),
        ("paused", State::Down { since: now, cause: Cause::Paused }),
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Ready { .. } => "ready",
        State::Suspect { .. } => "suspect",
        State::Warming { fell: None, .. } => "warming",
        State::Warming { fell: Some(_), .. } => "fallen",
        State::Down { cause: Cause::Paused, .. } => "paused",
        State::Down { .. } => "down",
    }
}

#[test]
fn every_edge_is_as_drawn() {
    let passed = Event::Probe { passed: true };
    let failed = Event::Probe { passed: false };
    let refused = Event::ConnectFailed;
    let look = Event::Look;
    let gone = Outlook::Pointless(Cause::Exited);
    let frozen = Outlook::Pointless(Cause::Paused);
    // event, outlook; then where each state of `states` leads.
    #[rustfmt::skip]
    let table = [
        (passed, Outlook::Blind,     ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Running,   ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Coming,    ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, Outlook::Unhealthy, ["warming", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (passed, gone,               ["ready", "ready", "ready", "ready", "ready", "ready", "ready"]),
        (passed, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (failed, Outlook::Blind,     ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Running,   ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Coming,    ["warming", "suspect", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, Outlook::Unhealthy, ["warming", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (failed, gone,               ["down", "suspect", "fallen", "down", "fallen", "down", "down"]),
        (failed, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (refused, Outlook::Blind,     ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Running,   ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Coming,    ["unknown", "suspect", "suspect", "warming", "fallen", "warming", "warming"]),
        (refused, Outlook::Unhealthy, ["unknown", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (refused, gone,               ["unknown", "suspect", "suspect", "warming", "fallen", "down", "down"]),
        (refused, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
        (look, Outlook::Blind,     ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Running,   ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Coming,    ["unknown", "ready", "suspect", "warming", "fallen", "warming", "warming"]),
        (look, Outlook::Unhealthy, ["unknown", "fallen", "fallen", "warming", "fallen", "warming", "warming"]),
        (look, gone,               ["unknown", "suspect", "suspect", "down", "fallen", "down", "down"]),
        (look, frozen,             ["paused", "paused", "paused", "paused", "paused", "paused", "paused"]),
    ];
    let now = Instant::now();
    for (event, outlook, expected) in table {
        for ((before, state), expected) in states(now).into_iter().zip(expected) {
            let (after, _) = step(state, event, with(outlook), now);
            assert_eq!(name(after), expected, "{before}, {event:?}, {outlook:?}");
        }
    }
}

#[test]
fn a_target_that_fell_is_down_only_when_its_grace_has_ended() {
    let fell = Instant::now();
    let gone = with(Outlook::Pointless(Cause::Absent));
    let warming = State::Warming { since: fell, attempts: 1, fell: Some(fell) };
    let (state, effects) = step(warming, Event::Look, gone, fell + GRACE - Duration::from_millis(1));
    assert_eq!(state, warming);
    assert_eq!(effects.look_at, Some(fell + GRACE), "it wants to be asked again when the grace ends");
    let (state, effects) = step(warming, Event::Look, gone, fell + GRACE);
    assert_eq!(state, State::Down { since: fell + GRACE, cause: Cause::Absent });
    assert_eq!(effects.look_at, None);
}

#[test]
fn a_target_that_was_never_ready_has_no_grace() {
    let now = Instant::now();
    let warming = State::Warming { since: now, attempts: 1, fell: None };
    let (state, _) = step(warming, Event::Look, with(Outlook::Pointless(Cause::Exited)), now);
    assert_eq!(state, State::Down { since: now, cause: Cause::Exited });
}

#[test]
fn down_keeps_its_beginning_when_only_the_cause_changes() {
    let since = Instant::now();
    let later = since + Duration::from_secs(60);
    let down = State::Down { since, cause: Cause::Exited };
    let (state, _) = step(down, Event::Look, with(Outlook::Pointless(Cause::Absent)), later);
    assert_eq!(state, State::Down { since, cause: Cause::Absent });
}

#[test]
fn failed_probes_are_counted_and_do_not_move_the_beginning() {
    let since = Instant::now();
    let warming = State::Warming { since, attempts: 7, fell: None };
    let event = Event::Probe { passed: false };
    let (state, _) = step(warming, event, with(Outlook::Running), since + Duration::from_secs(1));
    assert_eq!(state, State::Warming { since, attempts: 8, fell: None });
}

#[test]
fn probing_follows_need() {
    let since = Instant::now();
    let warming = State::Warming { since, attempts: 1, fell: None };
    let pace = |outlook, waiting, connects, after: u64| {
        let with = Circumstances { outlook, connects, waiting, watched: false, grace: GRACE, ended_ago: None };
        step(warming, Event::Look, with, since + Duration::from_secs(after)).1.probe_in.map(|pace| pace.as_millis())
    };
    assert_eq!(pace(Outlook::Running, 0, false, 60), Some(2000), "nobody waits");
    assert_eq!(pace(Outlook::Running, 0, false, 59), Some(250), "how long its start takes is worth knowing");
    let watched = Circumstances { watched: true, ..with(Outlook::Running) };
    let (_, effects) = step(warming, Event::Look, watched, since + Duration::from_secs(60));
    assert_eq!(effects.probe_in, Some(Duration::from_millis(250)), "somebody looks at the page");
    assert_eq!(pace(Outlook::Running, 1, false, 0), Some(5));
    assert_eq!(pace(Outlook::Running, 1, false, 4), Some(10));
    assert_eq!(pace(Outlook::Running, 9, false, 61), Some(25));
    assert_eq!(pace(Outlook::Running, 1, false, 601), Some(250));
    assert_eq!(pace(Outlook::Running, 1, true, 0), Some(50), "a GET is work for the target");
    assert_eq!(pace(Outlook::Blind, 1, false, 0), Some(5), "without an engine only the probe speaks");
    assert_eq!(pace(Outlook::Coming, 0, false, 0), Some(2000), "its start event wakes the prober");
    assert_eq!(pace(Outlook::Coming, 1, false, 0), Some(250), "somebody else may serve the name");
    assert_eq!(pace(Outlook::Unhealthy, 1, false, 0), Some(2000), "its health check decides");
}

#[test]
fn a_name_that_leads_nowhere_is_looked_up_again_within_the_grace() {
    let fell = Instant::now();
    let warming = State::Warming { since: fell, attempts: 1, fell: Some(fell) };
    let pace = |cause| {
        let with = Circumstances { waiting: 1, ..with(Outlook::Pointless(cause)) };
        step(warming, Event::Look, with, fell).1.probe_in.map(|pace| pace.as_millis())
    };
    assert_eq!(pace(Cause::NameNotResolved), Some(5), "only a probe can say otherwise");
    assert_eq!(pace(Cause::NameResolvedOutside), Some(5));
    assert_eq!(pace(Cause::NetworkNotShared), Some(250), "an event says when it is connected again");
}

#[test]
fn what_does_not_run_is_hardly_probed() {
    let since = Instant::now();
    for (cause, pace) in [
        (Cause::Exited, Some(5000)),
        (Cause::NeverStarted, Some(5000)),
        (Cause::Paused, None),
        (Cause::Dead, Some(5000)),
        (Cause::Absent, Some(5000)),
        (Cause::CrashLoop, Some(2000)),
        (Cause::DependencyDown, Some(2000)),
        (Cause::NetworkNotShared, Some(2000)),
        (Cause::NameNotResolved, Some(2000)),
        (Cause::NameResolvedOutside, Some(2000)),
    ] {
        let (_, effects) = step(State::Down { since, cause }, Event::Look, with(Outlook::Pointless(cause)), since);
        assert_eq!(effects.probe_in.map(|pace| pace.as_millis()), pace, "{cause:?}");
    }
}

#[test]
fn evidence_that_a_probe_has_refuted_is_old_news_until_it_changes() {
    let now = Instant::now();
    let gone = with(Outlook::Pointless(Cause::Exited));
    let suspect = State::Suspect { since: now };
    let (ready, _) = step(suspect, Event::Probe { passed: true }, gone, now);
    assert_eq!(ready, State::Ready { since: now, despite: Some(Cause::Exited) });
    assert_eq!(step(ready, Event::Look, gone, now).0, ready, "it was refuted");
    let other = with(Outlook::Pointless(Cause::Absent));
    assert_eq!(step(ready, Event::Look, other, now).0, suspect, "this is new");
    let (forgotten, _) = step(ready, Event::Look, with(Outlook::Running), now);
    assert_eq!(step(forgotten, Event::Look, gone, now).0, suspect, "it ran in between");
}

#[test]
fn a_target_that_stops_slowly_has_its_grace_from_its_end() {
    let fell = Instant::now();
    let warming = State::Warming { since: fell, attempts: 1, fell: Some(fell) };
    let ended =
        |ago| Circumstances { ended_ago: Some(Duration::from_secs(ago)), ..with(Outlook::Pointless(Cause::Exited)) };
    let now = fell + Duration::from_secs(12);
    let (state, effects) = step(warming, Event::Look, ended(1), now);
    assert_eq!((state, effects.look_at), (warming, Some(now + Duration::from_secs(9))));
    let (state, _) = step(warming, Event::Look, ended(12), now);
    assert_eq!(state, State::Down { since: now, cause: Cause::Exited });
}
