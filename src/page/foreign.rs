//! Strings that others wrote: container names, image names, error texts, log lines.
//!
//! Every byte of them is hostile, and any of them may hold a secret: an image is pulled from a registry with a
//! password, a label is whatever somebody wrote. [`line`] makes them harmless as text (no secrets, no control
//! characters, no terminal escapes, no bidirectional overrides, no endless length); [`Escaped`] makes any text harmless
//! inside HTML, in an element as in a quoted attribute. Both are applied: the first where a page is put together, so that
//! no format can forget it, the second where HTML is written.

use std::fmt;

use crate::diagnosis::is_treacherous;
use crate::diagnosis::redact::redact;

/// In characters. Longer than any honest name, path or engine message that helps; a page stays a page.
pub(super) const LINE_LIMIT: usize = 400;

/// In bytes: as much of a text as is looked at. What makes it shorter is what is removed, so this is far more than is
/// shown.
const READ_LIMIT: usize = 8192;

/// In bytes. Above it a command is not offered at all, since half a command is a different command.
const COMMAND_LIMIT: usize = 8192;

/// One line of foreign text: secrets and dangerous characters replaced, cut with an ellipsis at [`LINE_LIMIT`].
pub(crate) fn line(text: &str) -> String {
    // Before it is cut and tamed: half a secret does not look like one, and a line's end is where many end.
    let text = redact(&text[..text.floor_char_boundary(READ_LIMIT)]);
    let mut kept = String::with_capacity(text.len().min(LINE_LIMIT * 4));
    for (count, c) in text.chars().enumerate() {
        if count == LINE_LIMIT {
            kept.push('…');
            break;
        }
        kept.push(harmless(c));
    }
    kept
}

/// A command, if it can be shown whole and exactly as it will run; otherwise nothing. What someone copies from a
/// page into a shell must be what they read: one with a secret, which a label can bring into it, cannot be shown so.
pub(crate) fn command(text: &str) -> Option<String> {
    let shown = text.len() <= COMMAND_LIMIT && text.chars().all(|c| c == '\n' || harmless(c) == c);
    // A shell's quotes hide what they quote. Almost no command has one within another.
    let quoted = || text.contains('\\').then(|| text.replace("'\\''", "'"));
    let is_clean = |text: &str| redact(text) == text;
    (shown && is_clean(text) && quoted().is_none_or(|text| is_clean(&text))).then(|| text.to_owned())
}

/// The character itself, or U+FFFD for one that could act rather than be read.
fn harmless(c: char) -> char {
    if is_treacherous(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// Text inside HTML: what it displays is safe in an element and in a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '`', '\0', '\r']) {
            f.write_str(&rest[..at])?;
            // All of them are one byte long.
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                b'`' => "&#96;",
                _ => "\u{fffd}",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_quotes_are_escaped() {
        let escaped = Escaped("<script>alert(\"1\" & '2')</script>]]>`\0").to_string();
        assert_eq!(escaped, "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;]]&gt;&#96;\u{fffd}");
    }

    #[test]
    fn text_without_markup_is_left_alone() {
        assert_eq!(Escaped("größer 中文 😀").to_string(), "größer 中文 😀");
    }

    #[test]
    fn terminal_escapes_are_left_out_and_control_characters_are_replaced() {
        assert_eq!(line("a\u{1b}[31mred\u{7}\r\nb\0\u{9b}c"), "ared\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}c");
    }

    #[test]
    fn a_secret_is_removed_before_anything_is_cut() {
        assert_eq!(line("registry?token=hunter2 x"), "registry?token=[removed] x");
        let long = format!("{} password=hunter2hunter2", "x".repeat(LINE_LIMIT - 14));
        assert!(!line(&long).contains("hunter"), "{}", line(&long));
    }

    #[test]
    fn bidirectional_overrides_and_invisible_characters_are_replaced() {
        let hidden = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{e0041}', '\u{61c}', '\u{ad}'];
        for c in hidden {
            assert_eq!(line(&format!("a{c}b")), "a\u{fffd}b", "{:04x}", u32::from(c));
        }
    }

    #[test]
    fn a_very_long_string_is_cut_with_an_ellipsis() {
        let cut = line(&"é".repeat(100_000));
        assert_eq!(cut.chars().count(), LINE_LIMIT + 1);
        assert!(cut.ends_with("é…"));
        assert_eq!(line(&"x".repeat(LINE_LIMIT)), "x".repeat(LINE_LIMIT));
    }

    #[test]
    fn a_command_is_shown_exactly_or_not_at_all() {
        let honest = "cd /srv/cvat &&\ndocker compose -p cvat up -d 'größe'";
        assert_eq!(command(honest).as_deref(), Some(honest));
        assert_eq!(command("cd '/srv/x?password=hunter2'\ndocker compose up -d"), None);
        assert_eq!(command("docker start a\u{202e}b"), None);
        assert_eq!(command("docker start \u{1b}[2K"), None);
        assert_eq!(command("echo a\rb"), None);
        assert_eq!(command(&"x".repeat(COMMAND_LIMIT + 1)), None);
    }
}
