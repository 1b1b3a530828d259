//! What is sent: anything that is valid, and seldom what anybody would send.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::support::message::{Field, Framing};

/// A message of which a part belongs to one connection only.
#[derive(Clone, Debug)]
pub struct Sent {
    pub fields: Vec<Field>,
    /// Names in `fields` that `Connection` says are for this connection.
    pub nominated: Vec<String>,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// Where its bytes are cut into writes.
    pub cuts: Vec<Index>,
}

/// A method. Those that a proxy must not pass as they are have tests of their own.
pub fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "get"])
            .prop_map(str::to_owned),
        1 => "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}"
            .prop_filter("not these", |method| !["CONNECT", "TRACE", "PRI"].contains(&&**method)),
    ]
}

/// A target in origin form: all that RFC 3986 knows, and more escapes than it likes.
pub fn target() -> impl Strategy<Value = String> {
    let piece = || {
        prop_oneof![
            "[A-Za-z0-9._~!$&'()*+,;=:@-]{1,6}",
            select(vec!["/", "//", "..", "/../", "%2f", "%2F", "%00", "%zz", "%", ";", "/./", "%0d%0a"])
                .prop_map(str::to_owned),
        ]
    };
    let path = vec(piece(), 0..6).prop_map(|pieces| format!("/{}", pieces.concat()));
    let query = proptest::option::of(vec(prop_oneof![piece(), Just("?".to_owned())], 0..5));
    (path, query).prop_map(|(path, query)| match query {
        None => path,
        Some(pieces) => format!("{path}?{}", pieces.concat()),
    })
}

/// A field that means nothing to a proxy.
fn field() -> impl Strategy<Value = Field> {
    let name = prop_oneof![
        select(vec!["Cookie", "set-cookie", "X-A", "x-a", "ACCEPT", "User-Agent", "Date", "Range", "ETag", "X_Under"])
            .prop_map(str::to_owned),
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,16}".prop_map(|name| format!("q{name}")),
    ];
    (name, value())
}

/// Everything that RFC 9110 §5.5 allows in a value, obs-text included.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => 0x20..=0x7e_u8, 1 => 0x80..=0xff_u8, 1 => Just(b'\t')];
    vec(byte, 0..24).prop_map(|bytes| bytes.trim_ascii().to_vec())
}

/// What belongs to one connection, or is about who has passed the message on.
fn special() -> impl Strategy<Value = Vec<Field>> {
    let all = [
        ("Keep-Alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers;q=0.5, gzip"),
        ("te", "gzip"),
        ("HTTP2-Settings", "AAMAAABk"),
        ("Via", "1.0 fred, 1.1 p.example"),
        ("via", "2 other"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("x-forwarded-for", "198.51.100.9, 10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "cvat.example"),
        ("X-Forwarded-Prefix", "/analytics"),
        ("Forwarded", "for=192.0.2.7"),
        ("Upgrade", "h2c"),
        ("Connection", ""),
        ("Connection", "Keep-Alive, x-not-there"),
    ];
    let all: Vec<Field> = all.map(|(name, value)| (name.to_owned(), value.into())).into();
    subsequence(all.clone(), 0..all.len())
}

fn framing(bodies: bool) -> impl Strategy<Value = Framing> {
    let trailer = ("x-t[a-z]{0,4}", value());
    let extension = select(vec!["", ";a", ";a=b", " ; a = \"b;c\"", ";\u{9}x=1;y"]).prop_map(str::to_owned);
    let chunked = (vec(1..2000_usize, 1..5), extension, vec(trailer, 0..3))
        .prop_map(|(sizes, extension, trailers)| Framing::Chunked { sizes, extension, trailers });
    if bodies {
        prop_oneof![1 => Just(Framing::None), 2 => Just(Framing::Length), 2 => chunked].boxed()
    } else {
        prop_oneof![1 => Just(Framing::Close), 2 => Just(Framing::Length), 2 => chunked].boxed()
    }
}

fn sent(request: bool) -> impl Strategy<Value = Sent> {
    let body = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..20_000)];
    (vec(field(), 0..8), special(), framing(request), body, vec(any::<Index>(), 0..6), any::<Index>(), any::<bool>())
        .prop_map(move |(mut fields, special, framing, body, cuts, at, nominates)| {
            let nominated: Vec<String> =
                fields.first().filter(|_| nominates).map(|(name, _)| name.clone()).into_iter().collect();
            let at = at.index(fields.len() + 1);
            fields.splice(at..at, special);
            if let Some(name) = nominated.first() {
                fields.push(("CONNECTION".to_owned(), format!("close-not, {name}").into_bytes()));
            }
            let body = if matches!(framing, Framing::None) { Vec::new() } else { body };
            Sent { fields, nominated, framing, body, cuts }
        })
}

pub fn request() -> impl Strategy<Value = Sent> {
    sent(true)
}

pub fn answer() -> impl Strategy<Value = Sent> {
    sent(false)
}

/// A line that makes any head malformed, or a line end that is none.
pub fn spoiler() -> impl Strategy<Value = &'static [u8]> {
    select(vec![
        &b"Content-Length: 1, 2\r\n"[..],
        b"Content-Length: +1\r\n",
        b"Content-Length: 0x1\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: b\r\n",
        b"X: a\r\n folded\r\n",
        b" leading: space\r\n",
        b"X : space\r\n",
        b": no name\r\n",
        b"no colon\r\n",
        b"X: a\0b\r\n",
        b"X: a\rb\r\n",
        b"X: bare\nTransfer-Encoding: chunked\r\n",
        b"X\x80: name\r\n",
    ])
}
