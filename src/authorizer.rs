//! One request to one outcome: joins decision, keys and limits.
//!
//! Used by Check, and by whatever else wants to know what Check would say. [`Authorizer::authorize_now`] answers on the
//! spot whenever nothing has to be looked up, which is nearly always; [`Authorizer::authorize`] waits for the key source,
//! within the deadline, and does the rest in the same way.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::config::Per;
use crate::decision::{
    self, Admitted, Candidate, CompiledRoute, Decision, Denial, Facts, InvalidKey, Next, Policy, Refused, RequestView,
};
use crate::keys::{ApiKey, KeyCache, KeyDigest, KeyRecord, Remembered};
use crate::limits::{LocalLimits, NamedLimit, Subject, Verdict};

/// Joins decision, keys and limits; one for the process.
pub struct Authorizer {
    policy: ArcSwap<Policy>,
    keys: Arc<KeyCache>,
    limits: LocalLimits,
}

/// When a request arrived, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// For deadlines and durations.
    pub instant: Instant,
    /// Milliseconds since the Unix epoch, for expiry and limits.
    pub unix_ms: u64,
}

impl Arrival {
    /// Now.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// 128 random bits that name one decision, everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; 16]);

impl DecisionId {
    /// 32 lower-case hexadecimal digits.
    pub fn to_hex(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of a request, with everything that an answer, a log line and a metric need.
#[derive(Debug)]
pub struct Outcome<'r> {
    /// Its name.
    pub decision_id: DecisionId,
    /// Allow or deny.
    pub decision: Decision,
    /// What was read of the request.
    pub facts: Facts<'r>,
    /// The verified key, also when the request was then refused.
    pub identity: Option<Arc<KeyRecord>>,
    /// The route, if one was found and may be told.
    pub route: Option<Arc<CompiledRoute>>,
    /// The limit that was counted, and what came of it.
    pub limit: Option<(Arc<NamedLimit>, Verdict)>,
    /// When the request arrived.
    pub arrival: Arrival,
}

/// The key has to be looked up: call [`Authorizer::authorize`].
#[derive(Debug)]
pub struct NeedsLookUp;
