//! `anteroom doctor`: what is wrong with a deployment, told from its host, without any configuration.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::time::sleep;

use self::report::Report;
use super::Failure;
use super::look::{address, blind, can_ask, chosen, docker_host, here, look, project, which};
use super::paint::{Paint, is_dumb};
use crate::diagnosis::Severity;
use crate::diagnosis::deployment::examine;
use crate::page::foreign::line;
use crate::project::Address;
use crate::visit::{Heard, Visit};

mod document;
pub(super) mod report;

/// Between two looks of `--watch`.
const WATCH_PACE: Duration = Duration::from_secs(2);

/// What it can be asked.
pub(super) fn command() -> Command {
    Command::new("doctor")
        .about("Say what is wrong with a deployment, from its host")
        .long_about(
            "Looks at every service of a compose project as the page does, at what the compose files and Traefik are told, \
             and at what users get. It reads, and changes nothing.",
        )
        .args([
            project(),
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .value_parser(address)
                .help("where users ask [default: CVAT's /analytics/, by Traefik's own ports and rules]"),
            Arg::new("json").long("json").action(ArgAction::SetTrue).help("a document by docs/doctor.schema.json; with --watch one a line"),
            Arg::new("watch").long("watch").action(ArgAction::SetTrue).help("look again every two seconds, until stopped"),
        ])
        .after_help(
            "Exit code: 0 nothing is wrong, 1 something is, 2 it could not look, 130 or 143 it was told to stop, as the first \
             process of a container. DOCKER_HOST says where the engine is, NO_COLOR switches colour off.",
        )
}

/// Looks, and says what it saw.
///
/// # Errors
/// Something is wrong, or it cannot look.
pub(super) fn run(given: &ArgMatches, environment: &[(String, String)]) -> Result<(), Failure> {
    let wanted = given.get_one::<String>("project").map(String::as_str);
    let url = given.get_one::<Address>("url").cloned();
    let (json, watch) = (given.get_flag("json"), given.get_flag("watch"));
    let host = docker_host(environment)?;
    let paint = Paint::of(io::stdout().is_terminal() && !json, environment);
    let at_terminal = io::stderr().is_terminal() && !is_dumb(environment);
    can_ask(url.as_ref())?;
    look(async {
        let visit = Visit::begin(host).await.map_err(blind)?;
        let here = here(wanted, environment);
        let chosen = chosen(&visit, &here).await.map_err(blind)?.map_err(|unclear| Failure::Blind(which(&unclear)))?;
        let mut heard = Heard::default();
        loop {
            let notice = Notice::show(at_terminal, "looking at the containers…");
            let gone = || Failure::Blind(format!("the project {} has no container any more", line(&chosen)));
            let seen = visit.glance(&chosen, &heard).await.map_err(blind);
            let mut project = match seen.and_then(|it| if it.members.is_empty() { Err(gone()) } else { Ok(it) }) {
                Ok(project) => project,
                // An engine that restarts is a part of what is watched, and so is a project that is made anew.
                Err(reason) if watch => {
                    drop(notice);
                    // Standard error is for people, and may be closed.
                    let _ = writeln!(io::stderr(), "anteroom: {reason}");
                    sleep(WATCH_PACE).await;
                    continue;
                }
                Err(reason) => return Err(reason),
            };
            heard.note(&project);
            heard.fade(&project);
            visit.read_logs(&mut project).await;
            let notice = notice.then("asking as users ask…");
            visit.look_deeper(&mut project, url.clone()).await;
            drop(notice);
            let findings = examine(&project, Instant::now());
            let text = if json {
                document::write(&project, &findings, watch)
            } else {
                Report::of(&project, &findings, paint).to_string()
            };
            let clear = if watch && paint == Paint::Colour { "\x1b[2J\x1b[H" } else { "" };
            let written = writeln!(io::stdout(), "{clear}{text}");
            // Who closed the pipe has read enough; a disk that is full has not.
            if let Err(error) = &written
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(Failure::Blind(format!("the report cannot be written: {error}")));
            }
            if written.is_err() || !watch {
                let wrong = findings.iter().any(|it| it.finding.severity > Severity::Info);
                return if wrong { Err(Failure::Findings) } else { Ok(()) };
            }
            sleep(WATCH_PACE).await;
        }
    })
}

/// A line on the terminal that says what is going on, and goes when it is over. Nowhere else: a log has no use for it.
struct Notice(bool);

impl Notice {
    fn show(shown: bool, text: &str) -> Self {
        if shown {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            let _ = io::stderr().flush();
        }
        Self(shown)
    }

    fn then(self, text: &str) -> Self {
        let shown = self.0;
        drop(self);
        Self::show(shown, text)
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if self.0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}
