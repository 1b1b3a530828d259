//! What requests and probes meet: an upstream that refuses, resets, hangs, flaps and restarts, an engine that tells of it
//! late, wrongly or not at all, and a wall clock that steps.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anteroom::engine::Sighting;
use anteroom::evidence::{Container, Engine, Failure, Moment, Status, Target};
use anteroom::probe::Probe;
use anteroom::proxy::journey::Setback;
use anteroom::retry::{Connection, Reach};
use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::seen;

/// As `ANTEROOM_CONNECT_TIMEOUT`, and what a probe may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// As `ANTEROOM_RESPONSE_TIMEOUT`.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the upstream does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers, after so long.
    Answers(Duration),
    /// It resets each request; some of them only after it has done what they ask for.
    Resets,
    /// It answers 503 to everything.
    Unready,
    /// It connects and never answers.
    Hangs,
    /// Nobody listens.
    Refuses,
    /// Nobody answers to the attempt.
    Swallows,
    /// Its name is gone.
    Nameless,
}

impl Mood {
    fn connects(self) -> bool {
        matches!(self, Self::Answers(_) | Self::Resets | Self::Unready | Self::Hangs)
    }
}

/// How the engine tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Soon, and the truth.
    Truthful,
    /// The truth, seconds late.
    Late,
    /// Anything.
    Lying,
    /// There is none.
    Absent,
}

thread_local! {
    /// When the story began, and by how much the wall clock has been stepped since, in seconds.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static STEPPED: Cell<i64> = const { Cell::new(0) };
}

/// The wall clock of the story.
pub fn clock() -> SystemTime {
    let lasted = BEGAN.get().map(|began| began.elapsed()).unwrap_or_default();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + lasted;
    let stepped = Duration::from_secs(STEPPED.get().unsigned_abs());
    if STEPPED.get() < 0 { long_ago - stepped } else { long_ago + stepped }
}

/// An answer that reached a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    /// 503, by the upstream itself.
    Unready,
}

/// The upstream, its engine and its clock.
pub struct World {
    rng: RefCell<Rng>,
    pub telling: Telling,
    mood: Cell<Mood>,
    /// Since when it has answered without a break.
    well_since: Cell<Option<Instant>>,
    /// Which process serves: each start makes a new one.
    process: Cell<u64>,
    started: Cell<SystemTime>,
    /// Connections that wait in a pool: to which process, and of which run the pool takes them to be.
    idle: RefCell<Vec<(u64, u64)>>,
    /// How often each request was carried out.
    done: RefCell<Vec<u32>>,
    /// The newest run that has answered well.
    proven: Cell<u64>,
}

impl World {
    pub fn new(seed: u64, requests: usize) -> Rc<Self> {
        let mut rng = Rng::with_seed(seed);
        BEGAN.set(Some(Instant::now()));
        STEPPED.set(0);
        let telling = [Telling::Truthful, Telling::Late, Telling::Lying, Telling::Absent][rng.usize(..4)];
        Rc::new(Self {
            rng: RefCell::new(rng),
            telling,
            mood: Cell::new(Mood::Refuses),
            well_since: Cell::new(None),
            process: Cell::new(0),
            started: Cell::new(clock()),
            idle: RefCell::default(),
            done: RefCell::new(vec![0; requests]),
            proven: Cell::new(0),
        })
    }

    /// How often a request was carried out.
    pub fn times_done(&self, request: usize) -> u32 {
        self.done.borrow()[request]
    }

    /// Since when it has been well without a break, if it is.
    pub fn well_since(&self) -> Option<Instant> {
        self.well_since.get()
    }

    /// Whether this run, or a newer one, has answered well.
    pub fn has_served(&self, run: u64) -> bool {
        self.proven.get() >= run
    }

    pub fn pick(&self, below: u64) -> u64 {
        self.rng.borrow_mut().u64(..below)
    }

    fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.borrow_mut().u64(from..to))
    }

    /// Lets things happen until `end`, and then lets all be well.
    pub async fn turn(self: Rc<Self>, end: Instant, sightings: watch::Sender<Sighting>) {
        if self.pick(4) == 0 {
            self.become_(Mood::Answers(self.millis(1, 30)), &sightings);
        }
        while Instant::now() < end {
            let lasts = self.millis(20, 6000);
            match self.pick(10) {
                0..4 => self.become_(Mood::Answers(self.millis(1, 30)), &sightings),
                4 => self.become_(Mood::Answers(self.millis(200, 3000)), &sightings),
                5 => self.become_([Mood::Resets, Mood::Unready, Mood::Hangs][self.pick(3) as usize], &sightings),
                6..8 => self.become_(Mood::Refuses, &sightings),
                8 => self.become_([Mood::Swallows, Mood::Nameless][self.pick(2) as usize], &sightings),
                _ => self.flap(Instant::now() + lasts, &sightings).await,
            }
            if self.pick(8) == 0 {
                // By up to a day, in either direction.
                STEPPED.set(STEPPED.get() + self.pick(172_800) as i64 - 86_400);
            }
            sleep_until((Instant::now() + lasts).min(end)).await;
        }
        self.become_(Mood::Answers(self.millis(1, 30)), &sightings);
    }

    async fn flap(&self, end: Instant, sightings: &watch::Sender<Sighting>) {
        let pace = self.millis(2, 60);
        while Instant::now() < end {
            let mood = if self.mood.get().connects() { Mood::Refuses } else { Mood::Answers(self.millis(1, 5)) };
            self.become_(mood, sightings);
            sleep(pace).await;
        }
    }

    fn become_(&self, mood: Mood, sightings: &watch::Sender<Sighting>) {
        let before = self.mood.replace(mood);
        if mood.connects() && !before.connects() {
            self.process.set(self.process.get() + 1);
            self.started.set(clock());
        }
        let is_well = matches!(mood, Mood::Answers(latency) if latency < Duration::from_millis(100));
        match (is_well, self.well_since.get()) {
            (true, None) => self.well_since.set(Some(Instant::now())),
            (true, Some(_)) if before.connects() => {}
            (true, Some(_)) => self.well_since.set(Some(Instant::now())),
            (false, _) => self.well_since.set(None),
        }
        self.tell(mood, sightings);
    }

    /// Lets the engine tell of it.
    fn tell(&self, mood: Mood, sightings: &watch::Sender<Sighting>) {
        let delay = match self.telling {
            Telling::Truthful | Telling::Lying => self.millis(1, 200),
            Telling::Late => self.millis(1000, 6000),
            Telling::Absent => return,
        };
        let truth = match mood {
            Mood::Answers(_) | Mood::Resets | Mood::Unready | Mood::Hangs => Status::Running,
            Mood::Refuses => [Status::Running, Status::Exited, Status::Restarting][self.pick(3) as usize],
            Mood::Swallows | Mood::Nameless => [Status::Exited, Status::Removing][self.pick(2) as usize],
        };
        let any = [Status::Running, Status::Exited, Status::Restarting, Status::Created, Status::Dead, Status::Other];
        let status = if self.telling == Telling::Lying { any[self.pick(6) as usize] } else { truth };
        let sighting = self.sighting(status);
        let sightings = sightings.clone();
        tokio::task::spawn_local(async move {
            sleep(delay).await;
            sightings.send_replace(sighting);
        });
    }

    fn sighting(&self, status: Status) -> Sighting {
        let moment = |at| Some(Moment { at, text: "".into() });
        let started = moment(self.started.get());
        let finished = moment(clock());
        let container =
            Container { created: started.clone(), started, finished, networks: vec![], ..seen::container(status) };
        Sighting {
            engine: Engine::Available { version: "20.10.24".into() },
            target: Target::Found(container.into()),
            ..Sighting::default()
        }
    }

    async fn connect(&self) -> Result<u64, Failure> {
        match self.mood.get() {
            Mood::Answers(_) | Mood::Resets | Mood::Unready | Mood::Hangs => Ok(self.process.get()),
            Mood::Refuses => Err(Failure::Refused { address: Ipv4Addr::LOCALHOST.into() }),
            Mood::Swallows => {
                sleep(CONNECT_TIMEOUT).await;
                Err(Failure::ConnectTimeout)
            }
            Mood::Nameless => Err(Failure::NameNotResolved { reason: "no such host".into() }),
        }
    }

    /// Carries a request to the upstream, once.
    pub async fn serve(&self, request: usize, run: u64, pooled: bool) -> Result<Answer, (Option<Answer>, Setback)> {
        let setback = |failure, connection, reach| Setback { failure, connection, reach };
        let waiting = self.idle.borrow_mut().pop_if(|(_, of)| pooled && *of == run).map(|(process, _)| process);
        let connection = if waiting.is_some() { Connection::Pooled } else { Connection::New };
        let process = match waiting {
            Some(process) => process,
            None => self.connect().await.map_err(|failure| (None, setback(failure, connection, Reach::Unsent)))?,
        };
        let is_there = || self.process.get() == process && self.mood.get().connects();
        if !is_there() {
            // A connection that has died: noticed before anything was written, or by writing.
            let reach = if self.pick(2) == 0 { Reach::Unsent } else { Reach::Sent };
            return Err((None, setback(Failure::ClosedEarly, connection, reach)));
        }
        let mood = self.mood.get();
        let lasts = match mood {
            Mood::Answers(latency) => latency,
            Mood::Hangs => RESPONSE_TIMEOUT,
            _ => Duration::from_millis(1),
        };
        // It does its work at some moment before it answers.
        let work = lasts.mul_f64(self.rng.borrow_mut().f64());
        sleep(work).await;
        if !is_there() {
            return Err((None, setback(Failure::ClosedEarly, connection, Reach::Sent)));
        }
        if matches!(mood, Mood::Answers(_)) || mood == Mood::Resets && self.pick(2) == 0 {
            self.done.borrow_mut()[request] += 1;
        }
        sleep(lasts - work).await;
        if mood == Mood::Hangs {
            return Err((None, setback(Failure::NoAnswer, connection, Reach::Sent)));
        }
        if mood == Mood::Resets || !is_there() {
            return Err((None, setback(Failure::ClosedEarly, connection, Reach::Sent)));
        }
        self.idle.borrow_mut().push((process, run));
        if mood == Mood::Unready {
            if self.has_served(run) {
                return Ok(Answer::Unready);
            }
            let failure = Failure::NotReady { status: 503 };
            return Err((Some(Answer::Unready), setback(failure, connection, Reach::Sent)));
        }
        self.proven.set(self.proven.get().max(run));
        Ok(Answer::Good)
    }
}

/// Asks the world as a prober does.
pub struct Prober(pub Rc<World>);

impl Probe for Prober {
    async fn probe(&self) -> Result<(), Failure> {
        self.0.connect().await.map(|_| ())
    }
}
