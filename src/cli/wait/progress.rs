//! How far the waiting has got: on a terminal a line for each service, drawn anew in its place; elsewhere a line whenever
//! one of them changes, so that the log of a deployment tells what happened and nothing twice.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use super::Said;
use crate::cli::doctor::report::wide;
use crate::cli::paint::{GREEN, Paint, RED, YELLOW, is_dumb};
use crate::evidence::{Container, HealthStatus, Status};
use crate::page::foreign::line;
use crate::page::text::columns;
use crate::project::awaited::Awaited;
use crate::project::{Address, Member, Reach, Standing};

/// Rows and columns of a terminal that does not tell its own.
const SIZE: (usize, usize) = (24, 80);

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    name: String,
    /// `None`: there is no container.
    standing: Option<Standing>,
    /// What can be seen of it, in two or three words.
    detail: String,
}

impl Row {
    pub(super) fn of(awaited: &Awaited<'_>) -> Self {
        // Of several containers, the one that is told of is the one to worry about.
        let unwell = awaited.members.iter().find(|member| !is_settled(member));
        let member = unwell.or(awaited.members.first());
        Self {
            name: line(awaited.service),
            standing: awaited.standing,
            detail: member.map_or_else(|| "no container".to_owned(), |member| detail(member)),
        }
    }

    pub(super) fn of_answer(address: &Address, said: &Said) -> Self {
        let standing = if said.is_good() { Standing::Well } else { Standing::Coming };
        Self { name: line(&address.to_string()), standing: Some(standing), detail: said.to_string() }
    }

    fn word(&self) -> &'static str {
        self.standing.map_or("absent", Standing::as_str)
    }
}

/// What was shown so far.
pub(super) struct Progress {
    began: Instant,
    /// Whether lines can be drawn again.
    terminal: bool,
    paint: Paint,
    told: HashMap<String, Option<Standing>>,
    /// Lines that are on the terminal.
    drawn: usize,
}

impl Progress {
    pub(super) fn start(began: Instant, environment: &[(String, String)]) -> Self {
        let terminal = io::stdout().is_terminal() && !is_dumb(environment);
        Self { began, terminal, paint: Paint::of(terminal, environment), told: HashMap::new(), drawn: 0 }
    }

    /// Shows how things are now. Who closed the pipe is still waited for.
    pub(super) fn show(&mut self, rows: &[Row]) {
        let text = if self.terminal { self.drawing(rows, size()) } else { self.news(rows) };
        let _ = io::stdout().write_all(text.as_bytes());
        let _ = io::stdout().flush();
    }

    fn news(&mut self, rows: &[Row]) -> String {
        let after = self.began.elapsed().as_secs_f32();
        let mut text = String::new();
        for row in rows {
            if self.told.insert(row.name.clone(), row.standing) != Some(row.standing) {
                text.push_str(&format!("{}: {} after {after:.1} s ({})\n", row.name, row.word(), row.detail));
            }
        }
        text
    }

    /// From the first line of the last drawing on. A terminal that is too low shows those that are not ready yet.
    fn drawing(&mut self, rows: &[Row], (height, width): (usize, usize)) -> String {
        let room = height.saturating_sub(2).max(1);
        let is_ready = |row: &&Row| matches!(row.standing, Some(Standing::Well | Standing::Done));
        let mut shown: Vec<&Row> = rows.iter().collect();
        if shown.len() > room {
            shown = rows.iter().filter(|row| !is_ready(row)).chain(rows.iter().filter(is_ready)).take(room).collect();
        }
        let names = shown.iter().map(|row| wide(&row.name)).max().unwrap_or_default();
        let mut lines: Vec<String> = shown.iter().map(|row| self.line(row, names, width)).collect();
        if rows.len() > shown.len() {
            lines.push(format!("  and {} more", rows.len() - shown.len()));
        }
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let lines: String = lines.iter().map(|line| format!("\r\x1b[K{line}\n")).collect();
        // What was below is gone if there are fewer of them now.
        format!("{up}{lines}\x1b[J")
    }

    fn line(&self, row: &Row, names: usize, width: usize) -> String {
        let (mark, colour) = match row.standing {
            Some(Standing::Well | Standing::Done) => ("✓", GREEN),
            Some(Standing::Coming) | None => ("…", YELLOW),
            Some(Standing::Hopeless) => ("✗", RED),
        };
        let gap = names - wide(&row.name);
        let text = format!("{}{:gap$}  {} ({})", row.name, "", row.word(), row.detail);
        // A line that is broken in two could not be drawn again.
        format!("{} {}", self.paint.put(colour, mark), cut(&text, width.saturating_sub(3)))
    }
}

fn cut(text: &str, width: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += columns(*c);
        taken > width
    });
    end.map_or(text, |(end, _)| &text[..end])
}

fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok();
    told.map(|size| (size.ws_row.into(), size.ws_col.into()))
        .filter(|(rows, columns)| *rows > 0 && *columns > 0)
        .unwrap_or(SIZE)
}

fn is_settled(member: &Member) -> bool {
    let Container { status, exit_code, health, .. } = &member.container;
    let ails = health.as_ref().is_some_and(|health| health.status != HealthStatus::Healthy);
    let fails = matches!(member.reach, Reach::Fails { .. });
    *status == Status::Running && !ails && !fails || *status == Status::Exited && *exit_code == 0
}

fn detail(member: &Member) -> String {
    let Container { status, exit_code, health, .. } = &member.container;
    match (status, health.as_ref().map(|health| health.status), &member.reach) {
        (Status::Exited | Status::Restarting, _, _) => format!("{}, exit code {exit_code}", status.as_str()),
        (Status::Running, Some(HealthStatus::Starting), _) => "starting".to_owned(),
        (Status::Running, Some(HealthStatus::Unhealthy), _) => "unhealthy".to_owned(),
        (Status::Running, _, Reach::Fails { port, .. }) => format!("no answer on {port}"),
        (Status::Running, Some(HealthStatus::Healthy), _) => "healthy".to_owned(),
        (Status::Running, None, Reach::Answers { port }) => format!("answers on {port}"),
        (status, _, _) => status.as_str().to_owned(),
    }
}
