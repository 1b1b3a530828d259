//! What went wrong in a handshake, for people.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::phrase::{Phrase, phrase};

/// In characters: the other side may name a thousand names in its certificate.
const LONGEST: usize = 200;

/// Says why TLS did not come about; `None` if the connection ended for another reason.
pub fn explain(error: &io::Error) -> Option<Phrase> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => phrase!("it does not speak TLS"),
        Error::AlertReceived(alert) => refusal(*alert),
        Error::PeerIncompatible(_) => phrase!("it knows no way that we know: {0}", bounded(error)),
        error => bounded(error).into(),
    })
}

fn certificate(error: &CertificateError) -> Phrase {
    match error {
        CertificateError::UnknownIssuer => phrase!("its certificate is signed by nobody whom we trust"),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => phrase!("its certificate has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            phrase!("its certificate is not valid yet")
        }
        CertificateError::BadSignature => phrase!("its certificate is not signed by whom it says"),
        CertificateError::NotValidForNameContext { .. } => phrase!("its {0}", bounded(error)),
        // The library's own name for it, and no variant: what `openssl req -x509` makes unless it is told otherwise.
        CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
            phrase!("its certificate is an authority's own (CA:TRUE), which no server may show")
        }
        error => phrase!("its certificate is not acceptable: {0}", bounded(error)),
    }
}

fn refusal(alert: AlertDescription) -> Phrase {
    match alert {
        AlertDescription::CertificateRequired => phrase!("it demands a certificate of ours"),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::UnknownCA => phrase!("it refuses our certificate ({0})", format!("{alert:?}")),
        AlertDescription::UnrecognisedName => phrase!("it does not know the name that we ask for"),
        AlertDescription::NoApplicationProtocol => phrase!("it speaks none of the protocols that we offer"),
        alert => phrase!("it ended the handshake with the alert {0}", format!("{alert:?}")),
    }
}

/// Cut to a length, and without what could move a terminal's cursor.
fn bounded(error: &impl ToString) -> String {
    let reason = error.to_string();
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
        explain(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("an error of TLS").to_string()
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
