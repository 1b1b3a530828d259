//! What an exchange that failed says about the upstream.

use std::error::Error as _;

use super::tongue::{self, Foreign};
use crate::evidence::Failure;
use crate::phrase::phrase;
use crate::retry::Connection;
use crate::tls;

/// Of the error that a connection ended with, or an exchange over it.
pub fn failure(error: &hyper::Error, connection: Connection) -> Failure {
    if error.is_parse() {
        return Failure::NotHttp { reason: error.to_string().into() };
    }
    let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    // What the upstream sent was against the protocol; most likely it speaks another one. Not so where h2 has closed all of a
    // connection that was there before, or had enough of frames that are allowed: most likely that was another answer's. The
    // latter the words of its error tell alone.
    let is_anothers = |error: &h2::Error| {
        let words = error.to_string();
        connection == Connection::Pooled && error.is_go_away()
            || ["too_many_data_frames", "too_many_internal_resets"].iter().any(|it| words.contains(it))
    };
    if let Some(error) = http2.filter(|error| error.is_library() && !is_anothers(error)) {
        return Failure::NotHttp { reason: phrase!("it does not speak HTTP/2: {0}", error.to_string()) };
    }
    // In TLS 1.3 the other side refuses our certificate only after we have begun to speak (RFC 8446 §4.4.2.4).
    let io = error.source().and_then(|source| source.downcast_ref().or_else(|| http2?.get_io()));
    match io.and_then(tongue::foreign) {
        Some(Foreign::Tls) => return Failure::SpeaksTls,
        Some(Foreign::Other(start)) => return Failure::NotHttp { reason: phrase!("it begins with \"{0}\"", start) },
        None => {}
    }
    let reason = io.and_then(tls::explain);
    reason.map_or(Failure::ClosedEarly, |reason| Failure::Tls { reason })
}
