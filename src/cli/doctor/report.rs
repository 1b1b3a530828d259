//! The doctor's report for a terminal: the services as a table, then what is wrong, first causes first.

use std::fmt::{self, Display, Formatter};

use crate::cli::paint::{BOLD, GREEN, Paint, RED, YELLOW};
use crate::diagnosis::deployment::Located;
use crate::diagnosis::{Confidence, Finding, Remedy, Severity};
use crate::evidence::{Container, Engine, Status};
use crate::page::foreign::{self, line};
use crate::page::text::{columns, wrap};
use crate::project::{Member, Project, Reach, Standing};

/// Rows of evidence that are shown of a finding: those that decided it stand first.
const EVIDENCE_MOST: usize = 6;

/// What is printed.
pub(super) struct Report<'a> {
    project: &'a Project,
    findings: &'a [Located],
    paint: Paint,
}

impl<'a> Report<'a> {
    pub(super) fn of(project: &'a Project, findings: &'a [Located], paint: Paint) -> Self {
        Self { project, findings, paint }
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { project, findings, paint } = self;
        let version = match &project.engine {
            Engine::Available { version } => line(version),
            _ => "unknown".to_owned(),
        };
        writeln!(f, "Project {}, engine {version}\n", line(&project.name))?;
        self.table(f)?;
        if let Some(asked) = &project.asked {
            let answer = match &asked.outcome {
                Ok(answered) => answered.status.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            writeln!(f, "\n{} → {answer}", line(&asked.url))?;
        }
        if let Some(url) = &project.unasked {
            writeln!(f, "\n{} was not asked: there are no roots here by which to trust a certificate.", line(url))?;
        }
        if let Some(why) = &project.undefined {
            let unknown = "so leftovers are not known, and of what was never started only what others need";
            writeln!(f)?;
            wrap(f, "", &format!("The compose files could not be read ({}), {unknown}.", line(&why.to_string())))?;
        }
        for located in *findings {
            writeln!(f)?;
            finding(f, &located.finding, *paint)?;
        }
        let wrong = findings.iter().filter(|it| it.finding.severity > Severity::Info).count();
        let verdict = match wrong {
            0 => paint.put(GREEN, "Nothing is wrong."),
            1 => paint.put(RED, "1 finding."),
            many => paint.put(RED, &format!("{many} findings, the first cause first.")),
        };
        write!(f, "\n{verdict}")
    }
}

impl Report<'_> {
    fn table(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let heading = ["service", "state", "health", "restarts", "answers"].map(str::to_owned);
        let rows: Vec<(Option<Standing>, [String; 5])> = std::iter::once((None, heading))
            .chain(self.project.services().into_iter().map(|it| (Some(self.project.standing(it)), row(it))))
            .collect();
        let width = |column: usize| rows.iter().map(|(_, row)| wide(&row[column])).max().unwrap_or_default();
        let widths: Vec<usize> = (0..4).map(width).collect();
        for (standing, row) in &rows {
            let mark = match standing {
                None => " ".to_owned(),
                Some(Standing::Well | Standing::Done) => self.paint.put(GREEN, "✓"),
                Some(Standing::Coming) => self.paint.put(YELLOW, "…"),
                Some(Standing::Hopeless) => self.paint.put(RED, "✗"),
            };
            write!(f, "{mark} ")?;
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "{cell}{:1$}  ", "", width - wide(cell))?;
            }
            writeln!(f, "{}", row[4])?;
        }
        Ok(())
    }
}

/// Columns of a terminal.
pub(in crate::cli) fn wide(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn row(member: &Member) -> [String; 5] {
    let Container { status, exit_code, health, restart_count, .. } = &member.container;
    let state = match status {
        Status::Exited | Status::Restarting => format!("{} ({exit_code})", status.as_str()),
        status => status.as_str().to_owned(),
    };
    let health = health.as_ref().map_or("-", |health| health.status.as_str());
    let answers = match &member.reach {
        Reach::Untried => "-".to_owned(),
        Reach::Answers { port } => format!("on {port}"),
        Reach::Fails { port, .. } => format!("not on {port}"),
    };
    [line(member.service()), state, health.to_owned(), restart_count.to_string(), answers]
}

/// One finding with its evidence and its remedies.
pub(in crate::cli) fn finding(f: &mut impl fmt::Write, found: &Finding, paint: Paint) -> fmt::Result {
    let colour = match found.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Info => BOLD,
    };
    let weight = found.severity.as_str();
    let sure = match found.confidence {
        Confidence::Certain => String::new(),
        unsure => format!(", {}", unsure.as_str()),
    };
    let mut text = String::new();
    wrap(&mut text, "", &format!("{weight}{sure} {}: {}", found.code.as_str(), line(&found.title.to_string())))?;
    f.write_str(&text.replacen(weight, &paint.put(colour, weight), 1))?;
    let shown = &found.evidence[..found.evidence.len().min(EVIDENCE_MOST)];
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in shown {
        wrap(f, "    ", &format!("{name:width$}  {}", line(&value.to_string())))?;
    }
    found.remedies.iter().try_for_each(|it| remedy(f, it, paint))
}

fn remedy(f: &mut impl fmt::Write, remedy: &Remedy, paint: Paint) -> fmt::Result {
    let permanent = if remedy.permanent { " (for good)" } else { "" };
    writeln!(f)?;
    wrap(f, "  ", &format!("{}{permanent}", line(&remedy.effect.to_string())))?;
    match foreign::command(&remedy.command) {
        Some(command) => command.split('\n').try_for_each(|line| writeln!(f, "    {}", paint.put(BOLD, line))),
        None => wrap(f, "    ", "There is a command, but it cannot be shown as it is."),
    }
}
