//! The answers to heads that cannot be read. hyper writes them by itself, and bare: here they become answers of ours
//! like any other, and a line in the log.

use bytes::Bytes;
use http::StatusCode;

use crate::headers::proxy_status;

/// What hyper writes, whole.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TARGET_TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What is written in place of `written`, if that is one of hyper's own answers. Only asked between two answers: an
/// upstream may well send the same bytes within one.
///
/// `for_target` says that the first line of the head is too long by itself: hyper only knows that the head is.
pub fn instead_of(written: &[u8], for_target: bool) -> Option<Bytes> {
    let (status, detail) = match written {
        BAD_REQUEST => (StatusCode::BAD_REQUEST, "malformed head"),
        TOO_LARGE if !for_target => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large"),
        TOO_LARGE | TARGET_TOO_LONG => (StatusCode::URI_TOO_LONG, "target too long"),
        _ => return None,
    };
    tracing::debug!(status = status.as_u16(), reason = detail, "refused");
    let proxy_status = proxy_status(status, detail);
    let proxy_status = proxy_status.to_str().unwrap_or("anteroom");
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\
         proxy-status: {proxy_status}\r\n\r\n"
    );
    Some(head.into())
}
