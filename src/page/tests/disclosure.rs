//! What others wrote, in every field that reaches a page: secrets do not come out of it, and nothing leaves its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Detail;
use crate::diagnosis::redact::fixtures::{SECRETS, planted, survives};
use crate::diagnosis::{diagnose, scenes};
use crate::evidence::{Container, Engine, Evidence, Failure, Happening, Health, HealthStatus, Moment, Stray, Target};
use crate::page::{Format, Page, fixtures, render};
use crate::readiness::{Cause, State};

const FORMATS: [Format; 3] = [Format::Html, Format::Problem, Format::Text];
const LEVELS: [Detail; 3] = [Detail::Summary, Detail::State, Detail::Full];

/// What a text is written into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Messages, paths, the image: what rules show.
    Told,
    /// Names and ids as well: what rules compare, and what commands are built from.
    All,
}

/// The evidence, as it would be if everybody wrote this.
pub(super) fn written(evidence: &Evidence, text: &str, fields: Fields) -> Evidence {
    let mut evidence = evidence.clone();
    let container = |known: &Container| Arc::new(written_container(known, text, fields));
    evidence.target = match &evidence.target {
        Target::Unknown => Target::Unknown,
        Target::Absent { last } => Target::Absent { last: last.as_deref().map(container) },
        Target::Found(known) => Target::Found(container(known)),
    };
    evidence.ourselves = evidence.ourselves.as_deref().map(container);
    evidence.others = evidence.others.iter().map(|known| written_container(known, text, fields)).collect();
    evidence.engine = match evidence.engine {
        Engine::Available { .. } => Engine::Available { version: text.into() },
        Engine::Unavailable { .. } => Engine::Unavailable { reason: text.into() },
        Engine::Forbidden { .. } => Engine::Forbidden { reason: text.into() },
        engine => engine,
    };
    evidence.probe = evidence.probe.map(|failure| written_failure(failure, text));
    evidence.exchange = evidence.exchange.map(|failure| written_failure(failure, text));
    let stray = |stray: &Stray| Stray { failure: written_failure(stray.failure.clone(), text), ..*stray };
    evidence.strays = evidence.strays.iter().map(stray).collect();
    let at = Moment { at: evidence.seen_at, text: text.into() };
    evidence.events = [Happening { at, action: text.into(), exit_code: Some(1) }].into();
    evidence.log = text.lines().map(Into::into).collect();
    if fields == Fields::All {
        evidence.upstream.host = text.into();
        let mut networks = evidence.networks.to_vec();
        networks.iter_mut().for_each(|network| (network.name, network.id) = (text.into(), text.into()));
        evidence.networks = networks.into();
    }
    evidence
}

fn written_container(container: &Container, text: &str, fields: Fields) -> Container {
    let mut container = container.clone();
    container.image = text.into();
    container.health = Some(Health { status: HealthStatus::Unhealthy, failing_streak: 3, last_output: text.into() });
    if !container.error.is_empty() {
        container.error = text.into();
    }
    for moment in [&mut container.created, &mut container.started, &mut container.finished].into_iter().flatten() {
        moment.text = text.into();
    }
    if let Some(compose) = &mut container.compose {
        compose.working_dir = format!("/srv/{text}").into();
        compose.config_files = vec![text.into(), format!("/srv/{text}").into()];
        compose.env_files = vec![text.into()];
        if fields == Fields::All {
            (compose.project, compose.service) = (text.into(), text.into());
            compose.depends_on.iter_mut().for_each(|needed| needed.service = text.into());
        }
    }
    if fields == Fields::All {
        (container.name, container.id) = (text.into(), text.into());
        for attachment in &mut container.networks {
            (attachment.network, attachment.network_id) = (text.into(), text.into());
            attachment.aliases = vec![text.into()];
        }
    }
    container
}

fn written_failure(failure: Failure, text: &str) -> Failure {
    match failure {
        Failure::NameNotResolved { .. } => Failure::NameNotResolved { reason: text.into() },
        Failure::Unreachable { .. } => Failure::Unreachable { reason: text.into() },
        Failure::Tls { .. } => Failure::Tls { reason: text.into() },
        Failure::NotHttp { .. } => Failure::NotHttp { reason: text.into() },
        failure => failure,
    }
}

/// Every page of a situation: all levels, all formats, and the languages in turn.
fn pages(evidence: &Evidence, turn: usize) -> impl Iterator<Item = (Detail, Format, Page)> + use<> {
    let since = Instant::now();
    let state = match turn % 3 {
        0 => State::Down { since, cause: Cause::Exited },
        1 => State::Warming { since, attempts: 3, fell: None },
        _ => State::Ready { since, despite: None },
    };
    let diagnosis = diagnose(state, Duration::from_secs(600), evidence.clone());
    LEVELS.into_iter().flat_map(move |detail| {
        let mut readers = fixtures::everyone(detail).cycle().skip(turn);
        let mut reader = || readers.next().expect("there is always another one");
        let pages = FORMATS.map(|format| (detail, format, render(&diagnosis, &reader(), format)));
        pages.into_iter()
    })
}

#[test]
fn no_secret_comes_out_of_any_field_at_any_level_in_any_format() {
    /// Of all pairs of a secret and a scene one in so many is tried: every secret, every scene, many combinations.
    const STEP: usize = 37;
    let scenes = scenes::all();
    let (mut leaks, mut tried) = (BTreeMap::new(), 0);
    for (number, (kind, template)) in SECRETS.iter().enumerate() {
        let (text, canaries) = planted(template);
        for (turn, (scene, evidence, _)) in scenes.iter().enumerate().filter(|(turn, _)| (turn + number) % STEP == 0) {
            for fields in [Fields::Told, Fields::All] {
                for (detail, format, page) in pages(&written(evidence, &text, fields), turn / STEP) {
                    tried += 1;
                    if let Some(canary) = canaries.iter().find(|canary| survives(&page.body, canary)) {
                        let at = page.body.find(&canary[..8]).unwrap_or_default();
                        let start = page.body.floor_char_boundary(at.saturating_sub(80));
                        let part = &page.body[start..page.body.ceil_char_boundary(at + 40)];
                        leaks.entry(*kind).or_insert(format!("{scene}, {fields:?} {detail:?} {format:?}: {part}"));
                    }
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(tried > SECRETS.len() * 50, "only {tried} pages were looked at");
}

/// Markup, attributes, addresses, headers, terminals, reading direction. Whoever is taken in by one, shows its mark.
const ATTACKS: [&str; 16] = [
    "</script><script>INJECTED()</script>",
    "<img src=x onerror=INJECTED()>",
    "\" onload=\"INJECTED()\" x=\"",
    "' onfocus='INJECTED()' autofocus x='",
    "</dd></code></table></details><h1>INJECTED</h1>",
    "--></style><!--INJECTED",
    "javascript:INJECTED()",
    "\"><a href=\"//evil.example/INJECTED\">",
    "&lt;script&gt;INJECTED&#60;",
    "x\r\nSet-Cookie: INJECTED=1\r\n\r\n<html>",
    "x\nINJECTED: docker system prune",
    "\u{1b}]0;INJECTED\u{7}\u{1b}[2J\u{1b}[31m",
    "\u{9b}2J\u{9d}0;INJECTED\u{9c}\u{85}",
    "\u{202e}DETCEJNI\u{2066}\u{200b}\u{feff}",
    "\",\"INJECTED\":true,\"x\":\"\\",
    "\0\u{2028}INJECTED\u{e0041}",
];

/// A tag without the values of its attributes, which no text may reach out of.
fn skeletons(html: &str) -> BTreeSet<String> {
    let mut skeletons = BTreeSet::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let mut skeleton = String::new();
        let mut quoted = false;
        let tag = &rest[at..];
        let end = tag.find(|c| {
            quoted ^= c == '"';
            if !quoted {
                skeleton.push(c);
            }
            c == '>' && !quoted
        });
        // What style and script hold is ours to the byte, as the policy's test says.
        let end = at + end.unwrap_or(tag.len() - 1) + 1;
        let text = ["style", "script"].iter().find(|name| tag[1..].starts_with(**name));
        rest = text.map_or(&rest[end..], |name| rest[end..].split_once(&format!("</{name}>")).expect("it ends").1);
        skeletons.insert(skeleton);
    }
    skeletons
}

#[test]
fn nothing_hostile_leaves_its_place() {
    let scenes = scenes::all();
    let plain = scenes.iter().enumerate().flat_map(|(turn, (_, evidence, _))| {
        let all = (0..3).flat_map(move |state| pages(&written(evidence, "plain", Fields::All), turn + state));
        all.chain(pages(evidence, turn)).filter(|(_, format, _)| *format == Format::Html)
    });
    let known: BTreeSet<String> = plain.flat_map(|(_, _, page)| skeletons(&page.body)).collect();
    assert!(known.len() > 30, "{known:?}");
    for (number, attack) in ATTACKS.iter().enumerate() {
        for (turn, (scene, evidence, _)) in scenes.iter().enumerate().filter(|(turn, _)| (turn + number) % 11 == 0) {
            for fields in [Fields::Told, Fields::All] {
                for (detail, format, page) in pages(&written(evidence, attack, fields), turn / 11) {
                    let place = format!("{attack:?} {scene} {fields:?} {detail:?} {format:?}");
                    is_harmless(&page, format, &known, &place);
                }
            }
        }
    }
}

fn is_harmless(page: &Page, format: Format, known: &BTreeSet<String>, place: &str) {
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            || matches!(c, '\u{e0000}'..='\u{e007f}')
    };
    assert_eq!(page.body.find(acts), None, "{place}");
    // What becomes a header is ours alone.
    assert!(page.content_type.bytes().all(|b| (b' '..0x7f).contains(&b)), "{place}");
    match format {
        Format::Html => {
            let new: Vec<_> = skeletons(&page.body).difference(known).cloned().collect();
            assert!(new.is_empty(), "{place}: {new:?}");
            for address in page.body.split(" href=\"").skip(1) {
                let ours = ["\"", "data:image/svg+xml,", super::super::problem::FINDINGS];
                assert!(ours.iter().any(|ours| address.starts_with(ours)), "{place}: {address:.60}");
            }
        }
        Format::Problem => {
            let document: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
            let acting = |text: &str| text.contains(acts);
            assert!(!any_text(&document, &acting), "{place}");
            assert!(document.get("INJECTED").is_none(), "{place}");
        }
        Format::Text => {
            let line = page.body.lines().find(|line| line.trim_start().starts_with("INJECTED:"));
            assert_eq!(line, None, "{place}");
        }
    }
}

fn any_text(value: &serde_json::Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        serde_json::Value::String(text) => is(text),
        serde_json::Value::Array(all) => all.iter().any(|value| any_text(value, is)),
        serde_json::Value::Object(all) => all.iter().any(|(name, value)| is(name) || any_text(value, is)),
        _ => false,
    }
}
