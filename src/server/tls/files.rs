//! From files to a configuration that can be served, or to the reason why not.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{TlsError, expiry};
use crate::config::TlsFiles;

/// No chain and no list of authorities is near this; a device that never ends must not fill the memory.
const MOST_BYTES: u64 = 1024 * 1024;

/// What the files came to.
pub(super) struct ReadFiles {
    pub(super) config: Arc<ServerConfig>,
    /// Of the server's own certificate.
    pub(super) not_after: Option<SystemTime>,
}

/// Reads all files anew. What comes back can be served.
pub(super) fn read(files: &TlsFiles, protocols: &[&[u8]], now: SystemTime) -> Result<ReadFiles, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.cert_file)?;
    let key = private_key(&files.key_file)?;
    let not_after = chain.first().and_then(|own| expiry::not_after(own));
    if not_after.is_some_and(|end| end <= now) {
        return Err(TlsError::Expired {
            file: files.cert_file.clone(),
        });
    }
    let unusable = |file: &Path, source| TlsError::Unusable {
        file: file.into(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert_file, error))?;
    let builder = match &files.client_ca_file {
        Some(file) => builder.with_client_cert_verifier(client_verifier(file, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                key_file: files.key_file.clone(),
                cert_file: files.cert_file.clone(),
            },
            rustls::Error::InvalidCertificate(_) => unusable(&files.cert_file, error),
            _ => unusable(&files.key_file, error),
        })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(ReadFiles {
        config: Arc::new(config),
        not_after,
    })
}

/// Takes those clients only that an authority of this file has signed.
fn client_verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|source| TlsError::Unusable {
            file: file.into(),
            source,
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Unusable {
            file: file.into(),
            source: rustls::Error::General(error.to_string()),
        })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = contents(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError::Missing {
            file: file.into(),
            what: "certificate",
        })
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&contents(file)?).map_err(|_| TlsError::Missing {
        file: file.into(),
        what: "private key",
    })
}

fn contents(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = || {
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(file)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| TlsError::Read {
        file: file.into(),
        source,
    })
}
