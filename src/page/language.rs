//! In which language does a reader want to be told? Pure on `Accept-Language` (RFC 9110 §12.5.4).
//!
//! A range asks for one of our languages if it is its name, or begins with it (`zh-CN` for `zh`, as in RFC 4647 §3.4).
//! Some of those mean another form of it, which serves only where nothing better is asked for: who reads traditional
//! Chinese and English is told in English. `*` speaks of the languages that no other range speaks of.

use std::fmt;

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use super::negotiate::weight;
use super::words::{LANGUAGES, Words};

/// More ranges than any honest client sends; the rest of a hostile header is not looked at.
const RANGES_READ: usize = 64;

/// A language that pages are written in.
#[derive(Clone, Copy)]
pub struct Language(pub(super) &'static Words);

impl Language {
    /// For readers of none of our languages, and for programs.
    pub const ENGLISH: Self = Self(LANGUAGES[0]);

    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        LANGUAGES.iter().map(|words| Self(words))
    }

    /// The one that a client likes best. Total: what makes no sense counts as absent, and who likes none of ours
    /// gets English (§12.5.4 allows it: a page in a foreign language is more than none).
    pub fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).take(RANGES_READ).filter_map(|range| {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            Some((name.trim().to_ascii_lowercase(), weight(parameters)?))
        });
        let ranges: Vec<(String, u16)> = ranges.collect();
        let mut best = (Liking::default(), Self::ENGLISH);
        for language in Self::all() {
            let liking = language.liking(&ranges);
            if liking > best.0 {
                best = (liking, language);
            }
        }
        best.1
    }

    /// BCP 47, for `Content-Language`.
    pub fn tag(self) -> &'static str {
        self.0.lang
    }

    fn liking(self, ranges: &[(String, u16)]) -> Liking {
        let begins = |range: &str, starts: &[&str]| starts.iter().any(|start| covers(start, range));
        let likings = ranges.iter().enumerate().filter_map(|(at, (range, weight))| {
            let fit = match &**range {
                range if begins(range, self.0.akin_to) => Fit::Akin,
                range if begins(range, self.0.asked_by) => Fit::Meant,
                "*" => Fit::Any,
                _ => return None,
            };
            Some(Liking { fit, weight: *weight, earlier: RANGES_READ - at })
        });
        let likings: Vec<Liking> = likings.collect();
        let named = likings.iter().any(|liking| liking.fit == Fit::Meant);
        let counts = |liking: &&Liking| liking.weight > 0 && !(named && liking.fit == Fit::Any);
        likings.iter().filter(counts).max().copied().unwrap_or_default()
    }
}

impl PartialEq for Language {
    fn eq(&self, other: &Self) -> bool {
        self.tag() == other.tag()
    }
}

impl Eq for Language {}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Language").field(&self.tag()).finish()
    }
}

/// How much a client likes a language: first by what it meant, then by weight. Of two that it likes the same it has
/// written the preferred one first; the RFC does not say so, but clients without weights rely on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Liking {
    fit: Fit,
    /// In thousandths.
    weight: u16,
    earlier: usize,
}

/// What a range says of a language.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Fit {
    /// Nothing.
    #[default]
    None,
    /// As much as of any other.
    Any,
    /// It means another form of it.
    Akin,
    /// It means this one.
    Meant,
}

/// Whether a range is a name or begins with it, at the border of a subtag.
fn covers(name: &str, range: &str) -> bool {
    range.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn chosen(values: &[&str]) -> &'static str {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).expect("test values are header values");
        let headers = values.iter().map(|text| (ACCEPT_LANGUAGE, value(text))).collect();
        Language::of(&headers).tag()
    }

    #[test]
    fn each_reader_is_told_in_a_language_of_theirs() {
        let (english, chinese) = ("en", "zh-Hans");
        let cases = [
            ("en", english),
            ("en-GB,en;q=0.9", english),
            ("zh", chinese),
            ("zh-CN", chinese),
            ("zh-Hans", chinese),
            ("zh-hans-SG", chinese),
            ("ZH-cn;Q=1.0", chinese),
            ("zh-CN,zh;q=0.9,en;q=0.8", chinese),
            ("zh-CN,zh;q=0.9,en-US;q=0.8,en;q=0.7", chinese),
            ("en-US,en;q=0.9,zh-CN;q=0.8,zh;q=0.7", english),
            ("en;q=0.5, zh;q=0.6", chinese),
            ("en;q=0.6, zh;q=0.5", english),
            ("en, zh", english),
            ("zh, en", chinese),
            ("de, fr;q=0.9", english),
            ("de, zh;q=0.1", chinese),
            ("de, en;q=0.1, zh;q=0.2", chinese),
            // Another script: only for want of anything better.
            ("zh-TW", chinese),
            ("zh-Hant", chinese),
            ("zh-Hant-HK, fr", chinese),
            ("zh-TW, en;q=0.1", english),
            ("zh-HK, *;q=0.5", chinese),
            ("zh-Hans-HK, en;q=0.9", chinese),
            // This reader asks for any Chinese before English.
            ("zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", chinese),
            // Any, and none.
            ("*", english),
            ("en;q=0, *", chinese),
            ("en;q=0", english),
            ("zh;q=0, *", english),
            ("zh-CN, *;q=0", chinese),
            ("en;q=0, zh;q=0", english),
            ("zh;q=0", english),
            // Names that only begin alike.
            ("zha", english),
            ("zhx-CN", english),
            ("enm, zh;q=0.1", chinese),
        ];
        for (value, expected) in cases {
            assert_eq!(chosen(&[value]), expected, "{value}");
        }
        assert_eq!(chosen(&[]), english);
        assert_eq!(chosen(&["en;q=0.2", "zh;q=0.3"]), chinese, "two header lines");
    }

    #[test]
    fn hostile_values_count_as_absent() {
        let long = "zh-CN;q=0.1,".repeat(20_000);
        let late = format!("{}zh", "de,".repeat(RANGES_READ));
        let endless = "zh-".repeat(100_000);
        for value in [
            "",
            ";;;;",
            ",,,,",
            "-",
            "zh;q=2",
            "zh;q=-1",
            "zh;q=",
            "zh;q=0.0001",
            "zh;q=NaN",
            "zh;q=٣",
            "zh_CN",
            "z\u{e9}h",
            "中文",
            "*-CN",
            &late,
        ] {
            assert_eq!(chosen(&[value]), "en", "{value:?}");
        }
        assert_eq!(chosen(&[&long]), "zh-Hans");
        assert_eq!(chosen(&[&endless]), "zh-Hans");
    }
}
