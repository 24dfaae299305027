//! Rate limits: how often a subject may.

mod local;
mod window;

use std::net::IpAddr;
use std::time::Duration;

pub use self::local::LocalLimits;
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
    Address(Option<IpAddr>),
    /// `per: route`: the route's name.
    Route(&'a str),
}
