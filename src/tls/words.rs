//! What went wrong in a handshake, for people.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// In characters: the other side may name a thousand names in its certificate.
const LONGEST: usize = 200;

/// Says why TLS did not come about; `None` if the connection ended for another reason.
pub fn explain(error: &io::Error) -> Option<Box<str>> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let reason = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => refusal(*alert),
        Error::PeerIncompatible(_) => format!("it knows no way that we know: {error}"),
        error => error.to_string(),
    };
    Some(bounded(&reason).into())
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate is signed by nobody whom we trust".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::BadSignature => "its certificate is not signed by whom it says".to_owned(),
        CertificateError::NotValidForNameContext { .. } => format!("its {error}"),
        // The library's own name for it, and no variant: what `openssl req -x509` makes unless it is told otherwise.
        CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
            "its certificate is an authority's own (CA:TRUE), which no server may show".to_owned()
        }
        error => format!("its certificate is not acceptable: {error}"),
    }
}

fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it demands a certificate of ours".to_owned(),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::UnknownCA => format!("it refuses our certificate ({alert:?})"),
        AlertDescription::UnrecognisedName => "it does not know the name that we ask for".to_owned(),
        AlertDescription::NoApplicationProtocol => "it speaks none of the protocols that we offer".to_owned(),
        alert => format!("it ended the handshake with the alert {alert:?}"),
    }
}

/// Cut to a length, and without what could move a terminal's cursor.
fn bounded(reason: &str) -> String {
    let mut characters = reason.chars().filter(|character| !character.is_control());
    let mut short: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: Error) -> String {
        explain(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("an error of TLS").into()
    }

    #[test]
    fn what_the_other_side_says_is_cut_and_printable() {
        let name = "\u{1b}[2J".to_owned() + &"x".repeat(10_000);
        let told = words(Error::General(name));
        assert!(told.chars().count() <= LONGEST + 1 && !told.contains('\u{1b}'), "{told}");
    }

    #[test]
    fn every_usual_reason_is_a_sentence() {
        for (error, expected) in [
            (CertificateError::UnknownIssuer, "its certificate is signed by nobody whom we trust"),
            (CertificateError::BadSignature, "its certificate is not signed by whom it says"),
            (CertificateError::NotValidYet, "its certificate is not valid yet"),
            (CertificateError::Revoked, "its certificate is not acceptable: Revoked"),
        ] {
            assert_eq!(words(Error::InvalidCertificate(error)), expected);
        }
        for (alert, expected) in [
            (AlertDescription::UnknownCA, "it refuses our certificate (UnknownCA)"),
            (AlertDescription::UnrecognisedName, "it does not know the name that we ask for"),
            (AlertDescription::NoApplicationProtocol, "it speaks none of the protocols that we offer"),
            (AlertDescription::HandshakeFailure, "it ended the handshake with the alert HandshakeFailure"),
        ] {
            assert_eq!(words(Error::AlertReceived(alert)), expected);
        }
    }

    #[test]
    fn a_certificate_for_another_name_says_which() {
        let expected = "grafana".try_into().expect("a name");
        let error = CertificateError::NotValidForNameContext { expected, presented: vec!["other".to_owned()] };
        let told = words(Error::InvalidCertificate(error));
        assert_eq!(told, "its certificate not valid for name \"grafana\"; certificate is only valid for other");
    }

    #[test]
    fn a_connection_that_breaks_is_no_matter_of_tls() {
        assert_eq!(explain(&io::ErrorKind::UnexpectedEof.into()), None);
    }
}
