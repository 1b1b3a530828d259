//! From files to certificates and keys, or to what is wrong with them.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use super::{both, wrong};
use crate::config::{self, Invalid};
use crate::file;

/// In bytes. All the roots of a system are a quarter of a mebibyte; a file beyond this is another kind of file.
const LARGEST: usize = 4 << 20;

/// A certificate with those that lead from it to its root, and its private key.
pub(super) struct Identity {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Reads both files. `settings` are those of the certificate and of the key.
pub(super) fn identity(files: &config::Identity, settings: [&'static str; 2]) -> Result<Identity, Vec<Invalid>> {
    let (certificates, key) = both(certificates(settings[0], &files.certificate), key(settings[1], &files.key))?;
    Ok(Identity { certificates, key })
}

fn key(setting: &'static str, file: &Arc<Path>) -> Result<PrivateKeyDer<'static>, Vec<Invalid>> {
    PrivateKeyDer::from_pem_slice(&read(setting, file)?).map_err(|error| {
        let reason = broken(&error, "no private key: it begins with -----BEGIN PRIVATE KEY-----, and is not encrypted");
        wrong(setting, Some(file), reason)
    })
}

/// Reads a file of roots.
pub(super) fn roots(setting: &'static str, file: &Arc<Path>) -> Result<RootCertStore, Vec<Invalid>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, file)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(setting, Some(file), format!("has a bad certificate: {error}")))?;
    }
    Ok(roots)
}

/// The roots that the system trusts, where `SSL_CERT_FILE` and `SSL_CERT_DIR` say or where systems keep them.
pub(super) fn system_roots(setting: &'static str) -> Result<RootCertStore, Vec<Invalid>> {
    let mut roots = RootCertStore::empty();
    // Old systems carry certificates that nobody can read any more: the others still count.
    let (read, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // The image of anteroom has none: it holds one binary.
    if read == 0 {
        let reason = "is not set, and this system has no roots of its own. It takes a PEM file: in a container, mount a \
                      bundle of the host's (-v /etc/ssl/certs/ca-certificates.crt:/etc/roots.pem:ro), and set it to \
                      /etc/roots.pem";
        return Err(wrong(setting, None, reason));
    }
    Ok(roots)
}

/// What rustls says of a certificate and a key that it cannot use together, for the one of them that is at fault. `settings`
/// are those of both.
pub(super) fn unfit(error: &Error, settings: [&'static str; 2], files: &config::Identity) -> Vec<Invalid> {
    let certificate = |reason: String| wrong(settings[0], Some(&files.certificate), reason);
    let key = |reason: String| wrong(settings[1], Some(&files.key), reason);
    match error {
        Error::InconsistentKeys(_) => key("is not the key of the certificate".to_owned()),
        // webpki's own words for it are within.
        Error::InvalidCertificate(why) if why.to_string().contains("UnsupportedCertVersion") => certificate(
            "is a certificate of X.509 v1, which nobody checks any more: sign it with extensions (openssl x509 -extfile)".to_owned(),
        ),
        Error::InvalidCertificate(CertificateError::BadEncoding) => certificate("holds a damaged certificate".to_owned()),
        Error::InvalidCertificate(why) => certificate(format!("has a bad certificate: {why}")),
        Error::General(why) if why.contains("parse private key") => key(
            "is a key of a kind or size that is not supported: RSA of 2048 to 4096 bits, ECDSA of P-256 or P-384 and Ed25519 are".to_owned(),
        ),
        error => key(format!("cannot be used with the certificate: {error}")),
    }
}

fn certificates(setting: &'static str, file: &Arc<Path>) -> Result<Vec<CertificateDer<'static>>, Vec<Invalid>> {
    let read = read(setting, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read).collect();
    const NONE: &str = "no certificate: it begins with -----BEGIN CERTIFICATE-----";
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(wrong(setting, Some(file), format!("holds {NONE}"))),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(setting, Some(file), broken(&error, NONE))),
    }
}

fn read(setting: &'static str, path: &Arc<Path>) -> Result<Vec<u8>, Vec<Invalid>> {
    file::read(path, LARGEST).map_err(|reason| wrong(setting, Some(path), reason))
}

/// Without the file's own words: a line of a key file may be a part of the key.
fn broken(error: &pem::Error, none: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("holds {none}"),
        pem::Error::MissingSectionEnd { .. } => "ends in the middle".to_owned(),
        _ => "is no valid PEM file".to_owned(),
    }
}
