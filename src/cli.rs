//! The command line: what can be asked of the program, made from the table of settings, and how it fails.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use clap::{Arg, ArgMatches, Command};

use crate::config::{Fallback, Input, Invalid, LATER, SETTINGS, Setting};
use crate::instance::BindError;
use crate::telemetry;

pub mod demo;
pub mod doctor;
pub mod healthcheck;
mod look;
mod paint;
pub mod serve;
pub mod wait;

/// `EX_USAGE` of sysexits: the command was used wrongly, and starting it again will not help.
const EXIT_USAGE: u8 = 64;
/// `doctor` looked, and something is wrong.
const EXIT_FINDINGS: u8 = 1;
/// `wait` was told that waiting is pointless.
const EXIT_POINTLESS: u8 = 1;
/// `doctor` or `wait` could not look.
const EXIT_BLIND: u8 = 2;
/// `wait` found nobody of that name.
const EXIT_NOT_FOUND: u8 = 3;
/// `wait` waited for as long as it may.
const EXIT_TIMED_OUT: u8 = 4;
/// With its number added: ended by a signal, as shells tell it.
const EXIT_SIGNAL: u8 = 128;
/// Anything else: a supervisor may try again.
const EXIT_FAILURE: u8 = 1;

/// Why the program ends with anything but success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense; the text is clap's.
    #[error("{0}")]
    Usage(String),
    /// These settings are wrong.
    #[error("{}", list(.0))]
    Settings(Vec<Invalid>),
    /// `healthcheck` did not get the answer it asked for.
    #[error("not healthy: {0}")]
    Unhealthy(healthcheck::Reason),
    /// An address is taken, or not ours.
    #[error(transparent)]
    Listen(BindError),
    /// The same, where nothing was configured that could be wrong.
    #[error("the demo needs an address of its own, and --listen chooses another")]
    DemoListen(#[source] BindError),
    /// `doctor` has found something, and has printed it.
    #[error("something is wrong")]
    Findings,
    /// `doctor` or `wait` could not look.
    #[error("cannot look: {0}")]
    Blind(String),
    /// `wait`: a service will not become ready by itself. With the cause.
    #[error("waiting is pointless: {0}")]
    Pointless(String),
    /// `wait`: there is no such service or project.
    #[error("not found: {0}")]
    NotFound(String),
    /// `wait`: not all were ready in time. With the cause.
    #[error("time is up: {0}")]
    TimedOut(String),
    /// `doctor` or `wait` was told to stop, by this signal.
    #[error("stopped by signal {0}")]
    Stopped(u8),
    /// The system gave no threads, timers or sockets.
    #[error("cannot run")]
    Run(#[source] io::Error),
}

impl Failure {
    /// Whether whoever asked was told already.
    pub fn is_told(&self) -> bool {
        matches!(self, Self::Findings | Self::Stopped(_))
    }

    /// For the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings(_) => EXIT_USAGE,
            Self::Findings => EXIT_FINDINGS,
            Self::Pointless(_) => EXIT_POINTLESS,
            Self::Blind(_) => EXIT_BLIND,
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::TimedOut(_) => EXIT_TIMED_OUT,
            Self::Stopped(signal) => EXIT_SIGNAL.saturating_add(*signal),
            Self::Unhealthy(_) | Self::Listen(_) | Self::DemoListen(_) | Self::Run(_) => EXIT_FAILURE,
        }
    }
}

fn list(invalid: &[Invalid]) -> String {
    let heading = match invalid {
        [_] => "a setting is wrong".to_owned(),
        many => format!("{} settings are wrong", many.len()),
    };
    invalid.iter().fold(heading, |list, invalid| format!("{list}\n  {invalid}"))
}

/// Does what the arguments say, until it is done or told to stop.
///
/// # Errors
/// See [`Failure`]. Help and version are no failures, but are printed here.
pub fn run(
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    let command = command().mut_subcommand("serve", |serve| serve.args(refused()));
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            return Err(Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()));
        }
        // Nobody is left to be told that the terminal is gone.
        Err(help) => return help.print().or(Ok(())),
    };
    // A name or value that is no text cannot be a right one; what is left of it is enough to complain about.
    let environment: Vec<(String, String)> = environment.map(|(name, value)| (lossy(&name), lossy(&value))).collect();
    match matches.subcommand() {
        Some(("serve", given)) => serve::run(input(&flags(given), &environment)),
        Some(("demo", given)) => demo::run(given),
        Some(("doctor", given)) => doctor::run(given, &environment),
        Some(("wait", given)) => wait::run(given, &environment),
        Some(("healthcheck", given)) => healthcheck::run(input(&flags(given), &environment)),
        Some(_) | None => unreachable!("clap refuses what is not among the subcommands"),
    }
}

/// The whole command, as help and usage errors see it; completions and the man page are made from it.
#[doc(hidden)]
pub fn command() -> Command {
    Command::new("anteroom")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Waits for a slow service, and says why when waiting is pointless")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("serve")
                .about("Stand in front of a service")
                .next_line_help(true)
                .args(SETTINGS.iter().map(argument))
                .after_help("A flag wins over its variable. An empty variable counts as unset."),
        )
        .subcommand(demo::command())
        .subcommand(doctor::command())
        .subcommand(wait::command())
        .subcommand(
            Command::new("healthcheck")
                .about("Ask a running anteroom whether it lives; exit 0 or 1")
                .next_line_help(true)
                .args(SETTINGS.iter().filter(|setting| setting.name == "ANTEROOM_ADMIN_LISTEN").map(argument)),
        )
}

/// Flags that are refused by name, together with everything else that is wrong. Nobody should be offered one.
fn refused() -> impl Iterator<Item = Arg> {
    LATER.iter().map(|later| Arg::new(later.flag).long(later.flag).hide(true))
}

fn argument(setting: &Setting) -> Arg {
    let default = match setting.default {
        Fallback::Required => "[required]".to_owned(),
        Fallback::Value(value) => format!("[default: {value}]"),
        Fallback::Otherwise(words) => format!("[default: {words}]"),
    };
    let Setting { name, flag, value, takes, meaning, .. } = *setting;
    // An empty flag is an unset one, as an empty variable is.
    Arg::new(flag).long(flag).value_name(value).help(format!("{meaning} {default}\n{name} takes {takes}"))
}

/// The flags that were given, by their names without dashes.
fn flags(given: &ArgMatches) -> Vec<(String, String)> {
    let names = SETTINGS.iter().map(|setting| setting.flag).chain(LATER.iter().map(|later| later.flag));
    names
        .filter_map(|flag| {
            // A subcommand need not have all of them.
            let value = given.try_get_one::<String>(flag).ok().flatten()?;
            Some((flag.to_owned(), value.clone()))
        })
        .collect()
}

fn input<'a>(flags: &'a [(String, String)], environment: &'a [(String, String)]) -> Input<'a> {
    Input {
        flags,
        environment,
        cores: available_parallelism().unwrap_or(NonZeroUsize::MIN),
        check_log: telemetry::check_filter,
    }
}

fn lossy(text: &OsString) -> String {
    text.to_string_lossy().into_owned()
}
