//! Two ways to write the same numbers down. Prometheus asks for OpenMetrics; what asks for nothing in particular, as
//! `curl` and `promtool check metrics`, gets the older text format.

use std::fmt::Write;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Exposition {
    /// What a client accepts, by its `Accept`.
    pub fn accepted(accept: &[u8]) -> Self {
        let wants = accept.windows(OPEN_METRICS.len()).any(|part| part.eq_ignore_ascii_case(OPEN_METRICS.as_bytes()));
        if wants { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes down what was encoded as OpenMetrics.
    pub(super) fn write(self, encoded: String) -> String {
        match self {
            Self::OpenMetrics => encoded,
            Self::Text => as_text(&encoded),
        }
    }
}

/// Samples are the same in both; the older format describes a counter and an info by the name that their samples have,
/// and knows neither units nor an end.
fn as_text(encoded: &str) -> String {
    let mut text = String::with_capacity(encoded.len());
    let mut help = "";
    for line in encoded.lines() {
        if let Some(of) = line.strip_prefix("# HELP ") {
            help = of.split_once(' ').map_or("", |(_, words)| words);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|of| of.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let _infallible = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_ask_for_openmetrics_gets_text() {
        use Exposition::{OpenMetrics, Text};
        // Prometheus 2.42's own.
        let prometheus =
            b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, exposition) in [
            (&prometheus[..], OpenMetrics),
            (b"Application/OpenMetrics-Text", OpenMetrics),
            (b"", Text),
            (b"*/*", Text),
        ] {
            assert_eq!(Exposition::accepted(accept), exposition, "{:?}", String::from_utf8_lossy(accept));
        }
    }

    #[test]
    fn the_older_text_describes_what_its_samples_are_called() {
        let encoded = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
            a_seconds_sum 1.0\n# HELP b How many.\n# TYPE b counter\nb_total{c=\"# d\"} 2\n\
            # HELP e What.\n# TYPE e info\ne_info{f=\"g\"} 1\n# EOF\n";
        let text = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
            # HELP b_total How many.\n# TYPE b_total counter\nb_total{c=\"# d\"} 2\n\
            # HELP e_info What.\n# TYPE e_info gauge\ne_info{f=\"g\"} 1\n";
        assert_eq!(Exposition::Text.write(encoded.to_owned()), text);
        assert_eq!(Exposition::OpenMetrics.write(encoded.to_owned()), encoded);
    }
}
