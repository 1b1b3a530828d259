//! Watches a Docker engine: one task that looks, listens, and publishes what it saw.
//!
//! ```text
//!            connected                first look, event, or asked
//! away ─────────────────▶ listening ────────────────────────────▶ looking
//!  ▲                        │    ▲                                 │  │
//!  │                        │    └─────────── published ───────────┘  │
//!  └───── stream ended ─────┴──────────── a call failed ──────────────┘
//!         the first time: tried once more; else: published as trouble, back-off
//! ```
//!
//! One call that failed says little, and trouble takes away everything that the page can tell. So an engine that was
//! there is asked once more, on a new connection, before what it told is given up.
//!
//! The stream of events is open before the first look and is asked for the recent past too, so nothing can happen
//! between the two unseen. An event only says *when* to look: what is true is always read from the engine afresh,
//! since events come late, not at all (a start that failed emits none), or in bursts. At most one look is under way,
//! and whatever happens meanwhile causes exactly one more.
//!
//! While the target is well nothing is polled: there is one open connection, and a timer only while a look is due.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::engine::client::{Client, Trouble, no_answer};
use crate::engine::convert::Occurrence;
use crate::engine::search::{Search, Urgency};
use crate::engine::timeline::Timeline;
use crate::engine::{Errors, Sighting, Wanted};
use crate::evidence::{Container, Engine, Network, Target};
use crate::readiness::CRASH_LOOP_WINDOW;

/// How patient the task is, with the engine and with those who ask.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One call. The slowest that was measured, an inspect of a container that is just starting, takes 0.3 s.
    pub call: Duration,
    /// A whole look, of up to some 130 calls.
    pub look: Duration,
    /// From the beginning of one look to that of the next, if an event calls for it: events come in bursts.
    pub pace: Duration,
    /// The same if somebody asks, or a stranger's event calls for it: both may come without end. It is also the pause
    /// before the first attempts to reconnect, and between an attempt and one that is asked for.
    pub asked_pace: Duration,
    /// The longest pause between attempts to reconnect, which doubles each time. An engine that fails twice within
    /// this time is in trouble, whatever it tells in between.
    pub away_most: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(3),
            look: Duration::from_secs(10),
            pace: Duration::from_millis(20),
            asked_pace: Duration::from_millis(250),
            away_most: Duration::from_secs(5),
        }
    }
}

/// Inspect calls under way at once. One that blocks, as on a container that is dying, must not delay the others.
const CALLS_AT_ONCE: usize = 8;

/// Watches the engine at `host` until `sightings` has no receiver. It never fails: trouble is a sighting too.
///
/// `host` is a `DOCKER_HOST` (`unix://…`, `tcp://…`, `http://…`); `None` is the usual socket. Whoever wants a fresh
/// look calls `look.notify_one()`, as often as they like.
pub async fn watch(host: Option<String>, wanted: Wanted, look: Arc<Notify>, sightings: watch::Sender<Sighting>) {
    watch_within(Limits::default(), host, wanted, look, sightings).await;
}

/// [`watch()`] with other limits, for tests.
pub async fn watch_within(
    limits: Limits,
    host: Option<String>,
    wanted: Wanted,
    look: Arc<Notify>,
    sightings: watch::Sender<Sighting>,
) {
    let mut watcher = Watcher {
        limits,
        wanted,
        sightings,
        last: None,
        seen: None,
        timeline: Timeline::default(),
        errors: Errors::default(),
    };
    let closed = watcher.sightings.clone();
    tokio::select! {
        () = closed.closed() => {}
        () = watcher.run(host.as_deref(), &look) => {}
    }
}

struct Watcher {
    limits: Limits,
    wanted: Wanted,
    sightings: watch::Sender<Sighting>,
    /// The target as it was seen last; it may be gone.
    last: Option<Arc<Container>>,
    /// The last look since the engine came back.
    seen: Option<Seen>,
    timeline: Timeline,
    errors: Errors,
}

/// What one look told.
struct Seen {
    ours: Option<Arc<Container>>,
    target: Option<Arc<Container>>,
    others: Arc<[Container]>,
    networks: Arc<[Network]>,
    log: Arc<[Box<str>]>,
}

impl Watcher {
    async fn run(&mut self, host: Option<&str>, look: &Notify) {
        let mut pause = self.limits.asked_pace;
        let mut last_excused: Option<Instant> = None;
        loop {
            let Err(trouble) = self.session(host, look).await;
            self.count(&trouble);
            let was_there = self.seen.take().is_some();
            if was_there {
                pause = self.limits.asked_pace;
            }
            // A call may fail, and some proxies cut a stream that has been silent for long. The engine is most likely
            // there, so nobody needs to know unless the next attempt fails. One that fails again and again, though it
            // answers in between, is an engine in trouble.
            if was_there && last_excused.is_none_or(|at| at.elapsed() > self.limits.away_most) {
                // Values that are strings are escaped in the log. Part of them is the engine's own words.
                tracing::debug!(reason = trouble.to_string(), "the container engine is asked once more");
                sleep(self.limits.asked_pace).await;
                last_excused = Some(Instant::now());
                continue;
            }
            let engine = Engine::from(&trouble);
            if self.sightings.borrow().engine != engine {
                tracing::warn!(reason = trouble.to_string(), "the container engine does not tell what it knows");
            }
            self.publish(Sighting {
                engine,
                events: self.timeline.happenings(),
                errors: self.errors,
                ..Sighting::default()
            });

            let attempted = Instant::now();
            tokio::select! {
                () = sleep_until(attempted + pause) => {}
                () = look.notified() => sleep_until(attempted + self.limits.asked_pace).await,
            }
            pause = (pause * 2).min(self.limits.away_most);
        }
    }

    /// Connects, listens, and looks when there is reason to, until something goes wrong.
    async fn session(&mut self, host: Option<&str>, look: &Notify) -> Result<Infallible, Trouble> {
        let client = Client::connect(host, self.limits.call).await?;
        // Deaths that long ago still count for a crash loop.
        let since = SystemTime::now().checked_sub(CRASH_LOOP_WINDOW).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut events = pin!(client.events(since));
        let mut listening = true;
        let mut began = Instant::now();
        let mut due = Some(began);
        let mut looking = None;
        loop {
            tokio::select! {
                event = events.next(), if listening => match event {
                    Some(Ok(occurrence)) => {
                        let pace = self.urgency(&occurrence).map(|urgency| match urgency {
                            Urgency::AtOnce => self.limits.pace,
                            Urgency::Soon => self.limits.asked_pace,
                        });
                        due = earlier(due, pace.map(|pace| began + pace));
                        self.timeline.record(occurrence);
                    }
                    // A guard that lets us see containers but no events costs us promptness, not sight: whoever
                    // wants to know asks.
                    Some(Err(Trouble::Forbidden(reason))) => {
                        self.errors.forbidden += 1;
                        tracing::warn!(reason = &*reason, "the engine does not tell its events: changes are noticed late");
                        listening = false;
                    }
                    Some(Err(trouble)) => return Err(trouble),
                    None => return Err(Trouble::Ended),
                },
                () = look.notified() => due = earlier(due, Some(began + self.limits.asked_pace)),
                () = sleep_until(due.unwrap_or(began)), if due.is_some() && looking.is_none() => {
                    due = None;
                    began = Instant::now();
                    let known = self.seen.as_ref().map(|seen| Arc::clone(&seen.others)).unwrap_or_default();
                    let look = take_look(client.clone(), self.wanted.clone(), self.last.clone(), known);
                    looking = Some(Box::pin(timeout(self.limits.look, look)));
                }
                Some(seen) = finished(&mut looking) => {
                    looking = None;
                    self.saw(&client.version, seen.unwrap_or_else(|_| Err(no_answer(self.limits.look)))?);
                }
            }
        }
    }

    /// How soon an event deserves a look, by what the last look told.
    fn urgency(&self, occurrence: &Occurrence) -> Option<Urgency> {
        let seen = self.seen.as_ref();
        let ours = seen.and_then(|seen| seen.ours.as_deref());
        let found = seen.is_some_and(|seen| seen.target.is_some());
        let search = Search { wanted: &self.wanted, ours, last: self.last.as_deref() };
        search.urgency(occurrence, found, seen.map_or(&[], |seen| &seen.others))
    }

    fn saw(&mut self, version: &str, seen: Seen) {
        let engine = Engine::Available { version: version.into() };
        if self.sightings.borrow().engine != engine {
            let target = seen.target.as_ref().map_or("none", |target| &*target.name);
            tracing::info!(version, target, "the container engine answers");
        }
        if let Some(target) = &seen.target {
            self.timeline.follow(target);
            self.last = Some(target.clone());
        }
        self.publish(Sighting {
            engine,
            ourselves: seen.ours.clone(),
            target: match &seen.target {
                Some(target) => Target::Found(target.clone()),
                None => Target::Absent { last: self.last.clone() },
            },
            others: seen.others.clone(),
            networks: seen.networks.clone(),
            events: self.timeline.happenings(),
            log: seen.log.clone(),
            errors: self.errors,
        });
        self.seen = Some(seen);
    }

    fn count(&mut self, trouble: &Trouble) {
        let Errors { forbidden, unavailable, ended } = &mut self.errors;
        *match trouble {
            Trouble::Forbidden(_) => forbidden,
            Trouble::Unavailable(_) => unavailable,
            Trouble::Ended => ended,
        } += 1;
    }

    fn publish(&self, sighting: Sighting) {
        // Without a receiver the task is about to end.
        self.sightings.send_replace(sighting);
    }
}

/// One look at everything: the list, our own container, the networks, then whoever may be the target or matter to it.
///
/// Who is there but does not answer stays as the last look `known` to us had it: gone, it would cut off who is served by it.
async fn take_look(
    client: Client,
    wanted: Wanted,
    last: Option<Arc<Container>>,
    known: Arc<[Container]>,
) -> Result<Seen, Trouble> {
    let ours = async {
        match &wanted.own_id {
            Some(id) => client.inspect(id).await,
            None => Ok(None),
        }
    };
    let (list, networks, ours) = tokio::try_join!(client.list(), client.networks(), ours)?;
    let search = Search { wanted: &wanted, ours: ours.as_ref(), last: last.as_deref() };
    let mut inspected = Inspected::default();
    // One that was there is asked for though the list may not have it: it may be in a state that the list leaves out.
    let unlisted = last.as_ref().filter(|last| !list.iter().any(|entry| entry.id == last.id)).map(|last| &*last.id);
    let ids = search.worth_inspecting(&list).into_iter().chain(unlisted).collect();
    inspected.add(&client, ids, last.as_deref()).await;
    let target = search.target(&inspected.containers);
    // Nobody is called absent, and nobody takes another's place, while the one that it may be has not answered.
    let is_doubtful =
        |(id, _): &&(Box<str>, Trouble)| target.is_none() || last.as_ref().is_some_and(|last| last.id == *id);
    if let Some((_, trouble)) = inspected.unanswered.iter().find(is_doubtful) {
        return Err(trouble.clone());
    }
    if let Some(target) = &target {
        let rest = search.rest_of_project(target, &list, &inspected.containers);
        inspected.add(&client, rest, None).await;
    }
    let is_silent = |it: &&Container| {
        let has_answered = inspected.containers.iter().any(|container| container.id == it.id);
        !has_answered && inspected.unanswered.iter().any(|(id, _)| *id == it.id)
    };
    let silent: Vec<_> = known.iter().filter(is_silent).cloned().map(Arc::new).collect();
    inspected.containers.extend(silent);
    let others = search.others(target.as_deref(), &inspected.containers).into();
    let log = match &target {
        Some(target) if wanted.log => client.log(target).await,
        Some(_) | None => Vec::new(),
    };
    Ok(Seen { target, others, networks: networks.into(), ours: ours.map(Arc::new), log: log.into() })
}

/// The answers of the inspect calls of one look.
#[derive(Default)]
struct Inspected {
    containers: Vec<Arc<Container>>,
    unanswered: Vec<(Box<str>, Trouble)>,
}

impl Inspected {
    /// Asks for each of these; one that is gone since the list was made is left out: its `destroy` event is on the way.
    async fn add(&mut self, client: &Client, ids: Vec<&str>, last: Option<&Container>) {
        let ask = async |id: &str| match last.filter(|last| *last.id == *id) {
            Some(last) => client.inspect_again(last).await,
            None => client.inspect(id).await,
        };
        let calls: Vec<_> = ids.into_iter().map(|id| async move { (id, ask(id).await) }).collect();
        let mut answers = stream::iter(calls).buffered(CALLS_AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(container) => self.containers.extend(container.map(Arc::new)),
                Err(trouble) => {
                    tracing::debug!(id, reason = trouble.to_string(), "a container was not told of");
                    self.unanswered.push((id.into(), trouble));
                }
            }
        }
    }
}

fn earlier(due: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    due.into_iter().chain(other).min()
}

/// The output of a future, if there is one.
async fn finished<F: Future + Unpin>(future: &mut Option<F>) -> Option<F::Output> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}
