//! What a client gets when its request cannot pass: [`render`] turns a diagnosis into an answer.

pub mod negotiate;

use crate::config::Detail;
use crate::diagnosis::Diagnosis;
use http::{Method, StatusCode};

/// Who asks, and how much they may see.
#[derive(Clone, Debug)]
pub struct Audience<'a> {
    pub detail: Detail,
    /// The method of the request: only a GET can be repeated by the page.
    pub method: &'a Method,
    /// The request's id, shown so that a visitor's report can be found in the log. Printable ASCII of our making.
    pub request_id: &'a str,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Html,
    /// `application/problem+json`, RFC 9457.
    Problem,
    /// `text/plain`, fit for a terminal.
    Text,
}

/// A rendered answer.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: StatusCode,
    /// In seconds; for `Retry-After`.
    pub retry_after: Option<u32>,
    pub content_type: &'static str,
    /// For HTML: the policy under which its inline style and script are allowed and nothing else is.
    pub content_security_policy: Option<&'static str>,
    pub body: String,
}

/// Renders a diagnosis for someone.
pub fn render(_diagnosis: &Diagnosis, _audience: &Audience<'_>, _format: Format) -> Page {
    unimplemented!()
}
