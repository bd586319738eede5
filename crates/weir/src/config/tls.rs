//! Certificate and key of the front, read and matched when the file is.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::place::At;
use super::read::{Reading, Section, Value};

/// What the front shows to clients; it can be renewed while connections go on.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    shown: Arc<RwLock<Arc<CertifiedKey>>>,
    files: [PathBuf; 2],
}

impl Certificate {
    /// Shows from the next handshake on what `other` shows.
    pub(crate) fn renew(&mut self, other: &Self) {
        let fresh = Arc::clone(&other.shown.read());
        *self.shown.write() = fresh;
        self.files.clone_from(&other.files);
    }

    /// Where certificate and key were read.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read()))
    }
}

/// Reads `tls = { cert = "…", key = "…" }`; `None` after a problem.
pub(crate) fn read_tls(
    value: &Value<'_>,
    reading: &mut Reading<'_>,
) -> Option<(Arc<ServerConfig>, Certificate)> {
    let mut section = Section::of(value, reading)?;
    let cert = section.need::<PathBuf>("cert", "cert = \"server.pem\"", reading);
    let key = section.need::<PathBuf>("key", "key = \"server.key\"", reading);
    let place = section.place();
    section.finish(reading);
    let files = cert.as_ref().zip(key.as_ref());
    let files = files.map(|(cert, key)| [cert.value.clone(), key.value.clone()]);
    let chain = cert.and_then(|path| reading.under("cert", |reading| read_chain(&path, reading)));
    let key = key.and_then(|path| reading.under("key", |reading| read_key(&path, reading)));
    let (chain, key, files) = (chain?, key?, files?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = CertifiedKey::from_der(chain, key, &provider).and_then(|certified| {
        let builder = ServerConfig::builder_with_provider(provider);
        Ok((builder.with_safe_default_protocol_versions()?, certified))
    });
    match built {
        Ok((builder, certified)) => {
            let certificate =
                Certificate { shown: Arc::new(RwLock::new(Arc::new(certified))), files };
            let resolver = Arc::new(certificate.clone());
            let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Some((Arc::new(config), certificate))
        }
        Err(error) => {
            let hint = "the key must be that of the first certificate in the file";
            reading.object(place, format!("certificate and key cannot be used: {error}"), hint);
            None
        }
    }
}

fn read_chain(
    path: &At<PathBuf>,
    reading: &mut Reading<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(&path.value).and_then(Iterator::collect);
    match chain {
        Ok(chain) if Vec::is_empty(&chain) => object_to(path, &PemError::NoItemsFound, reading),
        Ok(chain) => Some(chain),
        Err(error) => object_to(path, &error, reading),
    }
}

fn read_key(path: &At<PathBuf>, reading: &mut Reading<'_>) -> Option<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_file(&path.value) {
        Ok(key) => Some(key),
        Err(error) => object_to(path, &error, reading),
    }
}

fn object_to<T>(path: &At<PathBuf>, error: &PemError, reading: &mut Reading<'_>) -> Option<T> {
    let shown = path.value.display();
    let (message, hint) = match error {
        PemError::Io(error) => (
            format!("cannot read {shown}: {error}"),
            "a relative path begins at the folder of this file",
        ),
        PemError::NoItemsFound => (
            format!("nothing of this kind in {shown}"),
            "it holds PEM: -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----",
        ),
        error => (format!("{shown} is not sound PEM: {error}"), "export it again as PEM"),
    };
    reading.object(path.place, message, hint);
    None
}
