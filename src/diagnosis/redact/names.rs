//! What a name says about its value.

/// What is to be thought of a name's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Nothing.
    Other,
    /// It is a secret if it looks like one: `key=orgs.1` is none.
    Weak,
    /// It is a secret.
    Strong,
    /// As `Strong`, and all of the line belongs to it.
    Cookie,
    /// As `Strong`; a word may stand before it that says how it is meant.
    Authorization,
    /// Such a word: a scheme of RFC 9110 §11.4 whose credentials are one word.
    Scheme,
    /// It is the name of what comes next: `name: DB_PASSWORD`, `value: …`.
    Label,
    /// It is what such a name was for.
    Value,
}

/// Without `_-.`, anywhere in a name.
const STRONG: [&str; 54] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "connectionstring",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "sharedkey",
    "accountkey",
    "authkey",
    "requirepass",
    "masterauth",
    "authconfig",
    "basicauth",
    "fromliteral",
    // Cookies that are the key to an account, besides those that say so.
    "aspsessionid",
    "wordpresslogged",
    "sapisid",
    // The password of other languages.
    "kennwort",
    "motdepasse",
    "contraseña",
    "contrasena",
    "contrasenya",
    "senha",
    "parola",
    "wachtwoord",
    "hasło",
    "haslo",
    "heslo",
    "lösenord",
    "losenord",
    "adgangskode",
    "salasana",
    "jelszó",
    "jelszo",
    "şifre",
    "sifre",
    "пароль",
    "パスワード",
    "비밀번호",
    "암호",
    "密碼",
    "暗証番号",
    "סיסמה",
    "密码",
    "密钥",
    "口令",
];
/// Without `_-.`, at the end of a name.
const STRONG_ENDS: [&str; 12] = [
    "token",
    "pw",
    "pwd",
    "dsn",
    "jwt",
    "accesssignature",
    "sessionid",
    "sessid",
    "samlresponse",
    "passin",
    "passout",
    "令牌",
];
/// Words that end with `pass`, and speak of no password.
#[rustfmt::skip]
const OTHER_PASSES: [&str; 15] = [
    "bypass", "compass", "encompass", "multipass", "overpass", "surpass", "trespass", "underpass", "highpass", "lowpass",
    "bandpass", "allpass", "onepass", "twopass", "nopass",
];
/// Before `TOKENS` they count them.
const COUNTS: [&str; 8] = ["max", "min", "num", "total", "input", "output", "prompt", "completion"];
/// As the last part of a name.
const STRONG_PARTS: [&str; 10] = ["pass", "passe", "pw", "creds", "cred", "psk", "otp", "totp", "mfa", "bearer"];
/// As any part of a name.
const WEAK_PARTS: [&str; 22] = [
    "key",
    "session",
    "sid",
    "auth",
    "sig",
    "signature",
    "salt",
    "seed",
    "private",
    "pin",
    "code",
    "assertion",
    "ticket",
    "hmac",
    "token",
    "csrf",
    "xsrf",
    "crumb",
    "pass",
    "credential",
    "community",
    "webhook",
];
/// Names that end so are about a secret, and are none: its file, its lifetime, the program text that handles it.
const DESCRIPTIONS: [&str; 92] = [
    "file",
    "path",
    "dir",
    "name",
    "type",
    "policy",
    "mode",
    "enabled",
    "disabled",
    "required",
    "count",
    "total",
    "limit",
    "max",
    "min",
    "size",
    "length",
    "ttl",
    "timeout",
    "expiry",
    "expires",
    "expiration",
    "duration",
    "interval",
    "age",
    "version",
    "algorithm",
    "alg",
    "endpoint",
    "issuer",
    "provider",
    "field",
    "column",
    "url",
    "uri",
    "host",
    "port",
    "method",
    "format",
    "status",
    "state",
    "error",
    "reason",
    "user",
    "username",
    "created",
    "updated",
    "rotation",
    "lifetime",
    "namespace",
    "store",
    "manager",
    "service",
    "module",
    "handler",
    "exists",
    "valid",
    "verified",
    "backend",
    "cache",
    "filter",
    "encoder",
    "factory",
    "controller",
    "repository",
    "validator",
    "exception",
    "resolver",
    "interceptor",
    "impl",
    "bits",
    "by",
    "at",
    "yml",
    "yaml",
    "json",
    "toml",
    "conf",
    "cfg",
    "ini",
    "txt",
    "pem",
    "crt",
    "go",
    "py",
    "js",
    "ts",
    "java",
    "rs",
    "rb",
    "php",
    "svc",
];
/// Names that begin so ask a question.
const QUESTIONS: [&str; 9] = ["no", "is", "has", "use", "require", "enable", "disable", "allow", "without"];

/// What to think of the value of a name, given as it was written.
pub(super) fn sort(name: &str) -> Sort {
    let option = name.starts_with('-');
    let whole = name.trim_start_matches('-');
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(whole));
    if is_one_of(&["name", "variable", "header", "field", "env"]) {
        return Sort::Label;
    }
    if is_one_of(&["value", "val", "content", "contents", "default"]) {
        return Sort::Value;
    }
    if !option && is_one_of(&["basic", "bearer"]) {
        return Sort::Scheme;
    }
    if !may_matter(name) {
        return Sort::Other;
    }
    let parts = parts(name);
    let bare = parts.concat();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Sort::Other };
    if bare.ends_with("authorization") {
        return Sort::Authorization;
    }
    if bare.ends_with("cookie") || bare.ends_with("cookies") {
        return Sort::Cookie;
    }
    // LinkedIn's session, which reads as a time.
    if bare == "liat" {
        return Sort::Strong;
    }
    let question = parts.len() > 1 && QUESTIONS.contains(&first.as_str());
    // `AWS_ACCESS_KEY_ID` by itself opens nothing.
    let identifies = last == "id" && parts.iter().any(|part| part == "key" || part == "client");
    if question || identifies || DESCRIPTIONS.contains(&last.as_str()) {
        return Sort::Other;
    }
    let strong = STRONG.iter().any(|part| holds(&bare, part))
        || STRONG_ENDS.iter().any(|end| bare.ends_with(end))
        || STRONG_PARTS.contains(&last.as_str())
        || last.ends_with("pass") && !OTHER_PASSES.contains(&last.as_str())
        || last == "tokens" && parts.len() > 1 && is_of_environment(name) && !COUNTS.contains(&first.as_str())
        || last == "key" && first == "x";
    if strong {
        Sort::Strong
    } else if WEAK_PARTS.iter().any(|part| parts.iter().any(|own| own == part)) || bare.ends_with("key") {
        Sort::Weak
    } else {
        Sort::Other
    }
}

/// Whether a name has this anywhere. `str::contains` prepares for longer texts than names are.
fn holds(name: &str, part: &str) -> bool {
    let (name, part) = (name.as_bytes(), part.as_bytes());
    (0..name.len()).any(|at| name[at] == part[0] && name[at..].starts_with(part))
}

/// A cheap look, since almost no name does: at something of which every list above has a piece.
fn may_matter(name: &str) -> bool {
    let bytes = name.as_bytes();
    let begins =
        |at: usize, piece: &&[u8]| bytes.get(at..at + piece.len()).is_some_and(|part| part.eq_ignore_ascii_case(piece));
    !name.is_ascii()
        || bytes.iter().enumerate().any(|(at, byte)| {
            let pieces: &[&[u8]] = match byte.to_ascii_lowercase() {
                b'a' => &[b"auth", b"assertion", b"aspsess", b"adgangskode"],
                b'b' => &[b"bearer"],
                b'c' => &[b"cred", b"cookie", b"code", b"csrf", b"crumb", b"community", b"contrase"],
                b'd' => &[b"dsn"],
                b'h' => &[b"hmac", b"heslo", b"haslo"],
                b'j' => &[b"jwt", b"jelszo"],
                b'k' => &[b"key", b"kennwort"],
                b'l' => &[b"literal", b"li_at", b"losenord"],
                b'm' => &[b"mfa"],
                b'o' => &[b"otp"],
                b'p' => &[b"pass", b"pw", b"private", b"psk", b"pin", b"parola"],
                b's' => &[b"secret", b"sess", b"sig", b"sid", b"sal", b"seed", b"saml", b"string", b"senha", b"sifre"],
                b't' => &[b"token", b"totp", b"ticket"],
                b'w' => &[b"webhook", b"wordpress", b"wachtwoord"],
                b'x' => &[b"xsrf"],
                _ => &[],
            };
            pieces.iter().any(|piece| begins(at, piece))
        })
}

/// A mark that some write after the letter that bears it.
pub(super) fn is_accent(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// Its parts in lower case and without such marks: split at `_-.`, and where a capital begins another word.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = '\0';
    for c in name.chars() {
        if matches!(c, '_' | '-' | '.') {
            parts.push(String::new());
        } else if !is_accent(c) {
            if c.is_uppercase() && before.is_lowercase() {
                parts.push(String::new());
            }
            parts.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
        before = c;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether a name is written as environments have it.
pub(super) fn is_of_environment(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    plain && name.bytes().any(|b| b.is_ascii_uppercase())
}
