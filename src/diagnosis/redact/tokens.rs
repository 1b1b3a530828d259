//! Secrets by their own look: what their makers let them begin with, and long words that no person would write.

use std::borrow::Cow;
use std::ops::Range;

use super::Cuts;

/// How tokens begin, and how many characters follow at least, by their first character. What begins so and goes on in
/// another way is none. Of the makers: `eyJ` is JSON in base64 (JWT, Grafana's old keys), `A…` AWS, Google's and
/// Atlassian's, `gh…` and `gl…` GitHub, GitLab and Grafana, `xo…` Slack, `sk-` OpenAI and Anthropic (`sk-ant-`).
#[rustfmt::skip]
fn prefixes(first: u8) -> &'static [(&'static str, usize)] {
    match first {
        b'1' => &[("1//0", 20)],
        b'A' => &[
            ("AKIA", 16), ("ASIA", 16), ("ABIA", 16), ("ACCA", 16), ("AIza", 30), ("ATATT3", 20), ("ATBB", 20),
            ("AKCp", 50), ("AGE-SECRET-KEY-1", 20),
        ],
        b'G' => &[("GOCSPX-", 20), ("GR1348941", 16)],
        b'N' => &[("NRAK-", 20)],
        b'P' => &[("PMAK-", 30)],
        b'S' => &[("SG.", 30)],
        b'c' => &[("cio", 32)],
        b'd' => &[
            ("dckr_pat_", 16), ("dckr_oat_", 16), ("dop_v1_", 30), ("doo_v1_", 30), ("dor_v1_", 30),
            ("dapi", 32), ("dp.pt.", 30),
        ],
        b'e' => &[("eyJ", 12)],
        b'f' => &[("figd_", 30)],
        b'g' => &[
            ("ghp_", 20), ("gho_", 20), ("ghu_", 20), ("ghs_", 20), ("ghr_", 20), ("github_pat_", 20),
            ("glpat-", 16), ("gldt-", 16), ("glrt-", 16), ("glcbt-", 16), ("glptt-", 16), ("glsoat-", 16),
            ("glft-", 16), ("glagent-", 16), ("gloas-", 16), ("glimt-", 16), ("glsa_", 20), ("glc_", 20),
            ("gsk_", 30),
        ],
        b'h' => &[("hf_", 30), ("hvs.", 20), ("hvb.", 20), ("hvr.", 20)],
        b'l' => &[("lin_api_", 30)],
        b'n' => &[("npm_", 30), ("ntn_", 30), ("nfp_", 30)],
        b'o' => &[("oy2", 40)],
        b'p' => &[("pypi-", 40), ("pplx-", 30), ("pscale_", 30)],
        b'r' => &[("rk_live_", 10), ("rk_test_", 10), ("rubygems_", 30), ("r8_", 30)],
        b's' => &[
            ("sk_live_", 10), ("sk_test_", 10), ("sk-", 20), ("shpat_", 20), ("shpss_", 20), ("shpca_", 20),
            ("sntrys_", 30), ("sntryu_", 30), ("sbp_", 30),
        ],
        b't' => &[("tskey-", 16)],
        b'w' => &[("whsec_", 16)],
        b'x' => &[
            ("xoxb-", 10), ("xoxp-", 10), ("xoxa-", 10), ("xoxr-", 10), ("xoxs-", 10), ("xoxe-", 10),
            ("xoxe.", 10), ("xoxc-", 10), ("xoxd-", 10), ("xapp-", 10), ("xai-", 30),
        ],
        b'y' => &[("ya29.", 20)],
        _ => &[],
    }
}
/// Where the files of a server are. What a path on from there names is no way into anything, unlike a URL's.
#[rustfmt::skip]
const ROOTS: [&str; 18] = [
    "/srv/", "/opt/", "/home/", "/root/", "/var/", "/usr/", "/etc/", "/mnt/", "/media/", "/data/", "/tmp/", "/run/",
    "/app/", "/builds/", "/workspace/", "/Users/", "/Volumes/", "/volume1/",
];
/// From so many characters on, a word without sense is taken for a secret.
const LONG: usize = 32;
/// A git commit, and a container's or image's id or digest.
const IDS: [usize; 2] = [40, 64];
/// What may stand before a long word, in lower case, and says that it only identifies something.
const IDENTIFIERS: [&str; 22] = [
    "request",
    "trace",
    "span",
    "correlation",
    "etag",
    "digest",
    "sha1",
    "sha2",
    "sha3",
    "sha5",
    "md5",
    "checksum",
    "commit",
    "revision",
    "fingerprint",
    "avatar",
    "container",
    "serial",
    "thumbprint",
    "query",
    "transaction",
    "nix/store",
];
/// How far before a word that is looked for, in bytes.
const CONTEXT: usize = 32;

/// How the hash of a password begins, after a dollar sign: crypt's, LDAP's and PHP's methods, which a dictionary opens.
const HASHES: [&str; 12] = ["apr1$", "1$", "2a$", "2b$", "2y$", "5$", "6$", "y$", "argon2", "scrypt", "pbkdf2", "P$"];
/// In bytes; shorter ones are the shell's or an expression's.
const HASH: usize = 20;
/// Django's, before the sign.
const METHODS: [&str; 5] = ["pbkdf2_sha256", "pbkdf2_sha1", "bcrypt_sha256", "argon2", "scrypt"];

fn is_hash(before: &str, after: &str) -> bool {
    HASHES.iter().any(|method| after.starts_with(method)) || METHODS.iter().any(|method| before.ends_with(method))
}

/// The line without tokens.
pub(super) fn without_tokens(line: &str) -> Cow<'_, str> {
    let mut cuts = Cuts::of(line);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'$' && is_hash(&line[..at], &line[at + 1..]) {
            let length = bytes[at..].iter().take_while(|b| is_of_token(**b) || matches!(b, b'$' | b',')).count();
            if length >= HASH {
                cuts.cut(at..at + length);
            }
            at += length;
            continue;
        }
        if !is_of_token(bytes[at]) {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().take_while(|b| is_of_token(**b)).count();
        // The shortest of all tokens is longer.
        if length >= 12 {
            of_run(&mut cuts, line, at..at + length);
        }
        at += length;
    }
    cuts.finish()
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.+/=~".contains(&byte)
}

fn of_run(cuts: &mut Cuts<'_>, line: &str, run: Range<usize>) {
    let bytes = line.as_bytes();
    let mut at = run.start;
    while at < run.end {
        // Only where a word begins: `task-…` is no `sk-…`.
        let begins = at == run.start || !bytes[at - 1].is_ascii_alphanumeric();
        if begins && let Some(length) = prefixed(&line[at..run.end]) {
            cuts.cut(at..at + length);
            at += length;
            continue;
        }
        if begins {
            let piece = bytes[at..run.end].iter().take_while(|b| !b"=.~".contains(b)).count();
            if piece >= LONG {
                at = long(cuts, line, at..at + piece);
                continue;
            }
        }
        at += 1;
    }
}

/// How long the token is that begins here, if its maker is known.
fn prefixed(text: &str) -> Option<usize> {
    let known = prefixes(*text.as_bytes().first()?);
    let &(prefix, least) = known.iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let tail = &text.as_bytes()[prefix.len()..];
    // The rest is read only if it is one: a line may consist of beginnings.
    let first = &tail[..tail.iter().take(least).take_while(|b| **b != b'/').count()];
    // `sk-learn-contrib-something` is a name.
    let made_up = first.iter().any(u8::is_ascii_digit) || first.iter().any(u8::is_ascii_uppercase);
    if first.len() < least || !made_up {
        return None;
    }
    let tail = &tail[..tail.iter().take_while(|b| **b != b'/').count()];
    let dots = tail.iter().rev().take_while(|b| **b == b'.').count();
    Some(prefix.len() + tail.len() - dots)
}

/// Judges a long word; where to go on.
fn long(cuts: &mut Cuts<'_>, line: &str, piece: Range<usize>) -> usize {
    let word = &line[piece.clone()];
    // Base64 has slashes too, and `=` at its end.
    let padding = line[piece.end..].bytes().take_while(|b| *b == b'=').count().min(2);
    // Few paths have a plus, and none ends with `=`.
    let is_base64 = word.contains('/') && word.len() >= 40 || word.contains('+') || padding > 0;
    if is_base64 && !identified(line, piece.start) && is_base64_with_slashes(word) {
        cuts.cut(piece.start..piece.end + padding);
        return piece.end;
    }
    let mut at = piece.start;
    let is_file = is_of_a_file(line, &piece);
    for part in word.split(['/', '+']) {
        let names_a_folder = is_file && part.bytes().all(|b| b.is_ascii_hexdigit());
        if is_secret(part) && !names_a_folder && !identified(line, at) {
            let padding = if at + part.len() == piece.end { padding } else { 0 };
            cuts.cut(at..at + part.len() + padding);
        }
        at += part.len() + 1;
    }
    piece.end
}

/// Whether a word is the path of a file: by its root, by what it is called, or by the `cd` before it.
fn is_of_a_file(line: &str, piece: &Range<usize>) -> bool {
    let (before, word) = (&line.as_bytes()[..piece.start], &line[piece.clone()]);
    let is_whole = word.starts_with('/') && before.last().is_none_or(|b| b" \"'=,:([`~".contains(b));
    // `GET /data/…`
    let is_asked_for = before.trim_ascii_end().last().is_some_and(u8::is_ascii_uppercase);
    let of_compose = || [".yml", ".yaml"].iter().any(|end| line[piece.end..].starts_with(end));
    let entered = || before.trim_ascii_end().ends_with(b"cd") || before.ends_with(b"cd '");
    let is_path = is_whole && !is_asked_for && !word.starts_with("//");
    is_path && (ROOTS.iter().any(|root| word.starts_with(root)) || of_compose() || entered())
}

fn is_secret(word: &str) -> bool {
    if word.len() < LONG {
        return false;
    }
    let has = |of: fn(&u8) -> bool| word.bytes().any(|b| of(&b));
    if word.bytes().all(|b| b.is_ascii_hexdigit()) {
        return has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && !IDS.contains(&word.len());
    }
    if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit) {
        return turns(word) * 100 >= word.len() * 35;
    }
    // Of two kinds of characters only without anything between, as names of pods and files have it.
    let longest = word.split(['_', '-']).max_by_key(|part| part.len()).unwrap_or_default();
    if longest.len() < word.len() && longest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return is_secret(longest);
    }
    longest.len() >= LONG && has(u8::is_ascii_digit) && turns(word) * 100 >= word.len() * 22
}

/// Whether it is base64 rather than a path.
fn is_base64_with_slashes(word: &str) -> bool {
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    let all = kinds.iter().all(|of| word.bytes().filter(of).count() * 20 >= word.len());
    all && !word.starts_with('/') && turns(word) * 100 >= word.len() * 42
}

/// How often the kind of character changes from one to the next: in names rarely, at random two times of three.
fn turns(word: &str) -> usize {
    let kind = |b: u8| match b {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    let pairs = word.as_bytes().windows(2).map(|pair| (kind(pair[0]), kind(pair[1])));
    pairs.filter(|(a, b)| a != b && *a > 0 && *b > 0).count()
}

/// Whether what stands right before says that a word is an id or a digest, which are there to be read.
fn identified(line: &str, at: usize) -> bool {
    let bytes = &line.as_bytes()[at.saturating_sub(CONTEXT)..at];
    // A project of compose's.
    if bytes.ends_with(b" compose -p ") {
        return true;
    }
    // The name that the word is joined to, and no other one.
    let joint = bytes.iter().rev().take_while(|b| b"=: \"'/[(\\-".contains(b)).count();
    let name = &bytes[..bytes.len() - joint];
    let length = name.iter().rev().take_while(|b| b.is_ascii_alphanumeric() || b"_-./".contains(b)).count();
    let name = name[name.len() - length..].to_ascii_lowercase();
    IDENTIFIERS.iter().any(|known| name.windows(known.len()).any(|part| part == known.as_bytes()))
}
