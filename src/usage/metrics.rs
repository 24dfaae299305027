//! What is counted of usage itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::family;

/// Metrics of the recorder and of the access log that feeds it. No label has values that a caller chooses.
#[derive(Debug, Default)]
pub struct UsageMetrics {
    written: Counter,
    known: Counter,
    dropped: Counter,
    spooled: Counter,
    tcp: Counter,
    other: Counter,
    malformed: Counter,
    missing: Counter,
    write_failures: Counter,
    queued_bytes: Gauge,
    spool_bytes: Gauge,
}

impl UsageMetrics {
    /// Adds them all.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_usage_events",
            "Requests that have ended: written to the store; known already, so not counted again; kept on disk while the store was away; dropped since no room was left there",
            family(
                "result",
                &[
                    ("written", &self.written),
                    ("known", &self.known),
                    ("spooled", &self.spooled),
                    ("dropped", &self.dropped),
                ],
            ),
        );
        registry.register(
            "latchkey_usage_entries_ignored",
            "Access log entries that are no event: of a connection, not of the end of a request, or malformed",
            family(
                "reason",
                &[("tcp", &self.tcp), ("not_an_end", &self.other), ("malformed", &self.malformed)],
            ),
        );
        registry.register(
            "latchkey_usage_missing",
            "Decisions for which no access log entry came within usage.missing_after",
            self.missing.clone(),
        );
        registry.register(
            "latchkey_usage_write_failures",
            "Batches that the store did not take at once",
            self.write_failures.clone(),
        );
        registry.register(
            "latchkey_usage_queued_bytes",
            "Events in memory that are not written yet, in bytes",
            self.queued_bytes.clone(),
        );
        registry.register(
            "latchkey_usage_spool_bytes",
            "Events on disk that wait for the store, in bytes",
            self.spool_bytes.clone(),
        );
    }

    /// Counts entries that are no event.
    pub fn ignored(&self, tcp: u64, other: u64, malformed: u64) {
        self.tcp.inc_by(tcp);
        self.other.inc_by(other);
        self.malformed.inc_by(malformed);
    }

    pub(super) fn written(&self, new: u64, known: u64) {
        self.written.inc_by(new);
        self.known.inc_by(known);
    }

    pub(super) fn write_failed(&self) {
        self.write_failures.inc();
    }

    pub(super) fn spooled(&self, events: u64) {
        self.spooled.inc_by(events);
    }

    pub(super) fn dropped(&self, events: u64) {
        self.dropped.inc_by(events);
    }

    pub(super) fn missing(&self, decisions: u64) {
        self.missing.inc_by(decisions);
    }

    pub(super) fn queued_bytes(&self, bytes: usize) {
        self.queued_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn spool_bytes(&self, bytes: u64) {
        self.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
