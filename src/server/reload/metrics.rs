//! What is told of reloads, and which policy is in force.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::config::PolicyVersion;
use crate::telemetry::{Registry, family};

/// What came of a reload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Result {
    /// Something is different now.
    Applied,
    /// It was good, and says what is in force already.
    Unchanged,
}

/// Counters of reloads. Clones count together.
#[derive(Clone, Debug)]
pub(in crate::server) struct ReloadMetrics {
    applied: Counter,
    unchanged: Counter,
    refused: Counter,
    last_was_good: Gauge,
    last_success: Gauge<f64, AtomicU64>,
    awaiting_restart: Gauge,
    version: Arc<Mutex<PolicyVersion>>,
}

impl ReloadMetrics {
    /// `version` was read at the start, which counts as a success and as no reload.
    pub(super) fn new(version: PolicyVersion, now: SystemTime) -> Self {
        let metrics = Self {
            applied: Counter::default(),
            unchanged: Counter::default(),
            refused: Counter::default(),
            last_was_good: Gauge::default(),
            last_success: Gauge::default(),
            awaiting_restart: Gauge::default(),
            version: Arc::new(Mutex::new(version)),
        };
        metrics.good_at(now);
        metrics
    }

    pub(super) fn succeeded(
        &self,
        result: Result,
        version: PolicyVersion,
        awaiting_restart: usize,
        now: SystemTime,
    ) {
        match result {
            Result::Applied => &self.applied,
            Result::Unchanged => &self.unchanged,
        }
        .inc();
        self.awaiting_restart
            .set(i64::try_from(awaiting_restart).unwrap_or(i64::MAX));
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
        self.good_at(now);
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
        self.last_was_good.set(0);
    }

    fn good_at(&self, now: SystemTime) {
        self.last_was_good.set(1);
        self.last_success
            .set(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// Adds them to a registry.
    pub(in crate::server) fn register(&self, registry: &mut Registry) {
        let reloads = family(
            "result",
            &[
                ("applied", &self.applied),
                ("unchanged", &self.unchanged),
                ("refused", &self.refused),
            ],
        );
        registry.register(
            "latchkey_config_reloads",
            "Times that the configuration was read again, by what came of it",
            reloads,
        );
        registry.register(
            "latchkey_config_last_reload_successful",
            "1 if the configuration was good when it was last read, else 0",
            self.last_was_good.clone(),
        );
        registry.register(
            "latchkey_config_last_reload_success_timestamp_seconds",
            "When a good configuration was last read, in seconds since the Unix epoch",
            self.last_success.clone(),
        );
        registry.register(
            "latchkey_config_settings_awaiting_restart",
            "Settings that differ from those of the start and need a restart",
            self.awaiting_restart.clone(),
        );
        registry.register_collector(Box::new(Version(Arc::clone(&self.version))));
    }
}

#[derive(Debug)]
struct Version(Arc<Mutex<PolicyVersion>>);

impl Collector for Version {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::result::Result<(), fmt::Error> {
        let version = self.0.lock().unwrap_or_else(PoisonError::into_inner).to_string();
        encoder
            .encode_descriptor("latchkey_policy", "The policy in force", None, MetricType::Info)?
            .encode_info(&[("version", version)])
    }
}
