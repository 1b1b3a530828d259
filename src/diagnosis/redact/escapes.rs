//! Colours, titles and links for terminals (ECMA-48 §5.3 to §5.6): they stand between a name and its value, and mean
//! nothing where they are shown.

use std::borrow::Cow;

const ESCAPE: char = '\u{1b}';
/// Ends the title of a window, where xterm has it for ST.
const BELL: char = '\u{7}';

/// The line without sequences that begin with ESC, and without any ESC: what is left forms no new one.
pub(super) fn without_sequences(line: &str) -> Cow<'_, str> {
    let mut parts = line.split(ESCAPE);
    let first = parts.next().unwrap_or_default();
    if first.len() == line.len() {
        return Cow::Borrowed(line);
    }
    let mut clean = first.to_owned();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        clean.push_str(match part.chars().next() {
            Some('[') => after_control(&part[1..]),
            // Up to BEL, or to ESC and a backslash. One that does not end on its line was none.
            Some(']' | 'P' | 'X' | '^' | '_') => match part.split_once(BELL) {
                Some((_, rest)) => rest,
                None if parts.peek().is_some_and(|next| next.starts_with('\\')) => "",
                None => &part[1..],
            },
            _ => after_short(part),
        });
    }
    Cow::Owned(clean)
}

/// What follows a control sequence: parameters, what stands between, and one last byte.
fn after_control(part: &str) -> &str {
    let rest = part.trim_start_matches(|it| matches!(it, '0'..='?')).trim_start_matches(|it| matches!(it, ' '..='/'));
    rest.strip_prefix(|it| matches!(it, '@'..='~')).unwrap_or(rest)
}

/// What follows an escape sequence that is no control sequence.
fn after_short(part: &str) -> &str {
    let rest = part.trim_start_matches(|it| matches!(it, ' '..='/'));
    rest.strip_prefix(|it| matches!(it, '0'..='~')).unwrap_or(rest)
}

/// How JSON's makers write what HTML has a meaning for (Go's `encoding/json`, Gson): joints of a query and of a tag.
const WRITTEN: [(&str, char); 4] = [("003d", '='), ("0026", '&'), ("003c", '<'), ("003e", '>')];
const CODE: &str = "\\u00";

/// Whether a line may have any of this.
pub(super) fn has_any(line: &str) -> bool {
    line.contains(ESCAPE) || line.contains('\\') && line.contains(CODE)
}

/// The line with those as they are meant.
pub(super) fn without_codes(line: &str) -> Cow<'_, str> {
    let Some(first) = line.find(CODE) else { return Cow::Borrowed(line) };
    // Of a tag only if it is closed: in a value they are the value's.
    let is_tag = ["u003c/", "u003C/"].iter().any(|closes| line.contains(closes));
    let written = if is_tag { &WRITTEN[..] } else { &WRITTEN[..2] };
    let mut clean = line[..first].to_owned();
    let mut rest = &line[first..];
    while let Some(at) = rest.find("\\u") {
        let code = &rest[at + 2..];
        let written = written.iter().find(|(digits, _)| {
            code.as_bytes().get(..4).is_some_and(|four| four.eq_ignore_ascii_case(digits.as_bytes()))
        });
        // However often it was written into another text.
        let before = if written.is_some() { rest[..at].trim_end_matches('\\') } else { &rest[..at + 2] };
        clean.push_str(before);
        clean.extend(written.map(|(_, meant)| meant));
        rest = if written.is_some() { &code[4..] } else { code };
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_not_show_is_left_out() {
        for (line, clean) in [
            ("plain [31m text", "plain [31m text"),
            ("a \u{1b}[1;31mred\u{1b}[0m word", "a red word"),
            ("\u{1b}[38:2::255:0:0mtrue\u{1b}[m\u{1b}[?25l\u{1b}[2 q", "true"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\ b", "alink b"),
            ("\u{1b}(Bascii\u{1b}7\u{1b}M", "ascii"),
            ("\u{1b}]no title, and \u{1b}[1mbold", "no title, and bold"),
            ("cut \u{1b}", "cut "),
            ("cut \u{1b}[3", "cut "),
            ("\u{1b}\u{1b}[31m[32mnested\u{1b}é", "[32mnestedé"),
        ] {
            assert_eq!(without_sequences(line), clean, "{line:?}");
            assert_eq!(without_sequences(clean), clean);
        }
    }
}
