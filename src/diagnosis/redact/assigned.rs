//! Secrets by their names, in whatever grammar the name is given its value.

use std::borrow::Cow;
use std::ops::Range;

use super::names::{self, Sort};
use super::remarks::{FILLERS, complains, first_word, is_remark};
use super::values::{
    self, blanks, bracketed, ends_with_quote, is_blank, is_made_up, is_prose, is_quote, quote_mark, quoted,
};
use super::{Cuts, REMOVED};

/// What a line leaves for the next ones.
#[derive(Debug, Default)]
pub(super) struct Carry {
    /// For so many lines, this one included, a `value` belongs to a secret's name.
    pub labelled: u8,
    /// In a `.netrc` a password needs no more than a space.
    pub netrc: bool,
}

/// How a name and its value are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joint {
    /// `=`, `:=`, `=>`, `==`, and `=` within a query's value.
    Equals,
    Colon,
    /// `"--password", "x"` and `('Authorization', 'x')`.
    Comma,
    /// `password("x")`.
    Call,
    /// `<password>x`.
    Element,
    Space,
}

/// Words of the schemes of `Authorization`: of most, one word follows; of the later ones, all of the line.
const SCHEMES: [&str; 8] = ["bearer", "basic", "token", "apikey", "negotiate", "ntlm", "key", "splunk"];
const LONG_SCHEMES: [&str; 6] = ["digest", "aws4-hmac-sha256", "oauth", "hawk", "signature", "sharedkey"];

/// In bytes: far longer than a secret has to be to be told from a word.
const NEAR: usize = 128;

/// What opens a door by itself in a query.
const SIGNS: [&str; 6] = ["sig", "signature", "auth", "ticket", "assertion", "crumb"];

/// After these a variable needs no more than a space before its value.
const SETTERS: [&str; 4] = ["ENV", "setenv", "SetEnv", "fastcgi_param"];
/// The line without the values of names that sound like a secret's.
pub(super) fn without_values<'a>(line: &'a str, carry: &mut Carry) -> Cow<'a, str> {
    let mut cuts = Cuts::of(line);
    let mut at = 0;
    carry.labelled = carry.labelled.saturating_sub(1);
    while let Some(start) = line[at..].find(is_name).map(|found| at + found) {
        let end = line[start..].find(|c| !is_name(c)).map_or(line.len(), |length| start + length);
        at = end;
        // `\u0022password\u0022` is a quoted name as well.
        let escaped =
            line[..start].ends_with('\\') && (line[start..].starts_with("u0022") || line[start..].starts_with("u0027"));
        let start = if escaped { start + "u0022".len() } else { start };
        let name = Name { line, start, end, sort: names::sort(&line[start..end]) };
        if name.sort == Sort::Other {
            continue;
        }
        if let Some(secret) = name.secret(carry) {
            at = secret.end;
            cuts.cut(secret);
        }
    }
    cuts.finish()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.') || names::is_accent(c)
}

/// A name in its line.
struct Name<'a> {
    line: &'a str,
    start: usize,
    end: usize,
    sort: Sort,
}

impl Name<'_> {
    fn text(&self) -> &str {
        &self.line[self.start..self.end]
    }

    fn before(&self) -> &str {
        &self.line[..self.start]
    }

    /// Where its secret is, if it has one.
    fn secret(&self, carry: &mut Carry) -> Option<Range<usize>> {
        let (joint, length) = self.joint()?;
        let from = self.end + length;
        let rest = &self.line[from..];
        if rest.is_empty() {
            return None;
        }
        if matches!(joint, Joint::Equals | Joint::Colon)
            && (self.sort == Sort::Label || self.text().eq_ignore_ascii_case("key"))
            && let Some(at_once) = self.labels(rest)
        {
            carry.labelled = 2;
            return at_once.map(|secret| from + secret.start..from + secret.end);
        }
        // What is judged is bounded, since it is read again if it is found to be none.
        let near = near(rest);
        let value = &near[..self.length(joint, near)];
        let is_secret = match self.sort {
            Sort::Other | Sort::Label => false,
            Sort::Value => {
                let labelled = matches!(joint, Joint::Equals | Joint::Colon) && carry.labelled > 0;
                carry.labelled -= if labelled { carry.labelled } else { 0 };
                labelled && !near.starts_with(REMOVED)
            }
            Sort::Scheme if joint == Joint::Space => !is_prose(near),
            Sort::Scheme => is_made_up(value),
            Sort::Weak => self.weak(joint, value),
            Sort::Strong | Sort::Cookie | Sort::Authorization if joint == Joint::Space => {
                return self.spoken(carry).map(|skipped| self.all(joint, from + skipped));
            }
            Sort::Strong | Sort::Cookie | Sort::Authorization => self.strong(joint, from, value, carry),
        };
        (is_secret && !values::is_empty(value)).then(|| self.all(joint, from))
    }

    /// The value that begins here.
    fn all(&self, joint: Joint, from: usize) -> Range<usize> {
        from..from + self.length(joint, &self.line[from..])
    }

    /// What stands between the name and what may be its value, and how long that is.
    fn joint(&self) -> Option<(Joint, usize)> {
        let after = &self.line[self.end..];
        if let Some(end) = self.tag(after) {
            return Some((Joint::Element, end));
        }
        let mut at = quote_mark(after);
        let is_closed = at > 0;
        if is_closed && !ends_with_quote(self.before()) {
            return None;
        }
        let indexes = is_closed || self.before().ends_with('[');
        at += usize::from(indexes && after[at..].starts_with(']'));
        let spaces = blanks(&after[at..]);
        let tail = &after[at + spaces..];
        let signs = [
            (":=", Joint::Equals),
            ("=>", Joint::Equals),
            ("===", Joint::Equals),
            ("==", Joint::Equals),
            ("=", Joint::Equals),
            ("%3D", Joint::Equals),
            ("%3d", Joint::Equals),
            ("%22%3A%22", Joint::Equals),
            ("%22%3a%22", Joint::Equals),
            // PostgreSQL: `Key (api_token)=(x) already exists.`
            (")=(", Joint::Call),
            (":", Joint::Colon),
            ("：", Joint::Colon),
        ];
        let found = signs.iter().find(|(sign, _)| tail.starts_with(sign));
        let (joint, length) = match found {
            // A path of Rust or C++.
            _ if tail.starts_with("::") => return None,
            Some((sign, joint)) => (*joint, sign.len()),
            // A row of a table.
            None if spaces > 0 && is_row(self.before(), tail, '|') => (Joint::Equals, '|'.len_utf8()),
            None if spaces > 0 && is_row(self.before(), tail, '│') => (Joint::Equals, '│'.len_utf8()),
            // Erlang's pairs.
            None if self.before().ends_with('{') && tail.starts_with(",<<") => (Joint::Comma, ",<<".len()),
            None if self.before().ends_with('{') && tail.starts_with(',') => (Joint::Comma, 1),
            None if is_closed && tail.starts_with(',') => (Joint::Comma, 1),
            None if !is_closed && spaces == 0 && tail.starts_with('(') && quote_mark(&tail[1..]) > 0 => {
                (Joint::Call, 1)
            }
            None if !is_closed && spaces > 0 => return Some((Joint::Space, spaces)),
            None => return None,
        };
        let length = at + spaces + length;
        Some((joint, length + blanks(&after[length..])))
    }

    /// Where the tag ends that it is the name of: `<password>`, `<wsse:Password Type="x">`.
    fn tag(&self, after: &str) -> Option<usize> {
        let before = self.before();
        let is_prefixed = before
            .strip_suffix(':')
            .is_some_and(|before| before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).ends_with('<'));
        if !is_prefixed && !before.ends_with('<') {
            return None;
        }
        let near = &after[..after.floor_char_boundary(4 * NEAR)];
        let end = near.find(['>', '<']).filter(|end| near[*end..].starts_with('>'))?;
        let has_attributes = near.starts_with(is_blank) && near[..end].contains('=') && !near[..end].ends_with('/');
        // `<user:token>` is a place in a text.
        let closed = near.contains("</") || near.contains("<\\/");
        // `AUTH <password> called without any` is a place, too.
        let is_first = !is_prefixed && before[..before.len() - 1].trim_start().is_empty();
        let begins = |c: char| if is_prefixed { c.is_alphanumeric() } else { !is_blank(c) };
        let is_alone = end == 0 && (closed || is_first || near[1..].starts_with(begins));
        (is_alone || has_attributes).then_some(end + 1)
    }

    /// Whether the value is the name of a secret; then also where that secret is, if it follows at once.
    fn labels(&self, rest: &str) -> Option<Option<Range<usize>>> {
        let near = near(rest);
        let length = quoted(near).unwrap_or_else(|| near.find(|c: char| !is_name(c)).unwrap_or(near.len()));
        let named = values::unquoted(&rest[..length]);
        let is_secret = named.chars().all(is_name)
            && matches!(names::sort(named), Sort::Strong | Sort::Cookie | Sort::Authorization);
        if !is_secret {
            return None;
        }
        let after = &rest[length..];
        // `<entry key="password">x</entry>`
        if let Some(text) = after.strip_prefix('>') {
            let end = text.find('<').unwrap_or(text.len());
            return Some(Some(length + 1..length + 1 + end));
        }
        // A part of a form, its lines written as one.
        let gap = ["\\r\\n\\r\\n", "\\n\\n", "\r\n\r\n"].iter().find(|gap| after.starts_with(**gap));
        Some(gap.map(|gap| {
            let from = length + gap.len();
            from..from + rest[from..].find(['\\', '\r']).unwrap_or(rest.len() - from)
        }))
    }

    /// How many bytes belong to the value at the start of `rest`.
    fn length(&self, joint: Joint, rest: &str) -> usize {
        let to_end = || Some(rest.trim_end().len()).filter(|length| *length > 0).unwrap_or(rest.len());
        match joint {
            Joint::Element if rest.starts_with("<![CDATA[") => {
                return rest.find("]]>").map_or(rest.len(), |end| end + 3);
            }
            Joint::Element => return rest.find('<').unwrap_or(rest.len()),
            // A user's name may stand before the secret, or the secret's before its value.
            Joint::Call => return rest.find(')').unwrap_or(rest.len()),
            _ => {}
        }
        let prefix =
            usize::from(rest.starts_with(['b', 'u', 'r', 'f', 'N', 'E', '$']) && rest[1..].starts_with(is_quote));
        if let Some(length) = quoted(&rest[prefix..]) {
            return prefix + length;
        }
        if (matches!(self.sort, Sort::Strong | Sort::Cookie | Sort::Authorization) || self.text() == "auth")
            && let Some(length) = bracketed(rest)
        {
            // `{SSHA}…` has its method in brackets, and Go writes `[]string{"x"}`.
            let more = rest[length..].starts_with(|c: char| c.is_ascii_alphanumeric());
            let braces = if length == 2 { rest[length..].find('{').filter(|at| *at < 16) } else { None };
            let list = braces.and_then(|at| Some(at + bracketed(&rest[length + at..])?));
            return length + list.unwrap_or_else(|| if more { values::word(&rest[length..]) } else { 0 });
        }
        match self.sort {
            Sort::Cookie => rest.find(|c: char| c.is_control() || is_quote(c)).unwrap_or(rest.len()),
            Sort::Authorization => {
                let word = values::word(rest);
                let scheme = rest[..word].to_ascii_lowercase();
                if LONG_SCHEMES.contains(&scheme.as_str()) {
                    // Their parameters are quoted, so only a quote around all of it ends them.
                    let ends = |c: char| c.is_control() || is_quote(c);
                    if ends_with_quote(self.before()) || self.is_within_quotes() {
                        rest.find(ends).unwrap_or(rest.len())
                    } else {
                        to_end()
                    }
                } else if SCHEMES.contains(&scheme.as_str()) {
                    let spaces = blanks(&rest[word..]);
                    word + spaces + values::word(&rest[word + spaces..])
                } else {
                    word
                }
            }
            Sort::Strong if self.fills_line(joint) => to_end(),
            // `admin / x`
            Sort::Strong if self.text().ends_with("credentials") => {
                let user = values::word(rest);
                let slash = user + blanks(&rest[user..]);
                let spaces = rest[slash..].strip_prefix('/').map_or(0, blanks);
                let both = slash + 1 + spaces;
                if spaces > 0 && is_last(&rest[both..]) { both + values::word(&rest[both..]) } else { user }
            }
            _ => values::word(rest),
        }
    }

    /// Whether a quote was opened before it, and not closed.
    fn is_within_quotes(&self) -> bool {
        self.before().bytes().rev().take(16).any(|b| b == b'"' || b == b'\'')
    }

    /// Whether all that follows is its value: `printenv` does not quote, and neither has YAML to.
    fn fills_line(&self, joint: Joint) -> bool {
        if self.start > NEAR {
            return false;
        }
        let before = self.before().trim();
        let after = &self.line[self.end..];
        match joint {
            Joint::Equals => {
                let dumped = matches!(before, "" | "-" | "export" | "declare -x" | "set" | "setenv" | "ENV" | "ARG");
                dumped && after.starts_with('=') && names::is_of_environment(self.text())
            }
            Joint::Colon => matches!(before, "" | "-") && after.starts_with(": "),
            _ => false,
        }
    }

    fn weak(&self, joint: Joint, value: &str) -> bool {
        match joint {
            Joint::Equals if names::is_of_environment(self.text()) && self.text().contains('_') => {
                !is_path(value) && !value.bytes().all(|b| b.is_ascii_digit())
            }
            Joint::Equals if self.text().starts_with('-') => !is_path(value),
            // `requests.get(url, auth=('user', 'x'))`
            Joint::Equals if value.starts_with('(') && quote_mark(&value[1..]) > 0 => true,
            Joint::Equals if self.before().ends_with(['?', '&']) && SIGNS.contains(&self.text()) => true,
            Joint::Equals | Joint::Colon | Joint::Element => {
                let long = !self.text().eq_ignore_ascii_case("code") || value.len() >= 16;
                long && is_made_up(value)
            }
            Joint::Space => self.text().starts_with('-') && !value.starts_with('-') && !is_path(value),
            Joint::Comma | Joint::Call => false,
        }
    }

    fn strong(&self, joint: Joint, from: usize, value: &str, carry: &mut Carry) -> bool {
        let (text, before, rest) = (self.text(), self.before(), near(&self.line[from..]));
        let is_quoted = ends_with_quote(before) && quote_mark(&self.line[self.end..]) > 0;
        if is_quoted && matches!(rest.trim_end(), "{" | "[") {
            carry.labelled = 2;
            return false;
        }
        if is_counted(text, value) || is_directory(text, value) {
            return false;
        }
        match joint {
            // `exec: "secret": executable file not found` is no JSON, and `Get "https://auth/token": EOF` not even a name.
            Joint::Equals | Joint::Colon if is_quoted => bracketed(rest).is_some() || !is_prose(rest),
            // What is called may be given a secret's file: `SSL_CTX_use_PrivateKey("/etc/nginx/site.key")`.
            Joint::Call => !(text.ends_with("Key") && is_path(value) && value.matches('/').count() > 1),
            Joint::Equals | Joint::Element => true,
            Joint::Colon => {
                let spaced = from > self.end + 1;
                let is_address =
                    !spaced && (text.contains(['-', '.']) || before.ends_with(['/', '@'])) && is_tag(value);
                let is_file = spaced && before.ends_with(['/', '\\']);
                !is_address && !is_file && !complains(rest, self.fills_line(joint) && !is_program(text))
            }
            Joint::Comma => {
                // Of a list of names every one is followed by a quoted word; of arguments, headers and pairs it is the value.
                let is_pair = before.trim_end_matches(|c| is_quote(c) || c == 'b').ends_with(['(', '{']);
                (is_pair || self.sort != Sort::Strong || text.contains('-')) && quote_mark(rest) > 0
            }
            Joint::Space => self.spoken(carry).is_some(),
        }
    }

    /// Whether it is in a place where a space is all that a value needs.
    fn is_setting(&self, carry: &Carry) -> bool {
        let (text, before) = (self.text(), self.before().trim_end());
        matches!(text, "requirepass" | "masterauth" | "bindpw")
            || carry.netrc && text == "password"
            || names::is_of_environment(text) && SETTERS.iter().any(|word| before.ends_with(word))
    }

    /// With nothing but a space between, which sentences have as well: how many bytes of other words come before the
    /// secret, if there is one.
    fn spoken(&self, carry: &Carry) -> Option<usize> {
        let (text, before) = (self.text(), self.before());
        let after = &self.line[self.end..];
        let mut rest = near(&after[blanks(after)..]);
        let whole = rest.len();
        let word = before.trim_end().rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let is_secret = if text.starts_with('-') {
            !rest.starts_with('-')
        } else if self.is_setting(carry) {
            true
        } else if before.ends_with('=')
            || text.contains(['_', '-', '.'])
            || word.eq_ignore_ascii_case("unexpected")
            || is_of_secrets(text) && names_a_secret(rest)
        {
            // The value of something else, as in `logger=secrets.kvstore`; a thing's own name, as in `docker network
            // connect secret_net cvat_db`; what a parser did not expect.
            false
        } else if is_alone(before, rest) && !is_remark(rest) {
            true
        } else {
            let mut is_announced = false;
            while let Some(word) = first_word(rest).filter(|word| FILLERS.contains(word)) {
                rest = &rest[word.len()..];
                is_announced = rest.starts_with(':');
                rest = rest.trim_start_matches(':').trim_start_matches(is_blank);
            }
            // `the password for admin is x1`, `password is generated for root@localhost: x1`
            let sentence = &rest[..quoted_name_end(rest).or_else(|| rest.find(is_quote)).unwrap_or(rest.len())];
            let said = [": ", " is "].iter().filter_map(|sign| Some(sentence.rfind(sign)? + sign.len())).max();
            let is_said = |at: &usize| is_prose(sentence) && is_last(&sentence[*at..]) && is_made_up(&sentence[*at..]);
            if let Some(at) = said.filter(is_said) {
                rest = &rest[at..];
                true
            } else if rest.len() == whole {
                !is_prose(rest)
            } else {
                let value = &rest[..self.length(Joint::Space, rest)];
                quote_mark(rest) > 0 || is_made_up(value) || is_announced && !complains(rest, false)
            }
        };
        let is_empty = || values::is_empty(&rest[..self.length(Joint::Space, rest)]);
        (is_secret && !rest.is_empty() && !is_empty()).then_some(whole - rest.len())
    }
}

/// As much of a text as decides what it is.
fn near(text: &str) -> &str {
    &text[..text.floor_char_boundary(NEAR)]
}

/// Whether a name and one more word are all that a line says.
fn is_alone(before: &str, after: &str) -> bool {
    before.len() < NEAR && before.trim().is_empty() && is_last(after)
}

fn is_last(word: &str) -> bool {
    !word.trim_end().contains(is_blank)
}

/// Whether a name is the first of two cells in a table's row, and the other one's text a word.
fn is_row(before: &str, tail: &str, mark: char) -> bool {
    let cell = tail.strip_prefix(mark).map(|rest| near(rest).trim_start_matches(is_blank));
    let is_last = |cell: &str| {
        let after = cell[values::word(cell)..].trim_start_matches(is_blank);
        // Whatever quotes the row.
        after
            .strip_prefix(mark)
            .is_some_and(|rest| !rest.contains(mark) && !rest.starts_with(is_blank) || rest.trim().is_empty())
    };
    before.trim_end().ends_with(mark) && cell.is_some_and(is_last)
}

/// Whether what follows may be a secret's name: a password is called by none.
fn is_of_secrets(name: &str) -> bool {
    ["secret", "secrets", "credential", "credentials"].iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// Whether a word is the name of a secret rather than one: `secret "db_password" not found`.
fn names_a_secret(text: &str) -> bool {
    let word = values::unquoted(&text[..quoted(text).unwrap_or_else(|| values::word(text))]);
    let word = word.trim_end_matches([':', ',', '.']);
    let plain = word.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'));
    let shouted = names::is_of_environment(word);
    (plain || shouted) && word.contains(['_', '-']) && names::sort(word) == Sort::Strong
}

/// Where a sentence ends that has a name in quotes: `for user 'admin': x`.
fn quoted_name_end(text: &str) -> Option<usize> {
    let from = text.find(is_quote)?;
    let to = from + quoted(&text[from..])?;
    let after = &text[to..];
    let goes_on = after.starts_with(": ") || after.starts_with(" is ");
    (goes_on && from > 0).then(|| to + after.find(is_quote).unwrap_or(after.len()))
}

/// `secrets=3` counts them.
fn is_counted(name: &str, value: &str) -> bool {
    name.ends_with(['s', 'S'])
        && !name.to_ascii_lowercase().ends_with("pass")
        && value.bytes().all(|b| b.is_ascii_digit() || b == b',')
}

/// Whose complaints begin with its name.
fn is_program(name: &str) -> bool {
    matches!(name, "passwd" | "htpasswd" | "chpasswd" | "gpasswd") || name.starts_with("docker-credential-")
}

/// `PWD` is where a shell is.
fn is_directory(name: &str, value: &str) -> bool {
    matches!(name, "PWD" | "OLDPWD") && values::unquoted(value).starts_with(['/', '~'])
}

fn is_path(value: &str) -> bool {
    let value = values::unquoted(value);
    value.starts_with(['/', '.', '~']) || value.get(1..3) == Some(":\\")
}

/// A port, or the tag of an image.
fn is_tag(value: &str) -> bool {
    let value = value.trim_end_matches([',', ')', ']', '}', ':', '.']);
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let numbered = value.strip_prefix('v').unwrap_or(value).starts_with(|c: char| c.is_ascii_digit());
    let port = value.split('/').next().is_some_and(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()));
    plain && (value == "latest" || port || numbered && value.contains('.'))
}
