//! Colour, where a terminal is there to show it.

/// Whether a terminal is there to show colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Colour,
    Plain,
}

pub(super) const RED: &str = "31";
pub(super) const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";
pub(super) const BOLD: &str = "1";

impl Paint {
    /// `NO_COLOR` switches it off whatever its value (no-color.org), unless that is empty.
    pub(super) fn of(terminal: bool, environment: &[(String, String)]) -> Self {
        let unwanted = environment.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        if terminal && !unwanted && !is_dumb(environment) { Self::Colour } else { Self::Plain }
    }

    pub(super) fn put(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Whether the terminal says that it knows no escape sequences.
pub(super) fn is_dumb(environment: &[(String, String)]) -> bool {
    environment.iter().any(|(name, value)| name == "TERM" && value == "dumb")
}
