//! `Proxy-Status` (RFC 9209): which proxy made an answer, or passed it on, and why.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

/// The header's name.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// For an error that we answer with. `detail` is ours, and without quotation marks.
pub fn proxy_status(status: StatusCode, detail: &'static str) -> HeaderValue {
    let error = match status {
        StatusCode::GATEWAY_TIMEOUT => "http_response_timeout",
        StatusCode::BAD_GATEWAY => "http_response_incomplete",
        StatusCode::LOOP_DETECTED => "proxy_loop_detected",
        StatusCode::INTERNAL_SERVER_ERROR => "proxy_internal_error",
        // There is no word for a request that we cannot read; this one is for what the client did wrong.
        StatusCode::NOT_IMPLEMENTED => "http_request_error",
        status if status.is_client_error() => "http_request_error",
        _ => "destination_unavailable",
    };
    let text = format!("anteroom; error={error}; details=\"{detail}\"");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("anteroom"))
}

/// For an answer of ours that is no error.
pub fn proxy_status_without_error() -> HeaderValue {
    HeaderValue::from_static("anteroom")
}

/// For an answer that we pass on.
pub fn received(status: StatusCode) -> HeaderValue {
    let text = format!("anteroom; received-status={}", status.as_u16());
    HeaderValue::try_from(text).expect("letters and digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_status_names_the_error_of_rfc_9209() {
        for (status, error) in [
            (400, "http_request_error"),
            (405, "http_request_error"),
            (408, "http_request_error"),
            (500, "proxy_internal_error"),
            (501, "http_request_error"),
            (502, "http_response_incomplete"),
            (503, "destination_unavailable"),
            (504, "http_response_timeout"),
            (508, "proxy_loop_detected"),
        ] {
            let value = proxy_status(StatusCode::from_u16(status).expect("a status"), "target-exited");
            assert_eq!(value, format!("anteroom; error={error}; details=\"target-exited\""));
        }
        assert_eq!(received(StatusCode::NOT_FOUND), "anteroom; received-status=404");
    }
}
