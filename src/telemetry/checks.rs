//! What is counted of checks.
//!
//! Counting must cost next to nothing: a route's counters are found by its place in the policy, a reason's by a `match`, and
//! both are atomic. A reload makes new [`PolicyCounters`] that share what routes of the same name counted before, so no total
//! ever goes back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::decision::{Decision, Denial, InvalidKey, NotAllowed, Policy};

/// The label of a check that found no route, or may not tell which.
const NO_ROUTE: &str = "none";

/// Outcome and reason of every kind of decision, in the order of [`place`].
const REASONS: [(&str, &str); 25] = [
    ("allow", "key"),
    ("allow", "public"),
    ("allow", "anonymous"),
    ("allow", "cors_preflight"),
    ("allow", "other"),
    ("deny", "invalid_path"),
    ("deny", "invalid_host"),
    ("deny", "missing_key"),
    ("deny", "key_malformed"),
    ("deny", "key_ambiguous"),
    ("deny", "key_unknown"),
    ("deny", "key_revoked"),
    ("deny", "key_inactive"),
    ("deny", "key_expired"),
    ("deny", "no_trusted_owner"),
    ("deny", "no_route"),
    ("deny", "method_not_allowed"),
    ("deny", "path_twin"),
    ("deny", "wrong_api"),
    ("deny", "network_not_allowed"),
    ("deny", "upgrade_not_allowed"),
    ("deny", "insufficient_scope"),
    ("deny", "rate_limited"),
    ("deny", "key_source_unavailable"),
    ("deny", "internal"),
];

/// The place of a decision in [`REASONS`]. A new denial does not compile without one.
fn place(decision: &Decision) -> usize {
    match decision {
        Decision::Allow(_) => match decision.reason() {
            "key" => 0,
            "public" => 1,
            "anonymous" => 2,
            "cors_preflight" => 3,
            _ => 4,
        },
        Decision::Deny(denial) => match denial {
            Denial::InvalidPath => 5,
            Denial::InvalidHost => 6,
            Denial::MissingKey => 7,
            Denial::InvalidKey(InvalidKey::Malformed) => 8,
            Denial::InvalidKey(InvalidKey::Ambiguous) => 9,
            Denial::InvalidKey(InvalidKey::Unknown) => 10,
            Denial::InvalidKey(InvalidKey::Revoked) => 11,
            Denial::InvalidKey(InvalidKey::Inactive) => 12,
            Denial::InvalidKey(InvalidKey::Expired) => 13,
            Denial::NoTrustedOwner => 14,
            Denial::NotAllowed(NotAllowed::NoRoute) => 15,
            Denial::NotAllowed(NotAllowed::Method) => 16,
            Denial::NotAllowed(NotAllowed::Twin) => 17,
            Denial::NotAllowed(NotAllowed::Api) => 18,
            Denial::NotAllowed(NotAllowed::Network) => 19,
            Denial::UpgradeNotAllowed => 20,
            Denial::InsufficientScope { .. } => 21,
            Denial::RateLimited { .. } => 22,
            Denial::SourceUnavailable => 23,
            Denial::Internal => 24,
        },
    }
}

/// Upper bounds of the buckets of `latchkey_check_duration_seconds`, in nanoseconds: a remembered key takes a few microseconds,
/// a look-up milliseconds.
const BOUNDS_NS: [u64; 17] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
];

/// Counters of all checks, whatever the policy. Clones count together.
#[derive(Clone, Default)]
pub struct CheckMetrics {
    totals: Arc<Totals>,
}

#[derive(Default)]
struct Totals {
    /// By the name of the route. Locked when a policy is compiled and when metrics are read, never by a check.
    routes: Mutex<BTreeMap<Box<str>, Arc<RouteCounters>>>,
    no_route: Arc<RouteCounters>,
    durations: Arc<Durations>,
}

#[derive(Default)]
struct RouteCounters([AtomicU64; REASONS.len()]);

/// A histogram without a lock, which the one of `prometheus_client` takes at each observation.
#[derive(Default)]
struct Durations {
    /// One more than there are bounds: the last is for what took longer.
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// The counters of one policy: a route's are at its place in the settings.
pub struct PolicyCounters {
    routes: Box<[Arc<RouteCounters>]>,
    no_route: Arc<RouteCounters>,
    durations: Arc<Durations>,
}

impl CheckMetrics {
    /// The counters for checks under this policy; a route goes on from what its name counted under earlier ones.
    pub fn for_policy(&self, policy: &Policy) -> PolicyCounters {
        self.for_routes(policy.settings.routes.iter().map(|route| &*route.name))
    }

    fn for_routes<'a>(&self, names: impl Iterator<Item = &'a str>) -> PolicyCounters {
        let mut known = self.totals.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = names
            .map(|name| Arc::clone(known.entry(name.into()).or_default()))
            .collect();
        PolicyCounters {
            routes,
            no_route: Arc::clone(&self.totals.no_route),
            durations: Arc::clone(&self.totals.durations),
        }
    }

    /// Adds `latchkey_checks_total` and `latchkey_check_duration_seconds`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl PolicyCounters {
    /// Counts a check. `route_index` is [`CompiledRoute::index`](crate::decision::CompiledRoute::index); without one, or with
    /// one of another policy, it counts for the route `none`.
    pub fn record(&self, route_index: Option<usize>, decision: &Decision, took: Duration) {
        let route = route_index
            .and_then(|index| self.routes.get(index))
            .unwrap_or(&self.no_route);
        route.0[place(decision)].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(took);
    }
}

impl Durations {
    fn observe(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_NS.partition_point(|&bound| bound < ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Collector for CheckMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut checks = encoder.encode_descriptor(
            "latchkey_checks",
            "Checks by route, outcome and reason",
            None,
            MetricType::Counter,
        )?;
        let routes = self
            .totals
            .routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let none = (NO_ROUTE, &self.totals.no_route);
        for (route, counters) in routes
            .iter()
            .map(|(name, counters)| (&**name, counters))
            .chain([none])
        {
            for ((outcome, reason), counter) in REASONS.iter().zip(&counters.0) {
                let count = counter.load(Ordering::Relaxed);
                // A reason that a route cannot have would be a row of zero for ever.
                if count > 0 {
                    let labels = [("route", route), ("outcome", outcome), ("reason", reason)];
                    checks
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }

        let durations = &self.totals.durations;
        let bounds = BOUNDS_NS
            .iter()
            .map(|&ns| Duration::from_nanos(ns).as_secs_f64())
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(&durations.buckets)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(durations.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder
            .encode_descriptor(
                "latchkey_check_duration_seconds",
                "Time from the arrival of a check to its answer",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

impl fmt::Debug for CheckMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckMetrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for PolicyCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyCounters")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Per, RateLimit};
    use crate::limits::NamedLimit;
    use crate::telemetry::render;

    fn every_denial() -> Vec<Denial> {
        let rule = RateLimit {
            limit: 1.try_into().unwrap(),
            window: Duration::from_secs(1),
            per: Per::Key,
            error: "e".into(),
            code: "c".into(),
        };
        let limit = Arc::new(NamedLimit {
            name: "ai".into(),
            rule,
        });
        let keys = [
            InvalidKey::Malformed,
            InvalidKey::Ambiguous,
            InvalidKey::Unknown,
            InvalidKey::Revoked,
            InvalidKey::Inactive,
            InvalidKey::Expired,
        ];
        let places = [
            NotAllowed::NoRoute,
            NotAllowed::Method,
            NotAllowed::Twin,
            NotAllowed::Api,
            NotAllowed::Network,
        ];
        let mut denials = vec![
            Denial::InvalidPath,
            Denial::InvalidHost,
            Denial::MissingKey,
            Denial::NoTrustedOwner,
            Denial::UpgradeNotAllowed,
            Denial::InsufficientScope {
                missing: "read:x".parse().unwrap(),
            },
            Denial::RateLimited {
                limit,
                retry_after: Duration::ZERO,
            },
            Denial::SourceUnavailable,
            Denial::Internal,
        ];
        denials.extend(keys.map(Denial::InvalidKey));
        denials.extend(places.map(Denial::NotAllowed));
        denials
    }

    fn text(metrics: &CheckMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        render(&registry).unwrap()
    }

    #[test]
    fn every_denial_is_counted_under_its_own_reason() {
        let mut seen = Vec::new();
        for denial in every_denial() {
            let reason = denial.reason();
            let place = place(&Decision::Deny(denial));
            assert_eq!(REASONS[place], ("deny", reason));
            seen.push(place);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (5..25).collect::<Vec<_>>());
    }

    #[test]
    fn a_total_survives_a_reload_that_moves_the_route() {
        let metrics = CheckMetrics::default();
        let denied = Decision::Deny(Denial::MissingKey);
        let before = metrics.for_routes(["chat", "support"].into_iter());
        before.record(Some(1), &denied, Duration::from_micros(3));
        let after = metrics.for_routes(["support"].into_iter());
        after.record(Some(0), &denied, Duration::from_micros(3));
        before.record(Some(1), &denied, Duration::from_micros(3)); // a check that began before the reload
        let text = text(&metrics);
        assert!(
            text.contains(r#"latchkey_checks_total{route="support",outcome="deny",reason="missing_key"} 3"#),
            "{text}"
        );
    }

    #[test]
    fn a_check_without_a_route_of_this_policy_counts_for_none() {
        let metrics = CheckMetrics::default();
        let counters = metrics.for_routes(["chat"].into_iter());
        for route in [None, Some(1)] {
            counters.record(route, &Decision::Deny(Denial::InvalidPath), Duration::ZERO);
        }
        let text = text(&metrics);
        assert!(
            text.contains(r#"latchkey_checks_total{route="none",outcome="deny",reason="invalid_path"} 2"#),
            "{text}"
        );
    }

    #[test]
    fn a_duration_falls_into_the_bucket_that_it_does_not_exceed() {
        let metrics = CheckMetrics::default();
        let counters = metrics.for_routes([].into_iter());
        for took in [
            Duration::from_micros(5),
            Duration::from_micros(6),
            Duration::from_secs(2),
        ] {
            counters.record(None, &Decision::Deny(Denial::Internal), took);
        }
        let text = text(&metrics);
        for line in [
            "latchkey_check_duration_seconds_count 3",
            r#"latchkey_check_duration_seconds_bucket{le="0.000005"} 1"#,
            r#"latchkey_check_duration_seconds_bucket{le="0.00001"} 2"#,
            r#"latchkey_check_duration_seconds_bucket{le="1.0"} 2"#,
            r#"latchkey_check_duration_seconds_bucket{le="+Inf"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
