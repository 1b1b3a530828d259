//! `Via` (RFC 9110 §7.6.3): who passed a message on, and whether it has been here before.

use http::header::{HeaderValue, VIA};
use http::{HeaderMap, Version};

use super::items;

/// Our element of `Via`, once for each version in which a message may have reached us.
///
/// The pseudonym is random for each process: two anterooms in a row are no loop.
#[derive(Clone, Debug)]
pub struct Via {
    pseudonym: Box<str>,
    http_10: HeaderValue,
    http_11: HeaderValue,
    http_2: HeaderValue,
}

impl Via {
    /// `random` is the same as long as the process lives.
    pub fn new(random: u32) -> Self {
        let pseudonym = format!("anteroom-{random:08x}");
        let element = |version: &str| {
            HeaderValue::try_from(format!("{version} {pseudonym}")).expect("digits, letters and a hyphen")
        };
        let (http_10, http_11, http_2) = (element("1.0"), element("1.1"), element("2.0"));
        Self { pseudonym: pseudonym.into(), http_10, http_11, http_2 }
    }

    /// Appends our element, after all that are there. `received` is the version in which the message reached us.
    pub fn append(&self, headers: &mut HeaderMap, received: Version) {
        headers.append(VIA, self.element(received).clone());
    }

    /// The element for a message that reached us in a version.
    pub fn element(&self, received: Version) -> &HeaderValue {
        match received {
            Version::HTTP_09 | Version::HTTP_10 => &self.http_10,
            Version::HTTP_2 | Version::HTTP_3 => &self.http_2,
            _ => &self.http_11,
        }
    }

    /// Whether the message came by here before.
    ///
    /// An element is a protocol, who received it, and perhaps a comment. What stands behind a comma in a comment is
    /// taken for an element as well: reading comments would let an open bracket hide all that follows, and a name that
    /// is random comes into a comment on purpose only.
    pub fn passed_here(&self, headers: &HeaderMap) -> bool {
        items(headers, VIA).any(|element| {
            let mut words = element.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(self.pseudonym.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    #[test]
    fn our_element_is_appended_after_those_of_others() {
        let via = Via::new(0x00c0_ffee);
        let mut given = headers(&[("via", "1.0 fred, 1.1 p.example.net (x)"), ("via", "2 cdn")]);
        via.append(&mut given, Version::HTTP_11);
        let lines: Vec<_> = given.get_all(VIA).iter().collect();
        assert_eq!(lines, ["1.0 fred, 1.1 p.example.net (x)", "2 cdn", "1.1 anteroom-00c0ffee"]);
        for (version, expected) in [
            (Version::HTTP_10, "1.0 anteroom-00c0ffee"),
            (Version::HTTP_11, "1.1 anteroom-00c0ffee"),
            (Version::HTTP_2, "2.0 anteroom-00c0ffee"),
        ] {
            assert_eq!(via.element(version), expected);
        }
    }

    #[test]
    fn a_message_that_was_here_before_is_recognised() {
        let via = Via::new(0x00c0_ffee);
        for (lines, expected) in [
            (&[&b"1.1 anteroom-00c0ffee"[..]][..], true),
            (&[b"HTTP/1.1 anteroom-00c0ffee"], true),
            (&[b"1.0 fred,1.1\tAnteroom-00C0FFEE (comment) , 2 cdn"], true),
            (&[b"1.0 fred", b"2.0 anteroom-00c0ffee"], true),
            (&[b"1.0 fred (", b"2.0 anteroom-00c0ffee"], true),
            (&[b"1.0 fred ((, 1.1 anteroom-00c0ffee"], true),
            (&[b", ,,\xff \xfe, 1.1   anteroom-00c0ffee"], true),
            (&[], false),
            (&[b""], false),
            (&[b"anteroom-00c0ffee"], false),
            (&[b"1.1 anteroom-00c0ffe0"], false),
            (&[b"1.1 anteroom-00c0ffee0"], false),
            (&[b"1.1 anteroom"], false),
            (&[b"1.1 fred (anteroom-00c0ffee)"], false),
            (&[b"1.1 fred anteroom-00c0ffee"], false),
        ] {
            let given: HeaderMap =
                lines.iter().map(|line| (VIA, HeaderValue::from_bytes(line).expect("a value"))).collect();
            assert_eq!(via.passed_here(&given), expected, "{given:?}");
        }
    }
}
