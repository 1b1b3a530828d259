//! One seed: requests of all kinds arrive while the world turns, and each must end as it should.
//!
//! - Every request ends, once, and no later than its patience and the time that its attempts took.
//! - Nothing is sent once the patience is over, and what waited in vain waited for exactly as long.
//! - What is not idempotent is never carried out twice, and what got a good answer was carried out.
//! - Nobody starves: who waits while the upstream is well, and is known to be, is let go.
//! - Who arrives first goes first.
//! - Without an engine nothing is ever said to be pointless.
//! - In the end nobody is left in the waiting room.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anteroom::admission::Refusal;
use anteroom::engine::Sighting;
use anteroom::evidence::{Bound, Failure, Scheme, Upstream};
use anteroom::line::Place;
use anteroom::proxy::budget::Budget;
use anteroom::proxy::hold::{Door, Stay};
use anteroom::proxy::journey::{Errand, Outcome, Sent, Toll, Way};
use anteroom::readiness::State;
use anteroom::retry::{Connection, Reach};
use anteroom::room::Room;
use anteroom::watch::{self as watcher, REPORTS_QUEUED, Snapshot, Sources, Subject, first_snapshot};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::world::{self, Answer, CONNECT_TIMEOUT, Prober, RESPONSE_TIMEOUT, Telling, World};

/// How long things happen; then all is well, and whoever still waits must get through.
const LASTS: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
/// A probe that had begun before may have to end first, and a flapping record asks for eight passes.
const NOTICED_WITHIN: Duration = Duration::from_millis(2_600);
/// Timers have a resolution of a millisecond, and each may be late by one.
const TICK: Duration = Duration::from_millis(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    /// Not idempotent.
    Post,
    /// Not idempotent, and its body cannot be sent twice once a byte of it was read.
    Upload,
    /// A client that leaves after a while.
    Fickle,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    number: usize,
    kind: Kind,
    arrives: Instant,
    patience: Duration,
}

/// What became of a request, in the order in which it did: the story that two plays of a seed must share.
#[derive(Default)]
struct Chronicle {
    text: String,
    /// Arrival and first attempt of those that were held from their arrival on.
    released: Vec<(Place, Instant)>,
}

/// Plays a seed and returns how long it lasted, on the clock of the story.
pub fn play(seed: u64) -> Duration {
    let told = std::panic::catch_unwind(|| run(seed));
    match told {
        Ok((_, lasted)) => lasted,
        Err(panic) => {
            eprintln!("seed {seed} fails: ANTEROOM_SEED={seed} cargo test --test simulation");
            std::panic::resume_unwind(panic)
        }
    }
}

/// Plays a seed and returns what happened.
pub fn tell(seed: u64) -> String {
    run(seed).0
}

fn run(seed: u64) -> (String, Duration) {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, story(seed))
}

async fn story(seed: u64) -> (String, Duration) {
    let began = Instant::now();
    let mut rng = fastrand::Rng::with_seed(!seed);
    let requests = requests(&mut rng, began);
    let world = World::new(seed, requests.len());
    let subject = Subject {
        upstream: Upstream::at(Scheme::Http, "grafana", 3000),
        booted_at: None,
        grace: GRACE,
        clock: world::clock,
    };
    let room = Room::new(1000, 1 << 20);
    let (sighted, sightings) = watch::channel(Sighting::default());
    let (report, reports) = mpsc::channel(REPORTS_QUEUED);
    let (publish, snapshots) = watch::channel(first_snapshot(&subject));
    let sources = Sources {
        sightings,
        reports,
        room: room.clone(),
        look: Notify::new().into(),
        learned: watch::Sender::default(),
        meter: Arc::default(),
    };
    tokio::task::spawn_local(watcher::run(subject, Prober(Rc::clone(&world)), sources, publish));
    tokio::task::spawn_local(Rc::clone(&world).turn(began + LASTS, sighted));

    let way = Rc::new((Door::new(snapshots, room.clone()), Budget::default(), report));
    let chronicle = Rc::new(RefCell::new(Chronicle::default()));
    let mut running = JoinSet::new();
    for request in requests {
        let (way, world, chronicle) = (Rc::clone(&way), Rc::clone(&world), Rc::clone(&chronicle));
        let leaves = (request.kind == Kind::Fickle).then(|| Duration::from_millis(rng.u64(1..3000)));
        running.spawn_local(async move {
            sleep_until(request.arrives).await;
            let errand = Carried { request, world, chronicle, attempts: 0, read: false, excused: false };
            match leaves {
                // A client that has left is not looked at any more.
                Some(leaves) => drop(timeout(leaves, travel(&way, errand)).await),
                None => travel(&way, errand).await,
            }
        });
    }
    // Longer than any patience and any attempt.
    let all = async {
        while let Some(ended) = running.join_next().await {
            ended.expect("no check has failed")
        }
    };
    timeout(LASTS * 10, all).await.expect("every request ends");
    assert_eq!(room.waiting(), 0, "nobody is left behind");
    let chronicle = Rc::into_inner(chronicle).expect("all requests have ended").into_inner();
    first_come_first_served(&chronicle.released);
    (chronicle.text, began.elapsed())
}

fn requests(rng: &mut fastrand::Rng, began: Instant) -> Vec<Request> {
    let kinds = [Kind::Get, Kind::Get, Kind::Get, Kind::Post, Kind::Upload, Kind::Fickle];
    let mut requests = Vec::new();
    let mut at = began;
    while at < began + LASTS {
        // Now and then a crowd at once.
        let crowd = if rng.u8(..6) == 0 { rng.usize(2..40) } else { 1 };
        for _ in 0..crowd {
            let patience = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(20)][rng.usize(..3)];
            let kind = kinds[rng.usize(..kinds.len())];
            requests.push(Request { number: requests.len(), kind, arrives: at, patience });
        }
        at += Duration::from_millis(rng.u64(1..1000));
    }
    requests
}

type Shared = (Door, Budget, mpsc::Sender<watcher::Report>);

async fn travel(shared: &Shared, mut errand: Carried) {
    let (door, budget, reports) = shared;
    budget.count_request(Instant::now());
    let mut toll = Toll::default();
    let way = Way { door, budget, reports };
    let outcome = way.travel(door.open(), &mut errand, &mut toll).await;
    let Carried { request, world, chronicle, attempts, .. } = errand;
    let done = world.times_done(request.number);
    let now = Instant::now();
    let Request { number, kind, arrives, patience } = request;
    let deadline = arrives + patience;
    let what = format!("{number} {kind:?} {patience:?}, {attempts} attempts, done {done} times");
    let said = match outcome {
        Outcome::Answered(answer) => {
            assert!(attempts > 0, "{what}");
            assert!(answer == Answer::Unready || done > 0, "answered without having been done: {what}");
            format!("{answer:?}")
        }
        Outcome::Refused(refusal) => panic!("nobody has made a mistake: {refusal:?}"),
        Outcome::Stranded(snapshot, failure, bound) => {
            // Waiting is over by then. What was on its way had to end, and may have been sent once more at once.
            let longest = deadline + 2 * (CONNECT_TIMEOUT + RESPONSE_TIMEOUT) + TICK;
            assert!(now <= longest, "{:?} too late: {what}", now - longest);
            match bound {
                Some(Bound::Patience { .. }) => {
                    assert!(now >= deadline, "{:?} too early: {what}", deadline - now);
                    let waited = attempts > 0 || now <= deadline + TICK;
                    assert!(waited, "held {:?} too long: {what}", now - deadline);
                    if matches!(world.telling, Telling::Truthful | Telling::Absent) {
                        let well = world.well_since().map(|since| now - since.max(arrives)).unwrap_or_default();
                        assert!(well < NOTICED_WITHIN, "starved, though all has been well for {well:?}: {what}");
                    }
                }
                Some(Bound::Number { .. } | Bound::Bytes { .. }) => panic!("there is room: {what}"),
                None if matches!(snapshot.state, State::Down { .. }) => {
                    assert_ne!(world.telling, Telling::Absent, "nobody said that it was pointless: {what}");
                }
                None => gave_up(&request, failure.as_ref(), now, attempts),
            }
            format!("stranded {:?} {failure:?} {bound:?}", snapshot.state.name())
        }
    };
    if matches!(kind, Kind::Post | Kind::Upload) {
        assert!(done <= 1, "done twice: {what}");
    }
    let mut chronicle = chronicle.borrow_mut();
    writeln!(chronicle.text, "{:?} {what}: {said}, {toll:?}", now - arrives).expect("a string takes all");
}

/// Only what the retry table forbids is given up while the upstream may still come.
fn gave_up(request: &Request, failure: Option<&Failure>, now: Instant, attempts: u32) {
    let is_repeatable = matches!(request.kind, Kind::Get | Kind::Fickle);
    let late = now + Duration::from_millis(500) >= request.arrives + request.patience;
    match failure {
        Some(Failure::NoAnswer | Failure::RetryBudgetSpent) => {}
        Some(Failure::ClosedEarly) => assert!(!is_repeatable || late, "given up too early: {request:?}"),
        // Nothing was sent: only its patience can end that.
        Some(_) => assert!(late, "given up too early: {request:?} {failure:?}"),
        None => panic!("given up without a reason after {attempts} attempts: {request:?}"),
    }
}

/// Of two that were held, the one that came first was sent first.
fn first_come_first_served(released: &[(Place, Instant)]) {
    let mut in_order = released.to_vec();
    in_order.sort_by_key(|(place, _)| *place);
    for pair in in_order.windows(2) {
        let [(_, first), (_, second)] = pair else { unreachable!("windows of two") };
        assert!(first <= second, "overtaken: {pair:?}");
    }
}

/// A request, carried to the world.
struct Carried {
    request: Request,
    world: Rc<World>,
    chronicle: Rc<RefCell<Chronicle>>,
    attempts: u32,
    /// A byte of its body was read.
    read: bool,
    /// The last attempt met a connection that had died of age, which is made good whatever the patience.
    excused: bool,
}

impl Errand for Carried {
    type Answer = Answer;

    async fn send(&mut self, known: &Arc<Snapshot>, pooled: bool) -> Sent<Answer> {
        let Request { number, arrives, patience, .. } = self.request;
        let now = Instant::now();
        assert!(now <= arrives + patience + TICK || self.excused, "sent after {:?}: {:?}", now - arrives, self.request);
        if self.attempts == 0 && now > arrives {
            self.chronicle.borrow_mut().released.push((self.stay().place, now));
        }
        self.attempts += 1;
        match self.world.serve(number, known.run, pooled).await {
            Ok(answer) => Sent::Answered(answer),
            Err((answer, setback)) => {
                self.read |= setback.reach != Reach::Unsent;
                self.excused = setback.connection == Connection::Pooled;
                match answer {
                    Some(answer) => Sent::Premature(answer, setback),
                    None => Sent::Failed(setback),
                }
            }
        }
    }

    fn is_idempotent(&self) -> bool {
        matches!(self.request.kind, Kind::Get | Kind::Fickle)
    }

    fn is_replayable(&self) -> bool {
        self.request.kind != Kind::Upload || !self.read
    }

    async fn while_held(&self) -> Refusal {
        pending().await
    }

    fn is_target_proven(&self, run: u64) -> bool {
        self.world.has_served(run)
    }

    fn stay(&self) -> Stay {
        let Request { number, arrives, patience, .. } = self.request;
        let place = Place { arrived: arrives.into_std(), id: number as u64 };
        Stay { place, bytes: 100, deadline: arrives + patience }
    }
}
