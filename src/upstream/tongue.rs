//! What an upstream speaks, by the first bytes that it says: hyper only knows that it is no HTTP/1.1.

use std::fmt::{self, Display, Formatter};
use std::{error, io};

/// In bytes: what is quoted of it.
const QUOTED_MOST: usize = 48;
/// In bytes: of a body that is looked at. Apache's sentence stands 200 bytes into its page.
const READ_MOST: usize = 1024;
/// How a record begins by which a server of TLS refuses what it was sent: an alert of SSL 3.0 or later (RFC 8446 §5.1).
const ALERT: [u8; 2] = [0x15, 0x03];

/// It does not speak HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    Tls,
    /// How it begins.
    Other(String),
}

impl Display for Foreign {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("it speaks TLS"),
            Self::Other(start) => write!(f, "it begins with \"{start}\""),
        }
    }
}

impl error::Error for Foreign {}

/// Looks at the first bytes of a connection's first answer.
///
/// # Errors
/// They are none of HTTP/1.1. An empty line before the status line is left to hyper.
pub fn check(first: &[u8]) -> io::Result<()> {
    let foreign = match first {
        [] | [b'H' | b'\r' | b'\n', ..] => return Ok(()),
        _ if first.starts_with(&ALERT) => Foreign::Tls,
        _ => Foreign::Other(first[..first.len().min(QUOTED_MOST)].escape_ascii().to_string()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, foreign))
}

/// Whether a body of a 400 says that plain HTTP came where TLS was expected: servers that listen for TLS tell so in the
/// clear. In the words of Go's (and so Grafana's), of nginx's and of Apache's.
pub fn asks_for_tls(body: &[u8]) -> bool {
    const SIGNS: [&str; 3] = [
        "HTTP request to an HTTPS server",
        "plain HTTP request was sent to HTTPS port",
        "plain HTTP to an SSL-enabled server port",
    ];
    let start = String::from_utf8_lossy(&body[..body.len().min(READ_MOST)]);
    SIGNS.iter().any(|sign| start.contains(sign))
}

/// What `check` said, if that is what an error comes from.
pub fn foreign(error: &io::Error) -> Option<&Foreign> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_tls_is_known_by_what_it_says_in_the_clear() {
        assert!(asks_for_tls(b"Client sent an HTTP request to an HTTPS server.\n"));
        assert!(asks_for_tls(b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>"));
        assert!(!asks_for_tls(b"400 Bad Request"));
        assert!(!asks_for_tls(&[&[b'x'; READ_MOST][..], b"HTTP request to an HTTPS server"].concat()));
    }

    #[test]
    fn what_is_spoken_is_known_by_its_first_bytes() {
        let spoken = |first: &[u8]| check(first).err().and_then(|error| foreign(&error).map(Foreign::to_string));
        assert_eq!(spoken(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(spoken(b"\r\nHTTP/1.1 200 OK\r\n"), None);
        assert_eq!(spoken(b""), None);
        assert_eq!(spoken(b"\x15\x03\x03\x00\x02\x02\x46").as_deref(), Some("it speaks TLS"));
        assert_eq!(spoken(b"SSH-2.0-OpenSSH\r\n").as_deref(), Some("it begins with \"SSH-2.0-OpenSSH\\r\\n\""));
        assert_eq!(spoken(&[0x16; 100]).map(|text| text.len()), Some("it begins with \"\"".len() + 4 * QUOTED_MOST));
    }
}
