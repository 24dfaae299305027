//! What became of a request, with everything that an answer, a log line and a metric need.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::decision::{CompiledRoute, Decision, Denial, Facts};
use crate::keys::KeyRecord;
use crate::limits::{NamedLimit, Verdict};

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
        Self {
            instant: Instant::now(),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// 128 random bits that name one decision in its answer, its metadata and its log line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; 16]);

/// Random bytes fetched from the operating system at a time: one call serves 64 decisions.
const POOL_BYTES: usize = 1024;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

impl Pool {
    fn take(&mut self) -> [u8; 16] {
        if self.used + 16 > POOL_BYTES {
            // Without entropy ids would repeat; that is worth knowing, but no reason to refuse a request.
            if let Err(error) = getrandom::fill(&mut self.bytes) {
                tracing::error!(%error, "no random bytes for decision ids");
            }
            self.used = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[self.used..self.used + 16]);
        self.used += 16;
        id
    }
}

impl DecisionId {
    /// A new one.
    pub(super) fn new() -> Self {
        Self(POOL.with_borrow_mut(Pool::take))
    }

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

/// What became of a request.
#[derive(Debug)]
pub struct Outcome<'r> {
    /// Its name.
    pub decision_id: DecisionId,
    /// Allow or deny.
    pub decision: Decision,
    /// What was read of the request.
    pub facts: Facts<'r>,
    /// The record of the presented key, also when the request was then refused. Only a [`crate::decision::Grant`] says that
    /// it may be trusted.
    pub identity: Option<Arc<KeyRecord>>,
    /// The route, if one was found. For operators: a denied caller is not told.
    pub route: Option<Arc<CompiledRoute>>,
    /// The limit that was counted, and what came of it.
    pub limit: Option<(Arc<NamedLimit>, Verdict)>,
    /// When the request arrived.
    pub arrival: Arrival,
}

impl Outcome<'_> {
    /// For a request in which Latchkey itself failed: 500, and nothing of the request in it.
    pub fn fault(arrival: Arrival) -> Self {
        Self {
            decision_id: DecisionId::new(),
            decision: Decision::Deny(Denial::Internal),
            facts: Facts::default(),
            identity: None,
            route: None,
            limit: None,
            arrival,
        }
    }

    /// `allow` or `deny`, as in metadata, metrics and logs.
    pub fn verb(&self) -> &'static str {
        match self.decision {
            Decision::Allow(_) => "allow",
            Decision::Deny(_) => "deny",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn decision_ids_do_not_repeat_and_print_as_32_digits() {
        let ids: HashSet<String> = (0..1000).map(|_| DecisionId::new().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(
            ids.iter()
                .all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        );
    }
}
