//! The operator's part of the HTML page: findings with their remedies, the way of a request, the timeline, the
//! target's facts. The order is that of a search for a fault: what it is, what to do, how we know.

use std::fmt::{self, Display, Formatter};

use super::chain::{ABSENT, break_of};
use super::drawing::{Drawing, class};
use super::foreign::Escaped;
use super::html::age;
use super::problem::{FINDINGS, Fact, Finding, Remedy, Target};
use super::view::{Situation, View};
use super::words::Words;
use crate::diagnosis::Code;

/// Displays as one folded section.
pub(super) struct Operator<'a>(pub &'a View);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(view) = self;
        let words = view.words;
        let open = if view.unfolded || view.situation == Situation::Down { " open" } else { "" };
        write!(f, "<details class=\"operator\"{open}>\n<summary><span>{}</span>", Escaped(words.operator))?;
        if let Some(root) = view.problem.findings.first() {
            write!(f, " <code>{}</code>", Escaped(root.code))?;
        }
        writeln!(f, "</summary>")?;
        if view.problem.findings.is_empty() && view.situation != Situation::Back {
            writeln!(f, "<section>\n<p>{}</p>\n</section>", Escaped(words.no_finding))?;
        }
        // That a request waited for as long as it may is plain to whoever sees the page.
        let beside = |found: &Finding| found.code == Code::PatienceEnded.as_str();
        let shown = view.problem.findings.iter().enumerate().filter(|(rank, found)| *rank == 0 || !beside(found));
        for (rank, found) in shown {
            let heading = if rank == 0 { words.cause } else { words.also };
            finding(f, view, found, heading)?;
        }
        chain(f, view)?;
        timeline(f, view)?;
        printed(f, words.log, &view.problem.log)?;
        facts(f, view)?;
        writeln!(f, "</details>")
    }
}

fn finding(f: &mut Formatter<'_>, view: &View, found: &Finding, heading: &str) -> fmt::Result {
    let words = view.words;
    let code = Escaped(found.code);
    writeln!(
        f,
        "<section class=\"finding {}\">\n<h2>{} <a href=\"{FINDINGS}{code}\" rel=\"noreferrer\"><code>{code}</code></a> \
         <span class=\"severity\">{}</span></h2>\n<p class=\"title\">{}</p>",
        found.severity,
        Escaped(heading),
        Escaped(&found.weight),
        Escaped(&found.title),
    )?;
    let told: Vec<&Fact> = found.evidence.iter().filter(|fact| !is_told_below(fact, view)).collect();
    if !told.is_empty() {
        writeln!(f, "<table>")?;
        for fact in told {
            writeln!(f, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escaped(fact.label), Escaped(&fact.value))?;
        }
        writeln!(f, "</table>")?;
    }
    if !found.remedies.is_empty() {
        writeln!(f, "<h3>{}</h3>", Escaped(words.remedy))?;
    }
    found.remedies.iter().try_for_each(|mends| remedy(f, words, mends))?;
    writeln!(f, "</section>")
}

/// Whether a row stands among the facts of the target as well, where it decides nothing.
fn is_told_below(fact: &Fact, view: &View) -> bool {
    let Some(target) = &view.problem.target else { return false };
    let value = Some(fact.value.as_str());
    match fact.name {
        "container" => value == Some(&target.name),
        "image" => value == Some(&target.image),
        "networks" => fact.value == networks(view.words, target),
        "project" => value == target.project.as_deref(),
        "service" => value == target.service.as_deref(),
        "started" => value == target.started.as_deref(),
        "finished" => value == target.finished.as_deref(),
        _ => false,
    }
}

/// In one line, as the rules' own list of them.
fn networks(words: &Words, target: &Target) -> String {
    target.networks.join(words.phrases.find(", "))
}

fn remedy(f: &mut Formatter<'_>, words: &Words, mends: &Remedy) -> fmt::Result {
    write!(f, "<div class=\"remedy\">\n<p><span>{}</span>", Prose(&mends.effect))?;
    if mends.permanent {
        write!(f, " <span class=\"permanent\">{}</span>", Escaped(words.permanent))?;
    }
    writeln!(f, "</p>")?;
    match &mends.command {
        None => writeln!(f, "<p>{}</p>", Escaped(words.unshowable))?,
        Some(command) => {
            // In one piece for the button, and for whoever searches the source of the page.
            write!(f, "<div class=\"command\"><pre><code data-command=\"{}\">", Escaped(command))?;
            command.split_inclusive('\n').try_for_each(|line| command_line(f, line))?;
            // Without scripts there is nothing to press.
            writeln!(f, "</code></pre><button type=\"button\" hidden>{}</button></div>", Escaped(words.copy))?;
        }
    }
    writeln!(f, "</div>")
}

/// A sentence of ours in which code stands between backticks.
struct Prose<'a>(&'a str);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            match index % 2 {
                0 => write!(f, "{}", Escaped(part))?,
                _ => write!(f, "<code>{}</code>", Escaped(part))?,
            }
        }
        Ok(())
    }
}

/// One block a line, so that a long line is wrapped under its own beginning, and one box a word, so that none is
/// broken at its hyphens (`--` and `remove-orphans` are not what will run). Spaces and line feeds stay inside, so
/// that what is copied is the command.
fn command_line(f: &mut Formatter<'_>, line: &str) -> fmt::Result {
    write!(f, "<span>")?;
    let mut start = 0;
    for (space, _) in line.match_indices(' ').chain([(line.len(), "")]) {
        let word = line[start..space].trim_end();
        // An option and its value are read together.
        if matches!(word, "-f" | "-p") && space < line.len() {
            continue;
        }
        if !word.is_empty() {
            write!(f, "<i>{}</i>", Escaped(word))?;
        }
        let next = (space + 1).min(line.len());
        f.write_str(&line[start + word.len()..next])?;
        start = next;
    }
    write!(f, "</span>")
}

/// As a picture and as a list: the list is for those who hear the page, and for pages that are too narrow to draw on.
fn chain(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let (words, links) = (view.words, &view.problem.chain);
    writeln!(f, "<section>\n<h2>{}</h2>", Escaped(words.chain))?;
    writeln!(f, "{}<ol class=\"chain\">", Drawing { links, words })?;
    let broken = break_of(links);
    for (index, link) in links.iter().enumerate() {
        let look = class(link.look);
        write!(f, "<li class=\"{look}\"><b>{}</b> <span>{}</span>", Escaped(&link.name), Escaped(&link.note))?;
        if broken == Some(index) {
            write!(f, " <strong>{}</strong>", Escaped(words.breaks_here))?;
        }
        writeln!(f, "</li>")?;
    }
    writeln!(f, "</ol>\n</section>")
}

fn timeline(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let words = view.words;
    if view.problem.timeline.is_empty() {
        return Ok(());
    }
    writeln!(f, "<section>\n<h2>{}</h2>\n<ol class=\"timeline\">", Escaped(words.timeline))?;
    for event in &view.problem.timeline {
        write!(f, "<li>{} <b>{}</b>", Time(&event.at), Escaped(&event.action))?;
        if let Some(code) = event.exit_code {
            write!(f, " <span>{} {code}</span>", Escaped(words.exit_code))?;
        }
        writeln!(f, " <span class=\"ago\">{}</span></li>", age(view, event.ago))?;
    }
    writeln!(f, "</ol>\n</section>")
}

/// What a program printed: its words, in whatever language.
fn printed(f: &mut Formatter<'_>, heading: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    write!(f, "<section>\n<h2>{}</h2>\n<pre class=\"printed\" lang=\"\">", Escaped(heading))?;
    lines.iter().try_for_each(|line| writeln!(f, "{}", Escaped(line)))?;
    writeln!(f, "</pre>\n</section>")
}

fn facts(f: &mut Formatter<'_>, view: &View) -> fmt::Result {
    let words = view.words;
    if let Some(target) = &view.problem.target {
        let heading = if view.gone { words.last_known } else { words.facts };
        writeln!(f, "<section>\n<h2>{}</h2>\n<dl>", Escaped(heading))?;
        target_facts(f, view, target)?;
        writeln!(f, "</dl>\n</section>")?;
        printed(f, words.health_output, &target.health_output)?;
    }
    if let Some(engine) = &view.engine {
        writeln!(
            f,
            "<section>\n<h2>{}</h2>\n<p class=\"engine\">{}</p>\n</section>",
            Escaped(words.fact.engine),
            Escaped(engine)
        )?;
    }
    Ok(())
}

fn target_facts(f: &mut Formatter<'_>, view: &View, target: &Target) -> fmt::Result {
    let (words, names) = (view.words, &view.words.fact);
    fact(f, names.container, format_args!("{} <code>{}</code>", Escaped(&target.name), Escaped(&target.id)))?;
    // While it runs, the engine's exit code is not that of this run; of one that ran until it was removed nobody knows it.
    match target.status {
        "created" | "running" | "paused" => fact(f, names.state, target.status)?,
        ABSENT if !target.has_ended => fact(f, names.state, words.phrases.find(ABSENT))?,
        status => {
            let status = if status == ABSENT { words.phrases.find(ABSENT) } else { status };
            let code = target.exit_code;
            fact(f, names.state, format_args!("{status}{}{} {code}", words.comma, Escaped(words.exit_code)))?;
        }
    }
    fact(f, names.oom_killed, Escaped(if target.oom_killed { names.yes } else { names.no }))?;
    fact(f, names.health, Escaped(target.health.unwrap_or(names.no_health_check)))?;
    fact(f, names.restarts, target.restart_count)?;
    fact(f, names.policy, Escaped(&target.restart_policy))?;
    let moments =
        [(names.started, &target.started, target.started_ago), (names.finished, &target.finished, target.finished_ago)];
    for (name, text, ago) in moments {
        match text {
            None => fact(f, name, Escaped(names.never))?,
            Some(text) => {
                fact(f, name, format_args!("{} <span class=\"ago\">{}</span>", Time(text), age(view, ago)))?;
            }
        }
    }
    fact(f, names.image, Escaped(&target.image))?;
    let networks = networks(words, target);
    fact(f, names.networks, Escaped(if networks.is_empty() { names.none } else { &networks }))?;
    if let (Some(project), Some(service)) = (&target.project, &target.service) {
        fact(f, names.project, Escaped(project))?;
        fact(f, names.service, Escaped(service))?;
    }
    Ok(())
}

pub(super) fn fact(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "<div><dt>{}</dt><dd>{value}</dd></div>", Escaped(name))
}

/// RFC 3339 in a form for eyes, if it is in UTC and cut to seconds, as ours is; otherwise as it was written.
struct Time<'a>(&'a str);

impl Display for Time<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let shape = text.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b });
        match (text.split_once('T'), text.strip_suffix('Z')) {
            (Some((date, _)), Some(start)) if shape.eq(*b"0000-00-00T00:00:00Z") => {
                write!(f, "<time datetime=\"{text}\">{date} {} UTC</time>", &start[date.len() + 1..])
            }
            _ => write!(f, "<time>{}</time>", Escaped(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Detail;
    use crate::evidence::{Status, Target};
    use crate::page::{Format, fixtures, render};

    #[test]
    fn a_command_of_several_lines_is_copied_line_by_line() {
        let page = render(&fixtures::not_shared(), &fixtures::someone(Detail::State), Format::Html).body;
        let code = page.split("<pre><code data-command=\"").nth(1).and_then(|rest| rest.split("</code>").next());
        let code = code.map(|code| code.replace("&amp;", "&")).unwrap_or_default();
        let (whole, block) = code.split_once("\">").expect("a command");
        assert_eq!(whole, fixtures::not_shared().findings[0].remedies[0].command);
        let selected =
            ["<span>", "</span>", "<i>", "</i>"].iter().fold(block.to_owned(), |text, tag| text.replace(tag, ""));
        assert_eq!(selected, whole, "selecting by hand gives the same");
        assert!(block.contains("<i>--remove-orphans</i>"));
    }

    #[test]
    fn a_command_that_cannot_be_shown_exactly_is_not_offered() {
        let page = render(&fixtures::hostile(), &fixtures::someone(Detail::State), Format::Html).body;
        assert!(page.contains("cannot be shown here exactly"));
        assert_eq!(page.matches("<pre>").count(), 1);
        assert!(page.contains("<span><i>echo</i> <i>&#39;&lt;/code&gt;&lt;script&gt;&#39;</i></span>"));
    }

    #[test]
    fn the_facts_of_the_target_are_all_there() {
        let page = render(&fixtures::exited(), &fixtures::someone(Detail::State), Format::Html).body;
        for fact in [
            "cvat_grafana <code>5f3c8d21b9e0</code>",
            "exited, exit code 1",
            "no health check",
            "<dd>0</dd>",
            "<dd>no</dd>",
            "2026-11-23 17:18:55 UTC</time>",
            "1 h ago",
            "grafana/grafana-oss:10.1.2",
            "cvat_cvat",
            "<dd>cvat</dd>",
            "Answers, version 27.5.1",
        ] {
            assert!(page.contains(fact), "{fact}");
        }
    }

    #[test]
    fn one_that_was_removed_has_the_exit_code_of_a_run_that_was_seen_to_end() {
        let page = |diagnosis| render(&diagnosis, &fixtures::someone(Detail::State), Format::Html).body;
        let mut diagnosis = fixtures::absent();
        let ran = page(diagnosis.clone());
        assert!(ran.contains("<dd>absent</dd>") && !ran.contains("exit code"), "it ran when it was last seen: {ran}");
        let Target::Absent { last: Some(last) } = &mut diagnosis.evidence.target else { panic!("it was there") };
        Arc::make_mut(last).status = Status::Exited;
        Arc::make_mut(last).exit_code = 137;
        assert!(page(diagnosis).contains("<dd>absent, exit code 137</dd>"));
    }

    #[test]
    fn the_chain_is_marked_where_it_breaks() {
        let page = |diagnosis| render(&diagnosis, &fixtures::someone(Detail::State), Format::Html).body;
        assert!(page(fixtures::exited()).contains("<li class=\"bad\"><b>cvat_grafana</b>"));
        assert!(page(fixtures::warming()).contains("<li class=\"wait\"><b>cvat_grafana</b>"));
        assert!(page(fixtures::back()).contains("<li class=\"ok\"><b>cvat_grafana</b>"));
        assert!(page(fixtures::no_engine()).contains("<b>grafana:3000</b>"));
    }

    #[test]
    fn code_in_a_sentence_is_set_as_such() {
        assert_eq!(Prose("with the next `up -d`.").to_string(), "with the next <code>up -d</code>.");
        assert_eq!(Prose("a `<b>").to_string(), "a <code>&lt;b&gt;</code>");
    }

    #[test]
    fn what_stands_among_the_facts_is_not_said_twice() {
        let page = render(&fixtures::exited(), &fixtures::someone(Detail::State), Format::Html).body;
        assert_eq!(page.matches("grafana/grafana-oss:10.1.2").count(), 1);
        assert!(page.contains("<th scope=\"row\">exit code</th>"), "what decides is");
    }

    #[test]
    fn a_time_of_another_shape_is_shown_as_it_was_written() {
        assert_eq!(Time("2026-11-23T18:20:13.5+01:00").to_string(), "<time>2026-11-23T18:20:13.5+01:00</time>");
        assert_eq!(Time("TZ").to_string(), "<time>TZ</time>");
        assert_eq!(Time("<b>").to_string(), "<time>&lt;b&gt;</time>");
    }
}
