//! Until when the certificates are valid that we show, for whoever wants to be told before.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

/// Seconds since the beginning of 1970; 0 where there is no certificate, or none that tells.
#[derive(Clone, Debug, Default)]
pub struct Expiry(Arc<Ends>);

#[derive(Debug, Default)]
struct Ends {
    served: AtomicU64,
    shown: AtomicU64,
}

impl Expiry {
    /// Of the certificate that clients are shown.
    pub(super) fn served_until(&self, end: Option<u64>) {
        self.0.served.store(end.unwrap_or(0), Relaxed);
    }

    /// Of the certificate that the upstream is shown.
    pub(super) fn shown_until(&self, end: Option<u64>) {
        self.0.shown.store(end.unwrap_or(0), Relaxed);
    }
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When the certificate ends that we show, since the beginning of 1970.";
        let (name, seconds) = ("tls_certificate_not_after_timestamp", Some(&Unit::Seconds));
        let mut ends = encoder.encode_descriptor(name, help, seconds, MetricType::Gauge)?;
        for (towards, end) in [("clients", &self.0.served), ("upstream", &self.0.shown)] {
            let end = end.load(Relaxed);
            if end > 0 {
                ends.encode_family(&[("towards", towards)])?.encode_gauge(&end)?;
            }
        }
        Ok(())
    }
}

/// Until when a certificate is valid.
///
/// rustls has no word for it, but says it of a certificate that has expired, and looks at that before anything that
/// would need to be known of its issuer. So it is asked about the end of time, rather than that a parser of X.509 comes
/// in for one number.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], end_of_time, &[]) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(not_after.as_secs()),
        Ok(()) | Err(_) => None,
    }
}
