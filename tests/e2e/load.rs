//! Many users at once, while something happens to Grafana: 200 requests a second, and a few WebSockets.
//!
//! An open loop, as users are: each request is sent when its time has come, on a connection of its own, whatever has
//! become of the others. What came of all of them is a [`Tally`], which says in a table what was not right.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::answer::Answer;
use crate::ask::Ask;

/// 200 a second.
const INTERVAL: Duration = Duration::from_millis(5);
/// One of so many is a POST.
const POST_AMONG: u32 = 4;
/// How long Grafana takes for each, in milliseconds: about six are with it at any time.
const WORK: &str = "30";
const SOCKETS: usize = 4;
/// Between two messages of one socket.
const BEAT: Duration = Duration::from_millis(100);
/// After so long without an echo a client gives a socket up, as those of Grafana Live do.
const SILENCE: Duration = Duration::from_secs(5);
/// For how long there is load before anything happens, and after it.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(4);

/// Where load comes from and goes to.
pub struct Load<'a> {
    /// A path that Grafana answers.
    pub ask: Ask,
    /// Called once on the thread that makes the connections.
    pub prepare: &'a (dyn Fn() + Sync),
}

/// What came of the load.
pub struct Tally {
    requests: Vec<Request>,
    sockets: Vec<Socket>,
}

struct Request {
    /// Of a POST; in the ledger if it was carried out.
    id: Option<String>,
    /// Since the load began.
    sent: Duration,
    outcome: Result<Answer>,
}

#[derive(Default)]
struct Socket {
    /// How often it was opened again.
    reopened: usize,
    /// Of those, how often because nothing came any more.
    silent: usize,
    /// The longest that it took until it was open again.
    worst: Duration,
    echoes_since: usize,
    /// What was wrong with the answers to its requests.
    refused: Vec<String>,
}

impl Load<'_> {
    /// From before something happens until after it. One at a time, however many stacks play: what is tried is not how much
    /// the machine bears.
    pub fn during(self, happening: impl FnOnce() + Send) -> Tally {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                (self.prepare)();
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(generate(&self.ask, &over))
            });
            thread::sleep(BEFORE);
            // Without an end of the load, the panic would not come through.
            let happened = catch_unwind(AssertUnwindSafe(happening));
            if happened.is_ok() {
                thread::sleep(AFTER);
            }
            over.store(true, Relaxed);
            let tally = load.join().expect("load is made without a panic");
            happened.map_or_else(|panic| resume_unwind(panic), |()| tally)
        })
    }
}

async fn generate(ask: &Ask, over: &AtomicBool) -> Tally {
    let name = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let began = Instant::now();
    let sockets = futures_util::future::join_all((0..SOCKETS).map(|_| Socket::talk(ask.clone(), over)));
    let requests = async {
        let mut underway = JoinSet::new();
        for number in 0.. {
            sleep_until(began + INTERVAL * number).await;
            if over.load(Relaxed) {
                break;
            }
            let is_post = number.is_multiple_of(POST_AMONG);
            let id = is_post.then(|| format!("{name}-{number}"));
            let ask = ask.clone().header("x-work", WORK);
            let ask = match &id {
                Some(id) => ask.header("x-id", id).post("one query"),
                None => ask,
            };
            underway.spawn(async move { Request { id, sent: began.elapsed(), outcome: ask.answer().await } });
        }
        underway.join_all().await
    };
    let (sockets, requests) = tokio::join!(sockets, requests);
    Tally { requests, sockets }
}

impl Socket {
    async fn talk(ask: Ask, over: &AtomicBool) -> Self {
        let mut socket = Self::default();
        let mut open = false;
        while !over.load(Relaxed) {
            let asked = Instant::now();
            let stream = match ask.clone().upgrade().await {
                Ok((_, Some(stream))) => stream,
                Ok((answer, None)) => {
                    socket.refused.push(label(&Ok(answer)));
                    sleep(BEAT).await;
                    continue;
                }
                Err(error) => {
                    socket.refused.push(format!("{error:#}"));
                    sleep(BEAT).await;
                    continue;
                }
            };
            if std::mem::replace(&mut open, true) {
                socket.reopened += 1;
                socket.worst = socket.worst.max(asked.elapsed());
            }
            socket.echoes_since = 0;
            let mut stream = stream;
            while !over.load(Relaxed) {
                let echo = async {
                    stream.write_all(b"live").await?;
                    let mut echoed = [0; 4];
                    stream.read_exact(&mut echoed).await?;
                    ensure!(&echoed == b"live", "the echo is {echoed:?}");
                    Ok(())
                };
                match timeout(SILENCE, echo).await {
                    Ok(Ok(())) => socket.echoes_since += 1,
                    Ok(Err(_)) => break,
                    Err(_) => {
                        socket.silent += 1;
                        break;
                    }
                }
                sleep(BEAT).await;
            }
        }
        socket
    }
}

impl Tally {
    /// What everybody may expect: a GET is answered by Grafana, a POST by Grafana or with a page of ours, a socket that
    /// was cut is open again, and nothing was carried out twice or pretended. `ledger` is the stub's.
    #[track_caller]
    pub fn is_flawless(&self, ledger: &str) -> &Self {
        let mut entries: HashMap<&str, usize> = HashMap::new();
        ledger.lines().for_each(|id| *entries.entry(id).or_default() += 1);
        let mut flaws = String::new();
        let mut flaw = |text: String| writeln!(flaws, "{text}").expect("a string takes everything");
        for Request { id, sent, outcome } in &self.requests {
            let grafana = matches!(outcome, Ok(answer) if answer.status == 200 && answer.is_from("grafana"));
            let sent = format!("{:.3} s", sent.as_secs_f64());
            match id.as_deref().map(|id| (id, entries.get(id).copied().unwrap_or(0))) {
                None if grafana => {}
                None => flaw(format!("GET at {sent}: {}", details(outcome))),
                Some((id, times @ 2..)) => flaw(format!("POST {id} at {sent} was carried out {times} times")),
                Some((_, 1)) if grafana => {}
                Some((id, _)) if grafana => flaw(format!("POST {id} at {sent} was answered, but not carried out")),
                Some(_) if outcome.as_ref().is_ok_and(is_page) => {}
                Some(_) => flaw(format!("POST at {sent}: {}", details(outcome))),
            }
        }
        for (number, socket) in self.sockets.iter().enumerate() {
            socket.refused.iter().for_each(|answer| flaw(format!("socket {number} was refused: {answer}")));
            if socket.echoes_since == 0 {
                flaw(format!("socket {number} carries no messages at the end"));
            }
        }
        let count = flaws.lines().count();
        let first: String = flaws.lines().take(12).map(|line| format!("{line}\n")).collect();
        assert!(flaws.is_empty(), "{count} flaws\n{}\nthe first of them:\n{first}", self.table());
        self
    }

    /// Shows that something has happened at all: every socket was cut.
    #[track_caller]
    pub fn was_cut(&self) -> &Self {
        assert!(self.sockets.iter().all(|socket| socket.reopened > 0), "not all were cut\n{}", self.table());
        self
    }

    /// Shows that something has happened at all: requests had to wait.
    #[track_caller]
    pub fn was_held_for(&self, least: Duration) -> &Self {
        let answers = self.requests.iter().filter_map(|request| request.outcome.as_ref().ok());
        let longest = answers.map(|answer| answer.took).max().unwrap_or_default();
        assert!(longest >= least, "nobody was held for {least:?}\n{}", self.table());
        self
    }

    /// Shows that nothing has happened at all.
    #[track_caller]
    pub fn was_undisturbed(&self) -> &Self {
        assert!(self.sockets.iter().all(|socket| socket.reopened == 0), "sockets were cut\n{}", self.table());
        let pages = self.requests.iter().filter(|request| request.outcome.as_ref().is_ok_and(is_page)).count();
        assert_eq!(pages, 0, "{}", self.table());
        self
    }

    /// Shows the numbers of a scene that has gone well, to whoever asks for them by `ANTEROOM_E2E_TABLES`.
    pub fn print(&self) {
        if std::env::var_os("ANTEROOM_E2E_TABLES").is_some() {
            println!("{}", self.table());
        }
    }

    /// Numbers for a person: how often which answer, and how long the slowest took.
    pub fn table(&self) -> String {
        let mut rows: BTreeMap<(&str, String), (usize, Duration)> = BTreeMap::new();
        for request in &self.requests {
            let kind = if request.id.is_some() { "POST" } else { "GET" };
            let took = request.outcome.as_ref().map_or(Duration::ZERO, |answer| answer.took);
            let row = rows.entry((kind, label(&request.outcome))).or_default();
            *row = (row.0 + 1, row.1.max(took));
        }
        let mut table = format!("{:5}{:>7}{:>10}  answer\n", "", "count", "slowest");
        for ((kind, answer), (count, slowest)) in rows {
            let slowest = format!("{:.3} s", slowest.as_secs_f64());
            writeln!(table, "{kind:5}{count:>7}{slowest:>10}  {answer}").expect("a string takes everything");
        }
        for socket in &self.sockets {
            let Socket { reopened, silent, worst, echoes_since, refused } = socket;
            let (worst, refused) = (worst.as_secs_f64(), refused.len());
            writeln!(
                table,
                "WS   reopened {reopened} times, {silent} of them after silence, {worst:.3} s at worst; refused \
                 {refused} times; {echoes_since} echoes since"
            )
            .expect("a string takes everything");
        }
        table
    }
}

/// An answer of anteroom in the place of Grafana's.
fn is_page(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 502..=504)
        && answer.value("proxy-status").is_some_and(|value| value.starts_with("anteroom"))
}

fn label(outcome: &Result<Answer>) -> String {
    match outcome {
        Ok(answer) if answer.is_from("grafana") => format!("{} from Grafana", answer.status.as_u16()),
        Ok(answer) if is_page(answer) => {
            format!("{} page: {}", answer.status.as_u16(), answer.code().unwrap_or_default())
        }
        Ok(answer) => format!("{} from neither Grafana nor anteroom", answer.status.as_u16()),
        Err(error) => format!("{:#}", error.root_cause()),
    }
}

fn details(outcome: &Result<Answer>) -> String {
    match outcome {
        Ok(answer) => {
            let head: String = answer.body.chars().take(300).collect();
            format!("{} after {:.3} s: {}", label(outcome), answer.took.as_secs_f64(), head.replace('\n', " "))
        }
        Err(error) => format!("{error:#}"),
    }
}
