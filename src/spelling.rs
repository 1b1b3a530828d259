//! How the names of fields are written.
//!
//! Names that differ in letter case are the same (RFC 9110 §5.1), but not to every program, and nobody shall be able to
//! tell that we stand between. hyper can keep how each was written, which takes a quarter of what a request with many
//! fields costs. Nearly all heads are written `Like-This`, and so are all that hyper writes here (`title_case_headers`),
//! unless it knows better. So heads are looked at as they come, and the names of one that is written otherwise are read
//! once more, by a hyper that keeps them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use std::mem;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{join, sink};

/// hyper's buffer is never smaller, in bytes.
const BUFFER_LEAST: usize = 8 << 10;

/// Where the head ends that `bytes` begin with, if it does, and whether its names are written `Like-This`. Empty lines
/// before it are no part of it: see [`without_empty_lines`].
pub fn head(bytes: &[u8]) -> Option<(usize, bool)> {
    let (mut begin, mut is_usual) = (0, true);
    for end in memchr::memchr_iter(b'\n', bytes) {
        match &bytes[begin..end] {
            b"" | b"\r" => return Some((end + 1, is_usual)),
            _ if begin == 0 => {}
            line => is_usual = is_usual && is_written_as_usual(line),
        }
        begin = end + 1;
    }
    None
}

/// RFC 9112 §2.2: those before a message mean nothing.
pub fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    &bytes[from..]
}

/// A request's field without anything after its name counts as unusual, too: hyper would write a space there.
fn is_written_as_usual(line: &[u8]) -> bool {
    let mut begins_word = true;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b':' => return !matches!(&line[at + 1..], b"" | b"\r"),
            b'a'..=b'z' if begins_word => return false,
            b'A'..=b'Z' if !begins_word => return false,
            _ => begins_word = *byte == b'-',
        }
    }
    true
}

/// Makes hyper write the names of a message, whose `extensions` these are, as its `head` has them.
pub fn restore(head: &[u8], extensions: &mut Extensions) {
    let first = mem::replace(extensions, read(head));
    // That of the second reading leads nowhere. Of all else, what was found first counts.
    extensions.remove::<OnUpgrade>();
    extensions.extend(first);
}

/// What hyper keeps of how names are written, its private `HeaderCaseMap`. It is the same for requests and answers, and for
/// any values, so that they are read as those of a request which means nothing.
fn read(head: &[u8]) -> Extensions {
    let mut request = b"GET / HTTP/1.1\r\n".to_vec();
    let names = memchr::memchr_iter(b'\n', head).filter_map(|end| head[end + 1..].split(|byte| *byte == b':').next());
    let names = names.filter(|name| !name.is_empty() && !name.contains(&b'\n'));
    let mut number = 0;
    for name in names {
        number += 1;
        request.extend_from_slice(name);
        request.extend_from_slice(if name.eq_ignore_ascii_case(b"transfer-encoding") {
            b":chunked\r\n"
        } else {
            b":0\r\n"
        });
    }
    request.extend_from_slice(b"\r\n");
    let kept = RefCell::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        *kept.borrow_mut() = mem::take(request.extensions_mut());
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    // All that it waits for is there. That its body is missing means nothing.
    let _ = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(number)
        .max_buf_size(BUFFER_LEAST.max(request.len()))
        .serve_connection(TokioIo::new(join(&request[..], sink())), service)
        .now_or_never();
    kept.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_empty_line_and_names_are_written_like_this() {
        for usual in ["Host", "X-Forwarded-For", "Etag", "X-1-A", "X_case", "A--B", "-A", "1a-2b"] {
            let head_of = format!("GET / HTTP/1.1\r\n{usual}: lIKE tHAT\r\n\r\nbOdY: 1\r\n\r\n");
            assert_eq!(head(head_of.as_bytes()), Some((head_of.len() - "bOdY: 1\r\n\r\n".len(), true)), "{usual}");
        }
        for other in
            ["host", "ETag", "X-forwarded-For", "X-Forwarded-FOR", "WWW-Authenticate", "x-A", "DNT", "Empty:\r\nA"]
        {
            let head_of = format!("HTTP/1.1 200 OK\nA: 1\n{other}: 1\n\n");
            assert_eq!(head(head_of.as_bytes()), Some((head_of.len(), false)), "{other}");
        }
        for open in ["", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r"] {
            assert_eq!(head(open.as_bytes()), None, "{open:?}");
        }
        assert_eq!(without_empty_lines(b"\r\n\n\r\nGET"), b"GET");
        assert_eq!(without_empty_lines(b"\r\n"), b"");
    }

    /// How hyper writes the names of a request that has them, as its `head` does, by `restore`: but for those by which it
    /// frames a body, since there is none.
    fn written(head: &str) -> String {
        let mut request = Request::new(Empty::<Bytes>::new());
        let frames = |line: &str| line.to_ascii_lowercase().starts_with(['c', 't']);
        for line in head.lines().skip(1).take_while(|line| !line.is_empty()).filter(|line| !frames(line)) {
            let (name, value) = line.split_once(':').expect("a field");
            let name = http::HeaderName::try_from(name).expect("a name");
            request.headers_mut().append(name, http::HeaderValue::from_str(value.trim()).expect("a value"));
        }
        restore(head.as_bytes(), request.extensions_mut());
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let client = hyper::client::conn::http1::Builder::new()
            .title_case_headers(true)
            .handshake(TokioIo::new(ours))
            .now_or_never()
            .expect("at once");
        let (mut sender, connection) = client.expect("a connection");
        let _answer = sender.send_request(request);
        let mut connection = std::pin::pin!(connection);
        assert!(connection.as_mut().now_or_never().is_none(), "it waits for the answer");
        let mut text = vec![0; 1 << 20];
        let read = tokio::io::AsyncReadExt::read(&mut { theirs }, &mut text).now_or_never().expect("at once");
        String::from_utf8(text[..read.expect("it was sent")].to_vec()).expect("text")
    }

    #[test]
    fn names_are_restored_whatever_their_values_are() {
        let fields = [
            "eTAG: \"a\"",
            "x-Twice: 1",
            "X-twice: 2",
            "Content-length: ",
            "content-LENGTH: 99999999999999999999",
            "transfer-Encoding: gzip",
            "upgrade: h2c",
            "Usual: 1",
        ];
        for line_end in ["\r\n", "\n"] {
            let head = format!("HTTP/1.1 200{line_end}{}{line_end}{line_end}", fields.join(line_end));
            let written = written(&head);
            for field in fields.into_iter().filter(|field| !field.starts_with(['C', 'c', 't'])) {
                let name = field.split(':').next().unwrap_or_default();
                assert!(written.contains(&format!("\r\n{name}:")), "{field}: {written}");
            }
            assert!(written.find("x-Twice: 1") < written.find("X-twice: 2"), "{written}");
        }
    }

    #[test]
    fn names_are_restored_however_many_they_are_and_nothing_else_is_taken_for_found() {
        let fields: String =
            (0..500).map(|number| format!("x{number}-{}: {}\r\n", "y".repeat(99), "z".repeat(9))).collect();
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let names = |head: &str| -> Vec<String> {
            let mut names: Vec<_> =
                head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
            names.sort();
            names
        };
        assert_eq!(names(&written(&head)), names(&head));
        let mut extensions = Extensions::new();
        extensions.insert(7_u8);
        restore(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: a\r\nhost: a\r\n\r\n", &mut extensions);
        assert_eq!(extensions.get(), Some(&7_u8));
        assert!(extensions.get::<OnUpgrade>().is_none());
    }
}
