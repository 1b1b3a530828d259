//! The files that an operator's own page is made of, read once at the start: what cannot be used is refused then, like
//! any wrong setting, and no page waits for a disk.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

use crate::config::{self, Invalid};
use crate::file;
use crate::page::brand::{Brand, CSS_MOST, Css, Image, LOGO_MOST};

/// Reads every file that is set.
///
/// # Errors
/// Every file that is missing, too large, or not what it should be.
pub fn load(settings: &config::Brand) -> Result<Brand, Vec<Invalid>> {
    let read = |path, most| file::read(path, most).map_err(|reason| reason.to_string());
    let mut invalid = Vec::new();
    let mut brand = Brand::default().with_words(settings.support.clone(), settings.note.clone());
    if let Some(file) = settings.css.as_deref() {
        match read(file, CSS_MOST).and_then(|bytes| Css::new(&bytes).map_err(str::to_owned)) {
            Ok(css) => {
                let hash = sha256(css.text());
                brand = brand.with_css(css, &hash);
            }
            Err(reason) => invalid.push(Invalid::path("ANTEROOM_PAGE_CSS", file, reason)),
        }
    }
    if let Some(file) = settings.logo.as_deref() {
        let image = read(file, LOGO_MOST).and_then(|bytes| Ok((Image::of(&bytes)?, bytes)));
        match image {
            Ok((kind, bytes)) => brand = brand.with_logo(kind, &BASE64_STANDARD.encode(bytes)),
            Err(reason) => invalid.push(Invalid::path("ANTEROOM_PAGE_LOGO", file, reason)),
        }
    }
    if invalid.is_empty() { Ok(brand) } else { Err(invalid) }
}

/// In base64, as a content security policy has it. TLS brings the function along, so that no crate is needed for it.
fn sha256(text: &str) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
    BASE64_STANDARD.encode(suite.common.hash_provider.hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_hash_is_sha_256_in_base64() {
        // FIPS 180-2, appendix B.1, in base64.
        assert_eq!(sha256("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn every_file_that_cannot_be_used_is_refused_at_once() {
        let missing = Path::new("/nonexistent/page.css");
        let settings =
            config::Brand { css: Some(missing.into()), logo: Some(Path::new("/").into()), ..Default::default() };
        let refused = load(&settings).expect_err("neither is a file");
        let told: Vec<_> = refused.iter().map(Invalid::to_string).collect();
        assert!(told[0].starts_with("ANTEROOM_PAGE_CSS=\"/nonexistent/page.css\" cannot be read: "), "{told:?}");
        assert_eq!(told[1], "ANTEROOM_PAGE_LOGO=\"/\" is not a file");
        assert!(load(&config::Brand::default()).is_ok());
    }
}
