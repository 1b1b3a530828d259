//! Who is told that the upstream is down, or back, and how.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Reader, value};
use crate::evidence::{Scheme, written_host};

/// What is set. What is in the files is for the shell to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    pub receiver: Receiver,
    pub template: Template,
    /// How long something must last before it is told.
    pub settles: Duration,
    /// What messages are signed with; `None` is not at all.
    pub key: Option<Arc<Path>>,
    /// The roots to trust instead of the system's.
    pub ca: Option<Arc<Path>>,
}

/// Where messages are posted. Its path and its credentials are secrets: no `Debug` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver {
    pub scheme: Scheme,
    /// Host name or address literal, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// Path and query.
    pub target: Arc<str>,
    /// `user:password`, decoded.
    pub credentials: Option<Arc<[u8]>>,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// `docs/notification.schema.json`.
    Json,
    /// What Slack and its kin take.
    Slack,
    /// For people.
    Text,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/…", self.scheme.as_str(), written_host(&self.host), self.port)
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Notify> {
    const URL: &str = "ANTEROOM_NOTIFY_URL";
    let receiver = reader.read_optional(URL, receiver);
    let template = reader.read("ANTEROOM_NOTIFY_FORMAT", |text| {
        value::one_of(text, &[("json", Template::Json), ("slack", Template::Slack), ("text", Template::Text)])
    });
    let settles = reader.read("ANTEROOM_NOTIFY_AFTER", value::duration);
    let [key, ca] = ["ANTEROOM_NOTIFY_KEY_FILE", "ANTEROOM_NOTIFY_CA"].map(|name| {
        let file = reader.read_optional(name, value::file)?;
        if !reader.is_given(URL) {
            reader.refuse(name, format!("needs {URL}"));
        }
        Some(file)
    });
    // Whoever sets it believes that the way is encrypted.
    if ca.is_some() && receiver.as_ref().is_some_and(|receiver| receiver.scheme == Scheme::Http) {
        reader.refuse("ANTEROOM_NOTIFY_CA", format!("needs an {URL} that begins with https://, not http://"));
    }
    Some(Notify { receiver: receiver?, template: template?, settles: settles?, key, ca })
}

fn receiver(text: &str) -> Result<Receiver, String> {
    let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
    let scheme = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        .ok_or("has an unknown scheme")?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(decoded(credentials)?.into()), address),
        None => (None, authority),
    };
    let (host, port) = value::host_and_port(address)?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    // Without the parser's own words, which could repeat some of it.
    let target = value::path(&target).map_err(|_| "has no valid path")?;
    Ok(Receiver { scheme, host, port: port.unwrap_or(scheme.default_port()), target, credentials })
}

/// Percent-encoding undone (RFC 3986 §2.1).
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| others.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err("has a % in its credentials that no two hexadecimal digits follow".to_owned());
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
        rest = &others[2..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_url_with_whatever_a_web_hook_has() {
        type Read = (Scheme, &'static str, u16, &'static str, Option<&'static [u8]>);
        let cases: [(&str, Read); 6] = [
            (
                "https://hooks.slack.com/services/T/B/x",
                (Scheme::Https, "hooks.slack.com", 443, "/services/T/B/x", None),
            ),
            ("http://ntfy", (Scheme::Http, "ntfy", 80, "/", None)),
            ("http://ntfy:8080?up=1", (Scheme::Http, "ntfy", 8080, "/?up=1", None)),
            ("HTTPS://[::1]:8443/a", (Scheme::Https, "::1", 8443, "/a", None)),
            ("http://me:p%40%2Fss@ntfy/a?b=c@d", (Scheme::Http, "ntfy", 80, "/a?b=c@d", Some(b"me:p@/ss"))),
            ("http://a@b:c@ntfy/", (Scheme::Http, "ntfy", 80, "/", Some(b"a@b:c"))),
        ];
        for (text, (scheme, host, port, target, credentials)) in cases {
            let read = receiver(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
            assert_eq!((read.scheme, &*read.host, read.port, &*read.target), (scheme, host, port, target));
            assert_eq!(read.credentials.as_deref(), credentials, "{text}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for (text, reason) in [
            ("hooks.slack.com/services", "has no scheme"),
            ("ftp://a/", "unknown scheme"),
            ("h2c://a/", "unknown scheme"),
            ("http:///a", "no valid host"),
            ("http://a:0/", "no valid port"),
            ("http://a/#b", "no valid path"),
            ("http://a/b c", "no valid path"),
            ("http://u:%4@a/", "two hexadecimal digits"),
            ("http://u:%zz@a/", "two hexadecimal digits"),
        ] {
            let refused = receiver(text).expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn its_debug_output_tells_no_secret() {
        let read = receiver("https://me:hunter2@hooks.example.org/services/s3cret?token=t0ken").expect("it is right");
        assert_eq!(format!("{read:?}"), "https://hooks.example.org:443/…");
    }
}
