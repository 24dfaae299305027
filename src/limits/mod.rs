//! Rate limits: how often a subject may.

use std::time::Duration;

use crate::config::RateLimit;

/// A limit and its name; routes that name one limit share its counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedLimit {
    /// The name in the configuration.
    pub name: Box<str>,
    /// What it says.
    pub rule: RateLimit,
}

/// What counting one request against a limit came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether the request is within the limit; if not, it was not counted.
    pub allowed: bool,
    /// Requests that would still pass right now.
    pub remaining: u32,
    /// Until the whole quota is free again, if nothing more comes.
    pub reset_after: Duration,
    /// Until one more request would pass; zero when `allowed`.
    pub retry_after: Duration,
}

/// Whose request is counted; which one a limit uses is its `per`.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// `per: key`: the key's id.
    Key(&'a str),
    /// `per: owner`: kind and id of the context owner.
    Owner(&'static str, &'a str),
    /// `per: address`; IPv6 is counted by /64. `None`: the address is not known, and all such callers are counted together.
    Address(Option<std::net::IpAddr>),
    /// `per: route`: the route's name.
    Route(&'a str),
}

/// Counters of this process.
#[derive(Debug)]
pub struct LocalLimits {}

impl LocalLimits {
    /// Counters for at most `max_subjects` subjects at a time.
    pub fn new(max_subjects: usize) -> Self {
        let _ = max_subjects;
        Self {}
    }

    /// Counts one request of the subject, if it is within the limit. `now_ms`: milliseconds since the Unix epoch.
    pub fn count(&self, limit: &NamedLimit, subject: Subject<'_>, now_ms: u64) -> Verdict {
        let _ = (subject, now_ms);
        Verdict {
            allowed: true,
            remaining: limit.rule.limit.get(),
            reset_after: Duration::ZERO,
            retry_after: Duration::ZERO,
        }
    }

    /// What [`Self::count`] would say, without counting.
    pub fn peek(&self, limit: &NamedLimit, subject: Subject<'_>, now_ms: u64) -> Verdict {
        self.count(limit, subject, now_ms)
    }
}
