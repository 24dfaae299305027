//! Durations in buckets that grow by a tenth, so that distributions of any two hours can be added up.
//!
//! Bucket 0 holds everything below a millisecond; bucket `n` reaches from `1.1^(n-1)` to `1.1^n` milliseconds. A percentile is
//! told as the middle of its bucket in the geometric sense, which is at most 4.9 % off.

use std::collections::BTreeMap;
use std::time::Duration;

/// How much wider each bucket is than the one before.
const GROWTH: f64 = 1.1;

/// The last bucket, from about 21 days on: what lasts longer counts as that.
const LAST: u16 = 225;

/// The bucket of a duration.
pub fn bucket(duration: Duration) -> u16 {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 1.0 {
        return 0;
    }
    // Truncates; the logarithm of the longest duration is far below 65,536.
    (1 + (ms.ln() / GROWTH.ln()) as u16).min(LAST)
}

/// A duration that stands for a bucket, in milliseconds.
pub fn middle_ms(bucket: u16) -> f64 {
    if bucket == 0 {
        return 0.5;
    }
    GROWTH.powf(f64::from(bucket.min(LAST)) - 0.5)
}

/// How often each bucket was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: BTreeMap<u16, u64>,
    total: u64,
}

impl Durations {
    /// Adds a bucket that was met `times` times.
    pub fn add(&mut self, bucket: u16, times: u64) {
        *self.counts.entry(bucket).or_default() += times;
        self.total += times;
    }

    /// How often each bucket was met, the shortest first.
    pub fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        self.counts.iter().map(|(bucket, times)| (*bucket, *times))
    }

    /// The duration that a part of all do not exceed, such as 0.99, in milliseconds; `None` when there is none at all.
    pub fn percentile_ms(&self, part: f64) -> Option<f64> {
        // The rank is between 1 and the total, which is far below 2^53.
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total.max(1));
        let mut passed = 0;
        self.counts.iter().find_map(|(bucket, times)| {
            passed += times;
            (passed >= rank).then(|| middle_ms(*bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_nothing_one_and_many() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile_ms(0.5), None);
        durations.add(bucket(Duration::from_millis(200)), 1);
        for part in [0.0, 0.5, 0.99, 1.0] {
            let told = durations.percentile_ms(part).unwrap();
            assert!((190.0..=210.0).contains(&told), "{part}: {told}");
        }
        durations.add(bucket(Duration::from_secs(10)), 1);
        assert!(durations.percentile_ms(0.5).unwrap() < 210.0);
        assert!(durations.percentile_ms(0.51).unwrap() > 9_500.0);
    }

    proptest! {
        #[test]
        fn a_bucket_tells_its_durations_within_five_percent(ms in 1.0..1.8e9f64) {
            let told = middle_ms(bucket(Duration::from_secs_f64(ms / 1000.0)));
            prop_assert!((told / ms - 1.0).abs() < 0.05, "{ms} told as {told}");
        }

        #[test]
        fn longer_is_never_in_a_lower_bucket(a in 0u64..u64::MAX, b in 0u64..u64::MAX) {
            let (short, long) = (a.min(b), a.max(b));
            prop_assert!(bucket(Duration::from_nanos(short)) <= bucket(Duration::from_nanos(long)));
        }
    }
}
