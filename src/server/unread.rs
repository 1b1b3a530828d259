//! The answers to heads that cannot be read. hyper writes them by itself, and bare: here they become answers of ours
//! like any other, and a line in the log for who looks closely.

use bytes::Bytes;
use http::StatusCode;

use crate::headers::proxy_status;

/// In bytes; longer than any of them.
const LONGEST: usize = 128;

/// What is written in place of `written`, with its status, if that is one of hyper's own answers, whole. Only asked between
/// two answers: an upstream may well send the same bytes within one.
///
/// `for_target` says that the first line of the head is too long by itself: hyper only knows that the head is.
pub fn instead_of(written: &[u8], for_target: bool) -> Option<(StatusCode, Bytes)> {
    if written.len() > LONGEST {
        return None;
    }
    // It answers in the version of the request before, and tells those of 1.1 that it closes.
    let (version, rest) = std::str::from_utf8(written).ok()?.split_once(' ')?;
    let rest = rest.strip_suffix("content-length: 0\r\n\r\n")?;
    let (status, detail) = match rest.strip_suffix("connection: close\r\n").unwrap_or(rest) {
        "400 Bad Request\r\n" => (StatusCode::BAD_REQUEST, "malformed head"),
        "431 Request Header Fields Too Large\r\n" if !for_target => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large")
        }
        "431 Request Header Fields Too Large\r\n" | "414 URI Too Long\r\n" => {
            (StatusCode::URI_TOO_LONG, "target too long")
        }
        _ => return None,
    };
    tracing::debug!(status = status.as_u16(), reason = detail, "refused");
    let proxy_status = proxy_status(status, detail);
    let proxy_status = proxy_status.to_str().unwrap_or("anteroom");
    let head = format!(
        "{version} {status}\r\nConnection: close\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\
         Proxy-Status: {proxy_status}\r\n\r\n"
    );
    Some((status, head.into()))
}
