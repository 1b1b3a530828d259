//! Authorities and certificates, made for one test, and the files that they are in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anteroom::config::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Someone who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(vec![]).expect("no names");
        // Of its own name: a stranger of the same name is another error.
        params.distinguished_name.push(DnType::CommonName, format!("{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name or an address.
    pub fn issue(&self, name: &str) -> Certificate {
        self.sign(CertificateParams::new(vec![name.to_owned()]).expect("a name"))
    }

    /// What `openssl req -x509` makes by itself: one that is an authority, and serves too.
    pub fn of_authority(name: &str) -> (Self, Certificate) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("randomness");
        let pem = key.serialize_pem();
        let authority = Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"));
        let certificate = Certificate { certificate: authority.pem(), key: pem };
        (authority, certificate)
    }

    /// One that was right until some time ago.
    pub fn issue_expired(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.0).expect("it signs");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// As whoever trusts this authority has it.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        roots
    }

    /// A client that trusts this authority, and shows this certificate.
    pub fn client(&self, shows: Option<&Certificate>, protocols: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(shows) => builder.with_client_auth_cert(vec![shows.der()], shows.key_der()).expect("a pair"),
        };
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        // Each connection shakes hands in full: tests look at what is shown.
        config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}

impl Certificate {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate")
    }

    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }

    /// A server that shows this certificate.
    pub fn server(&self) -> ServerConfig {
        let builder = ServerConfig::builder().with_no_client_auth();
        builder.with_single_cert(vec![self.der()], self.key_der()).expect("a pair")
    }
}

/// A folder that goes with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("anteroom-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file as those do who renew certificates: aside, and then in the old one's place.
    pub fn write(&self, name: &str, content: &str) -> Arc<Path> {
        let (aside, path) = (self.0.join(format!(".{name}")), self.0.join(name));
        std::fs::write(&aside, content).expect("a file");
        std::fs::rename(aside, &path).expect("its place");
        path.into()
    }

    /// Writes both files of a certificate.
    pub fn identity(&self, name: &str, certificate: &Certificate) -> Identity {
        let key = self.write(&format!("{name}.key"), &certificate.key);
        Identity { certificate: self.write(&format!("{name}.pem"), &certificate.certificate), key }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
