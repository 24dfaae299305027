//! A circuit breaker: who keeps failing is left alone for a while.
//!
//! `closed ──(failures in a row)──▶ open ──(pause)──▶ half open ──(one call succeeds)──▶ closed`, and back to open, for longer,
//! when that one call fails. While it is open nobody waits for an answer that will not come, and an endpoint that comes
//! back is met by one call and not by all of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// The first pause, which doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The longest that an endpoint is left alone because it asked for that.
const LONGEST_WISH: Duration = Duration::from_secs(30);

/// Stands before one endpoint.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Held for a few instructions, never across a call.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since the last success.
    failures: u32,
    /// Pauses since the last success.
    pauses: u32,
    /// Closed until there is one.
    open_until: Option<Instant>,
    /// The one call of a half open breaker is under way.
    probing: bool,
}

/// Leave to make one call. Dropped without a word, as when nobody waits any more, it says nothing of the endpoint.
#[derive(Debug)]
pub struct Permit<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Leave to call, or how long there is none.
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        let is_probe = match state.open_until {
            None => false,
            Some(until) if now < until => return Err(until - now),
            Some(_) if state.probing => return Err(FIRST_PAUSE),
            Some(_) => {
                state.probing = true;
                true
            }
        };
        Ok(Permit {
            breaker: self,
            is_probe,
        })
    }

    /// Whether calls are refused, or only one is let through.
    pub fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The endpoint works.
    pub fn succeeded(self) {
        let mut state = self.breaker.lock();
        // A call that began before it opened says nothing of now.
        if self.is_probe || state.open_until.is_none() {
            *state = State::default();
        }
    }

    /// The endpoint is in trouble; `wish` is how long it wants to be left alone, and then it is at once. Whether that opened the
    /// breaker.
    pub fn failed(self, now: Instant, wish: Option<Duration>) -> bool {
        let mut state = self.breaker.lock();
        if !self.is_probe && state.open_until.is_some() {
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        if !self.is_probe && state.failures < FAILURES && wish.is_none() {
            return false;
        }
        let pause = (FIRST_PAUSE * 2_u32.pow(state.pauses.min(8))).min(LONGEST_PAUSE);
        let pause = wish.map_or(jittered(pause), |wish| wish.clamp(FIRST_PAUSE, LONGEST_WISH));
        state.pauses = state.pauses.saturating_add(1);
        state.open_until = Some(now + pause);
        true
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().probing = false;
        }
    }
}

/// Half of it to all of it, so that replicas do not come back in step.
fn jittered(pause: Duration) -> Duration {
    // Without entropy they do.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant, times: u32) -> bool {
        (0..times).fold(false, |_, _| breaker.admit(now).unwrap().failed(now, None))
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_between_does_not() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(!fail(&breaker, now, FAILURES - 1));
        breaker.admit(now).unwrap().succeeded();
        assert!(!fail(&breaker, now, FAILURES - 1));
        assert!(!breaker.is_open());
        assert!(fail(&breaker, now, 1));
        assert!(breaker.is_open());
        assert!(breaker.admit(now).unwrap_err() <= FIRST_PAUSE);
    }

    #[test]
    fn one_call_is_let_through_after_the_pause_and_decides() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        fail(&breaker, now, FAILURES);
        let later = now + FIRST_PAUSE;
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err(), "one at a time");
        assert!(probe.failed(later, None));
        assert!(breaker.admit(later + FIRST_PAUSE / 4).is_err());
        let last = later + FIRST_PAUSE * 2;
        breaker.admit(last).unwrap().succeeded();
        assert!(!breaker.is_open());
        assert!(!fail(&breaker, last, FAILURES - 1), "it begins anew");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        fail(&breaker, now, FAILURES);
        for _ in 0..40 {
            let pause = breaker.admit(now).unwrap_err();
            assert!(pause <= LONGEST_PAUSE);
            now += pause;
            assert!(breaker.admit(now).unwrap().failed(now, None));
        }
        assert!(breaker.admit(now).unwrap_err() >= LONGEST_PAUSE / 2);
    }

    #[test]
    fn a_probe_that_nobody_waits_for_lets_the_next_one_try() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        fail(&breaker, now, FAILURES);
        let later = now + FIRST_PAUSE;
        drop(breaker.admit(later).unwrap());
        breaker.admit(later).unwrap().succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let (early, other) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        fail(&breaker, now, FAILURES);
        early.succeeded();
        assert!(breaker.is_open());
        assert!(!other.failed(now, None));
    }

    #[test]
    fn a_wish_to_be_left_alone_is_granted_up_to_a_bound() {
        for (wish, pause) in [
            (Duration::ZERO, FIRST_PAUSE),
            (Duration::from_secs(7), Duration::from_secs(7)),
            (Duration::from_secs(86_400), LONGEST_WISH),
        ] {
            let (breaker, now) = (Breaker::default(), Instant::now());
            assert!(breaker.admit(now).unwrap().failed(now, Some(wish)));
            assert_eq!(breaker.admit(now).unwrap_err(), pause, "{wish:?}");
        }
    }
}
