//! TLS to the supervisor: whom to trust, and what people are told where that fails.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};

use crate::wire::Host;

use super::delivery::{Timed, unsent};

/// Which certificates of a supervisor are accepted.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why nobody could be trusted. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of an own authority cannot be used. The operator names another.
    #[error("{}: {what}; expected certificates in PEM form", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// This system trusts no authority, and none was named. The operator names one.
    #[error("this system has no authorities to trust{what}; name one")]
    NoRoots {
        /// What went wrong while they were looked for, if anything did.
        what: String,
    },
    /// The library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Unusable(String),
}

impl Tls {
    /// Trusts the authorities of this system and those of `own`, a file of certificates in PEM form.
    ///
    /// # Errors
    /// Where `own` cannot be used, or nobody would be trusted.
    pub fn new(own: Option<&Path>) -> Result<Tls, TlsError> {
        let system = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some systems carry one that is broken: the others serve.
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = own {
            add_own(&mut roots, path)?;
        }
        if roots.is_empty() {
            let what = system.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(TlsError::NoRoots { what });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| TlsError::Unusable(error.to_string()))?;
        Ok(Tls(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
    }

    /// Sends the line to the host, which must show a certificate for its name or address, and says that nothing follows.
    pub(super) fn send(&self, stream: &mut Timed, host: &Host, line: &[u8]) -> Result<(), String> {
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| format!("name {name} can stand in no certificate"))?
            }
        };
        let connection = ClientConnection::new(Arc::clone(&self.0), name);
        let mut connection = connection.map_err(|error| format!("TLS cannot be begun: {error}"))?;
        connection.set_buffer_limit(None);
        while connection.is_handshaking() {
            connection.complete_io(stream).map_err(|error| unagreed(&error))?;
        }
        connection.writer().write_all(line).map_err(|error| unsent(&error))?;
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(stream).map_err(|error| unsent(&error))?;
        }
        Ok(())
    }
}

/// Trusts what stands in a file.
fn add_own(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let bad = |what: String| TlsError::File { path: path.to_owned(), what };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    let mut count = 0;
    for certificate in found {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(bad("no certificate stands in it".to_owned())) } else { Ok(()) }
}

/// Why the two ends did not come to an agreement, for people.
fn unagreed(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of an authority that is not trusted here; --supervisor-ca FILE names another".to_owned()
        }
        Some(Error::InvalidCertificate(error)) => format!("its certificate is not accepted: {error}"),
        Some(Error::InvalidMessage(error)) => format!("it does not speak TLS ({error:?})"),
        Some(error) => format!("it does not agree on TLS: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection instead of TLS".to_owned(),
        None => unsent(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_holds_no_authority_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let refusal = || Tls::new(Some(&path)).unwrap_err().to_string();
        assert!(refusal().contains("ca.pem") && refusal().contains("expected certificates in PEM form"));
        fs::write(&path, "certainly none").unwrap();
        assert!(refusal().contains("no certificate stands in it"), "{}", refusal());
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(refusal().contains("ca.pem"), "{}", refusal());
        let key = rcgen::generate_simple_self_signed(vec!["lab".to_owned()]).unwrap();
        fs::write(&path, key.cert.pem()).unwrap();
        Tls::new(Some(&path)).unwrap();
    }
}
