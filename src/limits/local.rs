//! Counters of this process, in bounded memory.
//!
//! Subjects are spread over shards, each behind a plain mutex that is held for a few dozen nanoseconds and never across an
//! await. A shard keeps two generations: what was counted since the last turn, and what was counted before it. When the
//! young one is full it becomes the old one, and what nobody asked for during a whole generation goes. So memory is bounded
//! without a scan and without a list to maintain.
//!
//! Addresses have a budget of their own: anybody can have many of those, and must not push out the counters of keys.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::window::{Rule, Window};
use super::{NamedLimit, Subject, Verdict};
use crate::config::{RateLimit, address_group};
use crate::telemetry::family;

const SHARDS: usize = 64;

/// Counters of this process.
pub struct LocalLimits {
    callers: Counters,
    addresses: Counters,
}

impl fmt::Debug for LocalLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLimits").finish_non_exhaustive()
    }
}

impl LocalLimits {
    /// Counters for at most `max_subjects` subjects at a time, and for as many addresses.
    pub fn new(max_subjects: usize) -> Self {
        Self {
            callers: Counters::new(max_subjects),
            addresses: Counters::new(max_subjects),
        }
    }

    /// Counts one request of the subject, if it is within the limit. `now_ms`: milliseconds since the Unix epoch.
    pub fn count(&self, limit: &NamedLimit, subject: Subject<'_>, now_ms: u64) -> Verdict {
        let rule = rule(&limit.rule);
        with_name(limit, subject, |name| {
            self.counters(subject)
                .with(name, rule, now_ms, |window| window.count(rule, now_ms))
        })
    }

    /// What [`Self::count`] would say, without counting.
    pub fn peek(&self, limit: &NamedLimit, subject: Subject<'_>, now_ms: u64) -> Verdict {
        let rule = rule(&limit.rule);
        with_name(limit, subject, |name| {
            self.counters(subject).look(name, rule).peek(rule, now_ms)
        })
    }

    /// Adds the metrics of this room to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let kinds = [("caller", &self.callers), ("address", &self.addresses)];
        let subjects = family("kind", &kinds.map(|(kind, counters)| (kind, &counters.subjects)));
        registry.register(
            "latchkey_limit_subjects",
            "Subjects whose requests are counted",
            subjects,
        );
        let evictions = family("kind", &kinds.map(|(kind, counters)| (kind, &counters.evictions)));
        registry.register(
            "latchkey_limit_evictions",
            "Counters dropped before their window was over",
            evictions,
        );
    }

    fn counters(&self, subject: Subject<'_>) -> &Counters {
        match subject {
            Subject::Address(_) => &self.addresses,
            Subject::Key(_) | Subject::Owner(..) | Subject::Route(_) => &self.callers,
        }
    }
}

fn rule(limit: &RateLimit) -> Rule {
    let window_ms = u64::try_from(limit.window.as_millis())
        .unwrap_or(u64::MAX / 4)
        .clamp(1, u64::MAX / 4);
    Rule {
        limit: limit.limit.get(),
        window_ms,
    }
}

/// Calls `use_name` with the full name of a counter: no two subjects share one. The buffer is kept for the next call.
fn with_name<T>(limit: &NamedLimit, subject: Subject<'_>, use_name: impl FnOnce(&[u8]) -> T) -> T {
    thread_local! {
        static NAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    NAME.with_borrow_mut(|name| {
        name.clear();
        // A zero byte ends the limit's name, which has none.
        name.extend_from_slice(limit.name.as_bytes());
        name.push(0);
        match subject {
            Subject::Key(id) => {
                name.push(b'k');
                name.extend_from_slice(id.as_bytes());
            }
            Subject::Owner(kind, id) => {
                name.push(b'o');
                name.extend_from_slice(kind.as_bytes());
                name.push(b':');
                name.extend_from_slice(id.as_bytes());
            }
            Subject::Address(address) => {
                name.push(b'a');
                match address.map(address_group) {
                    Some(IpAddr::V4(v4)) => name.extend_from_slice(&v4.octets()),
                    Some(IpAddr::V6(v6)) => name.extend_from_slice(&v6.octets()),
                    None => {}
                }
            }
            Subject::Route(route) => {
                name.push(b'r');
                name.extend_from_slice(route.as_bytes());
            }
        }
        use_name(name)
    })
}

type Generation = HashMap<Box<[u8]>, Kept>;

#[derive(Clone, Copy)]
struct Kept {
    window: Window,
    window_ms: u64,
}

#[derive(Default)]
struct Shard {
    young: Generation,
    old: Generation,
}

/// Counters of one kind of subject.
struct Counters {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Subjects in one generation of one shard.
    generation: usize,
    subjects: Gauge,
    evictions: Counter,
}

impl Counters {
    fn new(max_subjects: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            generation: (max_subjects / SHARDS / 2).max(1),
            subjects: Gauge::default(),
            evictions: Counter::default(),
        }
    }

    fn shard(&self, name: &[u8]) -> &Mutex<Shard> {
        let hash = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        &self.shards[hash]
    }

    fn look(&self, name: &[u8], rule: Rule) -> Window {
        let shard = self.shard(name).lock().unwrap_or_else(PoisonError::into_inner);
        shard
            .young
            .get(name)
            .or_else(|| shard.old.get(name))
            // As in `with`: buckets of another window would mean something else.
            .filter(|kept| kept.window_ms == rule.window_ms)
            .map(|kept| kept.window)
            .unwrap_or_default()
    }

    fn with(
        &self,
        name: &[u8],
        rule: Rule,
        now_ms: u64,
        count: impl FnOnce(&mut Window) -> Verdict,
    ) -> Verdict {
        let mut shard = self.shard(name).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = shard.young.get_mut(name) {
            // A reload may have given the limit another window: its buckets would mean something else.
            if kept.window_ms != rule.window_ms {
                *kept = Kept {
                    window: Window::default(),
                    window_ms: rule.window_ms,
                };
            }
            return count(&mut kept.window);
        }
        let mut kept = match shard.old.remove(name) {
            Some(kept) if kept.window_ms == rule.window_ms => kept,
            Some(_) => Kept {
                window: Window::default(),
                window_ms: rule.window_ms,
            },
            None => {
                self.subjects.inc();
                Kept {
                    window: Window::default(),
                    window_ms: rule.window_ms,
                }
            }
        };
        let verdict = count(&mut kept.window);
        if shard.young.len() >= self.generation {
            let gone = std::mem::take(&mut shard.old);
            let alive = gone
                .values()
                .filter(|kept| !kept.window.is_over(kept.window_ms, now_ms))
                .count();
            self.evictions.inc_by(alive as u64);
            self.subjects.dec_by(i64::try_from(gone.len()).unwrap_or(0));
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(name.into(), kept);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::config::Per;

    fn limit(name: &str, limit: u32) -> NamedLimit {
        NamedLimit {
            name: name.into(),
            rule: RateLimit {
                limit: NonZeroU32::new(limit).unwrap(),
                window: Duration::from_secs(900),
                per: Per::Key,
                error: "over".into(),
                code: "OVER".into(),
            },
        }
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let (limits, limit, passed) = (LocalLimits::new(10_000), limit("ai", 1000), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let verdict = limits.count(&limit, Subject::Key("one"), 1_000_000);
                        passed.fetch_add(u32::from(verdict.allowed), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 1000);
    }

    #[test]
    fn subjects_and_limits_count_apart() {
        let limits = LocalLimits::new(10_000);
        let (a, b) = (limit("a", 1), limit("b", 1));
        let six = |text: &str| Subject::Address(Some(text.parse().unwrap()));
        for (limit, subject, allowed) in [
            (&a, Subject::Key("x"), true),
            (&a, Subject::Key("x"), false),
            (&a, Subject::Key("y"), true),
            (&b, Subject::Key("x"), true),
            (&a, Subject::Route("x"), true),
            (&a, Subject::Owner("org", "x"), true),
            (&a, Subject::Owner("user", "x"), true),
            (&a, Subject::Address(None), true),
            (&a, Subject::Address(None), false),
            (&a, six("192.0.2.1"), true),
            (&a, six("::ffff:192.0.2.1"), false),
            (&a, six("2001:db8::1"), true),
            (&a, six("2001:db8::ffff:1"), false),
            (&a, six("2001:db8:0:1::1"), true),
        ] {
            assert_eq!(
                limits.count(limit, subject, 5_000_000).allowed,
                allowed,
                "{} {subject:?}",
                limit.name
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_a_flood_of_addresses_drops_no_key() {
        let (limits, limit) = (LocalLimits::new(1000), limit("ai", 1));
        assert!(limits.count(&limit, Subject::Key("kept"), 1_000_000).allowed);
        for number in 0..100_000u32 {
            limits.count(
                &limit,
                Subject::Address(Some(IpAddr::V4(number.into()))),
                1_000_000,
            );
        }
        assert!(limits.addresses.subjects.get() <= 1000 + SHARDS as i64 * 2);
        assert!(limits.addresses.evictions.get() > 0);
        assert!(!limits.peek(&limit, Subject::Key("kept"), 1_000_000).allowed);
    }

    #[test]
    fn a_subject_in_use_outlives_a_flood_of_its_kind() {
        let (limits, limit) = (LocalLimits::new(1280), limit("ai", 3));
        while limits.count(&limit, Subject::Key("busy"), 1_000_000).allowed {}
        for number in 0..20_000 {
            limits.count(&limit, Subject::Key(&number.to_string()), 1_000_000);
            assert!(
                !limits.count(&limit, Subject::Key("busy"), 1_000_000).allowed,
                "after {number}"
            );
        }
    }

    #[test]
    fn another_window_begins_anew() {
        let limits = LocalLimits::new(1000);
        let (long, mut short) = (limit("ai", 1), limit("ai", 1));
        short.rule.window = Duration::from_secs(1);
        assert!(limits.count(&long, Subject::Key("x"), 1_000_000).allowed);
        assert!(limits.count(&short, Subject::Key("x"), 1_000_000).allowed);
        assert!(!limits.count(&short, Subject::Key("x"), 1_000_000).allowed);
        assert!(
            limits.peek(&long, Subject::Key("x"), 1_000_000).allowed,
            "looking says what counting would"
        );
    }
}
