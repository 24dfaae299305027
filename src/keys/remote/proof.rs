//! Whether our own credentials are known to be good.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::credentials::{Bearer, CredentialsId};

/// How long an answer proves the credentials that it was given to. Short, since they may end at any time, and then what is
/// known of keys must not be lost.
const LASTS: Duration = Duration::from_secs(60);

/// The last answer that only somebody with good credentials gets.
#[derive(Debug, Default)]
pub(super) struct Proof(Mutex<Option<(CredentialsId, Instant)>>);

impl Proof {
    /// These credentials were answered.
    pub(super) fn renew(&self, bearer: &Bearer, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((bearer.id, now));
    }

    /// Whether these credentials were answered a moment ago.
    pub(super) fn holds(&self, bearer: &Bearer, now: Instant) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|(id, at)| id == bearer.id && now.saturating_duration_since(at) < LASTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(id: u8) -> Bearer {
        Bearer {
            header: None,
            id: CredentialsId([id; 32]),
        }
    }

    #[test]
    fn credentials_are_proven_for_a_minute_and_for_themselves() {
        let (proof, now) = (Proof::default(), Instant::now());
        assert!(!proof.holds(&bearer(1), now));
        proof.renew(&bearer(1), now);
        for (id, seconds, holds) in [(1, 59, true), (1, 61, false), (2, 0, false)] {
            let then = now + Duration::from_secs(seconds);
            assert_eq!(proof.holds(&bearer(id), then), holds, "{id} after {seconds} s");
        }
    }
}
