//! Where a value ends, and what kind of word it is: shells, JSON, YAML, URLs and prose have their own opinions.

use super::REMOVED;

/// More than any name in a query or a connection string has, in bytes.
const LONGEST_NAME: usize = 64;

pub(super) fn ends_word(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_quote(c)
}

pub(super) fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

pub(super) fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

pub(super) fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_blank).len()
}

/// The length of a quotation mark at the start: plain, with the backslashes of a quote within quotes, or in HTML.
pub(super) fn quote_mark(text: &str) -> usize {
    let depth = text.len() - text.trim_start_matches('\\').len();
    let entity = ["&quot;", "&#34;", "&#39;", "&apos;"].iter().find(|entity| text.starts_with(**entity));
    match text[depth..].chars().next() {
        Some(c) if is_quote(c) => depth + 1,
        Some('u') if depth > 0 && (text[depth..].starts_with("u0022") || text[depth..].starts_with("u0027")) => {
            depth + "u0022".len()
        }
        _ => entity.map_or(0, |entity| entity.len()),
    }
}

/// Whether a text ends with one.
pub(super) fn ends_with_quote(text: &str) -> bool {
    text.ends_with(is_quote)
        || ["&quot;", "&#34;", "&#39;", "&apos;", "\\u0022", "\\u0027"].iter().any(|mark| text.ends_with(mark))
}

/// How many bytes a quoted text at the start has, up to and with its closing quote; `None` if it is not quoted.
pub(super) fn quoted(text: &str) -> Option<usize> {
    let opening = quote_mark(text);
    if opening == 0 {
        return None;
    }
    let depth = text.len() - text.trim_start_matches('\\').len();
    let mark = &text[depth.min(opening)..opening];
    let mut at = opening;
    while let Some(found) = text[at..].find(mark) {
        let closing = at + found;
        at = closing + mark.len();
        // A quote that is escaped deeper than the first one belongs to the value.
        let escapes = text[opening..closing].len() - text[opening..closing].trim_end_matches('\\').len();
        // So does a doubled one (SQL), or one that is opened again at once (`'it'\''s'` in a shell).
        let again = if depth == 0 && mark.len() == 1 { opened_again(&text[at..], mark) } else { 0 };
        if escapes <= depth && again == 0 {
            return Some(at);
        }
        at += again;
    }
    Some(text.len())
}

fn opened_again(after: &str, mark: &str) -> usize {
    let Some(escaped) = after.strip_prefix('\\').filter(|rest| rest.starts_with(mark)) else {
        return if after.starts_with(mark) { mark.len() } else { 0 };
    };
    let reopened = escaped[mark.len()..].starts_with(mark);
    '\\'.len_utf8() + mark.len() + if reopened { mark.len() } else { 0 }
}

/// What is between the quotes, if there are any.
pub(super) fn unquoted(text: &str) -> &str {
    let text = &text[quote_mark(text)..];
    let text = text.trim_end_matches(|c| is_quote(c) || c == '\\');
    ["&quot;", "&#34;", "&#39;"].iter().fold(text, |text, mark| text.strip_suffix(mark).unwrap_or(text))
}

/// How many bytes a bare value at the start has: a word of a shell, a query, a connection string or a call.
pub(super) fn word(text: &str) -> usize {
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        match c {
            // `two\ words` is one to a shell.
            ' ' if before == '\\' => {}
            // `Some("x")`, `b'x'`.
            _ if is_quote(c) && (before == '(' || is_string_prefix(&text[..at])) => {
                let end = at + quoted(&text[at..]).unwrap_or_default();
                return end + usize::from(before == '(' && text[end..].starts_with(')'));
            }
            _ if ends_word(c) => return at,
            // Of a query or a connection string only if another name follows: passwords may hold both characters.
            '&' if is_quote_entity(&text[at..]) || begins_pair(&text[at + 1..], "._-[]%") => return at,
            ';' if before != '\0' && begins_pair(&text[at + 1..], "._- ") => return at,
            '%' if text[at..].starts_with("%26") => return at,
            _ => before = c,
        }
    }
    text.len()
}

fn is_quote_entity(text: &str) -> bool {
    quote_mark(text) > 1
}

/// Python's, Rust's, SQL's and C#'s.
fn is_string_prefix(text: &str) -> bool {
    matches!(text, "b" | "r" | "u" | "f" | "rb" | "br" | "B" | "N" | "E" | "$" | "@")
}

/// Whether `name=` follows, or nothing at all. Looks at a bounded part, so that many ampersands cost no more than few.
fn begins_pair(text: &str, more: &str) -> bool {
    let text = text.strip_prefix("amp;").unwrap_or(text);
    let name = text.bytes().take(LONGEST_NAME).take_while(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(b));
    let length = name.count();
    text.is_empty() || length > 0 && text.as_bytes().get(length) == Some(&b'=')
}

/// How many bytes a bracketed value at the start has; to the end if it is never closed.
pub(super) fn bracketed(text: &str) -> Option<usize> {
    if !text.starts_with(['(', '[', '{']) {
        return None;
    }
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// Whether a text begins with a word as sentences have it, rather than with one that was made up or is quoted.
pub(super) fn is_prose(text: &str) -> bool {
    if text.starts_with(REMOVED) {
        return false;
    }
    let is_quoted = quote_mark(text) > 0;
    let word = text.trim_start_matches(|c| c == '\\' || is_quote(c));
    let word = word[..word.find(ends_word).unwrap_or(word.len())].trim_matches(|c: char| !c.is_alphanumeric());
    let shouted = word.chars().all(|c| c.is_uppercase());
    let spoken = word.chars().skip(1).all(|c| c.is_lowercase() || c == '-') && !word.starts_with(char::is_numeric);
    word.is_empty() || !is_quoted && (shouted || spoken)
}

/// Whether a value says nothing: a constant, a mask, a reference to a variable or a place to fill in.
pub(super) fn is_empty(value: &str) -> bool {
    let value = unquoted(unquoted(value).trim_matches([',', ';', ')', '}', ']', '[', '{', '(', ' ', '.']));
    let constants =
        ["required", "true", "false", "null", "none", "nil", "undefined", "yes", "no", "removed", "redacted"];
    let reference = value.strip_prefix('$').is_some_and(|name| {
        let name = name.trim_matches(['{', '}', '(', ')']);
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    });
    let masked = value.bytes().all(|b| b == b'*' || b == b'x' || b == b'X' || b == b'-' || b == b'|' || b == b'>');
    if value.len() > LONGEST_NAME {
        return false;
    }
    let blank = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, ' ' | '_' | '-'))
    });
    masked || reference || blank || constants.iter().any(|constant| value.eq_ignore_ascii_case(constant))
}

/// Whether a value is one that no sentence and no program text holds by itself: letters and digits mixed, case that
/// changes within a word. Names and paths, times and durations are not.
pub(super) fn is_made_up(value: &str) -> bool {
    let value = unquoted(value).trim_end_matches([',', ';', ')', '}', ']', '.', ':']);
    if value.starts_with(['/', '.', '~', '<']) || value.contains("://") || value.starts_with(REMOVED) {
        return false;
    }
    value.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let mixed = run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic());
        let humps =
            run.as_bytes().windows(2).filter(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase()).count();
        run.len() >= 6 && (mixed && !is_technical(run) || run.len() < 6 * humps)
    })
}

/// Algorithms and durations: letters and digits, and no secret.
fn is_technical(word: &str) -> bool {
    let known = ["sha", "md5", "hs", "rs", "es", "aes", "rsa", "ed25519", "x25519", "hmac", "oauth", "http", "ipv"];
    let lower = word.to_ascii_lowercase();
    let duration = word.bytes().all(|b| b.is_ascii_digit() || b"hmsun".contains(&b));
    duration || word.len() <= 12 && known.iter().any(|known| lower.starts_with(known))
}
