//! A request's head as it is sent, for as long as the request has no answer: it may have to be sent more than once.
//!
//! http's table of fields is made for looking things up. It takes more than 100 bytes a field, and copying it an allocation
//! for each name that http does not know. So what is sent leaves all that it says behind in one piece, and what waits has
//! nothing else. A table is made of that when it is sent next, or when somebody looks something up.

use std::borrow::Cow;
use std::mem;
use std::net::IpAddr;

use bytes::{Buf, Bytes};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};

use crate::headers::{self, TraceId};

/// What stands behind a name, and what behind a value: neither occurs there (RFC 9110 §5.1, §5.5).
const IS: u8 = b':';
const END: u8 = b'\n';

/// What a request asks.
pub struct Head {
    pub method: Method,
    pub target: Uri,
    pub caller: Caller,
    fields: Fields,
}

enum Fields {
    Table(HeaderMap),
    Packed(Bytes),
}

/// Who asks, as the log tells it.
#[derive(Clone, Copy, Default)]
pub struct Caller {
    pub address: Option<IpAddr>,
    pub trace_id: Option<TraceId>,
}

impl Caller {
    /// Of a request as it is forwarded. `trusted` says who is believed about others.
    pub fn of(headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Self {
        Self { address: headers::client(headers, trusted), trace_id: headers::trace_id(headers) }
    }
}

/// What is asked of what, and by whom, as far as that is known.
pub type Asked<'a> = (&'a Method, &'a Uri, Caller);

impl Head {
    /// Of a request as it is forwarded. `trusted` says who is believed about others.
    pub fn of(head: Parts, trusted: impl Fn(IpAddr) -> bool) -> Self {
        let Parts { method, uri, headers, .. } = head;
        let caller = Caller::of(&headers, trusted);
        Self { method, target: uri, caller, fields: Fields::Table(headers) }
    }

    /// What it asks, in short.
    pub fn asked(&self) -> Asked<'_> {
        (&self.method, &self.target, self.caller)
    }

    /// What it says.
    pub fn fields(&self) -> Cow<'_, HeaderMap> {
        match &self.fields {
            Fields::Table(table) => Cow::Borrowed(table),
            Fields::Packed(packed) => Cow::Owned(unpack(packed)),
        }
    }

    /// What it takes of memory in bytes, roughly, when it waits.
    pub fn size(&self) -> usize {
        let fields = match &self.fields {
            Fields::Table(table) => packed_length(table),
            Fields::Packed(packed) => packed.len(),
        };
        fields + path_and_query(&self.target).len()
    }

    /// To be sent. It can be had again.
    pub fn to_send(&mut self) -> Parts {
        let fields = match mem::replace(&mut self.fields, Fields::Packed(Bytes::new())) {
            Fields::Table(table) => {
                self.fields = Fields::Packed(pack(&table));
                table
            }
            Fields::Packed(packed) => {
                let table = unpack(&packed);
                self.fields = Fields::Packed(packed);
                table
            }
        };
        let (mut head, ()) = Request::new(()).into_parts();
        (head.method, head.uri, head.headers) = (self.method.clone(), self.target.clone(), fields);
        head
    }

    /// Moves what refers to what was read to where nothing else is.
    pub fn compact(&mut self) {
        if let Fields::Table(table) = &self.fields {
            self.fields = Fields::Packed(pack(table));
        }
        let target = Bytes::copy_from_slice(path_and_query(&self.target).as_bytes());
        // It was valid before.
        if let Ok(target) = PathAndQuery::from_maybe_shared(target) {
            self.target = Uri::from(target);
        }
    }
}

fn path_and_query(target: &Uri) -> &str {
    target.path_and_query().map_or("", PathAndQuery::as_str)
}

fn packed_length(table: &HeaderMap) -> usize {
    table.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum()
}

fn pack(table: &HeaderMap) -> Bytes {
    let mut packed = Vec::with_capacity(packed_length(table));
    for (name, value) in table {
        packed.extend_from_slice(name.as_str().as_bytes());
        packed.push(IS);
        packed.extend_from_slice(value.as_bytes());
        packed.push(END);
    }
    packed.into()
}

fn unpack(packed: &Bytes) -> HeaderMap {
    // What many lines of one name would have room for may be more than there can be.
    let mut table = HeaderMap::try_with_capacity(memchr::memchr_iter(END, packed).count()).unwrap_or_default();
    let mut rest = packed.clone();
    while let Some(end) = memchr::memchr(END, &rest) {
        let line = rest.split_to(end);
        rest.advance(1);
        let at = memchr::memchr(IS, &line).expect("each field was packed with one");
        // HTTP/2 allows names more than `from_bytes` does.
        let name = HeaderName::from_lowercase(&line[..at]).expect("it was a name before");
        let value = HeaderValue::from_maybe_shared(line.slice(at + 1..)).expect("it was a value before");
        table.append(name, value);
    }
    table
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let mut table = HeaderMap::new();
        for (name, value) in [
            ("host", "a:1"),
            ("x-custom!#$%&'*+.^_`|~", "\"a; b\": c"),
            ("empty", ""),
            ("accept", "a"),
            ("x-twice", "1"),
            ("accept", "b, \tc"),
            ("x-twice", "2"),
        ] {
            table.append(name, HeaderValue::from_static(value));
        }
        table.append("x-bytes", HeaderValue::from_bytes(&[0x80, 0xff, b':']).expect("a value"));
        table.append(HeaderName::from_lowercase(b"of\"2").expect("a name"), HeaderValue::from_static("x"));
        let again = unpack(&pack(&table));
        assert_eq!(again, table);
        let names = |table: &HeaderMap| table.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&again), names(&table), "in the same order");
        assert_eq!(unpack(&pack(&HeaderMap::new())), HeaderMap::new());
        // More lines than a table may have names.
        let many: HeaderMap = (0..40_000).map(|_| (HOST, HeaderValue::from_static("a"))).collect();
        assert_eq!(unpack(&pack(&many)).len(), 40_000);
    }

    #[test]
    fn a_head_is_sent_as_often_as_it_takes_and_can_be_read_all_the_while() {
        let request = Request::put("/a?b").header("x-a", "1").header("x-forwarded-for", "10.0.0.1, 10.0.0.2");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let mut head = Head::of(parts.clone(), |_| false);
        for _ in 0..3 {
            assert_eq!(*head.fields(), parts.headers);
            assert_eq!(head.size(), "x-a:1\nx-forwarded-for:10.0.0.1, 10.0.0.2\n/a?b".len());
            let sent = head.to_send();
            assert_eq!((sent.method, sent.uri, sent.headers), (Method::PUT, parts.uri.clone(), parts.headers.clone()));
            head.compact();
        }
        assert_eq!(head.caller.address, Some(IpAddr::from([10, 0, 0, 2])));
    }
}
