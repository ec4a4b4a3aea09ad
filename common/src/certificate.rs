//! TLS to the broker and to the database: checks the file of an authority, and says which setting a refused certificate
//! concerns.

use std::path::Path;

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject as _;

/// The names of the settings of one connection, as advice shows them.
#[derive(Debug, Clone, Copy)]
pub struct TlsSettings {
    /// The setting with the server's address.
    pub address: &'static str,
    /// The setting with the authority's file.
    pub authority: &'static str,
}

/// The broker's.
pub const NATS: TlsSettings = TlsSettings { address: "NATS_URL", authority: "NATS_CA_FILE" };
/// PostgreSQL's.
pub const POSTGRES: TlsSettings =
    TlsSettings { address: "DATABASE_URL", authority: "sslrootcert in DATABASE_URL" };

impl TlsSettings {
    /// What to check, if this error of a connection concerns TLS.
    pub fn advice(&self, error: &str) -> Option<String> {
        let Self { address, authority } = self;
        let error = error.to_ascii_lowercase();
        let has = |texts: &[&str]| texts.iter().any(|text| error.contains(text));
        if has(&["not valid for name", "notvalidforname"]) {
            Some(format!("the server's certificate does not name the address in {address}"))
        } else if has(&["unknownissuer", "badsignature", "unknown ca"]) {
            Some(format!("another authority than the one in {authority} signed the server's certificate"))
        } else if has(&["expired"]) {
            Some("the server's certificate has expired".into())
        } else if has(&["tls", "certificate"]) {
            Some(format!("check {authority} and the server's certificate"))
        } else {
            None
        }
    }
}

/// Checks at the start that a file has certificates. Clients read it when they connect, and only log what is wrong.
///
/// # Errors
/// The file can't be read, or has no readable certificate.
pub(crate) fn check_file(file: &Path) -> Result<(), String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| wrong("is not a PEM file".into()))?;
    if certificates.is_empty() {
        return Err(wrong("has no certificate in PEM".into()));
    }
    let mut roots = RootCertStore::empty();
    certificates
        .into_iter()
        .try_for_each(|certificate| roots.add(certificate))
        .map_err(|_| wrong("has a certificate that can't be read".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_setting_that_is_wrong() {
        for (error, word) in [
            ("invalid peer certificate: UnknownIssuer", "NATS_CA_FILE"),
            ("invalid peer certificate: certificate not valid for name \"a\"", "NATS_URL"),
            ("invalid peer certificate: certificate expired: verification time 9", "expired"),
            ("TLS error: the peer is odd", "NATS_CA_FILE"),
        ] {
            let advice = NATS.advice(error).unwrap();
            assert!(advice.contains(word), "{advice}");
        }
        assert_eq!(NATS.advice("connection refused"), None);
    }
}
