//! What is refused whoever is behind us: requests that two readers could understand in two ways, and methods that are
//! not a reverse proxy's. Decided from the parsed head alone, so it costs no hold, no retry and no word upstream.
//!
//! Refusing is safer than repairing: what we repair, the proxy before us may have read in the other way, and the
//! difference is where requests are smuggled. hyper's parser stands before us, and repairs some heads before they can be
//! seen here; what it repairs is looked for in `server::grammar`.

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use self::authority::is_host_and_port;

mod authority;

/// What may be asked of us, for `Allow`: which of these the upstream knows is its own affair.
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Why a request is refused: the client's own mistake, but for [`Refusal::BodyLost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A tunnel to anywhere is not what a reverse proxy is for.
    Connect,
    /// It would show the client what the proxies between us added, cookies of forward-auth included.
    Trace,
    HostMissing,
    HostRepeated,
    HostInvalid,
    /// HTTP/2 named another authority than `Host` does.
    HostDiffers,
    /// The target has a form that this method does not have, or a scheme that is not HTTP's.
    TargetForm,
    /// Raw bytes beyond ASCII in the target.
    TargetNotAscii,
    /// The authority of an absolute target is none, or has credentials in it.
    TargetAuthority,
    /// A value begins or ends with white space, which HTTP/2 has no use for (RFC 9113 §8.2.1) and HTTP/1.1 takes away.
    FieldPadded,
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthTwice,
    LengthInvalid,
    /// `Transfer-Encoding` in HTTP/1.0, which has none.
    CodingTooEarly,
    /// `chunked` twice, with parameters, or beside an empty item.
    CodingMalformed,
    /// A transfer coding other than `chunked`.
    CodingUnknown,
    /// The body's framing broke, or its sender left, after the head had been admitted.
    BodyBroken,
    /// The body stopped coming after the head had been admitted.
    BodyTooSlow,
    /// The body is longer than it may be.
    BodyTooLarge,
    /// What was kept of the body is gone: the one that is our own fault.
    BodyLost,
}

impl Refusal {
    /// The status that it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Connect | Self::Trace => StatusCode::METHOD_NOT_ALLOWED,
            // RFC 9112 §6.1: a server that does not understand a coding says so.
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLost => StatusCode::INTERNAL_SERVER_ERROR,
            Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostDiffers
            | Self::TargetForm
            | Self::TargetNotAscii
            | Self::TargetAuthority
            | Self::FieldPadded
            | Self::LengthTwice
            | Self::LengthInvalid
            | Self::CodingTooEarly
            | Self::CodingMalformed
            | Self::BodyBroken => StatusCode::BAD_REQUEST,
        }
    }

    /// In a few words, for the log and `Proxy-Status`: nothing that the client sent.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT is not served",
            Self::Trace => "TRACE is not served",
            Self::HostMissing => "no Host",
            Self::HostRepeated => "several Hosts",
            Self::HostInvalid => "invalid Host",
            Self::HostDiffers => "Host differs from :authority",
            Self::TargetForm => "target in a wrong form",
            Self::TargetNotAscii => "target beyond ASCII",
            Self::TargetAuthority => "invalid authority in the target",
            Self::FieldPadded => "white space around a field's value",
            Self::LengthTwice => "Content-Length with Transfer-Encoding",
            Self::LengthInvalid => "invalid Content-Length",
            Self::CodingTooEarly => "Transfer-Encoding in HTTP/1.0",
            Self::CodingMalformed => "invalid Transfer-Encoding",
            Self::CodingUnknown => "unknown transfer coding",
            Self::BodyBroken => "broken body",
            Self::BodyTooSlow => "body not in time",
            Self::BodyTooLarge => "body too large",
            Self::BodyLost => "body lost",
        }
    }
}

/// Looks for a reason to refuse a request's head.
pub fn refuse(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Option<Refusal> {
    method_refused(method)
        .or_else(|| target_refused(method, uri, version))
        .or_else(|| host_refused(uri, version, headers))
        .or_else(|| (version >= Version::HTTP_2).then(|| field_refused(headers)).flatten())
        .or_else(|| framing_refused(version, headers))
}

/// The target that the upstream gets: in origin form, or `*` (RFC 9112 §3.2).
///
/// `OPTIONS http://host` asks about the server as a whole and becomes `*` (§3.2.4). [`Uri`] shows no difference between
/// it and `OPTIONS http://host/`, which becomes `*` as well.
pub fn target(method: &Method, uri: &Uri, version: Version) -> PathAndQuery {
    let whole_server = *method == Method::OPTIONS && version < Version::HTTP_2 && uri.scheme().is_some();
    match uri.path_and_query() {
        // `http://host?query` has an empty path, which is written as one slash (RFC 9112 §3.2.1).
        Some(path) if path.as_str().starts_with('?') => {
            PathAndQuery::try_from(format!("/{}", path.as_str())).expect("a slash takes less room than the host did")
        }
        Some(path) if !(whole_server && path == "/") => path.clone(),
        Some(_) => PathAndQuery::from_static("*"),
        None => PathAndQuery::from_static("/"),
    }
}

fn method_refused(method: &Method) -> Option<Refusal> {
    match *method {
        Method::CONNECT => Some(Refusal::Connect),
        Method::TRACE => Some(Refusal::Trace),
        _ => None,
    }
}

fn target_refused(method: &Method, uri: &Uri, version: Version) -> Option<Refusal> {
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Some(Refusal::TargetForm);
    }
    if uri.authority().is_some_and(|authority| !is_host_and_port(authority.as_str().as_bytes())) {
        return Some(Refusal::TargetAuthority);
    }
    // An authority without a scheme is CONNECT's form; HTTP/2 has its authority apart from the target.
    if uri.authority().is_some() && uri.scheme().is_none() && version < Version::HTTP_2 {
        return Some(Refusal::TargetForm);
    }
    match uri.path_and_query()?.as_str() {
        "*" => (*method != Method::OPTIONS).then_some(Refusal::TargetForm),
        // RFC 9113 §8.3.1. In HTTP/1 only an absolute target can be so, and it may.
        path if path.starts_with('?') && version >= Version::HTTP_2 => Some(Refusal::TargetForm),
        path => (!path.is_ascii()).then_some(Refusal::TargetNotAscii),
    }
}

/// RFC 9112 §3.2: exactly one `Host`, and a valid one. HTTP/1.0 may leave it out, and HTTP/2 where it has `:authority`.
fn host_refused(uri: &Uri, version: Version, headers: &HeaderMap) -> Option<Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        let needless = version < Version::HTTP_11 || version >= Version::HTTP_2 && uri.authority().is_some();
        return (!needless).then_some(Refusal::HostMissing);
    };
    if hosts.next().is_some() {
        return Some(Refusal::HostRepeated);
    }
    if !is_host_and_port(host.as_bytes()) {
        return Some(Refusal::HostInvalid);
    }
    // RFC 9113 §8.3.1. In HTTP/1 the authority of an absolute target simply outweighs `Host` (RFC 9112 §3.2.2).
    let authority = uri.authority().filter(|_| version >= Version::HTTP_2)?;
    (!host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())).then_some(Refusal::HostDiffers)
}

fn field_refused(headers: &HeaderMap) -> Option<Refusal> {
    let padded = |value: &HeaderValue| value.as_bytes().trim_ascii().len() != value.len();
    headers.values().any(padded).then_some(Refusal::FieldPadded)
}

/// RFC 9112 §6: a body has one length, said once.
fn framing_refused(version: Version, headers: &HeaderMap) -> Option<Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    let digits = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if length.is_some_and(|length| !digits(length)) || lengths.next().is_some() {
        return Some(Refusal::LengthInvalid);
    }
    if !headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    if length.is_some() {
        return Some(Refusal::LengthTwice);
    }
    if version < Version::HTTP_11 {
        return Some(Refusal::CodingTooEarly);
    }
    coding_refused(headers)
}

/// Exactly one `chunked` is understood. Anything else would be read in another way by someone behind us.
fn coding_refused(headers: &HeaderMap) -> Option<Refusal> {
    let codings = || {
        let lines = headers.get_all(TRANSFER_ENCODING).into_iter();
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    };
    if codings().all(is_chunked) && codings().nth(1).is_none() {
        return None;
    }
    let unknown = codings().any(|coding| {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        !name.is_empty() && !is_chunked(name)
    });
    Some(if unknown { Refusal::CodingUnknown } else { Refusal::CodingMalformed })
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests;
