//! What TLS tells about itself.

use std::io;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Label = (&'static str, &'static str);

/// Reloads, handshakes and the end of the certificate, by listener.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsMetrics {
    reloads: Family<[Label; 2], Counter>,
    handshakes: Family<[Label; 2], Counter>,
    not_after: Family<[Label; 1], Gauge<f64, AtomicU64>>,
}

fn labels(listener: &'static str, result: &'static str) -> [Label; 2] {
    [("listener", listener), ("result", result)]
}

impl TlsMetrics {
    /// Adds `latchkey_tls_reloads_total`, `latchkey_tls_handshakes_total` and
    /// `latchkey_tls_certificate_not_after_timestamp_seconds`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_tls_reloads",
            "Times that changed TLS files were read, by whether they could be used",
            self.reloads.clone(),
        );
        registry.register(
            "latchkey_tls_handshakes",
            "TLS handshakes by what came of them",
            self.handshakes.clone(),
        );
        registry.register(
            "latchkey_tls_certificate_not_after_timestamp_seconds",
            "When the certificate in force ends, in seconds since the Unix epoch",
            self.not_after.clone(),
        );
    }

    /// Lets a listener be seen before anything has happened there.
    pub(super) fn appear(&self, listener: &'static str) {
        for result in ["ok", "failed"] {
            drop(self.reloads.get_or_create(&labels(listener, result)));
        }
        for result in ["ok", "failed", "timeout"] {
            drop(self.handshakes.get_or_create(&labels(listener, result)));
        }
    }

    pub(super) fn reloaded(&self, listener: &'static str, used: bool) {
        let result = if used { "ok" } else { "failed" };
        self.reloads.get_or_create(&labels(listener, result)).inc();
    }

    pub(super) fn shook_hands<S>(&self, listener: &'static str, accepted: &io::Result<S>) {
        let result = match accepted {
            Ok(_) => "ok",
            Err(error) if error.kind() == io::ErrorKind::TimedOut => "timeout",
            Err(_) => "failed",
        };
        self.handshakes.get_or_create(&labels(listener, result)).inc();
    }

    /// A certificate whose end cannot be read has none here.
    pub(super) fn expires(&self, listener: &'static str, not_after: Option<SystemTime>) {
        let label = [("listener", listener)];
        match not_after.and_then(|end| end.duration_since(UNIX_EPOCH).ok()) {
            Some(end) => {
                self.not_after.get_or_create(&label).set(end.as_secs_f64());
            }
            None => {
                self.not_after.remove(&label);
            }
        }
    }
}
