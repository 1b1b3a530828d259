//! How an operator makes the page their own: a style sheet, a logo, whom to turn to, a sentence of theirs. There is no
//! template: what a page says and in which order stays ours, so that no deployment's page lacks the cause.

use std::path::Path;
use std::sync::Arc;

use http::Uri;

use super::{Reader, value};

/// What is set. What is in the files is for the shell to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brand {
    pub css: Option<Arc<Path>>,
    pub logo: Option<Arc<Path>>,
    pub support: Option<Support>,
    /// One more sentence, for visitors.
    pub note: Option<Arc<str>>,
}

/// Whom to turn to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// In words: a name, a telephone number.
    Words(Arc<str>),
    /// `https:` or `mailto:`, and what is to be read in its place.
    Link { target: Arc<str>, shown: Arc<str> },
}

/// In characters: a sentence or two. A page is no notice board.
const LONGEST: usize = 300;

pub(super) fn read(reader: &mut Reader<'_>) -> Brand {
    Brand {
        css: reader.read_optional("ANTEROOM_PAGE_CSS", value::file),
        logo: reader.read_optional("ANTEROOM_PAGE_LOGO", value::file),
        support: reader.read_optional("ANTEROOM_PAGE_SUPPORT", |text| sentence(text).map(support)),
        note: reader.read_optional("ANTEROOM_PAGE_NOTE", sentence),
    }
}

/// Text for people; what could act on a terminal is no part of it.
fn sentence(text: &str) -> Result<Arc<str>, String> {
    if text.contains(char::is_control) {
        return Err("has a line break or another control character in it".to_owned());
    }
    if text.chars().count() > LONGEST { Err("is too long".to_owned()) } else { Ok(text.into()) }
}

/// Only these two kinds of link do what a reader expects of one; whatever else looks like one is text.
fn support(text: Arc<str>) -> Support {
    let after = |scheme: &str| {
        let start = text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme));
        start.map(|_| &text[scheme.len()..])
    };
    let plain = !text.contains(|c: char| c.is_whitespace() || "\"'<>`\\".contains(c));
    let shown: Option<Arc<str>> = if let Some(rest) = after("mailto:") {
        let address = rest.split('?').next().unwrap_or_default();
        address.split_once('@').filter(|(who, at)| !who.is_empty() && !at.is_empty()).map(|_| address.into())
    } else if after("https://").is_some() {
        text.parse::<Uri>().is_ok().then(|| Arc::clone(&text))
    } else {
        None
    };
    match shown.filter(|_| plain) {
        Some(shown) => Support::Link { target: text, shown },
        None => Support::Words(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mail_and_encrypted_web_addresses_are_links() {
        let links = [
            ("mailto:ops@example.org", "ops@example.org"),
            ("MAILTO:ops@example.org?subject=Analytics", "ops@example.org"),
            ("https://help.example.org", "https://help.example.org"),
            ("HTTPS://help.example.org/a?b=c&d", "HTTPS://help.example.org/a?b=c&d"),
        ];
        for (text, shown) in links {
            assert_eq!(support(text.into()), Support::Link { target: text.into(), shown: shown.into() });
        }
        for text in [
            "The analytics team, room 3",
            "+49 30 123456",
            "ops@example.org",
            "http://help.example.org",
            "javascript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "https:help",
            "https://",
            "https://a b",
            "https://help\"onclick=alert(1)",
            "ask https://help.example.org",
            "mailto:",
            "mailto:ops",
            "mailto:ops@example.org, or the desk",
            "größe:ü",
            "",
        ] {
            assert_eq!(support(text.into()), Support::Words(text.into()));
        }
    }

    #[test]
    fn a_sentence_is_one_line_of_bearable_length() {
        assert!(sentence(&"é".repeat(LONGEST)).is_ok());
        for wrong in ["a\nb", "\u{1b}[31m", "a\0"] {
            assert!(sentence(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(sentence(&"é".repeat(LONGEST + 1)), Err("is too long".to_owned()));
    }
}
