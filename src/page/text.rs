//! The page for a terminal: plain lines, at most [`WIDTH`] columns except for commands, which must stay whole.

use std::fmt::{self, Display, Formatter};

use super::chain::{Look, break_of};
use super::html::how_long;
use super::problem::{Fact, Finding};
use super::view::{Situation, View};
use crate::config::Support;

/// In columns; fits into any terminal window that logs are read in.
const WIDTH: usize = 100;
/// In columns; names of evidence are padded to the longest, but not further than this.
const NAMES: usize = 28;

/// The whole text.
pub(super) fn write(view: &View) -> String {
    Text(view).to_string()
}

struct Text<'a>(&'a View);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let (words, problem) = (view.words, &view.problem);
        wrap(f, "", &view.sentence)?;
        if problem.simulated {
            wrap(f, "", words.simulated)?;
        }
        if let Some(note) = &view.note {
            wrap(f, "", note)?;
        }
        if let Some(Support::Words(text) | Support::Link { shown: text, .. }) = &view.support {
            wrap(f, "", &format!("{}{}{text}", words.support, words.colon))?;
        }
        for found in &problem.findings {
            writeln!(f)?;
            finding(f, view, found)?;
        }
        if view.detailed {
            chain(f, view)?;
        }
        if view.detailed && problem.findings.is_empty() && view.situation != Situation::Back {
            wrap(f, "", words.no_finding)?;
        }
        printed(f, words.log, words.colon, &problem.log)?;
        if let Some(target) = &problem.target {
            printed(f, words.health_output, words.colon, &target.health_output)?;
        }
        writeln!(f)?;
        if view.situation == Situation::Starting && view.progress.is_some() {
            wrap(f, "", &how_long(view))?;
        }
        if let Some(engine) = &view.engine {
            wrap(f, "", &format!("{}{}{engine}", words.fact.engine, words.colon))?;
        }
        // Who asks how things stand speaks of no request.
        if view.request_id.is_empty() {
            return Ok(());
        }
        writeln!(f, "{}{}{}", words.reference, words.colon, view.request_id)
    }
}

/// What a program printed, a line each: whoever searches it wants to find it whole.
fn printed(f: &mut Formatter<'_>, heading: &str, colon: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{heading}{}", colon.trim_end())?;
    // Marked, so that nothing a program printed looks like a line of ours.
    lines.iter().try_for_each(|line| writeln!(f, "    | {line}"))
}

fn finding(f: &mut Formatter<'_>, view: &View, found: &Finding) -> fmt::Result {
    let words = view.words;
    wrap(f, "", &format!("{} {}{}{}", found.weight, found.code, words.colon, found.title))?;
    let width = found.evidence.iter().map(|fact| width(fact.label)).max().unwrap_or_default().min(NAMES);
    for Fact { label, value, .. } in &found.evidence {
        let gap = width.saturating_sub(self::width(label)) + 2;
        wrap(f, "    ", &format!("{label}{:gap$}{value}", ""))?;
    }
    for remedy in &found.remedies {
        let permanent = if remedy.permanent { format!(" ({})", words.permanent) } else { String::new() };
        writeln!(f)?;
        wrap(f, "  ", &format!("{}{permanent}", remedy.effect))?;
        match &remedy.command {
            None => wrap(f, "    ", words.unshowable)?,
            Some(command) => command.split('\n').try_for_each(|line| writeln!(f, "    {line}"))?,
        }
    }
    Ok(())
}

/// The way of a request, a station a line, with a mark where it breaks.
fn chain(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let (words, links) = (view.words, &view.problem.chain);
    let broken = break_of(links);
    writeln!(f, "\n{}{}", words.chain, words.colon.trim_end())?;
    for (index, link) in links.iter().enumerate() {
        let mark = match link.look {
            Look::Passes => "✓",
            Look::Waits => "…",
            Look::Broken => "✗",
        };
        let here = if broken == Some(index) { format!("{}{}", words.colon, words.breaks_here) } else { String::new() };
        wrap(f, "  ", &format!("{mark} {} ({}){here}", link.name, link.note))?;
    }
    Ok(())
}

/// Writes words over as many lines as they need. Runs of spaces inside a line stay, since they align columns.
pub(crate) fn wrap(f: &mut impl fmt::Write, indent: &str, text: &str) -> fmt::Result {
    let mut column = indent.len();
    f.write_str(indent)?;
    for (index, mut piece) in pieces(text).enumerate() {
        if index > 0 && column + width(piece) > WIDTH {
            write!(f, "\n{indent}  ")?;
            column = indent.len() + 2;
            piece = piece.trim_start_matches(' ');
        }
        f.write_str(piece)?;
        column += width(piece);
    }
    writeln!(f)
}

/// A text in pieces that stay whole: words, each with the space before it, and single East Asian characters, each with
/// the punctuation behind it, which begins no line, and the bracket before it, which ends none.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let begins = |c: char| c == ' ' || columns(c) == 2 && !"，。：；、）".contains(c);
    let holds = |before: &str, c: char| c != ' ' && before.ends_with(['(', '（']);
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut inside = rest.char_indices().skip(1);
        let end = inside.find(|(at, c)| begins(*c) && !holds(&rest[..*at], *c)).map_or(rest.len(), |(at, _)| at);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// In columns.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// How wide a terminal shows a character: East Asian ones (UAX #11, their blocks in the large) take two columns.
pub(crate) fn columns(c: char) -> usize {
    match c {
        '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' => 2,
        '\u{ff00}'..='\u{ff60}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Detail, Support};
    use crate::page::{Audience, Brand, Format, fixtures, render};

    #[test]
    fn a_terminal_is_told_the_sentence_the_finding_its_evidence_and_the_command() {
        let text = render(&fixtures::exited(), &fixtures::someone(Detail::State), Format::Text).body;
        assert_eq!(
            text,
            "\
Analytics is not available right now.

error target-exited: The container cvat_grafana has exited with code 1, and nothing will start it
  again.
    exit code       1 (an error of the application)
    restart policy  no
    finished        2026-11-23T17:20:55Z

  Starts the container again.
    cd /home/annotation/cvat &&
    docker compose -p cvat -f docker-compose.yml -f docker-compose.override.yml up -d cvat_grafana

  Lets the engine start it again after every exit and every reboot. Put it into
    docker-compose.override.yml. (permanent)
    services:
      cvat_grafana:
        restart: always

Path of a request:
  ✓ Traefik (passed it on)
  ✓ anteroom (sent this page)
  ✗ cvat_grafana (exited, exit code 1): It breaks here.

Container engine: Answers, version 27.5.1
Reference: 01926a1f-7c3e-7b60-9d2e-5b1f0c4a8e37
"
        );
    }

    #[test]
    fn prose_stays_within_a_hundred_columns() {
        for reader in fixtures::everyone(Detail::State) {
            for diagnosis in [fixtures::warming(), fixtures::exited(), fixtures::no_engine(), fixtures::broken()] {
                let text = render(&diagnosis, &reader, Format::Text).body;
                for line in text.lines() {
                    assert!(line.chars().map(super::columns).sum::<usize>() <= 100, "{line}");
                }
            }
        }
    }

    #[test]
    fn a_terminal_is_told_whom_to_ask() {
        let link = Support::Link { target: "mailto:ops@example.org".into(), shown: "ops@example.org".into() };
        let brand = Brand::default().with_words(Some(link), Some("Backups run on Sundays.".into()));
        let reader = Audience { brand: &brand, ..fixtures::someone(Detail::Summary) };
        let text = render(&fixtures::exited(), &reader, Format::Text).body;
        let start = "Analytics is not available right now.\nBackups run on Sundays.\nWhom to ask: ops@example.org\n\n";
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn a_terminal_is_told_in_its_language() {
        let reader = fixtures::everyone(Detail::Summary).nth(1).expect("a second language");
        let text = render(&fixtures::exited(), &reader, Format::Text).body;
        assert_eq!(
            text,
            "分析服务目前不可用。\n\n错误 target-exited：服务已停止\n\n编号：01926a1f-7c3e-7b60-9d2e-5b1f0c4a8e37\n"
        );
    }

    #[test]
    fn names_of_every_language_are_aligned() {
        let reader = fixtures::everyone(Detail::State).nth(1).expect("a second language");
        let text = render(&fixtures::exited(), &reader, Format::Text).body;
        let rows =
            "    退出码    1 (an error of the application)\n    重启策略  no\n    结束时间  2026-11-23T17:20:55Z\n";
        assert!(text.contains(rows), "{text}");
    }

    #[test]
    fn a_line_without_spaces_is_broken_too_but_not_before_its_punctuation() {
        struct Wrapped(String);
        impl std::fmt::Display for Wrapped {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                super::wrap(f, "  ", &self.0)
            }
        }
        for (end, first, second) in [("容。器", "", "容。器"), (" (容器)", "", "(容器)"), ("a容。器", "a", "容。器")]
        {
            let full = "容".repeat(if first.is_empty() { 48 } else { 47 });
            let lines = format!("  {full}{first}\n    {second}\n");
            assert_eq!(Wrapped(format!("{full}{end}")).to_string(), lines);
        }
    }

    #[test]
    fn no_hostile_string_reaches_the_terminal() {
        let text = render(&fixtures::hostile(), &fixtures::someone(Detail::Full), Format::Text).body;
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
        assert!(text.len() < 64 * 1024);
    }

    #[test]
    fn a_summary_is_the_sentence_the_code_and_the_reference() {
        let text = render(&fixtures::exited(), &fixtures::someone(Detail::Summary), Format::Text).body;
        assert_eq!(
            text,
            "Analytics is not available right now.\n\nerror target-exited: The service has stopped\n\n\
             Reference: 01926a1f-7c3e-7b60-9d2e-5b1f0c4a8e37\n"
        );
    }
}
