//! What an answer says about where it ends (RFC 9112 §6.3).
//!
//! Who reads an answer that says two things may believe the other one: the rest is then taken for the next answer, or
//! a part of the next answer for the rest. hyper reads such answers; they are not passed.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use crate::phrase::{Phrase, phrase};

/// Refuses a head that says more than one thing about the length of its body, or something that we do not undo.
///
/// # Errors
/// What is wrong, as the end of a sentence about the answer.
pub fn unambiguous(head: &HeaderMap) -> Result<(), Phrase> {
    let mut lengths = head.get_all(CONTENT_LENGTH).iter();
    let mut codings = head.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(()),
        (Some(_), Some(_)) => Err(phrase!("its answer has a length and a transfer coding")),
        // Also `5, 5`: a list is what somebody made of two lines.
        (Some(length), None) if lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit) => {
            Err(phrase!("its answer has no single length"))
        }
        (Some(_), None) => Ok(()),
        // Another coding would have to be undone, since the header that names it is for one connection only.
        (None, Some(coding)) if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err(phrase!("its answer has a transfer coding other than chunked"))
        }
        (None, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn head(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn one_length_or_one_coding_or_neither_is_unambiguous() {
        for lines in [vec![], vec![(CONTENT_LENGTH, "5")], vec![(TRANSFER_ENCODING, "Chunked")]] {
            assert_eq!(unambiguous(&head(&lines)), Ok(()), "{lines:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for lines in [
            vec![(CONTENT_LENGTH, "5"), (TRANSFER_ENCODING, "chunked")],
            vec![(CONTENT_LENGTH, "5"), (CONTENT_LENGTH, "5")],
            vec![(CONTENT_LENGTH, "5, 5")],
            vec![(CONTENT_LENGTH, "+5")],
            vec![(TRANSFER_ENCODING, "gzip")],
            vec![(TRANSFER_ENCODING, "gzip, chunked")],
            vec![(TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "chunked")],
            vec![(TRANSFER_ENCODING, "identity")],
        ] {
            assert!(unambiguous(&head(&lines)).is_err(), "{lines:?}");
        }
    }
}
