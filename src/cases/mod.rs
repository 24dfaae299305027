//! Cases for a configuration: requests, and what each must come to. For whoever wants to know in their own CI that an edit of
//! the policy did what was meant, without a server and an Envoy.
//!
//! Keys are told as records, not as secrets: each gets a secret of its own for the time of the run. What is compared is the
//! answer that Envoy would get, by way of [`explain`](crate::explain).

mod read;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

pub use self::read::read;
pub use self::run::run;
use crate::explain::{Explanation, ListedKeys, Request, Verb};

/// A file of cases, read.
pub struct Cases {
    keys: Arc<ListedKeys>,
    list: Vec<Case>,
}

/// A request, and what it must come to.
struct Case {
    name: Box<str>,
    /// Where it was written.
    place: String,
    request: Request,
    /// When the first request arrives, in milliseconds since the Unix epoch.
    now_ms: u64,
    /// How often the request is sent; the last answer counts.
    repeat: u32,
    /// The time between two.
    every: Duration,
    expected: Expected,
}

/// What an answer must be; what is not said may be anything.
#[derive(Default)]
struct Expected {
    decision: Option<Verb>,
    status: Option<u16>,
    reason: Option<Box<str>>,
    code: Option<Box<str>>,
    error: Option<Box<str>>,
    route: Option<Box<str>>,
    /// Headers on the way to the backend; `None` is a header that must not be set.
    set: BTreeMap<Box<str>, Option<Box<str>>>,
    /// Headers that must be removed on the way to the backend.
    remove: Vec<Box<str>>,
    /// Headers that the caller gets; `None` is one that must not be there.
    response_headers: BTreeMap<Box<str>, Option<Box<str>>>,
}

/// What became of a case.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: Box<str>,
    /// Where it was written.
    pub place: String,
    /// What is not as expected; empty when the case holds.
    pub differences: Vec<Difference>,
    /// What it came to.
    pub found: Explanation,
}

/// Something that is not as expected.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Difference {
    /// What, such as `status` or `set x-auth-org-code`.
    pub what: String,
    /// What the case says; null for nothing.
    pub expected: Value,
    /// What was found; null for nothing.
    pub found: Value,
}

#[cfg(test)]
mod tests;
