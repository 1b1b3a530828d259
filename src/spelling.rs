//! How the names of fields are written.
//!
//! Names that differ in letter case are the same (RFC 9110 §5.1), but not to every program, and nobody shall be able to
//! tell that we stand between. hyper can keep how each was written, which takes a quarter of what a request with many
//! fields costs. Nearly all heads are written `Like-This`, and so are all that hyper writes here (`title_case_headers`).
//! So heads are looked at as they come; one that is written otherwise is kept as it came, and where hyper writes the
//! message's head, its names are put in their place.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// A head as it came, whose names are not written as usual: an extension of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling(pub Bytes);

/// What is written in the place of something that hyper writes.
#[derive(Debug)]
pub struct Instead {
    left: Bytes,
    /// Of how much, in bytes.
    of: usize,
}

/// What hyper writes to a connection, but for the heads that are written otherwise.
#[derive(Debug)]
pub struct Writing {
    /// Nothing is left of what hyper had to write.
    flushed: bool,
    /// What is left to be written of a head.
    head: Option<Instead>,
}

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

/// Whether another head follows (RFC 9110 §15.2). The code stands after `HTTP/1.1` and a space.
pub fn is_interim(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/") && head.get(9..12).is_some_and(|code| code[0] == b'1' && code != b"101")
}

impl Spelling {
    /// What is to be written for `written`, if that begins with a message's head, written as usual.
    pub fn restored(&self, written: &[u8]) -> Option<Instead> {
        let mut begin = 0;
        loop {
            let (length, _) = head(&written[begin..])?;
            let its = &written[begin..begin + length];
            if !is_interim(its) {
                let mut left = Vec::with_capacity(begin + length);
                left.extend_from_slice(&written[..begin]);
                self.respell(its, &mut left);
                return Some(Instead { left: left.into(), of: begin + length });
            }
            begin += length;
        }
    }

    /// Of several fields of one name each is written as the one in its place.
    fn respell(&self, written: &[u8], respelled: &mut Vec<u8>) {
        let mut known: Vec<&[u8]> = lines(&self.0).collect();
        // The first that may still be found, which it is where fields have kept their order.
        let mut first = 1;
        for (number, line) in lines(written).enumerate() {
            let colon = memchr::memchr(b':', line).filter(|_| number > 0);
            let Some((name, value)) = colon.map(|at| line.split_at(at)) else {
                respelled.extend_from_slice(line);
                continue;
            };
            let has_name =
                |line: &[u8]| line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name);
            while known.get(first).is_some_and(|line| line.is_empty()) {
                first += 1;
            }
            let found = (first..known.len()).find(|at| has_name(known[*at]));
            let Some(at) = found else {
                respelled.extend_from_slice(line);
                continue;
            };
            let (name, its_value) = mem::take(&mut known[at]).split_at(name.len());
            respelled.extend_from_slice(name);
            // Where nothing stood after it, hyper writes a space.
            let is_bare = value == b": \r\n" && matches!(its_value, b":\n" | b":\r\n");
            respelled.extend_from_slice(if is_bare { b":\r\n" } else { value });
        }
    }
}

/// With their ends. What stands after the last end is none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    memchr::memchr_iter(b'\n', bytes).map(move |end| &bytes[mem::replace(&mut begin, end + 1)..=end])
}

impl Instead {
    /// `left` in the place of so many bytes.
    pub fn new(left: Bytes, of: usize) -> Self {
        Self { left, of }
    }

    /// Writes it, and what stands in `pieces` after that in whose place it is. Says how much of `pieces` that was.
    pub fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.left.is_empty() {
            let mut skipped = self.of;
            let after = pieces.iter().map(|piece| {
                let from = skipped.min(piece.len());
                skipped -= from;
                IoSlice::new(&piece[from..])
            });
            let all: Vec<_> = [IoSlice::new(&self.left)].into_iter().chain(after).collect();
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_it = written.min(self.left.len());
            self.left.advance(of_it);
            if self.left.is_empty() {
                return Poll::Ready(Ok(self.of + written - of_it));
            }
        }
        Poll::Ready(Ok(self.of))
    }
}

impl Default for Writing {
    fn default() -> Self {
        Self { flushed: true, head: None }
    }
}

impl Writing {
    /// Whether nothing is left of what hyper had to write.
    pub fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// hyper has asked for it, and nothing is left.
    pub fn flushed(&mut self) {
        self.flushed = true;
    }

    /// hyper has begun to write what goes another way.
    pub fn passed_over(&mut self) {
        self.flushed = false;
    }

    /// What hyper begins to write next is written so.
    pub fn put(&mut self, head: Option<Instead>) {
        self.head = head;
    }

    /// Writes what hyper writes, or what stands in its place: if that begins with a head, with its `spelling`, and that only
    /// if nothing of another head is before it.
    pub fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        spelling: Option<Spelling>,
    ) -> Poll<io::Result<usize>> {
        let is_first = mem::replace(&mut self.flushed, false);
        // hyper writes a head in one piece, but it may come after the rest of another.
        if let Some(spelling) = spelling.filter(|_| is_first) {
            self.head = pieces.first().and_then(|piece| spelling.restored(piece));
        }
        let Some(head) = &mut self.head else { return Pin::new(io).poll_write_vectored(cx, pieces) };
        let written = ready!(head.poll_write(io, cx, pieces))?;
        self.head = None;
        Poll::Ready(Ok(written))
    }
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

    fn restored(original: &str, written: &str) -> String {
        let instead = Spelling(original.to_owned().into()).restored(written.as_bytes()).expect("a head");
        assert_eq!(instead.of, written.len());
        String::from_utf8(instead.left.to_vec()).expect("text")
    }

    #[test]
    fn names_are_restored_and_nothing_else_is() {
        let original = "HTTP/1.1 200\neTAG: b\nx-Twice: C\r\nX-twice: D\r\nX-TWICE: d\r\nempty:\r\nblank: \r\ngone: 1\r\nvia:\r\n\r\n";
        let written = "HTTP/1.1 200 OK\r\nX-Twice: c\r\nEmpty: \r\nUsual: etag: 1\r\nEtag: x-twice: \r\nX-Twice: d\r\n\
                       Etag: 2\r\nEtagx: 1\r\nBlank: \r\nVia: 1.1 a\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nx-Twice: c\r\nempty:\r\nUsual: etag: 1\r\neTAG: x-twice: \r\nX-twice: d\r\n\
                        Etag: 2\r\nEtagx: 1\r\nblank: \r\nvia: 1.1 a\r\n\r\n";
        assert_eq!(restored(original, written), expected);
        // hyper keeps those of one name together.
        let original = "GET / HTTP/1.1\r\nx-b: 1\r\nx-A: 1\r\nX-b: 2\r\nX-a: 2\r\n\r\n";
        let written = "GET / HTTP/1.1\r\nX-B: 1\r\nX-B: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nx-b: 1\r\nX-b: 2\r\nx-A: 1\r\nX-a: 2\r\n\r\n";
        assert_eq!(restored(original, written), expected);
        assert_eq!(restored("GET etag: HTTP/1.1\r\n\r\n", written), written);
    }

    #[test]
    fn an_interim_answer_stays_as_it_is() {
        let interim = "HTTP/1.1 100 Continue\r\nEtag: 1\r\n\r\n";
        let restored =
            restored("HTTP/1.1 200 OK\r\netag: 2\r\n\r\n", &format!("{interim}HTTP/1.1 200 OK\r\nEtag: 2\r\n\r\n"));
        assert_eq!(restored, format!("{interim}HTTP/1.1 200 OK\r\netag: 2\r\n\r\n"));
        assert!(Spelling(Bytes::new()).restored(interim.as_bytes()).is_none());
    }

    #[test]
    fn names_are_restored_however_many_they_are() {
        let line = |number| format!("x{number}-{}: {}\r\n", "y".repeat(99), "z".repeat(9));
        let fields: Vec<_> = (0..500).map(line).collect();
        let mut others: Vec<_> = fields.iter().map(|line| line.to_uppercase()).collect();
        others.rotate_left(7);
        others.swap_remove(3);
        let written = format!("GET / HTTP/1.1\r\n{}\r\n", others.concat());
        let expected = written.replace('X', "x").replace('Y', "y");
        assert_eq!(restored(&format!("GET / HTTP/1.1\r\n{}\r\n", fields.concat()), &written), expected);
    }

    #[test]
    fn what_is_written_instead_is_written_whole_however_little_is_taken_at_once() {
        /// Takes so many bytes at a time, and is busy every other time.
        struct Narrow(Vec<u8>, usize, bool);

        impl AsyncWrite for Narrow {
            fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                self.2 = !self.2;
                if self.2 {
                    return Poll::Pending;
                }
                let taken = bytes.len().min(self.1);
                self.0.extend_from_slice(&bytes[..taken]);
                Poll::Ready(Ok(taken))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                self.poll_write(cx, &all)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }

        let mut cx = Context::from_waker(std::task::Waker::noop());
        for most in 1..14 {
            let mut io = Narrow(Vec::new(), most, false);
            let mut instead = Instead::new(Bytes::from_static(b"HEAD"), 3);
            let pieces = [IoSlice::new(b"hea"), IoSlice::new(b"body"), IoSlice::new(b"more")];
            let taken = loop {
                if let Poll::Ready(taken) = instead.poll_write(&mut io, &mut cx, &pieces) {
                    break taken.expect("it takes something");
                }
            };
            assert!(instead.left.is_empty());
            assert_eq!(io.0, &b"HEADbodymore"[..io.0.len()]);
            assert_eq!(taken + 1, io.0.len(), "{most}");
        }
    }
}
