//! What sentences say about a secret, where it could stand itself: `token: is expired`.

use super::values::{is_blank, is_prose};

/// What is said about a secret, after a colon as a secret itself would be.
const COMPLAINTS: [&str; 28] = [
    "authentication",
    "cannot",
    "contains",
    "could",
    "does",
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
    "unable",
    "unauthorized",
    "unexpected",
    "unknown",
    "wrong",
];
/// What is complained about, if more follows.
const SUBJECTS: [&str; 3] = ["context", "either", "signature"];
/// How the reasons of HTTP's errors begin.
const REASONS: [&str; 9] =
    ["Unauthorized", "Forbidden", "Bad ", "Not ", "Internal", "Service", "Gateway", "Too Many", "Method"];
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
/// YAML, words may be the secret: then only what no one would take for a password.
pub(super) fn complains(text: &str, fills_line: bool) -> bool {
    if CALLS.iter().any(|call| text.starts_with(call)) || is_whole(text) {
        return true;
    }
    let Some(word) = first_word(text).filter(|_| !fills_line) else { return !fills_line && is_status(text) };
    let after = text[word.len()..].trim_start_matches([',', '.', ';', ')', '"', '\'']);
    let goes_on = after.starts_with(is_blank) && is_prose(after.trim_start());
    let begins = |words: &[&str]| words.iter().any(|it| word.eq_ignore_ascii_case(it));
    (goes_on || after.is_empty()) && begins(&COMPLAINTS) || goes_on && begins(&SUBJECTS)
}

/// `401 Unauthorized`.
fn is_status(text: &str) -> bool {
    let (number, reason) = text.split_once(' ').unwrap_or_default();
    number.len() == 3 && number.starts_with(['4', '5']) && REASONS.iter().any(|begins| reason.starts_with(begins))
}

/// Nothing but those words, or more in brackets.
fn is_whole(text: &str) -> bool {
    let part = text.split(" (").next().unwrap_or_default().trim_end().trim_end_matches(['.', '"', '\'']);
    WHOLE.iter().any(|words| part.eq_ignore_ascii_case(words))
}
