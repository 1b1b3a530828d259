//! Takes secrets out of foreign text: an engine's error, a label, a health check's output, the lines of a log.
//!
//! Nobody can list all secrets, so several nets hang behind each other, each for another way in which a secret shows:
//!
//! 1. `blocks`: by the lines around it (a private key in PEM, `data` of a Kubernetes Secret, a form's part);
//! 2. `urls`: by its place in an address (`user:password@`, a web hook's path);
//! 3. `commands`: by the program that it is given to (`mysql -p…`, `curl -u`);
//! 4. `assigned`: by its name, in whatever grammar the name is given a value;
//! 5. `tokens`: by its own look (`ghp_…`, a JWT, a long word without any sense).
//!
//! Removing too much costs a word of a log; removing too little costs a password. Yet a line that merely speaks of a
//! password (`password incorrect for user`) has to stay readable, and so do ids, digests and paths, since they are
//! what an operator looks for. Every net reads a line a bounded number of times, however hostile it is, and takes
//! out what it has taken out already without a change.

mod assigned;
mod blocks;
mod commands;
mod escapes;
#[cfg(test)]
pub(crate) mod fixtures;
mod names;
mod remarks;
#[cfg(test)]
mod tests;
mod tokens;
mod urls;
mod values;

use std::borrow::Cow;
use std::ops::Range;

/// What stands in place of a secret.
const REMOVED: &str = "[removed]";

/// The text, of one line or of many, without its secrets. Whether it stays on its line is the page's concern.
pub(crate) fn redact(text: &str) -> String {
    redact_lines(text.split('\n')).join("\n")
}

/// Lines that follow each other, as a log has them, without their secrets: as many as there were, each in its place.
/// Together, since some secrets take several lines. Colours go, too.
pub(crate) fn redact_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<&str> = lines.into_iter().collect();
    if lines.iter().any(|line| escapes::has_any(line)) {
        let plain = |line| match escapes::without_sequences(line) {
            Cow::Borrowed(line) => escapes::without_codes(line),
            Cow::Owned(line) => Cow::Owned(escapes::without_codes(&line).into_owned()),
        };
        let plain: Vec<Cow<'_, str>> = lines.into_iter().map(plain).collect();
        return redact_plain(&plain.iter().map(|line| &**line).collect::<Vec<_>>());
    }
    redact_plain(&lines)
}

/// The same, where no line has sequences for terminals or codes.
fn redact_plain(lines: &[&str]) -> Vec<String> {
    let mut blocks = blocks::Blocks::over(lines);
    let mut clean: Vec<String> = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        // The log may begin in the middle of a key.
        let body = blocks.orphans(&lines[..number], line);
        let rest = blocks.outside(line);
        clean[number - body..].iter_mut().for_each(|body| REMOVED.clone_into(body));
        clean.push(without_secrets(&rest, &mut blocks.carry));
    }
    clean
}

fn without_secrets(line: &str, carry: &mut assigned::Carry) -> String {
    let line = urls::without_credentials(line);
    let line = commands::without_arguments(&line);
    let line = assigned::without_values(&line, carry);
    tokens::without_tokens(&line).into_owned()
}

/// Where a line has a word first. Almost no line has any of ours, and std looks whether for a quarter of looking where.
fn find(line: &str, word: &str) -> Option<usize> {
    if line.contains(word) { line.find(word) } else { None }
}

/// A line from which something is cut. Nothing is copied as long as nothing is.
struct Cuts<'a> {
    line: &'a str,
    clean: String,
    done: usize,
}

impl<'a> Cuts<'a> {
    fn of(line: &'a str) -> Self {
        Self { line, clean: String::new(), done: 0 }
    }

    /// Ranges come in their order; what reaches back over an earlier one is cut off there.
    fn cut(&mut self, secret: Range<usize>) {
        let start = secret.start.max(self.done);
        if secret.end > start {
            self.clean.push_str(&self.line[self.done..start]);
            self.clean.push_str(REMOVED);
            self.done = secret.end;
        }
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.done == 0 {
            return Cow::Borrowed(self.line);
        }
        self.clean.push_str(&self.line[self.done..]);
        Cow::Owned(self.clean)
    }
}
