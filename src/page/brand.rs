//! What an operator adds to the page, as plain data: read once at the start, and from then on only written out.
//!
//! The policy that goes with a page belongs to it, since it names the style sheets that are allowed by their hashes:
//! ours, and the operator's.

use std::sync::Arc;

use http::HeaderValue;

use crate::config::Support;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Allows the style and the script above by their hashes, requests to our own origin for updates, images that are in
/// the page, and nothing else. A test keeps the hashes true and prints the new ones.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
    script-src 'sha256-nrznzkSQGJSkoe8r5J1PtlMwdfWQwq4vPNamhM7uTfM='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
    style-src 'sha256-1Qm2W5rOf9X+dJRNQfOJQDmAGjgpC19z2JXVYE4r7hY='";

/// In bytes. Enough for every colour and a layout of one's own; a page is to be there at once.
pub const CSS_MOST: usize = 32 << 10;
/// In bytes.
pub const LOGO_MOST: usize = 16 << 10;

/// An operator's part of every page. The default has none.
#[derive(Clone, Debug)]
pub struct Brand {
    pub(super) css: Option<Box<str>>,
    /// A `data:` URL.
    pub(super) logo: Option<Box<str>>,
    pub(super) support: Option<Support>,
    pub(super) note: Option<Arc<str>>,
    pub(super) policy: HeaderValue,
}

impl Default for Brand {
    fn default() -> Self {
        let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
        Self { css: None, logo: None, support: None, note: None, policy }
    }
}

impl Brand {
    /// Adds whom to turn to, and a sentence.
    pub fn with_words(self, support: Option<Support>, note: Option<Arc<str>>) -> Self {
        Self { support, note, ..self }
    }

    /// Adds a style sheet; `hash` is the SHA-256 of it in base64.
    pub fn with_css(self, Css(text): Css, hash: &str) -> Self {
        let policy = HeaderValue::try_from(format!("{CONTENT_SECURITY_POLICY} 'sha256-{hash}'"))
            .expect("a policy with a hash in base64 is a valid header value");
        Self { css: Some(text), policy, ..self }
    }

    /// Adds a logo; `bytes` are the image in base64.
    pub fn with_logo(self, kind: Image, bytes: &str) -> Self {
        Self { logo: Some(format!("data:{};base64,{bytes}", kind.media_type()).into()), ..self }
    }
}

/// A style sheet that stays what it is inside a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Css(Box<str>);

impl Css {
    /// # Errors
    /// Why it cannot be put into a page, as the end of a sentence about it.
    pub fn new(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() > CSS_MOST {
            return Err("is larger than 32 KiB");
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.contains('\0') {
            return Err("has a zero byte in it, which is no CSS");
        }
        if text.to_ascii_lowercase().contains("</style") {
            return Err("has </style in it, which would end it within the page");
        }
        // A browser reads them so before it computes the hash (HTML standard, preprocessing the input stream).
        Ok(Self(text.replace("\r\n", "\n").replace('\r', "\n").into()))
    }

    /// What the hash is of.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The kinds of image that every browser shows and that are small enough for a logo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    Svg,
    Png,
    Webp,
}

impl Image {
    /// By what is in it, not by its name. A scripted SVG does no harm: a browser runs no scripts in an image.
    ///
    /// # Errors
    /// Why it cannot be put into a page, as the end of a sentence about it.
    pub fn of(bytes: &[u8]) -> Result<Self, &'static str> {
        let svg = || {
            std::str::from_utf8(bytes).is_ok_and(|text| {
                text.trim_start_matches('\u{feff}').trim_start().starts_with('<') && text.contains("<svg")
            })
        };
        match bytes {
            _ if bytes.len() > LOGO_MOST => Err("is larger than 16 KiB"),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::Webp),
            _ if svg() => Ok(Self::Svg),
            _ => Err("is neither SVG, PNG nor WebP"),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_exactly_this_style_and_this_script() {
        for (what, text) in [("style", STYLE), ("script", SCRIPT)] {
            let allowed = format!("{what}-src 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
            assert!(CONTENT_SECURITY_POLICY.contains(&allowed), "put into the policy: {allowed}");
        }
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"), "an end tag would cut them short");
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe") && !CONTENT_SECURITY_POLICY.contains("http"));
    }

    #[test]
    fn an_operators_style_is_allowed_beside_ours() {
        let css = Css::new(b":root { --ground: #fff }").expect("honest CSS");
        let branded = Brand::default().with_css(css, "Abc+/=").policy;
        let expected = format!("{CONTENT_SECURITY_POLICY} 'sha256-Abc+/='");
        assert_eq!(branded, expected.as_str());
        assert!(expected.rsplit(';').next().is_some_and(|last| last.starts_with(" style-src") && last.contains("Abc")));
    }

    #[test]
    fn a_style_that_would_leave_its_element_is_refused() {
        for (text, why) in [
            ("a {}</style><script>alert(1)</script>", "</style"),
            ("a {}</STYLE\n>", "</style"),
            ("/* </sTyLe */", "</style"),
            ("a\0b", "zero byte"),
        ] {
            assert!(Css::new(text.as_bytes()).is_err_and(|reason| reason.contains(why)), "{text:?}");
        }
        assert_eq!(Css::new(&[0xff, 0xfe]), Err("is not UTF-8"));
        assert!(Css::new(&vec![b' '; CSS_MOST]).is_ok());
        assert_eq!(Css::new(&vec![b' '; CSS_MOST + 1]), Err("is larger than 32 KiB"));
    }

    #[test]
    fn a_style_is_hashed_as_a_browser_reads_it() {
        let css = Css::new("\u{feff}a {}\r\nb {}\rc {}\n".as_bytes()).expect("honest CSS");
        assert_eq!(css.text(), "a {}\nb {}\nc {}\n");
    }

    #[test]
    fn an_image_is_known_by_what_is_in_it() {
        let cases: [(&[u8], Result<Image, &str>); 9] = [
            (b"\x89PNG\r\n\x1a\n....", Ok(Image::Png)),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ", Ok(Image::Webp)),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Ok(Image::Svg)),
            ("\u{feff}\n<?xml version='1.0'?><!-- a --><svg/>".as_bytes(), Ok(Image::Svg)),
            (b"GIF89a", Err("is neither SVG, PNG nor WebP")),
            (b"RIFF\x01\x02\x03\x04WAVE", Err("is neither SVG, PNG nor WebP")),
            (b"<html>", Err("is neither SVG, PNG nor WebP")),
            (b"\xff<svg>", Err("is neither SVG, PNG nor WebP")),
            (b"", Err("is neither SVG, PNG nor WebP")),
        ];
        for (bytes, kind) in cases {
            assert_eq!(Image::of(bytes), kind, "{bytes:?}");
        }
        let large = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; LOGO_MOST]].concat();
        assert_eq!(Image::of(&large), Err("is larger than 16 KiB"));
    }
}
