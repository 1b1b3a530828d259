//! Names, labels and errors that try to leave their place, over every scene.

use std::sync::Arc;

use super::super::command;
use super::super::fixtures::*;
use super::super::scenes::{self, Scene};
use super::{commands, verdict};
use crate::evidence::{Compose, Container, Engine, Evidence, Failure, Target};

#[test]
fn secrets_in_the_engines_words_are_removed() {
    let error = "pull https://robot:hunter2@registry/ failed: --token=hunter2";
    for evidence in [
        with(scenes::created(error, 128)),
        blind(Engine::Unavailable { reason: error.into() }),
        blind(Engine::Forbidden { reason: error.into() }),
        Evidence { exchange: Some(Failure::NotHttp { reason: error.into() }), ..evidence() },
        Evidence { exchange: Some(Failure::Tls { reason: error.into() }), ..evidence() },
        Evidence { probe: Some(Failure::Unreachable { reason: error.into() }), ..evidence() },
        Evidence { probe: Some(Failure::NameNotResolved { reason: error.into() }), ..evidence() },
    ] {
        let findings = format!("{:?}", verdict(&evidence).findings);
        assert!(!findings.contains("hunter2") && findings.contains("[removed]"), "{findings}");
    }
}

/// Text that tries to leave its place: a shell word, a line, a terminal, the reading direction.
const HOSTILE: [&str; 9] = [
    "x; reboot",
    "$(reboot)",
    "`reboot`",
    "a'b; reboot'",
    "a\nreboot",
    "a\r\u{1b}[2Kreboot",
    "\u{202e}toober",
    "-v",
    "a && rm -rf /",
];

fn hostile() -> Vec<Scene> {
    let mut all = vec![];
    for text in HOSTILE {
        let labels = [
            Compose { project: text.into(), ..compose("cvat_grafana") },
            compose(text),
            Compose { working_dir: format!("/srv/{text}").into(), ..compose("cvat_grafana") },
            Compose { config_files: [format!("/home/ops/cvat/{text}").into()].into(), ..compose("cvat_grafana") },
            Compose { config_files: [text.into()].into(), ..compose("cvat_grafana") },
            Compose { env_files: [text.into()].into(), ..compose("cvat_grafana") },
        ];
        for label in labels {
            for scene in scenes::all() {
                let Some(container) = scene.1.target.last_known() else { continue };
                let container = Arc::new(Container {
                    compose: Some(label.clone()),
                    name: text.into(),
                    created: ago(1),
                    ..container.clone()
                });
                let target = match scene.1.target {
                    Target::Absent { .. } => Target::Absent { last: Some(container.clone()) },
                    Target::Unknown | Target::Found(_) => Target::Found(container.clone()),
                };
                let mut evidence = Evidence { target, ..scene.1 };
                evidence.ourselves = Some(Arc::new(Container { created: ago(0), ..(*container).clone() }));
                evidence.upstream.host = text.into();
                all.push((scene.0, evidence, vec![]));
            }
        }
    }
    all
}

/// Reads one line as a POSIX shell does. `None` if anything outside quotes has a meaning beyond its letter.
fn shell_words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut chars) = (vec![], None::<String>, line.chars());
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().filter(|c| *c == '\'')?),
            c if c.is_ascii_alphanumeric() || "_@%+:,./-=".contains(c) => word.get_or_insert_default().push(c),
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}

#[test]
fn no_remedy_loses_data_or_lets_a_label_run_a_command() {
    let programs = ["cd", "docker", "stat"];
    let mut lines = 0;
    for (scene, evidence, _) in scenes::all().into_iter().chain(hostile()) {
        for finding in verdict(&evidence).findings {
            for remedy in finding.remedies.into_iter().filter(|remedy| !remedy.command.starts_with("services:\n")) {
                for line in remedy.command.split('\n') {
                    // Each runs only where the one before it has worked.
                    let line = line.strip_suffix(" &&").unwrap_or(line);
                    // The one pipeline: nothing of it is a label's.
                    let line = line.strip_suffix(" | xargs -I PID sudo nsenter -t PID -n ss -ltn").unwrap_or(line);
                    let words = shell_words(line);
                    let words = words.unwrap_or_else(|| panic!("{scene}: {line:?} is not plain words"));
                    assert!(programs.contains(&&*words[0]), "{scene}: {line:?}");
                    assert!(!words.iter().any(|word| word == "-v" || word == "--volumes" || word == "rm"), "{line:?}");
                    assert!(!line.chars().any(command::is_treacherous), "{line:?}");
                    lines += 1;
                }
            }
        }
    }
    assert!(lines > 500, "only {lines} lines were looked at");
}

#[test]
fn no_snippet_carries_more_than_a_service_name() {
    for (scene, evidence, _) in scenes::all().into_iter().chain(hostile()) {
        for remedy in verdict(&evidence).findings.into_iter().flat_map(|finding| finding.remedies) {
            let Some(snippet) = remedy.command.strip_prefix("services:\n  ") else { continue };
            let service = snippet.split(":\n").next().expect("a split has a first part");
            let plain = service.trim_matches('"').chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            assert!(plain && remedy.permanent, "{scene}: {snippet}");
            let indented = snippet.lines().skip(1).all(|line| line.starts_with("    "));
            assert!(indented && !snippet.contains("reboot\n") && !snippet.contains(['\r', '\u{1b}', '\u{202e}']));
        }
    }
}

#[test]
fn a_hostile_label_leaves_the_plain_command_or_none() {
    let labelled = |label: Compose| with(Container { compose: Some(label), created: ago(1), ..ended(0, MINUTE) });
    let broken = Compose { working_dir: "/srv\nreboot".into(), ..compose("cvat_grafana") };
    let mut evidence = labelled(broken.clone());
    evidence.ourselves = None;
    assert_eq!(commands(&evidence), ["docker start cvat_grafana"]);
    let mut stale = scenes::stale(Container { compose: Some(broken), ..ended(0, MINUTE) });
    stale.ourselves = None;
    assert_eq!(commands(&stale), [""; 0]);
}
