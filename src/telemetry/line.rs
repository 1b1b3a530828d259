//! The line of a request in the log, as the subscriber writes all others.
//!
//! Each request has one, and the subscriber's own way of writing it, through a visitor for each field, takes an eighth of
//! what a request costs in instructions; this takes a quarter of that.

use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::outlet::OUTLET;
use crate::config::LogFormat;

/// Whose lines these are.
pub const ACCESS: &str = "anteroom::access";

/// How lines are written, once the process has a log.
pub(super) static FORMAT: OnceLock<LogFormat> = OnceLock::new();

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes one, if there is a log. Whether somebody wants it is to be asked before: `tracing::enabled!`.
pub fn write(fields: impl FnOnce(&mut Line<'_>)) {
    let Some(format) = FORMAT.get() else { return };
    TEXT.with_borrow_mut(|text| {
        text.clear();
        compose(text, *format, ("INFO", ACCESS), fields);
        // It fails in no way.
        let _ = (&OUTLET).write_all(text.as_bytes());
    });
}

/// Says that so many lines were lost.
pub(super) fn lament(format: LogFormat, lost: u64) -> String {
    let mut text = String::new();
    compose(&mut text, format, ("WARN", "anteroom::telemetry"), |line| {
        line.message("standard output is too slow or full: lines of the log were left out");
        line.number("lost", lost);
    });
    text
}

fn compose(text: &mut String, format: LogFormat, (level, target): (&str, &str), fields: impl FnOnce(&mut Line<'_>)) {
    let now = humantime::format_rfc3339_micros(SystemTime::now());
    // A string takes whatever is written into it.
    let _ = match format {
        LogFormat::Text => write!(text, "{now} {level:>5} {target}:"),
        LogFormat::Json => write!(text, r#"{{"timestamp":"{now}","level":"{level}","fields":{{"#),
    };
    fields(&mut Line { text, json: format == LogFormat::Json, first: true });
    let _ = match format {
        LogFormat::Text => writeln!(text),
        LogFormat::Json => writeln!(text, r#"}},"target":"{target}"}}"#),
    };
}

/// A line that is being written.
#[derive(Debug)]
pub struct Line<'a> {
    text: &'a mut String,
    json: bool,
    first: bool,
}

impl Line<'_> {
    /// What is said beside the fields, in words of ours.
    fn message(&mut self, words: &'static str) {
        if self.json {
            self.word("message", words);
        } else {
            self.text.push(' ');
            self.text.push_str(words);
        }
    }

    /// A field with a text, whatever is in it.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'\'');
        if value.bytes().all(is_plain) {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        } else if self.json {
            self.text.push_str(&serde_json::Value::from(value).to_string());
        } else {
            let _ = write!(self.text, "{value:?}");
        }
    }

    /// A field with a word of ours, in which nothing needs to be escaped.
    pub fn word(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        let quote = if self.json { "\"" } else { "" };
        let _ = write!(self.text, "{quote}{value}{quote}");
    }

    /// A field with a number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        let _ = write!(self.text, "{value}");
    }

    fn name(&mut self, name: &'static str) {
        let (before, after) = match (self.json, self.first) {
            (true, true) => ("\"", "\":"),
            (true, false) => (",\"", "\":"),
            (false, _) => (" ", "="),
        };
        self.first = false;
        self.text.push_str(before);
        self.text.push_str(name);
        self.text.push_str(after);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::Written;
    use super::*;

    /// What the subscriber writes, and what we do.
    fn both(format: LogFormat, path: &str) -> (String, String) {
        let log = Written::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let event = || {
            tracing::info!(target: ACCESS, id = %"00ff", client = %"::1", method = "GET", path, status = 200, finding = "a-b");
        };
        match format {
            LogFormat::Text => tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), event),
            LogFormat::Json => {
                tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.json()), event);
            }
        }
        let mut ours = String::new();
        compose(&mut ours, format, ("INFO", ACCESS), |line| {
            line.word("id", "00ff");
            line.word("client", "::1");
            line.text("method", "GET");
            line.text("path", path);
            line.number("status", 200);
            line.text("finding", "a-b");
        });
        (log.text(), ours)
    }

    #[test]
    fn it_reads_as_the_subscribers_own_lines_do() {
        let hostile = "/\u{1b}[2J\r\nforged=1 \"quoted\" back\\slash \u{202e}\u{e000}é分'";
        for path in ["/", "/analytics/d/x?y", hostile, "", "a'b"] {
            let (theirs, ours) = both(LogFormat::Text, path);
            let after_time = |line: &str| line.split_once('Z').map(|(time, rest)| (time.len(), rest.to_owned()));
            assert_eq!(after_time(&theirs), after_time(&ours));
            let (theirs, ours) = both(LogFormat::Json, path);
            let [mut theirs, mut ours] = [theirs, ours].map(|it| serde_json::from_str::<Value>(&it).expect("JSON"));
            assert!(ours["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
            theirs["timestamp"] = ours["timestamp"].take();
            ours["timestamp"] = theirs["timestamp"].clone();
            assert_eq!(theirs, ours);
        }
    }
}
