//! `anteroom wait`: for the line of a deploy script between `docker compose up -d` and whatever needs the services.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::time::{sleep, sleep_until};

use self::progress::{Progress, Row};
use super::Failure;
use super::doctor::report;
use super::look::{address, blind, can_ask, chosen, docker_host, here, look, project, which};
use super::paint::Paint;
use crate::diagnosis::deployment::{examine, of_member};
use crate::diagnosis::facts;
use crate::diagnosis::redact::redact_lines;
use crate::engine::client::Trouble;
use crate::evidence::Failure as Unanswered;
use crate::page::foreign::line;
use crate::project::awaited::{ABOUT_TO_APPEAR, Awaited, Verdict, Vigil};
use crate::project::definitions::Definition;
use crate::project::{Address, Answered, Here, Meant, Member, Project, Standing};
use crate::visit::{self, Heard, Visit};

mod progress;

/// Between two looks. A look at CVAT's twenty containers takes the engine some 20 ms; what is half a second late delays
/// no deployment.
const PACE: Duration = Duration::from_millis(500);
/// An engine that starts many containers may leave a call unanswered; one that is away for longer is gone.
const ENGINE_AWAY_MOST: Duration = Duration::from_secs(10);
/// For the head of the answer of an address that is asked: a service that has just started takes its time.
const ANSWER_MOST: Duration = Duration::from_secs(10);
/// Of a log, those lines that are shown.
const LINES_SHOWN: usize = 10;

/// What it can be asked.
pub(super) fn command() -> Command {
    Command::new("wait")
        .about("Wait until services are ready, or say why they never will be: for deploy scripts")
        .long_about(
            "Waits until the services of a compose project are ready, and those that they need before them. A service is \
             ready when its containers run, their health checks pass, and they accept connections on the port that is asked \
             (answer a request, where a router asks); one without a health check and a port has to run for 3 s, and one that has \
             just crashed for 10 s. A container that has done its work and exited with 0 is done. When a \
             service is down for good, this ends at once, with the cause and the last lines of its log.\n\n\
             Run it after `docker compose up -d`. It reads, and changes nothing.",
        )
        .args([
            Arg::new("service")
                .value_name("SERVICE")
                .action(ArgAction::Append)
                .help("whom to wait for [default: every service that `up` starts]"),
            project(),
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .default_value("5m")
                .value_parser(humantime::parse_duration)
                .help("how long to wait; 0s looks once"),
            Arg::new("http")
                .long("http")
                .value_name("URL")
                .value_parser(address)
                .help("when the services are ready, wait also until this answers with 2xx or 3xx, without a login and from its own service"),
        ])
        .after_help(
            "Exit code: 0 all are ready, 1 waiting is pointless, 2 it could not look, 3 there is no such service or \
             project, 4 time is up, 64 the arguments make no sense, 130 or 143 it was told to stop, as the first process of \
             a container. A service or a project without any container gets 10 s to appear, unless the compose files tell \
             that it never will. DOCKER_HOST says where the engine is, NO_COLOR switches colour off.",
        )
}

/// Waits.
///
/// # Errors
/// Waiting is pointless or has taken too long, there is nothing to wait for, or it cannot look.
pub(super) fn run(given: &ArgMatches, environment: &[(String, String)]) -> Result<(), Failure> {
    let began = Instant::now();
    let names = given.get_many::<String>("service").into_iter().flatten();
    let timeout = *given.get_one::<Duration>("timeout").expect("there is a default");
    let here = here(given.get_one::<String>("project").map(String::as_str), environment);
    // A folder with compose files is what is deployed: somebody else's services say nothing of it.
    let mut paths = here.folders.iter().flat_map(|folder| &folder.paths);
    let may_be_elsewhere = !paths.any(|path| visit::has_compose_files(Path::new(path)));
    let here = Here { may_be_elsewhere, ..here };
    // Who waits for longer than the clock goes, waits for ever.
    let deadline = began.checked_add(timeout);
    can_ask(given.get_one::<Address>("http"))?;
    look(async {
        let visit = Visit::begin(docker_host(environment)?).await.map_err(blind)?;
        let project = find(&visit, &here, began, deadline).await?;
        if here.named.is_none() {
            note(&format!("the project is {}", line(&project)));
        }
        let watcher = Watcher {
            visit,
            project,
            address: given.get_one::<Address>("http"),
            vigil: Vigil::new(names.map(|name| name.as_str().into()), began),
            heard: Heard::default(),
            defined: None,
            is_told: false,
            passed_over: false,
            deadline,
            said: None,
            progress: Progress::start(began, environment),
            paint: Paint::of(io::stderr().is_terminal(), environment),
        };
        watcher.wait().await
    })
}

/// The project that is meant. One that is not there may be about to come, as a service may.
async fn find(visit: &Visit, here: &Here, began: Instant, deadline: Option<Instant>) -> Result<Box<str>, Failure> {
    let mut away = Away::default();
    loop {
        let asked_at = Instant::now();
        let unclear = match chosen(visit, here).await {
            Ok(Ok(project)) => return Ok(project),
            Ok(Err(unclear)) => {
                away = Away::default();
                unclear
            }
            Err(trouble) if away.is_over(asked_at, &trouble) || is_over(deadline) => return Err(blind(trouble)),
            Err(_) => {
                sleep(PACE).await;
                continue;
            }
        };
        let is_ambiguous = unclear.meant == Meant::Any && !unclear.projects.is_empty();
        if is_ambiguous || began.elapsed() >= ABOUT_TO_APPEAR || is_over(deadline) {
            return Err(Failure::NotFound(which(&unclear)));
        }
        sleep(PACE).await;
    }
}

/// Since when the engine does not answer, which it did before.
#[derive(Default)]
struct Away(Option<Instant>);

impl Away {
    /// Whether it will not come back. It was asked then, and met this.
    fn is_over(&mut self, asked_at: Instant, trouble: &Trouble) -> bool {
        let since = *self.0.get_or_insert(asked_at);
        since.elapsed() >= ENGINE_AWAY_MOST || matches!(trouble, Trouble::Forbidden(_))
    }
}

/// Who looks, and what it remembers.
struct Watcher<'a> {
    visit: Visit,
    project: Box<str>,
    address: Option<&'a Address>,
    vigil: Vigil,
    heard: Heard,
    /// What the compose files were last seen to define.
    defined: Option<Vec<Definition>>,
    /// Whether it was said that they cannot be read.
    is_told: bool,
    /// Whether it was said who is not waited for.
    passed_over: bool,
    deadline: Option<Instant>,
    /// What the address said when it was last asked.
    said: Option<Said>,
    progress: Progress,
    /// Of what is said last.
    paint: Paint,
}

/// What a look came to.
enum Step {
    Ready,
    /// By what some have answered earlier: they are asked once more, at once.
    ReadyByHearsay,
    Waiting,
}

impl Watcher<'_> {
    async fn wait(mut self) -> Result<(), Failure> {
        let deadline = self.deadline;
        let (mut last, mut away) = (None, Away::default());
        loop {
            let looked_at = Instant::now();
            match self.visit.glance(&self.project, &self.heard).await {
                Ok(mut project) => {
                    away = Away::default();
                    match self.step(&mut project).await? {
                        Step::Ready => return Ok(()),
                        Step::ReadyByHearsay => continue,
                        Step::Waiting => last = Some(project),
                    }
                }
                // Of who was never seen, there is nothing else to say.
                Err(trouble) if away.is_over(looked_at, &trouble) || last.is_none() && is_over(deadline) => {
                    return Err(blind(trouble));
                }
                Err(_) => {}
            }
            if is_over(deadline) {
                return Err(Failure::TimedOut(self.left(last).await));
            }
            let next = looked_at + PACE;
            sleep_until(deadline.map_or(next, |deadline| deadline.min(next)).into()).await;
        }
    }

    async fn step(&mut self, project: &mut Project) -> Result<Step, Failure> {
        if self.vigil.needs_definitions(project) {
            self.read_definitions(project).await;
        }
        self.pass_over(project);
        let by_hearsay = self.heard.spoke_for(project);
        self.heard.note(project);
        let (awaited, verdict) = self.vigil.judge(project, Instant::now());
        let mut rows: Vec<Row> = awaited.iter().map(Row::of).collect();
        if verdict == Verdict::Ready
            && let Some(address) = self.address
        {
            let left = self.deadline.map_or(ANSWER_MOST, |deadline| deadline.saturating_duration_since(Instant::now()));
            let limit = left.clamp(visit::EXCHANGE_LIMIT, ANSWER_MOST);
            let answer = visit::ask_for(address, project.has_own(&address.path), limit).await;
            self.said = Some(answer.as_ref().map_or_else(Said::nothing, Said::of));
        }
        rows.extend(self.address.zip(self.said.as_ref()).map(|(address, said)| Row::of_answer(address, said)));
        self.progress.show(&rows);
        match verdict {
            Verdict::Ready => match (self.address, &self.said) {
                (Some(address), Some(Said::OnlyToTls)) => Err(Failure::Pointless(format!(
                    "{} only sends on to HTTPS, which says nothing of the service: name that address",
                    line(&address.to_string())
                ))),
                (Some(_), said) if !said.as_ref().is_some_and(Said::is_good) => Ok(Step::Waiting),
                _ if by_hearsay => {
                    self.heard = Heard::default();
                    Ok(Step::ReadyByHearsay)
                }
                _ => Ok(Step::Ready),
            },
            Verdict::Waiting => Ok(Step::Waiting),
            Verdict::Pointless(service) => {
                let service = service.to_owned();
                self.visit.read_logs(project).await;
                let is = if project.has(&service) { "is down" } else { "has no container" };
                let headline = format!("{} {is}", line(&service));
                Err(Failure::Pointless(headline + &self.cause(project, &service)))
            }
            Verdict::Unknown(service) => Err(Failure::NotFound(unknown(project, service))),
            Verdict::Nothing => Err(Failure::NotFound(format!("{} has no service to wait for", line(&self.project)))),
        }
    }

    async fn read_definitions(&mut self, project: &mut Project) {
        self.visit.read_definitions(project).await;
        project.remember(&mut self.defined);
        // Without containers there are no labels to say where the files are.
        if let Some(why) = project.undefined.as_ref().filter(|_| !project.members.is_empty())
            && !self.is_told
        {
            self.is_told = true;
            note(&format!(
                "the compose files could not be read ({}), so a service without a container is waited for only where \
                 another one's labels need it",
                line(&why.to_string())
            ));
        }
    }

    /// Says who is not waited for, though nobody can tell whether it is meant.
    fn pass_over(&mut self, project: &Project) {
        let names: Vec<String> = self.vigil.leftovers(project).into_iter().map(line).collect();
        if !names.is_empty() && !self.passed_over {
            self.passed_over = true;
            note(&format!(
                "not waited for, since the last `up` did not start it: {} (name it to wait for it)",
                names.join(", ")
            ));
        }
    }

    /// Who was not ready when time was up, and why the first of them was not.
    async fn left(&mut self, last: Option<Project>) -> String {
        // There was a look, or an error would have been returned.
        let Some(mut project) = last else { return String::new() };
        self.visit.read_logs(&mut project).await;
        let (awaited, _) = self.vigil.judge(&project, Instant::now());
        let late: Vec<&Awaited<'_>> = awaited.iter().filter(|it| !it.is_ready()).collect();
        let names = late.iter().map(|it| line(it.service)).collect::<Vec<_>>().join(", ");
        match (late.first(), self.address) {
            (Some(first), _) => {
                let first = first.service.to_owned();
                format!("not ready: {names}{}", self.cause(&project, &first))
            }
            (None, Some(address)) => {
                let said = self.said.as_ref().map_or_else(|| "not asked yet".to_owned(), Said::to_string);
                format!("all services are ready, but not {}: {said}", line(&address.to_string()))
            }
            (None, None) => "the services were not ready for long enough".to_owned(),
        }
    }

    /// The first finding about a service, and the last that it wrote.
    fn cause(&self, project: &Project, service: &str) -> String {
        let now = Instant::now();
        let mut members = project.services().into_iter().filter(|member| member.service() == service);
        let is_well = |member: &&Member| matches!(project.standing(member), Standing::Well | Standing::Done);
        let member = members.find(|member| !is_well(member));
        let finding = match member {
            Some(member) => of_member(project, member, now).into_iter().next(),
            None => {
                examine(project, now).into_iter().find(|it| it.service.as_deref() == Some(service)).map(|it| it.finding)
            }
        };
        let mut text = String::new();
        if let Some(finding) = finding {
            text.push_str("\n\n");
            // A string takes whatever is written into it.
            let _ = report::finding(&mut text, &finding, self.paint);
        }
        let log = member.map_or(&[][..], |member| &member.log);
        // All of them, since a secret may have begun before those that are shown.
        let clean = redact_lines(log.iter().map(|line| &**line));
        if !clean.is_empty() {
            text.push_str("\n  The last lines of its log:\n");
        }
        for shown in &clean[clean.len().saturating_sub(LINES_SHOWN)..] {
            text.push_str(&format!("    {}\n", line(shown)));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// Says something that is not about how far the waiting has got. Standard error may be closed.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "anteroom: {text}");
}

/// Whether time is up.
fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// What an answer says of the service behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Good(u16),
    /// A login's (401, 403), or an error.
    Bad(u16),
    /// It came from whoever takes all other paths, though this one is somebody's own.
    FromAnother(u16),
    OnlyToTls,
    /// Nothing, and why.
    Nothing(String),
}

impl Said {
    fn nothing(failure: &Unanswered) -> Self {
        let why = facts::failure(failure).to_string();
        let hint =
            if matches!(failure, Unanswered::Tls { .. }) { " (SSL_CERT_FILE can name the root to trust)" } else { "" };
        Self::Nothing(format!("{}{hint}", line(&why)))
    }

    fn of(answered: &Answered) -> Self {
        match answered.status {
            _ if answered.only_to_tls => Self::OnlyToTls,
            status @ 200..=299 if answered.like_any_path => Self::FromAnother(status),
            status @ 200..=399 => Self::Good(status),
            status => Self::Bad(status),
        }
    }

    fn is_good(&self) -> bool {
        matches!(self, Self::Good(_))
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(status) | Self::Bad(status) => write!(f, "{status}"),
            Self::FromAnother(status) => write!(f, "{status} from another service, as for any path"),
            Self::OnlyToTls => f.write_str("sends on to HTTPS"),
            Self::Nothing(why) => f.write_str(why),
        }
    }
}

fn unknown(project: &Project, service: &str) -> String {
    let mut names: Vec<String> = project.services().iter().map(|member| line(member.service())).collect();
    names.dedup();
    format!("there is no service {} in {}; there are {}", line(service), line(&project.name), names.join(", "))
}
