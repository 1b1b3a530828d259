use super::*;

#[test]
fn a_head_ends_with_its_empty_line_and_names_are_written_like_this() {
    for usual in ["Host", "X-Forwarded-For", "Etag", "X-1-A", "X_case", "A--B", "-A", "1a-2b"] {
        let head_of = format!("GET / HTTP/1.1\r\n{usual}: lIKE tHAT\r\n\r\nbOdY: 1\r\n\r\n");
        assert_eq!(head(head_of.as_bytes()), Some((head_of.len() - "bOdY: 1\r\n\r\n".len(), true)), "{usual}");
    }
    for other in ["host", "ETag", "X-forwarded-For", "X-Forwarded-FOR", "WWW-Authenticate", "x-A", "DNT", "Empty:\r\nA"]
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

fn spelled(spelling: &Spelling, written: &str) -> String {
    let mut text = Vec::new();
    assert_eq!(spelling.spell(written.as_bytes(), &mut text), Some(written.len()));
    String::from_utf8(text).expect("text")
}

fn restored(original: &str, written: &str) -> String {
    spelled(&Spelling(original.to_owned().into()), written)
}

#[test]
fn names_are_written_like_this_and_nothing_else_is() {
    for first in ["HTTP/1.1 200 a-b: c", "HTTP/1.0 404 x", "GET /a-b:c?d HTTP/1.1", "options * HTTP/1.1"] {
        let written = format!("{first}\r\nhost: a-b: c\r\nx-a-1b-cd: \r\n-x: -y\r\nx_a: 1\r\n\r\n");
        let expected = format!("{first}\r\nHost: a-b: c\r\nX-A-1b-Cd: \r\n-X: -y\r\nX_a: 1\r\n\r\n");
        assert_eq!(spelled(&Spelling::default(), &written), expected);
        assert!(head(expected.as_bytes()).is_some_and(|(_, is_usual)| is_usual));
        // What comes after it is no part of it.
        let mut text = Vec::new();
        let longer = format!("{written}HTTP/1.1 200 OK\r\na-b: c\r\n\r\n");
        assert_eq!(Spelling::default().spell(longer.as_bytes(), &mut text), Some(written.len()));
        assert_eq!(text, expected.as_bytes());
    }
}

#[test]
fn what_is_no_head_is_not_written_in_another_way() {
    for other in
        ["", "a-b: c\r\n\r\n", "GET / HTTP/1.1\r\na: b\r\n", "GET /\r\na: b\r\n\r\n", "\r\n\r\n", "\u{81}\u{5}hello"]
    {
        for spelling in [Spelling::default(), Spelling(Bytes::from_static(b"GET / HTTP/1.1\r\nA-B: c\r\n\r\n"))] {
            assert_eq!(spelling.spell(other.as_bytes(), &mut Vec::new()), None, "{other:?}");
        }
    }
}

#[test]
fn names_are_restored_and_nothing_else_is() {
    let original =
        "HTTP/1.1 200\neTAG: b\nx-Twice: C\r\nX-twice: D\r\nX-TWICE: d\r\nempty:\r\nblank: \r\ngone: 1\r\nvia:\r\n\r\n";
    let written = "HTTP/1.1 200 OK\r\nx-twice: c\r\nempty: \r\nusual: etag: 1\r\netag: x-twice: \r\nx-twice: d\r\n\
                   etag: 2\r\netagx: 1\r\nblank: \r\nvia: 1.1 a\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\r\nx-Twice: c\r\nempty:\r\nUsual: etag: 1\r\neTAG: x-twice: \r\nX-twice: d\r\n\
                    Etag: 2\r\nEtagx: 1\r\nblank: \r\nvia: 1.1 a\r\n\r\n";
    assert_eq!(restored(original, written), expected);
    // hyper keeps those of one name together.
    let original = "GET / HTTP/1.1\r\nx-b: 1\r\nx-A: 1\r\nX-b: 2\r\nX-a: 2\r\n\r\n";
    let written = "GET / HTTP/1.1\r\nx-b: 1\r\nx-b: 2\r\nx-a: 1\r\nx-a: 2\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nx-b: 1\r\nX-b: 2\r\nx-A: 1\r\nX-a: 2\r\n\r\n";
    assert_eq!(restored(original, written), expected);
    let usual = "GET / HTTP/1.1\r\nX-B: 1\r\nX-B: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
    assert_eq!(restored("GET etag: HTTP/1.1\r\n\r\n", written), usual);
}

#[test]
fn an_interim_answer_stays_as_it_is() {
    let interim = "HTTP/1.1 100 Continue\r\neTag: 1\r\n\r\n";
    let written = format!("{interim}HTTP/1.1 200 OK\r\netag: 2\r\n\r\n");
    for (as_it_came, name) in [("HTTP/1.1 200 OK\r\nETag: 2\r\n\r\n", "ETag"), ("", "Etag")] {
        let expected = format!("{interim}HTTP/1.1 200 OK\r\n{name}: 2\r\n\r\n");
        assert_eq!(restored(as_it_came, &written), expected);
        assert_eq!(Spelling(as_it_came.into()).spell(interim.as_bytes(), &mut Vec::new()), None);
    }
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

#[test]
fn a_head_that_was_told_of_is_spelled_however_little_is_taken_at_once_and_nothing_else_is() {
    let as_it_came = Spelling(Bytes::from_static(b"HTTP/1.1 200 OK\r\nETag: 1\r\n\r\n"));
    // A body may look like a head, and be written in many pieces.
    let looks_so = "HTTP/1.1 200 OK\r\netag: 2\r\n\r\n";
    for (body, most) in [(1, 1), (1, 7), (1, 1000), (40, 3), (40, 50), (40, 1 << 20)] {
        for (told, name) in [(Some(Spelling::default()), "Etag"), (Some(as_it_came.clone()), "ETag"), (None, "etag")] {
            let mut io = Narrow(Vec::new(), most, false);
            let mut writing = Writing::default();
            for _ in 0..2 {
                let pieces: Vec<_> = std::iter::repeat_n(looks_so, body + 1).collect();
                write_all(&mut writing, &mut io, &pieces.concat(), looks_so.len(), told.clone());
                assert!(!writing.is_flushed());
                writing.flushed();
            }
            let message = looks_so.replace("etag", name) + &looks_so.repeat(body);
            assert_eq!(String::from_utf8(io.0).expect("text"), message.repeat(2), "{body} {most}");
        }
    }
}

#[test]
fn a_head_is_not_spelled_if_something_else_is_before_it() {
    let head = "HTTP/1.1 200 OK\r\netag: 2\r\n\r\n";
    let mut io = Narrow(Vec::new(), 9, false);
    let mut writing = Writing::default();
    write_all(&mut writing, &mut io, "not flushed", 99, None);
    write_all(&mut writing, &mut io, head, 99, Some(Spelling::default()));
    assert_eq!(io.0, ["not flushed", head].concat().as_bytes());
}

/// Writes as hyper does: all that is left, again and again, in pieces of this size.
fn write_all(writing: &mut Writing, io: &mut Narrow, text: &str, size: usize, mut told: Option<Spelling>) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut written = 0;
    while written < text.len() {
        let first = size - written % size;
        let (first, rest) = text.as_bytes()[written..].split_at(first.min(text.len() - written));
        let pieces: Vec<_> = [first].into_iter().chain(rest.chunks(size)).map(IoSlice::new).collect();
        if let Poll::Ready(taken) = writing.poll_write(io, &mut cx, &pieces, told.take()) {
            written += taken.expect("it takes something");
        }
    }
}

#[test]
fn what_is_written_instead_is_written_whole_however_little_is_taken_at_once() {
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
