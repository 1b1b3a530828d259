//! An answer as the client of Traefik sees it, and what a scene may demand of it. Every demand returns the answer,
//! so that they read as one sentence, and a demand that is not met shows the whole answer.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::stack::SECRET;

pub struct Answer {
    pub question: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    pub took: Duration,
}

impl Answer {
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "\n{self}");
        self
    }

    /// Whether a stub has answered, and which.
    pub fn is_from(&self, role: &str) -> bool {
        self.value("x-stub") == Some(role)
    }

    #[track_caller]
    pub fn from(&self, role: &str) -> &Self {
        assert!(self.is_from(role), "not from {role}\n{self}");
        self
    }

    /// A header's value, to the letter.
    #[track_caller]
    pub fn header(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.value(name), Some(value), "{name}\n{self}");
        self
    }

    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "nothing of {text:?}\n{self}");
        self
    }

    /// The text that a person sees, whichever elements the page lays it out in.
    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        let without_tags: String =
            self.body.split('<').map(|part| part.split_once('>').map_or(part, |(_, it)| it)).collect();
        assert!(without_tags.contains(text), "nothing to be seen of {text:?}\n{self}");
        self
    }

    /// None of these words is anywhere in the answer, whatever the case.
    #[track_caller]
    pub fn lacks(&self, words: &[&str]) -> &Self {
        let all = format!("{:?}\n{}", self.headers, self.body).to_lowercase();
        for word in words {
            assert!(!all.contains(&word.to_lowercase()), "{word:?} has leaked\n{self}");
        }
        self
    }

    #[track_caller]
    pub fn within(&self, limit: Duration) -> &Self {
        assert!(self.took <= limit, "too late for {limit:?}\n{self}");
        self
    }

    #[track_caller]
    pub fn not_before(&self, least: Duration) -> &Self {
        assert!(self.took >= least, "too early for {least:?}\n{self}");
        self
    }

    /// What every answer of anteroom has in common; `proxy-status` is RFC 9209.
    #[track_caller]
    pub fn by_anteroom(&self) -> &Self {
        self.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
        assert!(self.value("proxy-status").is_some_and(|value| value.starts_with("anteroom")), "\n{self}");
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = self.value("retry-after").and_then(|value| value.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "Retry-After\n{self}");
        }
        self.lacks(&[SECRET])
    }

    /// The problem document's root cause; RFC 9457.
    #[track_caller]
    pub fn finding(&self, code: &str) -> &Self {
        self.header("content-type", "application/problem+json").by_anteroom();
        assert_eq!(self.code().as_deref(), Some(code), "the first finding\n{self}");
        assert_eq!(self.json()["status"], self.status.as_u16(), "\n{self}");
        self
    }

    /// The code of the first finding, if the answer is a problem document.
    pub fn code(&self) -> Option<String> {
        self.member("/findings/0/code")
    }

    /// A string of the document, by JSON pointer.
    pub fn member(&self, pointer: &str) -> Option<String> {
        let document: Value = serde_json::from_str(&self.body).ok()?;
        document.pointer(pointer)?.as_str().map(str::to_owned)
    }

    #[track_caller]
    pub fn state(&self, state: &str) -> &Self {
        assert_eq!(self.member("/state").as_deref(), Some(state), "\n{self}");
        self
    }

    /// The first finding's first remedy, to the letter.
    #[track_caller]
    pub fn remedy(&self, command: &str) -> &Self {
        let shown = self.member("/findings/0/remedies/0/command");
        assert_eq!(shown.as_deref(), Some(command), "the remedy\n{self}");
        self
    }

    /// A remedy of the first finding, whichever it is, to the letter.
    #[track_caller]
    pub fn offers(&self, command: &str) -> &Self {
        let remedies = self.json()["findings"][0]["remedies"].clone();
        let mut remedies = remedies.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        assert!(remedies.any(|remedy| remedy["command"] == command), "no remedy is {command:?}\n{self}");
        self
    }

    /// The first finding's title has this.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        let title = self.member("/findings/0/title");
        assert!(title.is_some_and(|title| title.contains(text)), "the title has nothing of {text:?}\n{self}");
        self
    }

    /// Whether a finding is told, be it the first one or not.
    pub fn tells(&self, code: &str) -> bool {
        let document: Value = serde_json::from_str(&self.body).unwrap_or_default();
        document["findings"].as_array().is_some_and(|findings| findings.iter().any(|finding| finding["code"] == code))
    }

    /// A piece of the first finding's evidence; what it means may follow the value.
    #[track_caller]
    pub fn evidence(&self, name: &str, value: &str) -> &Self {
        let rows = self.json()["findings"][0]["evidence"].clone();
        let mut rows = rows.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let row = rows.find(|row| row["name"] == name).and_then(|row| row["value"].as_str().map(str::to_owned));
        let first = row.as_deref().and_then(|row| row.split(' ').next());
        assert_eq!(first, Some(value), "{name}\n{self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} was answered after {:?} with {}", self.question, self.took, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(f, "\n{}", self.body)
    }
}
