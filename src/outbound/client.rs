//! The client that all calls go through.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, redirect};

/// Connections that are kept open to one host while nothing is asked.
const IDLE_CONNECTIONS: usize = 32;
/// Shorter than servers usually wait, so that a call seldom meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// One that went silent is found by a ping, and not by every call that waits on it in vain.
const PING_AFTER: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// No list of authorities is longer.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities cannot be read.
    #[error("cannot read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has none.
    #[error("{} holds no certificate in PEM form", .file.display())]
    NoAuthority {
        /// The file.
        file: PathBuf,
    },
    /// TLS cannot be set up: most often there is no authority on this machine.
    #[error("no client for https; are there certificates of authorities on this machine?")]
    Tls(#[source] reqwest::Error),
}

/// A client for these URLs. Servers are verified against the authorities in `ca_file` and no others, or against those of the
/// system.
pub fn client(urls: &[&str], ca_file: Option<&Path>) -> Result<Client, ClientError> {
    // The first one stays. All of ours are this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tcp_nodelay(true)
        .tcp_keepalive(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_TIMEOUT);
    let builder = match ca_file {
        Some(file) => builder.tls_certs_only(authorities(file)?),
        // Loopback in plaintext needs none, and a machine may have none.
        None if urls.iter().all(|url| url.starts_with("http://")) => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(ClientError::Tls)
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, ClientError> {
    let read = || {
        let mut pem = Vec::new();
        File::open(file)?.take(MOST_BYTES).read_to_end(&mut pem)?;
        Ok(pem)
    };
    let pem = read().map_err(|source| ClientError::Read {
        file: file.into(),
        source,
    })?;
    Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| ClientError::NoAuthority { file: file.into() })
}
