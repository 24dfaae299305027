//! The arithmetic of a sliding-window counter: two buckets, the earlier one weighted by how much of it the window still
//! covers. Integers only, so that the same few lines give the same answers anywhere.

use std::time::Duration;

use super::Verdict;

/// The two buckets of one subject. Buckets are aligned to the window in Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Window {
    /// Number of the bucket that `current` counts: Unix milliseconds divided by the window.
    bucket: u64,
    current: u32,
    previous: u32,
}

/// A place in time, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Since the current bucket began.
    elapsed: u64,
    /// How far the caller's clock stands before that; it waits that much longer.
    behind: u64,
}

/// A limit in the units of this file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) limit: u32,
    pub(super) window_ms: u64,
}

impl Window {
    /// The buckets as they are at `now_ms`, and where in the current one that is.
    ///
    /// A clock that went back grants nothing. Into the bucket before, it is read as the beginning of the bucket last seen.
    /// Further back that would refuse until the clock caught up, so all that was counted counts anew from where it is now.
    fn at(self, rule: Rule, now_ms: u64) -> (Self, Moment) {
        let bucket = now_ms / rule.window_ms;
        let moment = Moment {
            elapsed: now_ms % rule.window_ms,
            behind: 0,
        };
        let turned = |current, previous| Self {
            bucket,
            current,
            previous,
        };
        match bucket.checked_sub(self.bucket) {
            Some(0) => (self, moment),
            Some(1) => (turned(0, self.current), moment),
            Some(_) => (turned(0, 0), moment),
            None if self.bucket - bucket == 1 => {
                let behind = rule.window_ms - moment.elapsed;
                (self, Moment { elapsed: 0, behind })
            }
            None => (turned(self.current.saturating_add(self.previous), 0), moment),
        }
    }

    /// Counts one request, if it is within the limit.
    pub(super) fn count(&mut self, rule: Rule, now_ms: u64) -> Verdict {
        let (mut window, moment) = self.at(rule, now_ms);
        let allowed = window.admits(rule, moment.elapsed);
        if allowed {
            window.current += 1;
        }
        *self = window;
        window.verdict(rule, moment, allowed)
    }

    /// What [`Self::count`] would say, without counting.
    pub(super) fn peek(self, rule: Rule, now_ms: u64) -> Verdict {
        let (window, moment) = self.at(rule, now_ms);
        window.verdict(rule, moment, window.admits(rule, moment.elapsed))
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_over(self, rule_window_ms: u64, now_ms: u64) -> bool {
        (now_ms / rule_window_ms).saturating_sub(self.bucket) > 1
    }

    /// Requests that the window covers, times its length: exact where a division would round.
    fn weight(self, rule: Rule, elapsed: u64) -> u128 {
        let window = u128::from(rule.window_ms);
        u128::from(self.previous) * (window - u128::from(elapsed)) + u128::from(self.current) * window
    }

    fn admits(self, rule: Rule, elapsed: u64) -> bool {
        let window = u128::from(rule.window_ms);
        self.weight(rule, elapsed) + window <= u128::from(rule.limit) * window
    }

    fn verdict(self, rule: Rule, moment: Moment, allowed: bool) -> Verdict {
        let Moment { elapsed, behind } = moment;
        let window = u128::from(rule.window_ms);
        let free = (u128::from(rule.limit) * window).saturating_sub(self.weight(rule, elapsed)) / window;
        let left = rule.window_ms - elapsed;
        let reset_ms = match (self.current, self.previous) {
            (0, 0) => 0,
            (0, _) => left + behind,
            _ => left + rule.window_ms + behind,
        };
        Verdict {
            allowed,
            remaining: u32::try_from(free).unwrap_or(u32::MAX),
            reset_after: Duration::from_millis(reset_ms),
            retry_after: Duration::from_millis(if allowed {
                0
            } else {
                self.retry_ms(rule, elapsed) + behind
            }),
        }
    }

    /// Milliseconds until one more request passes, if nothing else comes: never too early.
    fn retry_ms(self, rule: Rule, elapsed: u64) -> u64 {
        let left = rule.window_ms - elapsed;
        match (rule.limit - 1).checked_sub(self.current) {
            // Within this bucket, as the earlier one fades.
            Some(room) => fades_to(self.previous, room, rule.window_ms).saturating_sub(elapsed),
            // In the next one, where this bucket is the earlier one.
            None => left + fades_to(self.current, rule.limit - 1, rule.window_ms),
        }
    }
}

/// Milliseconds into a bucket after which `previous` requests of the earlier one weigh at most `room`.
fn fades_to(previous: u32, room: u32, window_ms: u64) -> u64 {
    if previous <= room {
        return 0;
    }
    let covered = u128::from(room) * u128::from(window_ms) / u128::from(previous);
    window_ms - u64::try_from(covered).unwrap_or(window_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule {
        limit: 5,
        window_ms: 1000,
    };

    #[test]
    fn from_empty_buckets_exactly_the_limit_passes() {
        let mut window = Window::default();
        let passed = (0..20).filter(|_| window.count(RULE, 10_300).allowed).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn a_refused_request_hears_when_one_more_passes() {
        for (limit, window_ms, now_ms) in [
            (5, 1000, 10_300),
            (1, 1000, 10_000),
            (50, 900_000, 77),
            (3, 1000, 10_999),
        ] {
            let rule = Rule { limit, window_ms };
            let mut window = Window::default();
            while window.count(rule, now_ms).allowed {}
            let wait = u64::try_from(window.peek(rule, now_ms).retry_after.as_millis()).unwrap();
            assert!(wait > 0, "{rule:?}");
            assert!(
                !window.peek(rule, now_ms + wait - 1).allowed,
                "{rule:?}: too late by a millisecond or more"
            );
            assert!(window.peek(rule, now_ms + wait).allowed, "{rule:?}: too early");
        }
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing() {
        let mut window = Window::default();
        while window.count(RULE, 10_500).allowed {}
        assert!(!window.count(RULE, 9_000).allowed);
        assert!(!window.count(RULE, 0).allowed);
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_and_is_waited_for_exactly() {
        for back in [100, 499, 500, 501, 1_000, 1_500, 5_000, 9_000_000] {
            let (before, mut window) = (10_000_500, Window::default());
            while window.count(RULE, before).allowed {}
            let now = before - back;
            let refused = window.count(RULE, now);
            assert!(!refused.allowed, "set back by {back}");
            let wait = u64::try_from(refused.retry_after.as_millis()).unwrap();
            assert!(wait <= 3 * RULE.window_ms, "set back by {back}: {refused:?}");
            assert!(
                !window.peek(RULE, now + wait - 1).allowed,
                "set back by {back}: too late"
            );
            assert!(
                window.peek(RULE, now + wait).allowed,
                "set back by {back}: too early"
            );
            let reset = u64::try_from(refused.reset_after.as_millis()).unwrap();
            assert_eq!(
                window.peek(RULE, now + reset).remaining,
                RULE.limit,
                "set back by {back}"
            );
        }
    }

    #[test]
    fn looking_does_not_count() {
        let mut window = Window::default();
        window.count(RULE, 10_000);
        for _ in 0..10 {
            assert_eq!(window.peek(RULE, 10_000).remaining, 4);
        }
    }

    proptest! {
        /// The definition, in floating point and on the list of all that passed.
        #[test]
        fn agrees_with_the_definition(
            limit in 1u32..20,
            steps in prop::collection::vec(0u64..700, 1..200),
        ) {
            let rule = Rule { limit, window_ms: 1000 };
            let mut window = Window::default();
            let mut passed: Vec<u64> = Vec::new();
            let mut now = 5_000;
            for step in steps {
                now += step;
                let bucket = now / 1000;
                let current = passed.iter().filter(|at| **at / 1000 == bucket).count() as u64;
                let previous = passed.iter().filter(|at| **at / 1000 + 1 == bucket).count() as u64;
                let estimate = previous * (1000 - now % 1000) + current * 1000;
                let expected = estimate + 1000 <= u64::from(limit) * 1000;
                let verdict = window.count(rule, now);
                prop_assert_eq!(verdict.allowed, expected);
                if expected {
                    passed.push(now);
                } else {
                    let wait = u64::try_from(verdict.retry_after.as_millis()).unwrap();
                    prop_assert!(window.peek(rule, now + wait).allowed);
                    prop_assert!(!window.peek(rule, now + wait - 1).allowed);
                }
            }
        }

        #[test]
        fn never_panics(limit in 1u32.., window_ms in 1u64.., times in prop::collection::vec(any::<u64>(), 1..20)) {
            let mut window = Window::default();
            for now in times {
                window.count(Rule { limit, window_ms: window_ms.min(u64::MAX / 4) }, now);
            }
        }
    }
}
