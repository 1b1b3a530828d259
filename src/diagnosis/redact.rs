//! Takes secrets out of foreign text (an engine's error, a resolver's reason) before it enters a finding.
//!
//! Small on purpose: no log or health output passes through here, only one-line reasons. They may quote URLs with
//! credentials (a registry, a `DOCKER_HOST`) and assignments (`--password=…`), so those two shapes are removed.
//! Removing too much costs a word of an error; removing too little costs a password.

/// What stands in place of a secret.
const REMOVED: &str = "[removed]";
/// Parts of a name, in lower case, whose value is taken for a secret.
const SECRETIVE: [&str; 11] =
    ["pass", "pwd", "secret", "token", "key", "cred", "auth", "dsn", "private", "session", "cookie"];

/// The text without URL credentials and the values of secret-looking names. Whether it stays on its line is the
/// page's concern.
pub(super) fn redact(text: &str) -> String {
    without_assignments(&without_url_credentials(text))
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`".contains(c)
}

/// `scheme://user:password@host` loses everything up to the last `@` of its word, since a password may hold
/// unescaped slashes and at signs.
fn without_url_credentials(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("://").map(|colon| colon + 3) {
        let word_end = rest[start..].find(ends_word).map_or(rest.len(), |end| start + end);
        clean.push_str(&rest[..start]);
        match rest[start..word_end].rfind('@') {
            Some(at) => {
                clean.push_str(REMOVED);
                clean.push_str(&rest[start + at..word_end]);
            }
            None => clean.push_str(&rest[start..word_end]),
        }
        rest = &rest[word_end..];
    }
    clean + rest
}

/// `NAME=value` keeps its name and loses its value where the name sounds like a secret's.
fn without_assignments(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let value = equals + 1;
        clean.push_str(&rest[..value]);
        let name = rest[..equals].rsplit(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).next();
        let name = name.unwrap_or_default().to_lowercase();
        rest = &rest[value..];
        if SECRETIVE.iter().any(|part| name.contains(part)) {
            clean.push_str(REMOVED);
            rest = &rest[value_length(rest)..];
        }
    }
    clean + rest
}

/// How many bytes belong to the value at the start of `rest`: to the closing quote, or to the end of the word.
fn value_length(rest: &str) -> usize {
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        Some(_) | None => rest.find(|c| ends_word(c) || c == '&').unwrap_or(rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_of_the_error_stays() {
        for (text, want) in [
            (
                "Get \"https://robot:s3cr3t@registry.example.com/v2/\": unauthorized",
                "Get \"https://[removed]@registry.example.com/v2/\": unauthorized",
            ),
            ("dial postgres://u:p@ss/w@db:5432 failed", "dial postgres://[removed]@db:5432 failed"),
            ("exec: \"run --password=hunter2\": not found", "exec: \"run --password=[removed]\": not found"),
            ("CLICKHOUSE_PASSWORD='two words' refused", "CLICKHOUSE_PASSWORD=[removed] refused"),
            ("API_TOKEN=\"never closed", "API_TOKEN=[removed]"),
            ("first\nhttp://u:p@host\nlast@all", "first\nhttp://[removed]@host\nlast@all"),
            ("a://x:1@h b://y:2@i", "a://[removed]@h b://[removed]@i"),
        ] {
            assert_eq!(redact(text), want);
        }
    }

    #[test]
    fn harmless_text_is_left_as_it_is() {
        for text in [
            "network 0123456789ab not found",
            "driver failed: Bind for 0.0.0.0:8080 failed: port is already allocated",
            "Get \"http://proxy:2375/v1.41/info\": EOF",
            "mode=0755 uid=472 name=grafana",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
