//! What is logged, and how: one tracing subscriber on standard output, where containers log.
//!
//! There is no colour, on a terminal neither: lines are read by `docker logs` and collectors, and the subscriber
//! escapes control characters in values, so that a request cannot paint or forge lines.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::outlet::OUTLET;
use self::repetition::REPETITION;
use crate::config::LogFormat;

pub mod line;
pub mod meter;
mod outlet;
mod repetition;

/// Says what is wrong with a tracing filter.
///
/// Stricter than the filter itself: to that, a lone word which is no level is a module's name, so a misspelt level
/// (`warning`, `verbose`) would silence the log without a word.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the setting.
pub fn check_filter(filter: &str) -> Result<(), String> {
    let lone = |part: &str| !part.contains('=') && part.parse::<LevelFilter>().is_err();
    // To the parser, nothing is a level, too.
    let says_nothing = |part: &str| part.is_empty() || part.ends_with('=');
    let filter = tidy(filter);
    if filter.split(',').any(|part| lone(part) || says_nothing(part)) {
        return Err("has a word that is no level (for everything of a module, write module=trace)".to_owned());
    }
    // The parser's own message repeats the filter; the one who reads ours has just seen it.
    filter.parse::<Targets>().map(drop).map_err(|_| "is no filter".to_owned())
}

/// A tracing filter without spaces and without parts that say nothing. The subscriber's parser would take ` info` for a
/// module's name, and nothing for a level that silences almost everything.
fn tidy(filter: &str) -> String {
    let parts = filter.split(',').map(|part| part.split('=').map(str::trim).collect::<Vec<_>>().join("="));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

/// The time of day in UTC (RFC 3339), at a tenth of what the subscriber's own way to write it takes of a request.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_micros(SystemTime::now()))
    }
}

/// The log of the process. What was written last is waited for when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        let (left, lost) = OUTLET.drain();
        if left > 0 || lost > 0 {
            // Standard error may be closed, too.
            let _ = writeln!(
                io::stderr(),
                "anteroom: of the log, {left} bytes were not taken, and {lost} lines lost before"
            );
        }
    }
}

/// Installs the subscriber for the whole process. If there is one already, as in tests, that one stays.
///
/// # Errors
/// The system gives no thread.
pub fn init(filter: &str, format: LogFormat) -> io::Result<Log> {
    // It was looked at before: what is no filter is refused with the other settings.
    let filter: Targets = tidy(filter).parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_ansi(false).with_writer(|| &OUTLET).with_timer(Now);
    // The only error is that there is one already.
    let _ = match format {
        LogFormat::Text => registry.with(lines).with(&*REPETITION).try_init(),
        LogFormat::Json => registry.with(lines.json()).with(&*REPETITION).try_init(),
    };
    OUTLET.open(io::stdout(), move |lost| line::lament(format, lost))?;
    // Of two logs in one process, the first stays.
    let _ = line::FORMAT.set(format);
    Ok(Log(()))
}

/// Looks often enough that a minute is told of soon after it is over.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Tells again and again how many lines were left out of the log because they had been said too often.
pub async fn tell_of_repetition() {
    loop {
        sleep(TELL_EVERY).await;
        REPETITION.tell(false);
    }
}

/// Tells of those that were not told yet, at the end.
pub fn tell_of_last_repetition() {
    REPETITION.tell(true);
}

/// What a subscriber writes, for tests.
#[cfg(test)]
#[derive(Clone, Default)]
struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

#[cfg(test)]
impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_means_what_it_says_with_spaces_and_commas_too() {
        let filter = |text: &str| {
            check_filter(text).expect("it is right");
            tidy(text).parse::<Targets>().expect("it was checked")
        };
        for text in ["anteroom::access=warn, info", " info , anteroom::access = warn ,", ",info,anteroom::access=warn"]
        {
            let filter = filter(text);
            assert!(filter.would_enable("anteroom::watch", &Level::INFO), "{text}");
            assert!(!filter.would_enable("anteroom::watch", &Level::DEBUG), "{text}");
            assert!(!filter.would_enable("anteroom::access", &Level::INFO), "{text}");
        }
        assert!(filter("info,").would_enable("anteroom::watch", &Level::INFO));
    }
}
