//! What the cache tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::super::source::KeySourceError;
use crate::telemetry::family;

/// Counters of the cache.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    hits_known: Counter,
    hits_unknown: Counter,
    misses: Counter,
    known: Size,
    unknown: Size,
    found: Counter,
    not_found: Counter,
    failed: Counter,
    deadline: Counter,
    busy: Counter,
    stale: Counter,
    refreshes: Counter,
    in_flight: Gauge,
}

/// Size and losses of one of the two maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Size {
    entries: Gauge,
    evictions: Counter,
}

impl Size {
    pub(super) fn set(&self, entries: usize) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub(super) fn evicted(&self) {
        self.evictions.inc();
    }
}

impl CacheMetrics {
    pub(super) fn known(&self) -> Size {
        self.known.clone()
    }

    pub(super) fn unknown(&self) -> Size {
        self.unknown.clone()
    }

    pub(super) fn hit_known(&self) {
        self.hits_known.inc();
    }

    pub(super) fn hit_unknown(&self) {
        self.hits_unknown.inc();
    }

    pub(super) fn miss(&self) {
        self.misses.inc();
    }

    pub(super) fn looked_up(&self, found: bool) {
        if found { &self.found } else { &self.not_found }.inc();
    }

    pub(super) fn no_answer(&self, error: &KeySourceError) {
        match error {
            KeySourceError::Deadline(_) => &self.deadline,
            KeySourceError::Busy => &self.busy,
            KeySourceError::Failed(_) => &self.failed,
        }
        .inc();
    }

    pub(super) fn served_stale(&self) {
        self.stale.inc();
    }

    pub(super) fn refreshed(&self) {
        self.refreshes.inc();
    }

    pub(super) fn in_flight(&self, flights: usize) {
        self.in_flight.set(i64::try_from(flights).unwrap_or(i64::MAX));
    }

    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let hits = family(
            "result",
            &[("known", &self.hits_known), ("unknown", &self.hits_unknown)],
        );
        registry.register("latchkey_key_cache_hits", "Answers from the key cache", hits);
        registry.register(
            "latchkey_key_cache_misses",
            "Keys that had to be looked up",
            self.misses.clone(),
        );
        let entries = family(
            "kind",
            &[("known", &self.known.entries), ("unknown", &self.unknown.entries)],
        );
        registry.register("latchkey_key_cache_entries", "Keys in the cache", entries);
        let evictions = family(
            "kind",
            &[
                ("known", &self.known.evictions),
                ("unknown", &self.unknown.evictions),
            ],
        );
        registry.register(
            "latchkey_key_cache_evictions",
            "Keys that left the cache because it was full",
            evictions,
        );
        let lookups = family(
            "result",
            &[
                ("known", &self.found),
                ("unknown", &self.not_found),
                ("failed", &self.failed),
                ("deadline", &self.deadline),
                ("busy", &self.busy),
            ],
        );
        registry.register(
            "latchkey_key_lookups",
            "Questions to the key source by what came of them",
            lookups,
        );
        registry.register(
            "latchkey_key_cache_stale_served",
            "Stale answers given because the key source gave none",
            self.stale.clone(),
        );
        registry.register(
            "latchkey_key_cache_refreshes",
            "Keys asked for again before they were due",
            self.refreshes.clone(),
        );
        registry.register(
            "latchkey_key_lookups_in_flight",
            "Look-ups under way",
            self.in_flight.clone(),
        );
    }
}
