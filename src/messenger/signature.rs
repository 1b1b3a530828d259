//! Signs messages, so that a receiver can tell that they are ours and of now.
//!
//! What is signed is the time of sending, a full stop, and the body, as Stripe and Slack do: a message that somebody
//! has recorded is refused by its age, and its age cannot be changed.

use std::fmt::{self, Write};

use ring::hmac;

use crate::config::{Config, Invalid};
use crate::file;

const SETTING: &str = "ANTEROOM_NOTIFY_KEY_FILE";
/// In bytes. What is shorter can be found by trying.
const SHORTEST: usize = 16;
/// In bytes. A file beyond this is another kind of file.
const LONGEST: usize = 1024;

/// What messages are signed with.
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads the file that the configuration names. White space around the key is no part of it: editors end files
    /// with a line feed.
    ///
    /// # Errors
    /// It cannot be read, or what is in it is too short or too long for a key.
    pub fn load(config: &Config) -> Result<Option<Self>, Invalid> {
        let Some(path) = config.notify.as_ref().and_then(|notify| notify.key.as_deref()) else { return Ok(None) };
        let wrong = |reason: String| Invalid::path(SETTING, path, reason);
        let content = file::read(path, 2 * LONGEST).map_err(|reason| wrong(reason.to_string()))?;
        match content.trim_ascii() {
            key if key.len() < SHORTEST => Err(wrong(format!("holds a key of fewer than {SHORTEST} bytes"))),
            key if key.len() > LONGEST => Err(wrong(format!("holds more than {LONGEST} bytes, and no key"))),
            key => Ok(Some(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))),
        }
    }

    /// The signature of a body that is sent at this time, in seconds since 1970.
    pub(super) fn sign(&self, now: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{now}.").as_bytes());
        context.update(body);
        context.sign().as_ref().iter().fold("sha256=".to_owned(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes whatever is written to it");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_makes_of_time_and_body() {
        // printf '1764120000.{"event":"down"}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let key = Key(hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef"));
        let signed = key.sign(1_764_120_000, br#"{"event":"down"}"#);
        assert_eq!(signed, "sha256=667152ea4ab0e669b64c6a4b61255585746a6fb71b1ef79953de92de33f28333");
        assert_ne!(key.sign(1_764_120_001, br#"{"event":"down"}"#), signed, "the time is signed as well");
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key(hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef"));
        assert_eq!(format!("{key:?}"), "Key");
    }
}
