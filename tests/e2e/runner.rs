//! Plays the scenes and says how it went, in the words of libtest.
//!
//! Not libtest itself, because a stack takes seconds to start: companies play side by side, each with a stack of one
//! layout, and each plays the scenes of one file after another's, in the order in which they are listed. A scene that
//! fails ends there, its stack is reset, and the next one plays.

use std::any::Any;
use std::cell::RefCell;
use std::iter;
use std::ops::RangeInclusive;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::layout::Layout;
use crate::prepare::{self, Stage};
use crate::scenes::{self, Scene};
use crate::stack::Stack;

/// `required`, as CI sets it: where nothing can be played, the suite has failed.
const DEMAND: &str = "ANTEROOM_E2E";

/// Of each layout. Two cores are idle for half of the time with as many: scenes mostly wait.
pub const COMPANIES: RangeInclusive<u8> = 1..=2;

/// Whether a scene that cannot be played has failed.
pub fn is_required() -> bool {
    std::env::var(DEMAND).is_ok_and(|demand| demand == "required")
}

/// The name of a scene as it is printed and filtered, and where it plays.
struct Billed {
    name: String,
    layout: Layout,
    scene: Scene,
}

impl Billed {
    /// The layout and the file.
    fn act(&self) -> &str {
        self.name.rsplit_once("::").map_or(&self.name, |(act, _)| act)
    }
}

/// What the command line asks for, as far as libtest's options mean anything here.
#[derive(Default)]
struct Wanted {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wanted.list = true,
                "--exact" => wanted.exact = true,
                "--skip" => wanted.skipped.extend(arguments.next()),
                "--format" | "--test-threads" | "--color" | "--logfile" => drop(arguments.next()),
                option if option.starts_with('-') => {}
                filter => wanted.filters.push(filter.to_owned()),
            }
        }
        wanted
    }

    fn has(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// Plays what the arguments ask for; the exit code is libtest's.
pub fn run() -> ExitCode {
    let wanted = Wanted::parse(std::env::args().skip(1));
    let all = bill();
    let count = all.len();
    let billed: Vec<Billed> = all.into_iter().filter(|billed| wanted.has(&billed.name)).collect();
    if wanted.list {
        billed.iter().for_each(|billed| println!("{}: test", billed.name));
        return ExitCode::SUCCESS;
    }
    let filtered = count - billed.len();
    println!("\nrunning {} tests", billed.len());
    if billed.is_empty() {
        return conclude(0, &[], 0, filtered, Instant::now());
    }
    if let Some(missing) = prepare::missing() {
        return not_played(&missing, billed.len(), filtered);
    }
    play(billed, filtered)
}

fn bill() -> Vec<Billed> {
    let of = |layout: Layout| {
        scenes::all().filter(move |scene| scene.only.is_none_or(|only| only == layout)).map(move |scene| {
            let name = scene.name.rsplit_once("scenes::").map_or(scene.name, |(_, name)| name);
            Billed { name: format!("{}::{name}", layout.name()), layout, scene }
        })
    };
    Layout::ALL.into_iter().flat_map(of).collect()
}

/// Says loudly that nothing was tested, so that nobody takes the pass for a result.
fn not_played(missing: &str, ignored: usize, filtered: usize) -> ExitCode {
    let line = "!".repeat(100);
    eprintln!("\n{line}\nThe end-to-end tests DID NOT RUN: {missing}\n{line}\n");
    if is_required() {
        eprintln!("{DEMAND}=required: that is a failure.");
        return conclude(0, &["everything".to_owned()], 0, filtered, Instant::now());
    }
    conclude(0, &[], ignored, filtered, Instant::now())
}

fn play(billed: Vec<Billed>, filtered: usize) -> ExitCode {
    let start = Instant::now();
    let stage = match Stage::build() {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("The stage cannot be built: {error:#}");
            return conclude(0, &["everything".to_owned()], 0, filtered, start);
        }
    };
    println!("the stage is built after {:.0?}", start.elapsed());
    remember_panics();
    let count = billed.len();
    let programme = Layout::ALL.map(|layout| {
        let mine = billed.chunk_by(|one, next| one.act() == next.act()).filter(move |act| act[0].layout == layout);
        (layout, Mutex::new(mine))
    });
    let failures: Vec<String> = thread::scope(|scope| {
        let companies: Vec<_> = COMPANIES
            .flat_map(|company| programme.each_ref().map(|(layout, acts)| (company, *layout, acts)))
            .map(|(company, layout, acts)| {
                let next = move || acts.lock().expect("an iterator of slices does not panic").next();
                let stage = &stage;
                scope.spawn(move || play_on_one_stack(stage, layout, company, iter::from_fn(next).flatten()))
            })
            .collect();
        companies
            .into_iter()
            .flat_map(|company| company.join().expect("scenes are played under catch_unwind"))
            .collect()
    });
    drop(stage);
    conclude(count - failures.len(), &failures, 0, filtered, start)
}

/// Returns the scenes that failed, in short.
fn play_on_one_stack<'a>(
    stage: &Stage,
    layout: Layout,
    company: u8,
    billed: impl Iterator<Item = &'a Billed>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut stack: Option<Stack> = None;
    for Billed { name, scene, .. } in billed {
        let start = Instant::now();
        let played = catch(|| {
            match &stack {
                Some(stack) => stack.reset().unwrap_or_else(|error| panic!("{error:#}")),
                None => stack = Some(Stack::up(stage, layout, company).unwrap_or_else(|error| panic!("{error:#}"))),
            }
            (scene.play)(stack.as_ref().expect("the arm above has put it up"));
        });
        match played {
            Ok(()) => println!("test {name} ... ok ({:.1?})", start.elapsed()),
            Err(message) => {
                let report = stack.as_ref().map(Stack::report).unwrap_or_default();
                println!("test {name} ... FAILED ({:.1?})\n{message}{report}", start.elapsed());
                failures.push(in_short(name, &message));
            }
        }
    }
    failures
}

/// A report is long, and who reads of several failures wants to see at the end what each was.
fn in_short(name: &str, message: &str) -> String {
    iter::once(name).chain(message.lines().take(3)).collect::<Vec<_>>().join("\n        ")
}

fn conclude(passed: usize, failures: &[String], ignored: usize, filtered: usize, start: Instant) -> ExitCode {
    if !failures.is_empty() {
        println!("\nfailures:\n    {}", failures.join("\n    "));
    }
    let (word, code) = if failures.is_empty() { ("ok", 0) } else { ("FAILED", 101) };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered} filtered out; \
         finished in {:.2}s\n",
        failures.len(),
        start.elapsed().as_secs_f64()
    );
    ExitCode::from(code)
}

thread_local! {
    /// The last panic of this thread with its place, which the payload alone does not tell.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Several stacks play at once: what a panic says belongs to its own scene, not in between the other's lines.
fn remember_panics() {
    panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
}

fn catch(play: impl FnOnce()) -> Result<(), String> {
    let caught: Result<(), Box<dyn Any + Send>> = panic::catch_unwind(AssertUnwindSafe(play));
    caught.map_err(|_| PANIC.take())
}
