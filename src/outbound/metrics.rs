//! What is told of calls to other servers.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Label = (&'static str, &'static str);

/// Seconds; calls go to other data centres.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counters of every endpoint.
#[derive(Clone, Debug)]
pub struct RemoteMetrics {
    calls: Family<[Label; 2], Counter>,
    retries: Family<[Label; 1], Counter>,
    durations: Family<[Label; 1], Histogram, fn() -> Histogram>,
    breaker_open: Family<[Label; 1], Gauge>,
    breaker_opened: Family<[Label; 1], Counter<u64, AtomicU64>>,
}

impl Default for RemoteMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            retries: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            breaker_open: Family::default(),
            breaker_opened: Family::default(),
        }
    }
}

impl RemoteMetrics {
    /// Adds `latchkey_remote_calls_total`, `latchkey_remote_retries_total`, `latchkey_remote_call_duration_seconds`,
    /// `latchkey_remote_breaker_open` and `latchkey_remote_breaker_opened_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_remote_calls",
            "Calls to other servers by what came of them",
            self.calls.clone(),
        );
        registry.register(
            "latchkey_remote_retries",
            "Calls that were made again",
            self.retries.clone(),
        );
        registry.register(
            "latchkey_remote_call_duration_seconds",
            "Time that calls took, tries together",
            self.durations.clone(),
        );
        registry.register(
            "latchkey_remote_breaker_open",
            "1 while an endpoint is left alone because it keeps failing",
            self.breaker_open.clone(),
        );
        registry.register(
            "latchkey_remote_breaker_opened",
            "Times that an endpoint was left alone because it kept failing",
            self.breaker_opened.clone(),
        );
    }

    /// Lets an endpoint be seen before it was called.
    pub(super) fn appear(&self, endpoint: &'static str) {
        drop(
            self.calls
                .get_or_create(&[("endpoint", endpoint), ("result", "ok")]),
        );
        let label = [("endpoint", endpoint)];
        drop(self.retries.get_or_create(&label));
        drop(self.breaker_open.get_or_create(&label));
        drop(self.breaker_opened.get_or_create(&label));
    }

    pub(super) fn called(&self, endpoint: &'static str, result: &'static str) {
        self.calls
            .get_or_create(&[("endpoint", endpoint), ("result", result)])
            .inc();
    }

    pub(super) fn took(&self, endpoint: &'static str, time: Duration) {
        self.durations
            .get_or_create(&[("endpoint", endpoint)])
            .observe(time.as_secs_f64());
    }

    pub(super) fn retried(&self, endpoint: &'static str) {
        self.retries.get_or_create(&[("endpoint", endpoint)]).inc();
    }

    pub(super) fn breaker(&self, endpoint: &'static str, is_open: bool) {
        self.breaker_open
            .get_or_create(&[("endpoint", endpoint)])
            .set(i64::from(is_open));
    }

    pub(super) fn opened(&self, endpoint: &'static str) {
        self.breaker_opened.get_or_create(&[("endpoint", endpoint)]).inc();
    }
}
