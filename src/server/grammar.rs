//! What an HTTP/1.1 parser may repair, and we refuse: pure, over the bytes as they come.
//!
//! hyper takes a bare LF for the end of a line, drops `Content-Length` beside `Transfer-Encoding` and folds equal
//! lengths into one. All of that is allowed (RFC 9112 §2.2, §6.3), and all of it is how one request comes to mean two
//! things to two neighbours. Once hyper has parsed a head none of it can be seen any more, so it is looked for before.
//!
//! How names are written cannot be seen any more then, either, so that heads are found here whose names are to be restored.
//!
//! The scanner follows the framing of requests just far enough to tell lines from bodies:
//!
//! ```text
//!  ┌─────────────────── nothing follows ───────────────────┐
//!  ▼                                                       │
//! Head ── empty line ──▶ Length: Data ──────────────────▶ Head
//!                        chunked: Size ─▶ Data ─▶ DataEnd ─▶ Size … ─ 0 ─▶ Trailers ─▶ Head
//!                        Upgrade, or a coding that will be refused: Opaque, for good
//! ```

use std::fmt;
use std::mem;

use bytes::Bytes;

use crate::spelling::{self, Spelling};

/// How much of a line is kept: enough for the longest `Content-Length` or `Transfer-Encoding` that can be right. Such a
/// line that is longer is refused.
const KEPT: usize = 48;
/// More hex digits than this are no size of a chunk, but an attempt at an overflow.
const SIZE_DIGITS: usize = 15;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    line: Line,
    head: Head,
    requests: usize,
    first_line: usize,
    names: Names,
}

/// Heads whose names are not written [as usual](spelling), and what has come of the newest head.
#[derive(Debug, Default)]
struct Names {
    /// Of that one, if it was cut.
    part: Vec<u8>,
    /// By the number of the request; the first is 1.
    unusual: Vec<(usize, Spelling)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The request line and the fields.
    #[default]
    Head,
    /// So many bytes of a body.
    Data { left: u64, then: After },
    /// The line with a chunk's size.
    Size,
    /// The end of the line after a chunk's data.
    DataEnd,
    /// The fields after the last chunk.
    Trailers,
    /// Not HTTP/1.1 any more, or not for long.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Head,
    DataEnd,
}

/// The current line as far as it was read.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    /// Of the whole line, which may be longer than what is kept.
    length: usize,
    last: u8,
}

/// What the fields of the current head say about its framing.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    coding: Option<Coding>,
    /// It has an `Upgrade`, and a `Connection` that names it: one without the other is no offer (RFC 9110 §7.8).
    upgrade: bool,
    nominated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Anything else is refused by whoever sees the parsed head, and the connection ends with that.
    Foreign,
}

/// What is wrong with the framing of a body: nothing that follows can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

impl Scanner {
    /// Whether a head has begun and has not ended.
    pub fn in_head(&self) -> bool {
        self.state == State::Head && (self.head.begun || self.line.length > 0)
    }

    /// Whether no request has begun, or each that has is over.
    pub fn is_between(&self) -> bool {
        self.state == State::Head && !self.in_head()
    }

    /// How long the first line of the newest head is, as far as it has come, in bytes.
    pub fn first_line(&self) -> usize {
        if self.in_head() && !self.head.begun { self.line.length } else { self.first_line }
    }

    /// How many heads have ended.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Whether it has stopped looking.
    pub fn is_opaque(&self) -> bool {
        self.state == State::Opaque
    }

    /// The heads whose names are not written as usual that were found since this was asked last, by the number of the
    /// request.
    pub fn take_unusual(&mut self) -> Vec<(usize, Spelling)> {
        mem::take(&mut self.names.unusual)
    }

    /// Looks at the next bytes of the connection, however they are cut.
    ///
    /// What is wrong in a head is overwritten with NUL, which no part of a head may contain (RFC 9110 §5.5): so the
    /// parser answers 400 by itself, after the answers to the requests before it.
    ///
    /// # Errors
    /// The framing of a body is broken, after so many bytes that are well.
    pub fn scan(&mut self, bytes: &mut [u8]) -> Result<(), (usize, Broken)> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Opaque => return Ok(()),
                State::Data { left, then } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    self.state = match left - here as u64 {
                        0 => then.into(),
                        left => State::Data { left, then },
                    };
                }
                State::Head | State::Size | State::DataEnd | State::Trailers => match self.scan_lines(bytes, at) {
                    Ok(next) => at = next,
                    Err((line_end, _)) if self.state == State::Head => {
                        bytes[line_end] = 0;
                        self.state = State::Opaque;
                    }
                    Err((line_end, broken)) => {
                        let well = memchr::memrchr(b'\n', &bytes[at..line_end]).map_or(at, |before| at + before + 1);
                        return Err((well, broken));
                    }
                },
            }
        }
        Ok(())
    }

    /// Looks at the lines that begin at `at`, until there are none. Says where what follows them begins.
    ///
    /// # Errors
    /// Something is wrong with the line that ends where it is said.
    fn scan_lines(&mut self, bytes: &[u8], at: usize) -> Result<usize, (usize, Broken)> {
        let (mut begin, mut head_begin) = (at, at);
        for end in memchr::memchr_iter(b'\n', &bytes[at..]).map(|end| at + end) {
            let line = &bytes[begin..end];
            if self.state == State::Head && self.head.begun && self.line.length == 0 && is_of_no_interest(line) {
                begin = end + 1;
                continue;
            }
            let requests = self.requests;
            let next = if self.line.length == 0 {
                // Whole in what was read, as most lines are: nothing is copied.
                self.line_ended(&line[..line.len().min(KEPT)], line.len(), line.last())
            } else {
                let mut whole = mem::take(&mut self.line);
                whole.extend(line);
                self.line_ended(&whole.kept[..whole.length.min(KEPT)], whole.length, Some(&whole.last))
            };
            self.state = next.map_err(|broken| (end, broken))?;
            begin = end + 1;
            if self.requests > requests {
                self.head_ended(&bytes[head_begin..begin]);
            }
            if !self.in_head() {
                // What has come since the last head is no part of the next one: a body, or an empty line.
                head_begin = begin;
                self.names.part.clear();
            }
            if matches!(self.state, State::Data { .. } | State::Opaque) {
                return Ok(begin);
            }
        }
        self.line.extend(&bytes[begin..]);
        if self.in_head() {
            self.names.part.extend_from_slice(&bytes[head_begin..]);
        }
        Ok(bytes.len())
    }

    /// `rest` is what was read last of the newest head.
    fn head_ended(&mut self, rest: &[u8]) {
        let mut whole = mem::take(&mut self.names.part);
        let head = if whole.is_empty() {
            rest
        } else {
            whole.extend_from_slice(rest);
            &whole
        };
        let head = spelling::without_empty_lines(head);
        if spelling::head(head).is_some_and(|(_, is_usual)| !is_usual) {
            self.names.unusual.push((self.requests, Spelling(Bytes::copy_from_slice(head))));
        }
    }

    /// What comes after a line that has just ended, of which `kept` is the beginning.
    fn line_ended(&mut self, kept: &[u8], length: usize, last: Option<&u8>) -> Result<State, Broken> {
        if last != Some(&b'\r') {
            return Err(Broken("a line ends without CR"));
        }
        let length = length - 1;
        let (line, whole) = (&kept[..length.min(KEPT)], length <= KEPT);
        match self.state {
            State::Head if line.is_empty() && self.head.begun => {
                self.requests += 1;
                Ok(mem::take(&mut self.head).body())
            }
            // RFC 9112 §2.2: an empty line before a request is ignored.
            State::Head if line.is_empty() => Ok(State::Head),
            State::Head => {
                if mem::replace(&mut self.head.begun, true) {
                    self.head.field(line, whole)?;
                } else {
                    self.first_line = length;
                }
                Ok(State::Head)
            }
            State::Size => match chunk_size(line)? {
                0 => Ok(State::Trailers),
                left => Ok(State::Data { left, then: After::DataEnd }),
            },
            State::DataEnd if line.is_empty() => Ok(State::Size),
            State::DataEnd => Err(Broken("a chunk is longer than its size")),
            State::Trailers if line.is_empty() => Ok(State::Head),
            State::Trailers => Ok(State::Trailers),
            State::Data { .. } | State::Opaque => unreachable!("these have no lines"),
        }
    }
}

impl Head {
    fn field(&mut self, line: &[u8], whole: bool) -> Result<(), Broken> {
        let Some(colon) = memchr::memchr(b':', line) else { return Ok(()) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = whole && !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|digits| digits.parse().ok());
            let length = length.ok_or(Broken("a length is no number"))?;
            if self.length.replace(length).is_some() || self.coding.is_some() {
                return Err(Broken("two framings"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = whole && value.eq_ignore_ascii_case(b"chunked");
            let coding = if chunked { Coding::Chunked } else { Coding::Foreign };
            if self.coding.replace(coding).is_some() || self.length.is_some() {
                return Err(Broken("two framings"));
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            // What is cut off may name it.
            let named = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"upgrade");
            self.nominated |= !whole || value.split(|byte| *byte == b',').any(named);
        }
        Ok(())
    }

    fn body(self) -> State {
        match (self.coding, self.length) {
            // After such a head the other protocol may begin at any moment, even before it was agreed to. If it is
            // refused, the connection ends with the answer: see `request`.
            _ if self.upgrade && self.nominated => State::Opaque,
            (Some(Coding::Foreign), _) => State::Opaque,
            (Some(Coding::Chunked), _) => State::Size,
            (None, Some(left)) if left > 0 => State::Data { left, then: After::Head },
            (None, _) => State::Head,
        }
    }
}

/// Whether a field's line ends as it should and is none of those that matter: they begin otherwise. Most lines are so,
/// and cost no more than this.
fn is_of_no_interest(line: &[u8]) -> bool {
    line.len() > 1 && line.last() == Some(&b'\r') && !matches!(line[0] | 0x20, b'c' | b't' | b'u')
}

impl From<After> for State {
    fn from(after: After) -> Self {
        match after {
            After::Head => Self::Head,
            After::DataEnd => Self::DataEnd,
        }
    }
}

/// RFC 9112 §7.1: hex digits, then nothing or an extension. White space is allowed before an extension alone.
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    let rest = rest.trim_ascii_start();
    let extended = rest.first() == Some(&b';') || rest.is_empty() && line.len() == digits;
    let size = std::str::from_utf8(size).ok().filter(|_| extended && digits <= SIZE_DIGITS);
    size.and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(Broken("a chunk has no size"))
}

impl Default for Line {
    fn default() -> Self {
        Self { kept: [0; KEPT], length: 0, last: 0 }
    }
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let from = self.length.min(KEPT);
        let here = bytes.len().min(KEPT - from);
        self.kept[from..from + here].copy_from_slice(&bytes[..here]);
        self.length += bytes.len();
        self.last = bytes.last().copied().unwrap_or(self.last);
    }
}

#[cfg(test)]
mod tests;
