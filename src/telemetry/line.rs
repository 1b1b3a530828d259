//! The line of a request in the log, as the subscriber writes all others.
//!
//! Each request has one, and the subscriber's own way of writing it, through a visitor for each field, takes a sixth of
//! what a request costs in instructions; this takes a quarter of that.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::outlet::OUTLET;
use crate::config::LogFormat;

/// Whose lines these are.
pub const ACCESS: &str = "anteroom::access";

/// How lines are written, once the process has a log.
pub(super) static FORMAT: OnceLock<LogFormat> = OnceLock::new();

thread_local! {
    static TEXT: RefCell<Text> = const { RefCell::new(Text::new()) };
}

/// Writes one, if there is a log. Whether somebody wants it is to be asked before: `tracing::enabled!`.
pub fn write(fields: impl FnOnce(&mut Line<'_>)) {
    let Some(format) = FORMAT.get() else { return };
    TEXT.with_borrow_mut(|text| {
        text.compose(*format, (" INFO", ACCESS), fields);
        // It fails in no way.
        let _ = (&OUTLET).write_all(text.line.as_bytes());
    });
}

/// Says that so many lines were lost.
pub(super) fn lament(format: LogFormat, lost: u64) -> String {
    let mut text = Text::new();
    text.compose(format, (" WARN", "anteroom::telemetry"), |line| {
        line.message("standard output is too slow or full: lines of the log were left out");
        line.number(key!("lost"), lost);
    });
    text.line
}

/// A line, and what the next one has in common with it.
struct Text {
    line: String,
    /// The second that it was written in, and how that is spelled.
    second: u64,
    date: String,
}

impl Text {
    const fn new() -> Self {
        Self { line: String::new(), second: 0, date: String::new() }
    }

    /// `level` is filled up to five characters.
    fn compose(&mut self, format: LogFormat, (level, target): (&str, &str), fields: impl FnOnce(&mut Line<'_>)) {
        self.line.clear();
        let json = format == LogFormat::Json;
        if json {
            self.line.push_str(r#"{"timestamp":""#);
        }
        self.stamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let line = &mut self.line;
        if json {
            line.extend([r#"","level":""#, level.trim_start(), r#"","fields":{"#]);
        } else {
            line.extend([" ", level, " ", target, ":"]);
        }
        fields(&mut Line { text: line, json, first: true });
        if json {
            line.extend([r#"},"target":""#, target, "\"}"]);
        }
        line.push('\n');
    }

    fn stamp(&mut self, since_1970: Duration) {
        let second = since_1970.as_secs();
        if self.second != second || self.date.is_empty() {
            self.second = second;
            self.date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second)).to_string();
        }
        self.line.push_str(self.date.trim_end_matches('Z'));
        self.line.push('.');
        // The leading digit keeps the zeros behind it.
        let mut micros = itoa::Buffer::new();
        self.line.push_str(&micros.format(1_000_000 + since_1970.subsec_micros())[1..]);
        self.line.push('Z');
    }
}

/// A field's name, as each of the formats has it: made by `key!`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub text: &'static str,
    /// With the comma that the first field goes without.
    pub json: &'static str,
}

/// Makes a [`Key`] of a name.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::line::Key { text: concat!(" ", $name, "="), json: concat!(",\"", $name, "\":") }
    };
}
pub(crate) use key;

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
            self.text(key!("message"), words);
        } else {
            self.text.extend([" ", words]);
        }
    }

    /// A field with a text, whatever is in it.
    pub fn text(&mut self, key: Key, value: &str) {
        self.key(key);
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'\'');
        if value.bytes().all(is_plain) {
            self.text.extend(["\"", value, "\""]);
        } else if self.json {
            self.text.push_str(&serde_json::Value::from(value).to_string());
        } else {
            let _infallible = write!(self.text, "{value:?}");
        }
    }

    /// A field with an address.
    pub fn address(&mut self, key: Key, address: IpAddr) {
        self.key(key);
        self.quote();
        match address {
            // As `Display` writes it, which takes four times as long.
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.text.push('.');
                    }
                    self.text.push_str(itoa::Buffer::new().format(octet));
                }
            }
            IpAddr::V6(address) => {
                let _infallible = write!(self.text, "{address}");
            }
        }
        self.quote();
    }

    /// A field with a number in 16 hexadecimal digits.
    pub fn hexadecimal(&mut self, key: Key, number: u64) {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        self.key(key);
        self.quote();
        self.text.extend((0..16).rev().map(|place| DIGITS[(number >> (4 * place) & 0xf) as usize]));
        self.quote();
    }

    /// A field with a number.
    pub fn number(&mut self, key: Key, value: u64) {
        self.key(key);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    fn key(&mut self, key: Key) {
        self.text.push_str(match (self.json, self.first) {
            (false, _) => key.text,
            (true, false) => key.json,
            (true, true) => &key.json[1..],
        });
        self.first = false;
    }

    /// Around what the format for people has without.
    fn quote(&mut self) {
        if self.json {
            self.text.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::Written;
    use super::*;

    /// What the subscriber writes, and what we do.
    fn both(format: LogFormat, client: IpAddr, path: &str) -> (String, String) {
        let log = Written::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let event = || {
            tracing::info!(target: ACCESS, id = %"00ff0123456789ab", %client, method = "GET", path, status = 200, finding = "a-b");
        };
        match format {
            LogFormat::Text => tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), event),
            LogFormat::Json => {
                tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.json()), event);
            }
        }
        let mut ours = Text::new();
        ours.compose(format, (" INFO", ACCESS), |line| {
            line.hexadecimal(key!("id"), 0xff_0123_4567_89ab);
            line.address(key!("client"), client);
            line.text(key!("method"), "GET");
            line.text(key!("path"), path);
            line.number(key!("status"), 200);
            line.text(key!("finding"), "a-b");
        });
        (log.text(), ours.line)
    }

    #[test]
    fn it_reads_as_the_subscribers_own_lines_do() {
        let hostile = "/\u{1b}[2J\r\nforged=1 \"quoted\" back\\slash \u{202e}\u{e000}é分'";
        let paths = ["/", "/analytics/d/x?y", hostile, "", "a'b"];
        let clients = ["10.0.0.255", "::1", "fd00::7:0:1", "0.0.0.0", "::ffff:1.2.3.4"];
        for (path, client) in paths.into_iter().zip(clients) {
            let client = client.parse().expect("an address");
            let (theirs, ours) = both(LogFormat::Text, client, path);
            let after_time = |line: &str| line.split_once('Z').map(|(time, rest)| (time.len(), rest.to_owned()));
            assert_eq!(after_time(&theirs), after_time(&ours));
            let (theirs, ours) = both(LogFormat::Json, client, path);
            let [mut theirs, mut ours] = [theirs, ours].map(|it| serde_json::from_str::<Value>(&it).expect("JSON"));
            assert!(ours["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
            theirs["timestamp"] = ours["timestamp"].take();
            ours["timestamp"] = theirs["timestamp"].clone();
            assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn the_time_is_written_in_microseconds_and_anew_with_each_second() {
        let mut text = Text::new();
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (1_000_042, "1970-01-01T00:00:01.000042Z"),
            (1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z"),
            (1_709_164_801_100_000, "2024-02-29T00:00:01.100000Z"),
        ] {
            text.line.clear();
            text.stamp(Duration::from_micros(micros));
            assert_eq!(text.line, expected);
        }
    }
}
