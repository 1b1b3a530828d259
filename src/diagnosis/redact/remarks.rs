//! What sentences say about a secret, where it could stand itself: `token: is expired`.

use super::values::{is_blank, is_prose};

/// What is said about a secret, after a colon as a secret itself would be.
const COMPLAINTS: [&str; 31] = [
    "authentication",
    "cannot",
    "contains",
    "context",
    "could",
    "does",
    "either",
    "empty",
    "error",
    "expired",
    "failed",
    "has",
    "illegal",
    "incorrect",
    "invalid",
    "is",
    "malformed",
    "missing",
    "must",
    "no",
    "not",
    "open",
    "parse",
    "permission",
    "required",
    "signature",
    "unable",
    "unauthorized",
    "unexpected",
    "unknown",
    "wrong",
];
/// The same in words that are all of it, in lower case.
const WHOLE: [&str; 6] =
    ["required", "field required", "unbound variable", "parameter not set", "parameter null or not set", "not set"];
/// What a program wanted to do when it failed, before the path or address of it.
const CALLS: [&str; 9] = ["open /", "stat /", "lstat /", "read /", "dial ", "lookup ", "Get \"", "Post \"", "Put \""];
/// Between a name and its value, when people write: `password is set to x`.
pub(super) const FILLERS: [&str; 12] =
    ["is", "was", "set", "to", "has", "been", "generated", "now", "changed", "value", "the", "following"];

/// The word at the start, as sentences have it.
pub(super) fn first_word(text: &str) -> Option<&str> {
    let word = &text[..text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len())];
    (!word.is_empty()).then_some(word)
}

/// Whether a word tells what happened to a secret: `token refreshed`.
pub(super) fn is_remark(word: &str) -> bool {
    let word = word.trim_end().trim_end_matches(['.', '!', '?', ':', ',']);
    COMPLAINTS.contains(&word.to_ascii_lowercase().as_str())
        || ["ed", "ing", "reset", "set", "found"].iter().any(|end| word.ends_with(end))
}

/// Whether what follows a colon speaks about a secret: `token: is expired`. Where it is all that the line says of one, as in
/// YAML, two words may be the secret.
pub(super) fn complains(text: &str, fills_line: bool) -> bool {
    if CALLS.iter().any(|call| text.starts_with(call)) || is_status(text) || is_whole(text) {
        return true;
    }
    let Some(word) = first_word(text) else { return false };
    let after = text[word.len()..].trim_start_matches([',', '.', ';', ')', '"', '\'']);
    let is_sentence = after.is_empty() || after.starts_with(is_blank) && is_prose(after.trim_start());
    let is_long = !fills_line || text.split_whitespace().nth(2).is_some();
    is_sentence && is_long && COMPLAINTS.contains(&word.to_ascii_lowercase().as_str())
}

/// `401 Unauthorized`.
fn is_status(text: &str) -> bool {
    let (number, reason) = text.split_once(' ').unwrap_or_default();
    number.len() == 3
        && number.bytes().all(|b| b.is_ascii_digit())
        && reason.starts_with(|c: char| c.is_ascii_uppercase())
        && is_prose(reason)
}

fn is_whole(text: &str) -> bool {
    let part = &text[..text.find(['(', ',', '.']).unwrap_or(text.len())];
    WHOLE.iter().any(|words| part.trim_end().eq_ignore_ascii_case(words))
}
