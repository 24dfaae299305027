//! TLS of the listeners: certificates that can be renewed while connections come and go.
//!
//! A handshake runs on the runtime that will serve the connection, beside those that are served already, never in the accept
//! loop. It works with the configuration in force when it begins; a renewal swaps that as a whole, so every handshake sees an
//! old certificate with its old key or a new one with its new key. Files that cannot be used change nothing at run time, and
//! stop the start.
//!
//! A listener with TLS speaks nothing else: what does not begin with a handshake is closed.

mod expiry;
mod files;
mod metrics;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::metrics::TlsMetrics;
use super::vital::Vitals;
use crate::config::{FileWatch, Listen, TlsFiles};
use crate::telemetry::Registry;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a gRPC listener speaks.
const H2: &[&[u8]] = &[b"h2"];
/// What a listener for HTTP speaks, the better first.
const H2_AND_HTTP_1: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Why TLS files cannot be used. Names the file; says nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} holds no {what} in PEM form", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} has expired", .file.display())]
    Expired {
        /// The file.
        file: PathBuf,
    },
    /// Certificate and key are of two pairs.
    #[error("the key in {} does not belong to the certificate in {}", .key_file.display(), .cert_file.display())]
    Mismatch {
        /// The file of the key.
        key_file: PathBuf,
        /// The file of the certificate.
        cert_file: PathBuf,
    },
    /// It holds something that TLS cannot work with.
    #[error("{} cannot be used", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// TLS of one listener.
#[derive(Debug)]
pub(super) struct Tls {
    /// `grpc` or `http`.
    listener: &'static str,
    files: TlsFiles,
    protocols: &'static [&'static [u8]],
    in_force: ArcSwap<ServerConfig>,
    failed: AtomicU64,
    metrics: TlsMetrics,
}

/// TLS of those listeners that have it.
#[derive(Debug, Default)]
pub(super) struct TlsListeners {
    pub(super) grpc: Option<Arc<Tls>>,
    pub(super) http: Option<Arc<Tls>>,
    watches: Vec<(Arc<Tls>, FileWatch)>,
    metrics: TlsMetrics,
}

impl TlsListeners {
    /// Reads the files of every listener that has some; the error names its setting.
    pub(super) fn open(listen: &Listen) -> anyhow::Result<Self> {
        let mut listeners = Self::default();
        listeners.grpc = listeners.add("grpc", listen.grpc_tls.as_ref(), H2)?;
        listeners.http = listeners.add("http", listen.http_tls.as_ref(), H2_AND_HTTP_1)?;
        Ok(listeners)
    }

    fn add(
        &mut self,
        listener: &'static str,
        files: Option<&TlsFiles>,
        protocols: &'static [&'static [u8]],
    ) -> anyhow::Result<Option<Arc<Tls>>> {
        let Some(files) = files else { return Ok(None) };
        // Before they are read, so that no change in between is lost.
        let watch = FileWatch::new(files.all().cloned());
        let tls = Tls::open(listener, files, protocols, &self.metrics)
            .with_context(|| format!("listen.{listener}_tls"))?;
        let tls = Arc::new(tls);
        self.watches.push((Arc::clone(&tls), watch));
        Ok(Some(tls))
    }

    /// Renews certificates until `stop`, and shows the metrics if there is any TLS. Call it on the waiting runtime.
    pub(super) fn start(&mut self, vitals: &Vitals, stop: &CancellationToken, registry: &mut Registry) {
        if !self.watches.is_empty() {
            self.metrics.register(registry);
        }
        for (tls, files) in self.watches.drain(..) {
            watch::spawn(tls, files, vitals, stop);
        }
    }
}

impl Tls {
    fn open(
        listener: &'static str,
        files: &TlsFiles,
        protocols: &'static [&'static [u8]],
        metrics: &TlsMetrics,
    ) -> Result<Self, TlsError> {
        let read = files::read(files, protocols, SystemTime::now())?;
        metrics.appear(listener);
        metrics.expires(listener, read.not_after);
        Ok(Self {
            listener,
            files: files.clone(),
            protocols,
            in_force: ArcSwap::new(read.config),
            failed: AtomicU64::new(0),
            metrics: metrics.clone(),
        })
    }

    /// Reads the files again, and puts them into force if they can be used; else everything stays as it was.
    fn reload(&self) -> Result<(), TlsError> {
        match files::read(&self.files, self.protocols, SystemTime::now()) {
            Ok(read) => {
                self.in_force.store(read.config);
                self.metrics.expires(self.listener, read.not_after);
                self.metrics.reloaded(self.listener, true);
                Ok(())
            }
            Err(error) => {
                self.metrics.reloaded(self.listener, false);
                Err(error)
            }
        }
    }

    /// Shakes hands, for at most five seconds. A peer that fails gets an alert at most, and is counted.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.in_force.load_full());
        let accepted = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        self.metrics.shook_hands(self.listener, &accepted);
        if let Err(error) = &accepted {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            // At powers of two, so that a flood of strangers is no flood of lines.
            if failed.is_power_of_two() {
                warn!(listener = self.listener, failed, %error, "a TLS handshake failed");
            }
        }
        accepted
    }
}

#[cfg(test)]
mod tests;
