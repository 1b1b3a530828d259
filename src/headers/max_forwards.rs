//! `Max-Forwards` (RFC 9110 §7.6.2): how many proxies may pass an OPTIONS request on.

use http::header::{HeaderValue, MAX_FORWARDS};
use http::{HeaderMap, Method};

/// What a request's `Max-Forwards` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxForwards {
    /// It has none, or one that is no number, or a method for which it means nothing.
    Unlimited,
    /// It ends here: we answer it ourselves.
    Spent,
    /// It goes on with so many left.
    Left(u32),
}

impl MaxForwards {
    /// Reads it. TRACE has it too, but is not served.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        if *method != Method::OPTIONS {
            return Self::Unlimited;
        }
        let mut lines = headers.get_all(MAX_FORWARDS).iter();
        let (Some(value), None) = (lines.next(), lines.next()) else { return Self::Unlimited };
        let Ok(digits) = value.to_str() else { return Self::Unlimited };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Unlimited;
        }
        // RFC 9110 allows our own largest number for one that is larger.
        match digits.parse::<u32>() {
            Ok(0) => Self::Spent,
            Ok(forwards) => Self::Left(forwards - 1),
            Err(_) => Self::Left(u32::MAX),
        }
    }

    /// Writes what is left for the next proxy.
    pub fn write(self, headers: &mut HeaderMap) {
        if let Self::Left(forwards) = self {
            headers.insert(MAX_FORWARDS, HeaderValue::from(forwards));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    #[test]
    fn max_forwards_counts_for_options_alone() {
        for (method, lines, expected) in [
            (Method::OPTIONS, &["0"][..], MaxForwards::Spent),
            (Method::OPTIONS, &["000"], MaxForwards::Spent),
            (Method::OPTIONS, &["1"], MaxForwards::Left(0)),
            (Method::OPTIONS, &["7"], MaxForwards::Left(6)),
            (Method::OPTIONS, &["99999999999"], MaxForwards::Left(u32::MAX)),
            (Method::OPTIONS, &[], MaxForwards::Unlimited),
            (Method::OPTIONS, &[""], MaxForwards::Unlimited),
            (Method::OPTIONS, &["-1"], MaxForwards::Unlimited),
            (Method::OPTIONS, &["+1"], MaxForwards::Unlimited),
            (Method::OPTIONS, &["1, 2"], MaxForwards::Unlimited),
            (Method::OPTIONS, &["0", "0"], MaxForwards::Unlimited),
            (Method::GET, &["0"], MaxForwards::Unlimited),
        ] {
            let given: Vec<_> = lines.iter().map(|value| ("max-forwards", *value)).collect();
            assert_eq!(MaxForwards::of(&method, &headers(&given)), expected, "{method} {lines:?}");
        }
    }

    #[test]
    fn the_next_proxy_gets_one_less() {
        let mut given = headers(&[("max-forwards", "7")]);
        MaxForwards::Left(6).write(&mut given);
        assert_eq!(given, headers(&[("max-forwards", "6")]));
        MaxForwards::Unlimited.write(&mut given);
        assert_eq!(given, headers(&[("max-forwards", "6")]));
    }
}
