//! Secrets by the program that they are given to: short options, and arguments without any.

use std::borrow::Cow;
use std::ops::Range;

use super::remarks::is_remark;
use super::values::{self, blanks, ends_word, is_blank, is_prose, is_quote, quote_mark, quoted};
use super::{Cuts, REMOVED, find, names};

/// How a program takes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// In the word of the option itself: with a space between, `mysql -p` asks for it.
    Attached,
    /// In that word or in the next one.
    Either,
    /// As `Either`, and only if a sign parts it from a name.
    Pair,
    /// As the words of these numbers, counted from the option, or from a program that needs none.
    Words(u8, u8),
}

/// The option by which a program, given without its directory, takes a secret. Some of its orders are as good as
/// programs; the word before tells which are meant.
fn taken_by(before: &str, program: &str) -> Option<(&'static [&'static str], Takes)> {
    Some(match program {
        "login" if before == "vault" => (&[], Takes::Words(1, 1)),
        "mysql" | "mariadb" | "mysqldump" | "mariadb-dump" | "mysqladmin" | "mariadb-admin" | "mysqlimport"
        | "mysqlcheck" => (&["-p"], Takes::Attached),
        "sshpass" | "mongo" | "mongosh" | "mongodump" | "mongorestore" | "login" | "mysqlsh" => {
            (&["-p"], Takes::Either)
        }
        "redis-cli" | "redis-benchmark" => (&["-a"], Takes::Either),
        "ldapsearch" | "ldapadd" | "ldapmodify" | "ldapwhoami" | "ldapdelete" => (&["-w"], Takes::Either),
        "sqlcmd" | "bcp" | "mosquitto_pub" | "mosquitto_sub" | "zip" | "unzip" | "ipmitool" => (&["-P"], Takes::Either),
        "smbclient" | "rpcclient" => (&["-U"], Takes::Pair),
        "curl" => (&["-u", "-U", "-b", "--user", "--proxy-user", "--cookie"], Takes::Pair),
        "http" | "https" | "ab" | "hey" | "wrk" => (&["-a", "-A", "--auth"], Takes::Pair),
        "snmpget" | "snmpwalk" => (&["-c"], Takes::Either),
        "rabbitmqctl" => (&["add_user", "change_password", "authenticate_user"], Takes::Words(2, 2)),
        // Grafana's: `grafana-cli admin reset-admin-password --homepath /usr/share/grafana x`
        "reset-admin-password" => (&[], Takes::Words(1, 2)),
        // `mc alias set NAME URL ACCESS SECRET`
        "mc" | "mcli" => (&["set", "add"], Takes::Words(4, 4)),
        // `htpasswd -b FILE USER PASSWORD`, `-nb USER PASSWORD`, `-bBC 12 FILE USER PASSWORD`
        "htpasswd" => (&["-b"], Takes::Words(2, 4)),
        // `aws configure set profile.x.aws_secret_access_key x`
        "configure" if before == "aws" => (&["aws_secret_access_key", "aws_session_token"], Takes::Words(1, 1)),
        _ => return None,
    })
}

/// A word of a command, or of a list of its arguments, and where it begins.
type Word<'a> = (usize, &'a str);

/// The line without what programs take for a secret.
pub(super) fn without_arguments(whole: &str) -> Cow<'_, str> {
    match of_redis(whole) {
        Cow::Borrowed(whole) => of_programs(whole),
        Cow::Owned(clean) => Cow::Owned(of_programs(&clean).into_owned()),
    }
}

fn of_programs(whole: &str) -> Cow<'_, str> {
    let line = whole.trim_end();
    if !line.contains([' ', ',', '\t']) {
        return Cow::Borrowed(whole);
    }
    let mut cuts = Cuts::of(whole);
    let piped: Vec<_> = piped(line).collect();
    if let (true, Some(end)) = (piped.is_empty(), find(line, "chpasswd")) {
        pairs(&mut cuts, line, end);
    }
    piped.into_iter().for_each(|value| cuts.cut(value));
    let mut at = 0;
    let mut program: Option<(&[&str], Takes)> = None;
    let (mut counted, mut before): (Option<u8>, _) = (None, "");
    while let Some((start, word)) = next(line, at) {
        at = start + word.len();
        let name = word.rsplit('/').next().unwrap_or(word);
        let takes = taken_by(before, name);
        if let Some((options, _)) = takes {
            (program, counted) = (takes, options.is_empty().then_some(0));
        }
        let said = phrase(line, before, word, at);
        before = word;
        if let Some(secret) = said {
            at = secret.end;
            cuts.cut(secret);
        } else if matches!(word, "|" | "||" | "&&" | ";" | "&") {
            program = None;
        } else if let Some((options, takes)) = program.filter(|_| takes.is_none()) {
            if let Takes::Words(first, last) = takes {
                counted = number(counted, options, word);
                if counted.is_some_and(|number| (first..=last).contains(&number)) {
                    let value = with_quotes(line, start, word);
                    // `vault login failed` is what a sentence has, too.
                    let is_remark = options.is_empty() && is_remark(word);
                    if !is_remark && !values::is_empty(&line[value.clone()]) {
                        at = value.end;
                        cuts.cut(value);
                    }
                    program = program.filter(|_| counted < Some(last));
                }
                continue;
            }
            let Some(length) = options.iter().find_map(|option| is_given(word, option, takes)) else { continue };
            if let Some(value) = argument(line, start + length, takes) {
                at = value.end;
                let parted = takes != Takes::Pair || line[value.clone()].contains([':', '%', '=']);
                if parted && !values::is_empty(&line[value.clone()]) {
                    cuts.cut(value);
                }
            }
        }
    }
    cuts.finish()
}

/// The number of a word, once there is an option to count from. Further options do not count.
fn number(counted: Option<u8>, options: &[&str], word: &str) -> Option<u8> {
    let is_given = |option: &&str| match option.strip_prefix('-') {
        // Letters may be joined.
        Some(letter) => word.starts_with('-') && !word.starts_with("--") && word.contains(letter),
        // A profile may stand before it.
        None => word.rsplit('.').next() == Some(option),
    };
    if options.iter().any(is_given) {
        return Some(0);
    }
    counted.map(|number| number.saturating_add(u8::from(!word.starts_with('-'))))
}

/// How much of a word is the option, if it is: alone, or with its argument.
fn is_given(word: &str, option: &str, takes: Takes) -> Option<usize> {
    if let Some(rest) = word.strip_prefix(option) {
        // Of a long option only the whole: `--user-agent` is another one.
        return (option.len() == 2 || rest.is_empty() || rest.starts_with('=')).then_some(option.len());
    }
    // `-ku`: letters may be joined, and the last one takes the next word.
    let letters = word.strip_prefix('-').filter(|letters| letters.bytes().all(|b| b.is_ascii_alphabetic()))?;
    let joined = takes == Takes::Pair && option.len() == 2 && letters.ends_with(&option[1..]);
    joined.then_some(word.len())
}

/// Where the argument of an option is that ends at `at`.
fn argument(line: &str, at: usize, takes: Takes) -> Option<Range<usize>> {
    let after = &line[at..];
    let attached = shell_word(after);
    let (from, to) = if attached > 0 && !closes(after) {
        let equals = usize::from(after.starts_with('='));
        (at + equals, at + attached)
    } else {
        let from = at + between(after);
        if takes == Takes::Attached || from == at || line[from..].starts_with('-') {
            return None;
        }
        (from, from + shell_word(&line[from..]))
    };
    (to > from).then_some(from..to)
}

/// Whether a quote closes here the word that it opened: in a list, or around a whole command.
fn closes(after: &str) -> bool {
    let mark = quote_mark(after);
    mark > 0 && after[mark..].chars().next().is_none_or(|c| c.is_whitespace() || ",])}".contains(c))
}

/// What parts two words: spaces, or quotes and a comma in a list.
fn between(after: &str) -> usize {
    let mark = quote_mark(after);
    let comma = mark + blanks(&after[mark..]);
    if mark > 0 {
        let Some(rest) = after[comma..].strip_prefix(',') else { return 0 };
        return comma + 1 + blanks(rest);
    }
    let list = after.strip_prefix(',').map_or(0, |rest| 1 + blanks(rest));
    if list > 0 { list } else { blanks(after) }
}

/// How many bytes a word of a shell has.
fn shell_word(text: &str) -> usize {
    let word = quoted(text).unwrap_or_else(|| values::word(text));
    // `admin:'two words'` is one.
    let joined = if word > 0 && !closes(&text[word..]) { quoted(&text[word..]) } else { None };
    word + joined.unwrap_or_default()
}

/// All of a word that begins there, with the quotes around it.
fn with_quotes(line: &str, start: usize, word: &str) -> Range<usize> {
    let from = start - usize::from(line[..start].ends_with(is_quote));
    from..from + shell_word(&line[from..]).max(word.len())
}

/// The next word from `at` on.
fn next(line: &str, at: usize) -> Option<Word<'_>> {
    let parts = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || is_quote(c)
            || matches!(c, ',' | '[' | ']' | '(' | ')' | '{' | '}' | '\\')
    };
    let start = at + line[at..].find(|c| !parts(c))?;
    let end = line[start..].find(parts).map_or(line.len(), |length| start + length);
    Some((start, &line[start..end]))
}

/// Where a secret is after words that are no program: Redis's and SMTP's `AUTH`, SQL's `IDENTIFIED … BY`, IMAP's
/// `LOGIN`.
fn phrase(line: &str, before: &str, word: &str, end: usize) -> Option<Range<usize>> {
    if let Some(number) = secret_argument(word) {
        // A user's name may stand before the one of `auth`.
        let later = if number == 0 { nth_argument(line, end, 1) } else { None };
        let secret = later.or_else(|| nth_argument(line, end, number))?;
        let after = line[secret.end..].trim_start_matches([',', ' ']);
        return (!after.starts_with(REMOVED)).then_some(secret);
    }
    if word.eq_ignore_ascii_case("login") {
        return login(line, before, word, end);
    }
    if word == "AUTH" {
        let first = end + between(&line[end..]);
        let (from, word) = next(line, end)?;
        let after = from + word.len();
        let is_last = line[after..].trim_start_matches(|c: char| is_quote(c) || c.is_whitespace()).is_empty();
        let mechanism = matches!(word, "PLAIN" | "LOGIN" | "XOAUTH2" | "CRAM-MD5");
        let listed = quote_mark(&line[end..]) > 0 && line[end + 1..].starts_with([' ', ',']);
        let from = if mechanism {
            after + blanks(&line[after..])
        } else if first > end {
            first
        } else {
            from
        };
        let is_secret = mechanism || is_last || listed || !is_prose(&line[first..]);
        // To the end of the line: a user's name may stand before the secret.
        let is_new = word != REMOVED.trim_matches(['[', ']']);
        return (is_secret && is_new && from > end && from < line.len()).then_some(from..line.len());
    }
    if !word.eq_ignore_ascii_case("identified") {
        return None;
    }
    // As far as the name of an authentication method is long.
    let mut at = end;
    for _ in 0..4 {
        let (from, word) = next(line, at)?;
        at = from + word.len();
        if word.eq_ignore_ascii_case("by") {
            let from = at + between(&line[at..]);
            return (from < line.len()).then(|| from..from + shell_word(&line[from..]));
        }
    }
    None
}

/// Which argument of a function is a secret, counted from 0, in calls as PHP shows them (`PDO->__construct('dsn', 'user',
/// 'x')`), and as ClickHouse's tables and Python's connections are written.
fn secret_argument(word: &str) -> Option<usize> {
    let method = word.rsplit_once("->").or_else(|| word.rsplit_once("::"));
    let is_connection = |class: &str| ["PDO", "mysqli", "Connection"].iter().any(|end| class.ends_with(end));
    Some(match (method, word) {
        (Some((class, "__construct")), _) if is_connection(class) => 2,
        (Some((_, "connect" | "pconnect" | "real_connect" | "createPdoConnection")), _) => 2,
        (Some((_, "auth")), _) => 0,
        (Some((_, "authenticate")), _) => 1,
        (_, "mysqli_connect" | "mysql_connect" | "ldap_bind" | "ftp_login" | "imap_open") => 2,
        (_, "pymysql.connect" | "MySQLdb.connect") => 2,
        (_, "mysqli_real_connect") => 3,
        (_, "mysql" | "postgresql") => 4,
        _ => return None,
    })
}

/// Where an argument is of the call whose name ends there, if it is in quotes. PHP escapes no quote in what it shows.
fn nth_argument(line: &str, end: usize, number: usize) -> Option<Range<usize>> {
    let near = |at: usize| &line[at..line.floor_char_boundary(at + 256)];
    let mut at = end + near(end).strip_prefix('(').map(|rest| 1 + blanks(rest))?;
    for _ in 0..number {
        at += quoted(near(at)).or_else(|| near(at).find(','))?;
        at += blanks(near(at));
        at += near(at).strip_prefix(',').map(|rest| 1 + blanks(rest))?;
    }
    let (text, mark) = (near(at), quote_mark(near(at)));
    let (opening, rest) = text.split_at(mark);
    let closes = |(found, _): &(usize, &str)| {
        let after = rest[found + mark..].trim_start_matches(is_blank);
        after.is_empty() || after.starts_with([',', ')'])
    };
    let value = if mark > 0 { rest.match_indices(opening).find(closes)?.0 } else { 0 };
    (value > 0).then_some(at..at + mark + value + mark)
}

/// The line without what Redis repeats of its configuration when it refuses to start with it, as in `>>> 'requirepass x'`,
/// and without a user's rules, as in `"ACL" "SETUSER" "alice" ">x"`.
fn of_redis(line: &str) -> Cow<'_, str> {
    // Almost no line goes further.
    if !line.contains('>') {
        return Cow::Borrowed(line);
    }
    let mut cuts = Cuts::of(line);
    if let Some(value) = find(line, ">>> '").and_then(|at| directive(line, at + ">>> '".len())) {
        cuts.cut(value);
    } else if let Some(rules) = find(line, "SETUSER") {
        for (at, _) in line[rules..].match_indices('>').map(|(at, sign)| (rules + at, sign)) {
            let rule = &line[at + 1..];
            let length = rule.find(ends_word).unwrap_or(rule.len());
            if length > 0 && line[..at].ends_with(ends_word) && !rule.starts_with(REMOVED) {
                cuts.cut(at + 1..at + 1 + length);
            }
        }
    }
    cuts.finish()
}

fn directive(line: &str, from: usize) -> Option<Range<usize>> {
    let name = &line[from..from + line[from..].find(is_blank)?];
    let is_secret = matches!(name, "user" | "sentinel" | "primaryauth") || names::sort(name) == names::Sort::Strong;
    let (from, to) = (from + name.len() + 1, line.strip_suffix('\'').map_or(line.len(), str::len));
    (is_secret && from < to && !line[from..].starts_with(REMOVED)).then_some(from..to)
}

/// `LOGIN bob x`, as IMAP has it, and `login bob:x` of whoever says what was tried.
fn login(line: &str, before: &str, word: &str, end: usize) -> Option<Range<usize>> {
    let (from, user) = next(line, end)?;
    if let Some(colon) = user.find(':').filter(|colon| values::is_made_up(&user[colon + 1..])) {
        return Some(from + colon + 1..from + user.len());
    }
    // SQL's own, and a method of SMTP's.
    let is_another = ["create", "alter", "drop", "with"].iter().any(|verb| before.eq_ignore_ascii_case(verb));
    if word != "LOGIN" || is_another || before.ends_with("AUTH") || is_remark(user) {
        return None;
    }
    let at = from + user.len();
    let (from, secret) = next(line, at)?;
    let value = with_quotes(line, from, secret);
    let is_last = !line[value.end..].contains(char::is_alphanumeric);
    let is_secret = is_last && !secret.bytes().all(|b| b.is_ascii_uppercase()) || !is_prose(&line[value.start..]);
    (is_secret && !is_remark(secret) && !values::is_empty(&line[value.clone()])).then_some(value)
}

/// What is written to a program that reads a secret: `echo x | docker login --password-stdin`.
fn piped(line: &str) -> impl Iterator<Item = Range<usize>> {
    let mut begins = 0;
    let ends = ["--password-stdin", "sudo -S"].map(|reads| line.match_indices(reads).map(|(at, _)| at));
    ends.into_iter().flatten().filter_map(move |end| {
        // Not before the last one: a text that repeats itself would be read again and again.
        let part = &line[begins.min(end)..end];
        let offset = begins.min(end);
        begins = end;
        let pipe = part.rfind('|')?;
        let from = part[..pipe].rfind("echo ")? + "echo ".len();
        let to = part[..pipe].trim_end().len();
        (from < to).then_some(offset + from..offset + to)
    })
}

/// `user:password`, as `chpasswd` reads it.
fn pairs(cuts: &mut Cuts<'_>, line: &str, end: usize) {
    let mut at = 0;
    while let Some((start, word)) = next(line, at).filter(|(start, _)| *start < end) {
        at = start + word.len();
        if let Some(colon) = word.find(':') {
            cuts.cut(start + colon + 1..at);
        }
    }
}
