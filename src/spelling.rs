//! How the names of fields are written.
//!
//! Names that differ in letter case are the same (RFC 9110 §5.1), but not to every program, and nobody shall be able to
//! tell that we stand between. hyper can keep how each was written, which takes a quarter of what a request with many
//! fields costs. Nearly all heads are written `Like-This`. So heads are looked at as they come, and one that is written
//! otherwise is kept as it came. hyper writes names in lower case; where it writes the head of a message that
//! somebody has told of before, they are written as they came, or `Like-This`.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// How a head is written: `Like-This` by default. As it came, it is an extension of its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling(pub Bytes);

/// What is written in the place of something that hyper writes.
#[derive(Debug)]
pub struct Instead {
    left: Bytes,
    /// Of how much, in bytes.
    of: usize,
}

/// What hyper writes to a connection, with the heads that somebody has told of written as they should.
#[derive(Debug)]
pub struct Writing {
    /// Nothing is left of what hyper had to write.
    flushed: bool,
    /// What is left to be written of a head.
    head: Option<Instead>,
}

/// Into how many pieces something may be cut that is written at once; what comes behind them is written later.
const PIECES_MOST: usize = 16;
/// In bytes: what follows a head and is no more than this is written in one piece with it, by send(2) instead of
/// writev(2).
const WITH_HEAD_MOST: usize = 1 << 10;

thread_local! {
    /// What is written, for as long as it takes to hand it to the kernel.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
    /// Writes the head that `written` begins with in this way, after what stands before it. Says how much of `written`
    /// that was, or that there is none.
    fn spell(&self, written: &[u8], text: &mut Vec<u8>) -> Option<usize> {
        let mut begin = 0;
        while is_interim(&written[begin..]) {
            begin += head(&written[begin..])?.0;
        }
        text.extend_from_slice(&written[..begin]);
        if self.0.is_empty() {
            text.extend_from_slice(&written[begin..]);
            let end = begin + capitalize(&mut text[begin..])?;
            text.truncate(end);
            return Some(end);
        }
        let mut usual = written[begin..].to_vec();
        let length = capitalize(&mut usual)?;
        self.respell(&usual[..length], text);
        Some(begin + length)
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

/// Writes the names of the head that `text` begins with `Like-This`. Says where it ends, if it is one that hyper writes.
fn capitalize(text: &mut [u8]) -> Option<usize> {
    let line_end = |text: &[u8]| memchr::memchr(b'\n', text).map(|at| at + 1);
    let mut at = line_end(text)?;
    if !text.starts_with(b"HTTP/1.") && !text[..at].ends_with(b" HTTP/1.1\r\n") {
        return None;
    }
    while !text[at..].starts_with(b"\r\n") {
        let mut begins_word = true;
        for byte in text[at..].iter_mut().take_while(|byte| **byte != b':') {
            if begins_word {
                byte.make_ascii_uppercase();
            }
            begins_word = *byte == b'-';
        }
        at += line_end(&text[at..])?;
    }
    Some(at + 2)
}

/// With their ends. What stands after the last end is none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    memchr::memchr_iter(b'\n', bytes).map(move |end| &bytes[mem::replace(&mut begin, end + 1)..=end])
}

/// Writes `text`, and what stands in `pieces` after so many bytes, in whose place it is. Says how much was written.
fn poll_write_before<Io: AsyncWrite + Unpin>(
    text: &[u8],
    of: usize,
    io: &mut Io,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut all = [IoSlice::new(text); PIECES_MOST];
    let (mut number, mut skipped) = (1, of);
    for piece in pieces {
        let from = skipped.min(piece.len());
        skipped -= from;
        if from < piece.len() && number < PIECES_MOST {
            all[number] = IoSlice::new(&piece[from..]);
            number += 1;
        }
    }
    Pin::new(io).poll_write_vectored(cx, &all[..number])
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
            let written = ready!(poll_write_before(&self.left, self.of, io, cx, pieces))?;
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

    /// Writes what hyper writes, or what stands in its place. What hyper begins to write now has its first head written as
    /// `told`, if it was; unless something of another message is before that, which nobody can tell from a head.
    pub fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        told: Option<Spelling>,
    ) -> Poll<io::Result<usize>> {
        let is_first = mem::replace(&mut self.flushed, false);
        if let (Some(spelling), Some(piece)) = (told.filter(|_| is_first), pieces.first()) {
            // hyper writes a head in one piece.
            let polled = TEXT.with_borrow_mut(|text| {
                text.clear();
                let of = spelling.spell(piece, text)?;
                Some(self.poll_write_head(text, of, io, cx, pieces))
            });
            if let Some(polled) = polled {
                return polled;
            }
        }
        let Some(head) = &mut self.head else { return Pin::new(io).poll_write_vectored(cx, pieces) };
        let written = ready!(head.poll_write(io, cx, pieces))?;
        self.head = None;
        Poll::Ready(Ok(written))
    }

    /// Writes the head `text` in the place of the first `of` bytes, and what comes after them.
    fn poll_write_head<Io: AsyncWrite + Unpin>(
        &mut self,
        text: &mut Vec<u8>,
        of: usize,
        io: &mut Io,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (head, all) = (text.len(), pieces.iter().map(|piece| piece.len()).sum::<usize>());
        let polled = if all - of <= WITH_HEAD_MOST {
            text.extend_from_slice(&pieces[0][of..]);
            pieces[1..].iter().for_each(|piece| text.extend_from_slice(piece));
            Pin::new(&mut *io).poll_write(cx, text)
        } else {
            poll_write_before(text, of, io, cx, pieces)
        };
        let written = match polled {
            Poll::Ready(Ok(written)) if written >= head => return Poll::Ready(Ok(of + written - head)),
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => 0,
        };
        let left = Bytes::copy_from_slice(&text[written..head]);
        let written = ready!(self.head.insert(Instead::new(left, of)).poll_write(io, cx, pieces))?;
        self.head = None;
        Poll::Ready(Ok(written))
    }
}

#[cfg(test)]
mod tests;
