//! Every word that a page says. A language is one file, and a place in [`LANGUAGES`]. The file holds a [`Words`], in
//! which the compiler asks for every sentence of the page, and a [`Table`] of what the rules say, in which a test does.
//!
//! Two kinds of reader, two registers. The visitor's sentences name no container, network or code, and promise only
//! what is certain. The operator's labels use the engine's own words. `{it}` stands for what was asked for.
//! The rules write their sentences in English, where they know what they saw; a table has them by that English.

mod chinese;
mod english;

use std::time::Duration;

use crate::diagnosis::{Code, Confidence, Severity};
use crate::evidence::Evidence;
use crate::phrase::Table;

/// Every language, the one for readers of none of them first.
pub(super) const LANGUAGES: &[&Words] = &[&english::WORDS, &chinese::WORDS];

/// A language.
pub(super) struct Words {
    /// BCP 47, for `<html lang>` and `Content-Language`.
    pub lang: &'static str,
    /// How the language ranges begin that ask for it, in lower case.
    pub asked_by: &'static [&'static str],
    /// Those among them that ask for another form of it, which its readers read for want of a better one.
    pub akin_to: &'static [&'static str],
    /// What was asked for, as the start of a sentence: where it is known to be an analytics service, and elsewhere.
    pub analytics: &'static str,
    pub service: &'static str,

    pub starting: Scene,
    pub down: Scene,
    pub checking: Scene,
    pub broken: Scene,
    pub timed_out: Scene,
    pub busy: Scene,
    pub back: Scene,
    /// What to do when the request was not a GET, so that a page cannot repeat it: nothing was sent.
    pub not_delivered: &'static str,
    /// Said by the script in its place, since only a script can keep what it promises.
    pub keep_open: &'static str,
    /// The same after a broken exchange: nobody knows whether the request did its work.
    pub uncertain: &'static str,
    /// After [`LONG`] of starting.
    pub long: &'static str,
    /// Before whom a visitor can turn to, after a colon.
    pub support: &'static str,
    pub try_again: &'static str,
    /// Said by the script: the upstream is back, but the request was not a GET.
    pub send_again: &'static str,
    /// The same after a broken exchange.
    pub check_first: &'static str,
    /// Said by the script: ready again and again, and yet the page does not open.
    pub still_failing: &'static str,
    /// Said by the script: anteroom itself cannot be reached.
    pub lost: &'static str,
    pub copy: &'static str,
    pub copied: &'static str,
    /// For how long it has been starting, and after how long it usually is ready, if that is known.
    pub how_long: fn(Duration, Option<Duration>) -> String,
    pub reference: &'static str,
    /// Between a name and its value, in a line of text.
    pub colon: &'static str,
    /// Between two things that are said of something.
    pub comma: &'static str,

    pub operator: &'static str,
    pub simulated: &'static str,
    pub cause: &'static str,
    pub also: &'static str,
    pub no_finding: &'static str,
    pub remedy: &'static str,
    pub permanent: &'static str,
    pub unshowable: &'static str,
    pub chain: &'static str,
    pub breaks_here: &'static str,
    pub router: &'static str,
    pub router_does: &'static str,
    pub anteroom_does: &'static str,
    pub summary_target: &'static str,
    pub summary_dependency: &'static str,
    pub answers: &'static str,
    pub unknown: &'static str,
    pub not_ready: &'static str,
    pub timeline: &'static str,
    pub log: &'static str,
    pub health_output: &'static str,
    pub exit_code: &'static str,
    pub facts: &'static str,
    pub last_known: &'static str,
    pub fact: Facts,
    pub engine: Engine,

    /// What the rules say, in this language.
    pub phrases: Table,
    pub severity: fn(Severity) -> &'static str,
    /// How sure a cause is; empty where it is certain.
    pub confidence: fn(Confidence) -> &'static str,
    /// What a code means, in general: the problem document's `title`, and all that `summary` tells.
    pub meaning: fn(Code) -> &'static str,
    pub duration: fn(Duration) -> String,
    pub ago: fn(Duration) -> String,
}

/// The visitor's part of a page.
pub(super) struct Scene {
    /// One or two words.
    pub label: &'static str,
    /// What happened.
    pub sentence: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// The names of a target's facts.
pub(super) struct Facts {
    pub container: &'static str,
    pub state: &'static str,
    pub oom_killed: &'static str,
    pub health: &'static str,
    pub no_health_check: &'static str,
    pub restarts: &'static str,
    pub policy: &'static str,
    pub started: &'static str,
    pub finished: &'static str,
    pub never: &'static str,
    pub image: &'static str,
    pub networks: &'static str,
    pub none: &'static str,
    pub project: &'static str,
    pub service: &'static str,
    pub engine: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
}

/// How the engine answers; a version or a reason follows those that end in a colon.
pub(super) struct Engine {
    pub unknown: &'static str,
    pub available: &'static str,
    pub unavailable: &'static str,
    pub forbidden: &'static str,
    pub simulated: &'static str,
}

/// Starting for longer than this is worth telling someone.
pub(super) const LONG: Duration = Duration::from_secs(180);

impl Words {
    /// A template with what was asked for put into it.
    pub fn about(&self, template: &str, evidence: &Evidence) -> String {
        template.replace("{it}", if is_analytics(evidence) { self.analytics } else { self.service })
    }
}

/// Whether the upstream is the analytics service of a CVAT deployment, by any name that CVAT gives it.
fn is_analytics(evidence: &Evidence) -> bool {
    let host = &*evidence.upstream.host;
    let service = evidence.target.last_known().and_then(|target| target.compose.as_ref()).map(|from| &*from.service);
    matches!(host, "grafana" | "cvat_grafana") || service == Some("cvat_grafana")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::fixtures;

    const ENGLISH: &Words = LANGUAGES[0];

    fn visitors(words: &Words) -> Vec<&str> {
        let Words { starting, down, checking, broken, timed_out, busy, back, .. } = words;
        let scenes = [starting, down, checking, broken, timed_out, busy, back];
        let scenes = scenes.into_iter().flat_map(|scene| [scene.label, scene.sentence, scene.advice]);
        let Words { not_delivered, keep_open, uncertain, long, support, try_again, .. } = words;
        let Words { send_again, check_first, still_failing, lost, reference, .. } = words;
        let others = [not_delivered, keep_open, uncertain, long, support, try_again];
        let said_later = [send_again, check_first, still_failing, lost, reference];
        scenes.chain(others.map(|it| *it)).chain(said_later.map(|it| *it)).collect()
    }

    fn operators(words: &Words) -> Vec<&str> {
        let Words { copy, copied, operator, simulated, cause, also, no_finding, remedy, permanent, .. } = words;
        let Words {
            unshowable,
            chain,
            breaks_here,
            router,
            router_does,
            anteroom_does,
            summary_target,
            summary_dependency,
            ..
        } = words;
        let Words {
            answers,
            unknown,
            not_ready,
            timeline,
            log,
            health_output,
            exit_code,
            facts,
            last_known,
            fact,
            engine,
            ..
        } = words;
        let Facts { container, state, oom_killed, health, no_health_check, restarts, policy, started, .. } = fact;
        let Facts { finished, never, image, networks, none, project, service, engine: asked, yes, no, .. } = fact;
        let Engine { unknown: not_asked, available, unavailable, forbidden, simulated: made_up } = engine;
        let labels: [&[&&str]; 5] = [
            &[copy, copied, operator, simulated, cause, also, no_finding, remedy, permanent, unshowable],
            &[
                chain,
                breaks_here,
                router,
                router_does,
                anteroom_does,
                summary_target,
                summary_dependency,
                answers,
                unknown,
                not_ready,
            ],
            &[
                timeline,
                log,
                health_output,
                exit_code,
                facts,
                last_known,
                container,
                state,
                oom_killed,
                health,
                no_health_check,
                restarts,
            ],
            &[policy, started, finished, never, image, networks, none, project, service, asked, yes, no, not_asked],
            &[available, unavailable, forbidden, made_up],
        ];
        labels.concat().into_iter().copied().collect()
    }

    #[test]
    fn no_language_lacks_a_word() {
        for words in LANGUAGES {
            let names = [words.lang, words.analytics, words.service, words.colon, words.comma];
            for word in visitors(words).into_iter().chain(operators(words)).chain(names) {
                assert!(!word.trim().is_empty(), "after {:?}", words.lang);
            }
            let mut meanings: Vec<_> = Code::ALL.map(words.meaning).into();
            meanings.sort_unstable();
            meanings.dedup();
            assert_eq!(meanings.len(), Code::ALL.len(), "two codes mean the same in {}", words.lang);
            assert!(!meanings[0].is_empty());
            let severities = [Severity::Info, Severity::Warning, Severity::Error].map(words.severity);
            assert!(severities.iter().all(|it| !it.is_empty()));
            for seconds in [0, 59, 61, 3661, 90_000] {
                let duration = Duration::from_secs(seconds);
                assert!((words.ago)(duration).len() > (words.duration)(Duration::ZERO).len());
                let how_long = (words.how_long)(duration, Some(duration));
                assert_eq!(how_long.matches(&(words.duration)(duration)).count(), 2, "{how_long}");
                assert!(how_long.len() > (words.how_long)(duration, None).len());
            }
        }
    }

    #[test]
    fn a_language_says_of_what_it_speaks_wherever_another_does() {
        for words in LANGUAGES {
            for (theirs, ours) in visitors(ENGLISH).into_iter().zip(visitors(words)) {
                assert_eq!(theirs.contains("{it}"), ours.contains("{it}"), "{theirs:?} is {ours:?}");
            }
            assert!(operators(words).iter().all(|word| !word.contains("{it}")));
        }
    }

    #[test]
    fn a_sentence_that_was_not_translated_is_noticed() {
        for words in &LANGUAGES[1..] {
            let all = |words| visitors(words).into_iter().chain(operators(words));
            let same: Vec<_> = all(ENGLISH).zip(all(words)).filter(|(english, word)| english == word).collect();
            assert_eq!(same, [("Traefik", "Traefik")], "{}", words.lang);
            let meanings = Code::ALL.iter().filter(|code| (ENGLISH.meaning)(**code) == (words.meaning)(**code));
            assert_eq!(meanings.count(), 0, "{}", words.lang);
        }
    }

    #[test]
    fn visitors_are_told_without_the_words_of_operators() {
        let terms = [
            "container",
            "docker",
            "upstream",
            "proxy",
            "gateway",
            "network",
            "503",
            "anteroom",
            "backend",
            "容器",
            "上游",
            "代理",
            "网关",
            "网络",
            "后端",
            "镜像",
            "引擎",
        ];
        for sentence in LANGUAGES.iter().flat_map(|words| visitors(words)) {
            for term in terms {
                assert!(!sentence.to_lowercase().contains(term), "{term:?} in {sentence:?}");
            }
        }
    }

    #[test]
    fn only_the_analytics_service_is_called_so() {
        let mut evidence = fixtures::no_engine().evidence;
        let said = |evidence: &Evidence| LANGUAGES.iter().map(|it| it.about(it.starting.sentence, evidence)).collect();
        let told: Vec<_> = said(&evidence);
        assert_eq!(told, ["Analytics is starting.", "分析服务正在启动。"]);
        evidence.upstream.host = "wiki".into();
        let told: Vec<_> = said(&evidence);
        assert_eq!(told, ["This service is starting.", "此服务正在启动。"]);
    }

    #[test]
    fn durations_are_told_in_their_two_largest_units() {
        let cases = [
            (0, "0 s", "0 秒"),
            (59, "59 s", "59 秒"),
            (60, "1 min 0 s", "1 分 0 秒"),
            (3599, "59 min 59 s", "59 分 59 秒"),
            (3600, "1 h 0 min", "1 小时 0 分"),
            (86_399, "23 h 59 min", "23 小时 59 分"),
            (90_000, "1 d 1 h", "1 天 1 小时"),
        ];
        for (seconds, english, chinese) in cases {
            let told: Vec<_> = LANGUAGES.iter().map(|it| (it.duration)(Duration::from_secs(seconds))).collect();
            assert_eq!(told, [english, chinese]);
        }
    }
}
