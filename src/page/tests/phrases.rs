//! What the rules say, in every language: each sentence once, none that no rule says, and none left in English.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disclosure::{Fields, written};
use crate::config::Detail;
use crate::diagnosis::{Diagnosis, Finding, diagnose, scenes};
use crate::evidence::Evidence;
use crate::page::words::{LANGUAGES, Words};
use crate::page::{Format, fixtures, foreign, render};
use crate::phrase::places;
use crate::readiness::{Cause, State};

/// Every language but the one that the rules are written in.
const OTHERS: &[&Words] = LANGUAGES.split_at(1).1;

/// The same in every language.
const UNITS: [&str; 1] = ["{0} MiB"];

/// What begins a template, a joint or a name in the source.
const MACROS: [&str; 3] = ["phrase!(", "row!(", "Phrase::list("];

#[test]
fn every_language_has_what_the_rules_say_and_nothing_else() {
    let said = sentences();
    assert!(said.len() > 150 && said.contains("{0} ago") && said.contains("exit code"), "{said:?}");
    for words in OTHERS {
        let known: BTreeSet<String> = words.phrases.0.iter().map(|(english, _)| (*english).to_owned()).collect();
        let lacking: Vec<_> = said.difference(&known).collect();
        assert!(lacking.is_empty(), "{} lacks {lacking:#?}", words.lang);
        let unsaid: Vec<_> = known.difference(&said).collect();
        assert!(unsaid.is_empty(), "{} has what no rule says: {unsaid:#?}", words.lang);
    }
}

#[test]
fn a_translation_has_the_places_of_its_english_and_is_found() {
    for words in OTHERS {
        assert!(words.phrases.0.is_sorted_by_key(|(english, _)| *english), "{} is not in order", words.lang);
        for (english, translated) in words.phrases.0 {
            assert_eq!(places(english), places(translated), "{english:?} is {translated:?}");
            assert_eq!(english == translated, UNITS.contains(english), "{english:?}");
            assert_eq!(words.phrases.find(english), *translated);
            for ours in [english, translated] {
                assert_eq!(foreign::line(ours), *ours, "what we say is taken for a secret");
            }
            let code = |text: &str| text.matches('`').count();
            assert_eq!(code(english), code(translated), "{translated:?}");
        }
    }
}

#[test]
fn every_finding_of_every_scene_is_said_in_every_language() {
    let said = sentences();
    for finding in findings() {
        for (name, _) in &finding.evidence {
            assert!(said.contains(*name), "{name:?} is no row!");
        }
        let effects = finding.remedies.iter().map(|remedy| &remedy.effect);
        let values = finding.evidence.iter().map(|(_, value)| value);
        for phrase in [&finding.title].into_iter().chain(effects).chain(values) {
            for words in OTHERS {
                let told = phrase.said_in(&words.phrases);
                assert!(!is_english(&told), "{told:?} is {phrase}");
            }
        }
    }
}

#[test]
fn a_chinese_page_says_in_chinese_what_happened_and_what_to_do() {
    let chinese = fixtures::everyone(Detail::State).find(|it| it.language.tag() == "zh-Hans").expect("Chinese");
    let diagnosis = diagnosed(&scenes::all()[0].1);
    let text = render(&diagnosis, &chinese, Format::Text).body;
    let title = "很可能 target-warming：cvat_grafana 12 秒前启动，尚未在端口 3000 接受连接\n";
    assert!(text.contains(title), "{text}");
    assert!(text.contains("    连接      grafana:3000：连接被 172.18.0.5 拒绝\n"), "{text}");
    for (scene, evidence, _) in scenes::all() {
        for finding in diagnosed(&evidence).findings {
            let sentences = [&finding.title].into_iter().chain(finding.remedies.iter().map(|remedy| &remedy.effect));
            for told in sentences.map(|phrase| phrase.said_in(&chinese.language.0.phrases)) {
                assert!(told.contains(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{scene}: {told}");
            }
        }
    }
}

/// Findings in which all that is English is ours: others wrote Greek.
fn findings() -> impl Iterator<Item = Finding> {
    let greek = |evidence: &Evidence| diagnosed(&written(evidence, "ξένο", Fields::All)).findings;
    scenes::all().into_iter().flat_map(move |(_, evidence, _)| greek(&evidence))
}

fn diagnosed(evidence: &Evidence) -> Diagnosis {
    let state = State::Down { since: Instant::now(), cause: Cause::Exited };
    diagnose(state, Duration::from_secs(600), evidence.clone())
}

/// Every literal that is said of what was found: of production code, since tests say what they like.
fn sentences() -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("the source can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            match name.trim_end_matches(".rs") {
                "tests" | "scenes" | "fixtures" | "phrase" => {}
                _ if path.is_dir() => folders.push(path),
                _ => {
                    let text = std::fs::read_to_string(&path).expect("a source file can be read");
                    literals(text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&text), &mut said);
                }
            }
        }
    }
    said
}

fn literals(source: &str, said: &mut BTreeSet<String>) {
    for rest in MACROS.iter().flat_map(|name| source.split(name).skip(1)) {
        let Some(literal) = rest.trim_start().strip_prefix('"') else { continue };
        let (mut sentence, mut chars) = (String::new(), literal.chars().peekable());
        while let Some(c) = chars.next().filter(|c| *c != '"') {
            match c {
                '\\' if chars.peek() == Some(&'\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                '\\' => sentence.extend(chars.next()),
                c => sentence.push(c),
            }
        }
        said.insert(sentence);
    }
}

/// Two words of English in a row, code left out: no name and no word of the engine's is that.
fn is_english(told: &str) -> bool {
    let prose: String = told.split('`').step_by(2).collect();
    let words: Vec<&str> = prose.split(' ').collect();
    let is_word = |word: &&str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    words.windows(2).any(|pair| pair.iter().all(is_word))
}
