//! Failed attempts to get a token, by address: who guesses secrets is slowed down.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::{Per, RateLimit};
use crate::limits::{LocalLimits, NamedLimit, Subject};

/// Failed attempts of one address in [`WINDOW`]. Secrets have 16 characters or more, so it could be far higher; but nobody who has the right one
/// needs more.
const MOST: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero");
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const MOST_ADDRESSES: usize = 10_000;

/// The failed attempts of this replica.
pub(super) struct Attempts {
    limits: LocalLimits,
    limit: NamedLimit,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            limits: LocalLimits::new(MOST_ADDRESSES),
            limit: NamedLimit {
                name: "token_endpoint".into(),
                rule: RateLimit {
                    limit: MOST,
                    window: WINDOW,
                    per: Per::Address,
                    error: "Too many failed attempts".into(),
                    code: "TOO_MANY_REQUESTS".into(),
                },
            },
        }
    }

    /// Whether this address may try. If not: for how long. `now_ms`: milliseconds since the Unix epoch.
    pub(super) fn check(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Duration> {
        let verdict = self.limits.peek(&self.limit, Subject::Address(address), now_ms);
        if verdict.allowed {
            Ok(())
        } else {
            Err(verdict.retry_after)
        }
    }

    /// Counts a failure.
    pub(super) fn failed(&self, address: Option<IpAddr>, now_ms: u64) {
        self.limits.count(&self.limit, Subject::Address(address), now_ms);
    }
}
