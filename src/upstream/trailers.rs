//! Trailers: fields after a chunked body (RFC 9110 §6.5). They pass whether they were announced or not.
//!
//! hyper writes only those that the head's `Trailer` names, and as a server only to a client that sent `TE: trailers`.
//! So a body that meets trailers leaves them in its connection's [`Slot`] and ends, hyper writes the last chunk,
//! `0\r\n\r\n`, and [`Trailing`], which stands between hyper and the socket, puts them before its last line end.
//! Until everything of that message is written, hyper appends nothing to it, so its end is the end of what is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::headers;
use crate::lock::lock;

/// Meaningless or dangerous after a body (RFC 9110 §6.5.1): what frames, routes, authenticates or describes a message.
/// Whoever merges trailers into headers must not learn any of it from there.
const NEVER: [HeaderName; 22] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What ends a trailer section; hyper writes it, and here it is kept together with what stands before.
const END: &[u8] = b"\r\n";

/// The last frame of a body that has trailers: none over HTTP/1.1, where they are left in the connection's slot. A body
/// with a length cannot have any there (`length` as it was announced).
pub fn end(mut trailers: HeaderMap, slot: Option<&Slot>, length: &SizeHint) -> Option<Frame<Bytes>> {
    keep_valid(&mut trailers);
    match slot {
        None => Some(Frame::trailers(trailers)),
        Some(slot) => {
            if length.exact().is_none() {
                slot.fill(&trailers);
            }
            None
        }
    }
}

/// Removes what may not be a trailer.
fn keep_valid(trailers: &mut HeaderMap) {
    remove(trailers, &NEVER);
    let claims = headers::claims(trailers);
    remove(trailers, &claims);
}

/// Removes those with these names.
pub fn remove(trailers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        trailers.remove(name);
    }
}

/// Where a body leaves the trailers of the message that a connection is writing.
///
/// The lock is never contended: body and connection are polled by the same task.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<Mutex<Bytes>>);

impl Slot {
    /// Leaves trailers. The body must be sent in chunks, and end at once.
    pub fn fill(&self, trailers: &HeaderMap) {
        let mut text = BytesMut::new();
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), END] {
                text.extend_from_slice(part);
            }
        }
        if !text.is_empty() {
            text.extend_from_slice(END);
            *lock(&self.0) = text.freeze();
        }
    }
}

/// A connection that completes a last chunk by the trailers in its slot.
#[derive(Debug)]
pub struct Trailing<Io> {
    inner: Io,
    slot: Slot,
}

impl<Io> Trailing<Io> {
    /// What it stands before.
    pub fn get_ref(&self) -> &Io {
        &self.inner
    }

    /// `slot` is for the bodies that are sent over `inner`.
    pub fn new(inner: Io, slot: Slot) -> Self {
        Self { inner, slot }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Trailing<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, slot } = self.get_mut();
        let mut inner = Pin::new(inner);
        let mut trailers = lock(&slot.0);
        if trailers.is_empty() {
            return inner.poll_write_vectored(cx, pieces);
        }
        let before_end = pieces.iter().map(|piece| piece.len()).sum::<usize>().saturating_sub(END.len());
        if before_end > 0 {
            return inner.poll_write_vectored(cx, &first(pieces, before_end));
        }
        while !trailers.is_empty() {
            match ready!(inner.as_mut().poll_write(cx, &trailers))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => trailers.advance(written),
            }
        }
        // The line end that is left of the last chunk was written as that of the trailers.
        Poll::Ready(Ok(END.len()))
    }

    /// Else hyper would write the next head into the same buffer, and the end would not be the end.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Trailing<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

/// The first `bytes` of what the pieces hold.
fn first<'a>(pieces: &'a [IoSlice<'a>], mut bytes: usize) -> Vec<IoSlice<'a>> {
    let mut cut = |piece: &'a IoSlice<'a>| {
        let taken = piece.len().min(bytes);
        bytes -= taken;
        IoSlice::new(&piece[..taken])
    };
    pieces.iter().map(&mut cut).filter(|piece| !piece.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Takes so many bytes at a time, and is busy every other time.
    struct Narrow {
        written: Vec<u8>,
        most: usize,
        busy: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.busy = !self.busy;
            if self.busy {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.most);
            self.written.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes as hyper does: all that is left, again and again, cut into two pieces at `cut`.
    fn write_all(io: &mut Trailing<Narrow>, bytes: &[u8], cut: usize) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut written = 0;
        while written < bytes.len() {
            let (one, two) = bytes[written..].split_at(cut.saturating_sub(written));
            let pieces = [IoSlice::new(one), IoSlice::new(two)];
            if let Poll::Ready(result) = Pin::new(&mut *io).poll_write_vectored(&mut cx, &pieces) {
                written += result.expect("it takes something");
            }
        }
    }

    fn trailers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn trailers_stand_before_the_last_line_end_however_the_writes_are_split() {
        // The data looks like a last chunk, and like an answer that ends.
        let message = b"HTTP/1.1 200 OK\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n";
        let next = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n0\r\n\r\n";
        let expected = [&message[..message.len() - 2], b"x-sum: 1\r\nx-sum: 2\r\n\r\n", next].concat();
        for cut in 0..=message.len() {
            for most in [1, 2, 3, 5, 1000] {
                let slot = Slot::default();
                let narrow = Narrow { written: Vec::new(), most, busy: false };
                let mut io = Trailing::new(narrow, slot.clone());
                // Trailers are met before or after the head was written.
                let before = if cut % 2 == 0 { 0 } else { 19 };
                write_all(&mut io, &message[..before], cut.min(before));
                slot.fill(&trailers(&[("x-sum", "1"), ("x-sum", "2")]));
                write_all(&mut io, &message[before..], cut.saturating_sub(before));
                write_all(&mut io, next, 7);
                let text = String::from_utf8_lossy(&io.inner.written);
                assert_eq!(text, String::from_utf8_lossy(&expected), "{cut} {most}");
            }
        }
    }

    #[test]
    fn what_decides_trust_or_belongs_to_one_connection_is_no_trailer() {
        let mut given = trailers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-user", "admin"),
            ("x-real-ip", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("via", "1.1 x"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("x-sum", "1"),
            ("x-forwarded", "kept"),
        ]);
        keep_valid(&mut given);
        assert_eq!(given, trailers(&[("x-sum", "1"), ("x-forwarded", "kept")]));
    }

    #[test]
    fn without_trailers_nothing_is_changed() {
        let slot = Slot::default();
        slot.fill(&HeaderMap::new());
        let mut io = Trailing::new(Narrow { written: Vec::new(), most: 3, busy: false }, slot);
        write_all(&mut io, b"1\r\nx\r\n0\r\n\r\n", 4);
        assert_eq!(io.inner.written, b"1\r\nx\r\n0\r\n\r\n");
    }

    #[test]
    fn what_frames_routes_or_authenticates_is_no_trailer() {
        let mut given = trailers(&[("x-sum", "1"), ("content-length", "5"), ("host", "a"), ("authorization", "b")]);
        keep_valid(&mut given);
        assert_eq!(given, trailers(&[("x-sum", "1")]));
    }
}
