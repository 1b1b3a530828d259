//! Takes secrets out of foreign text (an engine's error, a resolver's reason) before it enters a finding.
//!
//! Small on purpose: no log or health output passes through here, only one-line reasons. They may quote URLs with
//! credentials (a registry, a `DOCKER_HOST`), commands and their environment, headers and JSON, so those shapes are
//! removed. Removing too much costs a word of an error; removing too little costs a password. Yet an error that
//! merely speaks of a password (`password incorrect for user`) has to stay readable.

/// What stands in place of a secret.
const REMOVED: &str = "[removed]";
/// Parts of a name, in lower case, whose value is taken for a secret where it is plainly assigned: `NAME=value`,
/// `"name": "value"`, `--name value`.
const SECRETIVE: [&str; 11] =
    ["pass", "pwd", "secret", "token", "key", "cred", "auth", "dsn", "private", "session", "cookie"];
/// How names end, in lower case and without `_-.`, whose value is one after a mere colon or space too, which stand in
/// prose as well: `unauthorized: …` and `create session key: …` are no secrets.
const SECRET: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "dsn",
];
/// The schemes of `Authorization` (RFC 9110 §11.4) whose credentials are one word.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// The text without URL credentials, credentials of `Authorization`, and the values of secret-looking names. Whether it
/// stays on its line is the page's concern.
pub(super) fn redact(text: &str) -> String {
    without_assignments(&without_url_credentials(text))
}

/// The same of a text of many lines.
pub(crate) fn redact_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    lines.into_iter().map(redact).collect()
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_quote(c)
}

fn is_quote(c: char) -> bool {
    "\"'`".contains(c)
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
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

/// Each name that sounds like a secret's is kept and loses its value.
fn without_assignments(line: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |length| start + length);
        let opened = rest[..start].ends_with(is_quote);
        let (name, after) = (rest[start..end].to_lowercase(), &rest[end..]);
        clean.push_str(&rest[..end]);
        rest = after;
        if let Some(secret) = secret_of(&name, opened, after) {
            clean.push_str(&after[..after.len() - secret.len()]);
            clean.push_str(REMOVED);
            rest = &secret[value_length(&name, secret)..];
        }
    }
    clean + rest
}

/// What follows a name, from its secret on, if it has one. `opened`: a quote stands before the name.
fn secret_of<'a>(name: &str, opened: bool, after: &'a str) -> Option<&'a str> {
    let bare: String = name.chars().filter(|c| !"_-.".contains(*c)).collect();
    let secretive = SECRETIVE.iter().any(|part| name.contains(part));
    let secret = SECRET.iter().any(|end| bare.ends_with(end)) || name.rsplit(['_', '-', '.']).next() == Some("pass");
    let spaced = after.trim_start_matches(is_blank);
    // A quote within quotes has a backslash.
    let closed = after.trim_start_matches('\\').strip_prefix(is_quote).map(|after| after.trim_start_matches(is_blank));
    let value = |after: &'a str| after.trim_start_matches(is_blank);
    let (found, rest) = if let Some(rest) = spaced.strip_prefix('=') {
        (secretive, value(rest))
    } else if let Some(rest) = spaced.strip_prefix(':') {
        (secret, value(rest))
    } else if let Some(rest) = closed.and_then(|closed| closed.strip_prefix([':', '='])) {
        // `exec: "secret": executable file not found` is no JSON, and `Get "https://auth/token": EOF` not even a name.
        (secretive && opened && !is_prose(value(rest)), value(rest))
    } else if spaced.len() < after.len() && name.starts_with('-') {
        (secretive && !spaced.starts_with('-'), spaced)
    } else if spaced.len() < after.len() {
        ((secret || SCHEMES.contains(&name)) && !is_prose(spaced), spaced)
    } else {
        return None;
    };
    (found && !rest.is_empty()).then_some(rest)
}

/// Whether a text begins with a word as sentences have it, rather than with one that was made up or is quoted.
fn is_prose(text: &str) -> bool {
    let quoted = text.trim_start_matches('\\').starts_with(is_quote);
    let word = text.trim_start_matches(|c| c == '\\' || is_quote(c));
    let word = word[..word.find(ends_word).unwrap_or(word.len())].trim_matches(|c: char| !c.is_alphanumeric());
    let shouted = word.chars().all(|c| c.is_uppercase());
    let spoken = word.chars().skip(1).all(|c| c.is_lowercase() || c == '-') && !word.starts_with(char::is_numeric);
    word.is_empty() || !quoted && (shouted || spoken)
}

/// How many bytes belong to the value at the start of `rest`: to the closing quote, or to the end of the word; of
/// cookies all, of credentials also the word after their scheme.
fn value_length(name: &str, rest: &str) -> usize {
    let depth = rest.len() - rest.trim_start_matches('\\').len();
    let word = rest.find(|c| ends_word(c) || c == '&').unwrap_or(rest.len());
    if let Some(quote) = rest[depth..].chars().next().filter(|c| is_quote(*c)) {
        // A quote that is escaped deeper than the first one belongs to the value.
        let closes = |at: &usize| rest[..*at].len() - rest[..*at].trim_end_matches('\\').len() <= depth;
        let mut quotes = rest.match_indices(quote).map(|(at, _)| at).filter(|at| *at > depth);
        quotes.find(closes).map_or(rest.len(), |end| end + 1)
    } else if name.ends_with("cookie") {
        rest.find(|c: char| c.is_control() || is_quote(c)).unwrap_or(rest.len())
    } else if SCHEMES.contains(&rest[..word].to_lowercase().as_str()) {
        let credentials = rest[word..].trim_start_matches(is_blank);
        rest.len() - credentials.len() + credentials.find(ends_word).unwrap_or(credentials.len())
    } else {
        word
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
            ("exec: \"run --password hunter2 -v\": not found", "exec: \"run --password [removed] -v\": not found"),
            ("run -auth-key swordfish failed", "run -auth-key [removed] failed"),
            ("{\"user\":\"u\",\"password\":\"hunter2\"}", "{\"user\":\"u\",\"password\":[removed]}"),
            ("{\"apiKey\": \"a b\", \"pin\": 1}", "{\"apiKey\": [removed], \"pin\": 1}"),
            (r#"body "{\"Token\":\"a b\",\"x\":1}" refused"#, r#"body "{\"Token\":[removed],\"x\":1}" refused"#),
            (r#"PASSWORD="a\"b" refused"#, "PASSWORD=[removed] refused"),
            ("password: hunter2", "password: [removed]"),
            ("Password = swordfish, try again", "Password = [removed] try again"),
            ("DB_PASS: swordfish", "DB_PASS: [removed]"),
            ("using password hunter2", "using password [removed]"),
            ("with secret 'sword fish' in it", "with secret [removed] in it"),
            ("Authorization: Bearer eyJhbGciOi.J9.x refused", "Authorization: [removed] refused"),
            ("-H \"authorization: basic swordfish\" failed", "-H \"authorization: [removed]\" failed"),
            ("{\"Authorization\":\"Bearer swordfish\"}", "{\"Authorization\":[removed]}"),
            ("sent Bearer eyJhbGciOi.J9.x, refused", "sent Bearer [removed] refused"),
            ("sent basic dXNlcjpwYXNz", "sent basic [removed]"),
            ("Set-Cookie: sid=1; csrf=2", "Set-Cookie: [removed]"),
            ("GET /api?token=abc&user=u", "GET /api?token=[removed]&user=u"),
            ("env AWS_SECRET_ACCESS_KEY=wJalrX/K7 run", "env AWS_SECRET_ACCESS_KEY=[removed] run"),
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
            "password incorrect for user",
            "password authentication failed for user \"cvat\"",
            "Password FAILED: try again",
            "unauthorized: authentication required",
            "the token is missing or expired",
            "invalid character '<': unexpected token '<'",
            "unable to join session keyring: unable to create session key: disk quota exceeded",
            "exec: \"secret\": executable file not found in $PATH: unknown",
            "Get \"https://auth.docker.io/token\": dial tcp: lookup auth.docker.io on 10.0.0.1:53",
            "basic authentication is required",
            "WWW-Authenticate: Bearer realm=\"https://example.com\"",
            "flag needs an argument: --password",
            "--no-password --verbose: unknown flag",
            "{\"user\": \"password\", \"id\": 1}",
            "password:",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
