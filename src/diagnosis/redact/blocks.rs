//! Secrets by the lines around them: a line alone does not tell what it is.

use std::borrow::Cow;

use super::assigned::Carry;
use super::names::{self, Sort};
use super::{Cuts, REMOVED, find, values};

/// How a private key begins and ends, in PEM (RFC 7468) and its relatives, before its kind.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const KEY: &str = "PRIVATE KEY";
/// Bytes between `BEGIN` and the dashes that close it; `OPENSSH PRIVATE KEY` is the longest known.
const LONGEST_KIND: usize = 48;
/// Lines of a form's value, if its end never comes.
const LONGEST_VALUE: u8 = 20;

/// Where the lines are.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// What the nets for single lines tell the next line.
    pub carry: Carry,
    /// Within a private key; whether its lines have something before them.
    key: Option<bool>,
    /// Within a text of several lines whose first one was indented so far (YAML `|`, `>`).
    scalar: Option<usize>,
    /// The lines speak of a Kubernetes Secret somewhere.
    kubernetes: bool,
    /// Within its `data`, which was indented so far.
    data: Option<usize>,
    /// Within a part of a form that has a secret's name.
    form: Form,
    /// For so many lines a word alone is what the line before announced: `Your password is:`.
    announced: u8,
    /// For so many lines after `machine` or `login`.
    netrc: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Outside,
    Headers,
    /// For so many lines more.
    Value(u8),
}

impl Blocks {
    /// Before the first of these lines.
    pub fn over(lines: &[&str]) -> Self {
        Self { kubernetes: lines.iter().any(|line| is_of_secret(line)), ..Self::default() }
    }

    /// A line without what belongs to a secret of several lines.
    pub fn outside<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if self.key.is_some() || line.contains(BEGIN) {
            return self.without_keys(line);
        }
        if let Some(outer) = self.scalar {
            if words.is_empty() || indent > outer {
                return removed(line);
            }
            self.scalar = None;
        }
        if let Some(clean) = self.without_form(line) {
            return clean;
        }
        if self.kubernetes
            && let Some(clean) = self.without_data(line, indent)
        {
            return clean;
        }
        if std::mem::take(&mut self.carry.netrc) || self.netrc > 0 {
            self.netrc = self.netrc.saturating_sub(1);
        }
        let first = words.split(values::is_blank).next().unwrap_or_default();
        if matches!(first, "machine" | "login") || words.trim_end() == "default" {
            self.netrc = 3;
        }
        self.carry.netrc = self.netrc > 0 || line.contains("machine ") && line.contains(" login ");
        if self.announced > 0 {
            self.announced -= 1;
            let word = words.trim_end();
            if !word.is_empty() {
                self.announced = 0;
                let is_name = names::is_of_environment(word) && names::sort(word) != Sort::Other;
                if !word.contains(values::is_blank)
                    && !is_name
                    && !word.ends_with([':', '{', '[', '>'])
                    && !word.starts_with(['<', '}'])
                {
                    return removed(line);
                }
            }
        }
        self.announce(words, indent);
        Cow::Borrowed(line)
    }

    /// How many of the lines right before this one belong to a key whose beginning is missing.
    pub fn orphans(&self, before: &[&str], line: &str) -> usize {
        let Some(end) = find(line, END).filter(|end| kind(&line[*end + END.len()..]).is_some()) else { return 0 };
        if self.key.is_some() || line.contains(BEGIN) {
            return 0;
        }
        before.iter().rev().take_while(|body| is_body(body, end > 0) && !body.trim().is_empty()).count()
    }

    fn without_keys<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        let mut cuts = Cuts::of(line);
        let mut at = 0;
        loop {
            if let Some(prefixed) = self.key {
                let rest = &line[at..];
                let end = rest.find(END).filter(|end| kind(&rest[*end + END.len()..]).is_some());
                if let Some(end) = end {
                    let kind = kind(&rest[end + END.len()..]).unwrap_or_default();
                    let after = at + end + END.len() + kind;
                    cuts.cut(at..after);
                    (self.key, at) = (None, after);
                } else if at > 0 || is_body(line, prefixed) {
                    // What stands before the key's own lines is worth reading, but the word is all that is sure.
                    let from =
                        if at > 0 { at } else { line.trim_end().rfind(values::is_blank).map_or(0, |blank| blank + 1) };
                    cuts.cut(from..line.len());
                    break;
                } else {
                    // It broke off, and the text goes on; at the first word it may have been the key's still.
                    self.key = None;
                    let first = line.split(|c: char| !is_base64(c)).next().unwrap_or_default();
                    if first.len() >= 8 && first.len().is_multiple_of(4) {
                        at = first.len();
                        cuts.cut(0..at);
                    }
                }
            }
            let Some(begin) = line[at..].find(BEGIN).map(|begin| at + begin) else { break };
            at = begin + BEGIN.len();
            if let Some(kind) = kind(&line[at..]) {
                cuts.cut(begin..at + kind);
                at += kind;
                self.key = Some(begin > 0);
                if at == line.len() {
                    break;
                }
            }
        }
        cuts.finish()
    }

    /// The value of a form's part: `multipart/form-data`, RFC 7578.
    fn without_form<'a>(&mut self, line: &'a str) -> Option<Cow<'a, str>> {
        match self.form {
            Form::Value(_) if line.starts_with("--") => self.form = Form::Outside,
            Form::Value(0) => self.form = Form::Outside,
            Form::Value(left) => {
                self.form = Form::Value(left - 1);
                return Some(removed(line));
            }
            Form::Headers if line.trim().is_empty() => self.form = Form::Value(LONGEST_VALUE),
            Form::Headers => {}
            Form::Outside if line.contains("form-data") => {
                let name = line.split("name=").nth(1).unwrap_or_default();
                let name = values::unquoted(&name[..values::quoted(name).unwrap_or_default()]);
                if matches!(names::sort(name), Sort::Strong | Sort::Weak) {
                    self.form = Form::Headers;
                }
            }
            Form::Outside => {}
        }
        None
    }

    /// The values of `data` and `stringData`, whatever their names.
    fn without_data<'a>(&mut self, line: &'a str, indent: usize) -> Option<Cow<'a, str>> {
        if let Some(outer) = self.data {
            if indent > outer {
                let value = line.find(':').map_or(indent, |colon| colon + 1);
                let spaces = values::blanks(&line[value..]);
                let mut cuts = Cuts::of(line);
                cuts.cut(value + spaces..line.trim_end().len());
                return Some(cuts.finish());
            }
            self.data = None;
        }
        let mut cuts = Cuts::of(line);
        let mut at = 0;
        for name in ["data", "stringData"] {
            while let Some(found) = line[at..].find(name) {
                let end = at + found + name.len();
                let joint = line[end..].bytes().take_while(|b| b"\\\"': ".contains(b)).count();
                at = end + joint;
                let alone = at - joint - name.len() <= indent + 1;
                if joint == 0 || !line[end..at].contains(':') {
                    continue;
                }
                if alone && line[at..].trim().trim_end_matches('{').is_empty() {
                    self.data = Some(indent);
                } else if line[at..].starts_with('{') {
                    let close = line[at..].find('}').map_or(line.len(), |close| at + close);
                    cuts.cut(at + 1..close);
                    at = close;
                }
            }
            at = 0;
        }
        Some(cuts.finish()).filter(|clean| matches!(clean, Cow::Owned(_)))
    }

    /// What a line says of the next ones.
    fn announce(&mut self, words: &str, indent: usize) {
        let words = words.trim_end();
        if let Some(name) = words.strip_suffix(['|', '>', '-', '+']) {
            let name = name.trim_end_matches(['|', '>']).trim_end();
            let name = name.strip_suffix(':').map(|name| name.trim_start_matches(['-', ' ']));
            if name.is_some_and(|name| matches!(names::sort(values::unquoted(name)), Sort::Strong | Sort::Weak)) {
                self.scalar = Some(indent);
            }
        } else if words.ends_with(':') && is_announcement(words) {
            // As installers do: an empty line, the password, an empty line.
            self.announced = 3;
        }
    }
}

fn removed(line: &str) -> Cow<'_, str> {
    let mut cuts = Cuts::of(line);
    cuts.cut(line.len() - line.trim_start().len()..line.trim_end().len());
    cuts.finish()
}

/// The length of the kind and the dashes after `BEGIN` or `END`, if it is a private key.
fn kind(text: &str) -> Option<usize> {
    let near = text.as_bytes().get(..LONGEST_KIND.min(text.len()))?;
    let dashes = near.windows(5).position(|five| five == b"-----")?;
    text.get(..dashes).is_some_and(|kind| kind.contains(KEY)).then_some(dashes + 5)
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

/// Whether a line can belong to a key: base64, an empty line, or a header of RFC 1421 or OpenPGP.
fn is_body(line: &str, prefixed: bool) -> bool {
    let words = line.trim();
    let last = words.rsplit(values::is_blank).next().unwrap_or_default();
    // Each line may be a text of its own in JSON, or of a list.
    let run = last.split(values::is_quote).max_by_key(|run| run.len()).unwrap_or_default();
    let run = run.strip_suffix("\\n").unwrap_or(run);
    let headers = ["Proc-Type:", "DEK-Info:", "Version:", "Comment:", "Hash:"];
    let base64 = run.chars().all(is_base64) && (run.len().is_multiple_of(4) || run.len() > 40 || run.starts_with('='));
    let alone = prefixed || last.len() == words.len();
    words == REMOVED || base64 && alone || headers.iter().any(|header| words.contains(header))
}

/// Whether a line says that the lines are a Kubernetes Secret's, in YAML or JSON, however often that is quoted.
fn is_of_secret(line: &str) -> bool {
    let Some(first) = find(line, "kind") else { return false };
    let line = &line[first..];
    line.match_indices("kind").any(|(at, kind)| {
        let rest = line[at + kind.len()..].trim_start_matches(|c| "\\\"': ".contains(c));
        rest.strip_prefix("Secret").is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    })
}

/// Whether the next word may be a secret: `Please use the following password to proceed:`.
fn is_announcement(words: &str) -> bool {
    // What stands in brackets last is a remark: `Password (reset with bin/x):`.
    let remark = words.strip_suffix("):").and_then(|words| words.rfind('('));
    let lower = words[..remark.unwrap_or(words.len())].to_lowercase();
    let is_path = lower.contains('/') || lower.contains('=');
    !is_path
        && ["password", "passphrase", "token", "secret", "api key", "credential"].iter().any(|it| lower.contains(it))
        && !lower.starts_with("secrets:")
}
