//! What became of a request, with everything that an answer, a log line and a metric need.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::decision::{CompiledRoute, Decision, Denial, Facts};
use crate::keys::KeyRecord;
use crate::limits::{NamedLimit, Verdict};
use crate::usage::{DecisionId, Replica};

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
    pub fn fault(replica: Replica, arrival: Arrival) -> Self {
        Self {
            decision_id: DecisionId::new(replica, arrival.unix_ms),
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
