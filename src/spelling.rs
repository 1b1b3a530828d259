//! How the names of fields are written.
//!
//! Names that differ in letter case are the same (RFC 9110 §5.1), but not to every program, and nobody shall be able to
//! tell that we stand between. hyper can keep how each was written, which takes a quarter of what a request with many
//! fields costs. Nearly all heads are written `Like-This`, which is how hyper writes names that it knows nothing of. So
//! heads are looked at as they come, and only one that is written otherwise is read once more, by a hyper that keeps it.

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

fn is_written_as_usual(line: &[u8]) -> bool {
    let mut begins_word = true;
    for byte in line {
        match byte {
            b':' => break,
            b'a'..=b'z' if begins_word => return false,
            b'A'..=b'Z' if !begins_word => return false,
            _ => begins_word = *byte == b'-',
        }
    }
    true
}

/// Has hyper write the names of a message, whose `extensions` these are, as its `head` has them.
pub fn restore(head: &[u8], extensions: &mut Extensions) {
    let mut kept = read(head);
    // Whatever else was found in reading it twice counts as it was found first.
    kept.extend(mem::take(extensions));
    *extensions = kept;
}

/// What hyper keeps of how names are written: nobody else can make it. It is the same for requests and answers, so that
/// an answer's fields can be read as those of a request.
fn read(head: &[u8]) -> Extensions {
    let fields = memchr::memchr(b'\n', head).map_or(head, |end| &head[end + 1..]);
    let request = [b"GET / HTTP/1.1\r\n", fields].concat();
    let kept = RefCell::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        *kept.borrow_mut() = mem::take(request.extensions_mut());
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    // All that it waits for is there. That its body is missing means nothing.
    let _ = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(memchr::memchr_iter(b'\n', fields).count())
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
        for other in ["host", "ETag", "X-forwarded-For", "X-Forwarded-FOR", "WWW-Authenticate", "x-A", "DNT"] {
            let head_of = format!("HTTP/1.1 200 OK\nA: 1\n{other}: 1\n\n");
            assert_eq!(head(head_of.as_bytes()), Some((head_of.len(), false)), "{other}");
        }
        for open in ["", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r"] {
            assert_eq!(head(open.as_bytes()), None, "{open:?}");
        }
        assert_eq!(without_empty_lines(b"\r\n\n\r\nGET"), b"GET");
        assert_eq!(without_empty_lines(b"\r\n"), b"");
    }
}
