//! Look-ups under way: one a key, however many wait for it.
//!
//! The race that must not be lost: a look-up reads a record, the key is revoked and forgotten, and then the look-up puts its
//! old record into the cache. Here a change marks the look-up as outdated under the same lock under which an answer is
//! kept, and an outdated one asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout;

use super::super::record::KeyRecord;
use super::super::secret::{ApiKey, KeyDigest};
use super::super::source::{KeySource, KeySourceError};

/// Questions asked for one look-up, if the key keeps changing meanwhile.
const QUESTIONS: usize = 4;

/// What a look-up ends with.
pub(super) type Answer = Result<Option<Arc<KeyRecord>>, KeySourceError>;

/// All look-ups under way.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<KeyDigest, Flying>>,
}

struct Flying {
    sender: Arc<watch::Sender<Option<Answer>>>,
    outdated: bool,
}

/// A look-up that someone waits for.
pub(super) struct Flight {
    receiver: watch::Receiver<Option<Answer>>,
}

impl Flight {
    /// Waits for the end of the look-up.
    pub(super) async fn answer(mut self) -> Answer {
        match self.receiver.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(ended_early())),
            Err(_) => Err(ended_early()),
        }
    }
}

fn ended_early() -> KeySourceError {
    KeySourceError::Failed("the look-up ended early".into())
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyDigest, Flying>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The look-up of this key, and whether the caller is the one who has to [`fly`] it.
    pub(super) fn join(&self, digest: KeyDigest) -> (Flight, bool) {
        let mut under_way = self.lock();
        let mut begins = false;
        let flying = under_way.entry(digest).or_insert_with(|| {
            begins = true;
            Flying {
                sender: Arc::new(watch::Sender::new(None)),
                outdated: false,
            }
        });
        (
            Flight {
                receiver: flying.sender.subscribe(),
            },
            begins,
        )
    }

    /// Marks the look-up of a key as outdated and does `forget`, as one step.
    pub(super) fn outdate(&self, digest: &KeyDigest, forget: impl FnOnce()) {
        let mut under_way = self.lock();
        if let Some(flying) = under_way.get_mut(digest) {
            flying.outdated = true;
        }
        forget();
    }

    /// The same for every key.
    pub(super) fn outdate_all(&self, forget: impl FnOnce()) {
        let mut under_way = self.lock();
        under_way.values_mut().for_each(|flying| flying.outdated = true);
        forget();
    }

    /// Ends a look-up with an answer that is `kept` under the lock; `false` when it is outdated and has to be asked again.
    fn land(
        &self,
        digest: KeyDigest,
        answer: &Answer,
        last: bool,
        keep: impl FnOnce(&Option<Arc<KeyRecord>>),
    ) -> bool {
        let mut under_way = self.lock();
        let Some(flying) = under_way.get_mut(&digest) else {
            return true;
        };
        if flying.outdated && !last {
            flying.outdated = false;
            return false;
        }
        let outdated = flying.outdated;
        let sender = Arc::clone(&flying.sender);
        under_way.remove(&digest);
        let answer = if outdated {
            Err(ended_early())
        } else {
            answer.clone()
        };
        if let Ok(found) = &answer {
            keep(found);
        }
        drop(under_way);
        sender.send_replace(Some(answer));
        true
    }
}

/// Ends the look-up also when its task is dropped or panics; those who wait then hear that it ended early.
///
/// To be made where the look-up begins, not in its task: one that never runs has to end as well.
pub(super) struct Landing {
    flights: Arc<Flights>,
    digest: KeyDigest,
    landed: bool,
}

impl Landing {
    pub(super) fn of(flights: &Arc<Flights>, digest: KeyDigest) -> Self {
        Self {
            flights: Arc::clone(flights),
            digest,
            landed: false,
        }
    }
}

impl Landing {
    /// Ends the look-up without having asked.
    pub(super) fn give_up(mut self, error: KeySourceError) {
        self.landed = self.flights.land(self.digest, &Err(error), true, |_| {});
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Once landed it is taken out already, and somebody may have begun the next one since.
        if !self.landed {
            self.flights.lock().remove(&self.digest);
        }
    }
}

/// Asks the source until an answer is not outdated, and ends the look-up with it. `keep` is told when it was asked for.
pub(super) async fn fly(
    mut landing: Landing,
    source: &dyn KeySource,
    key: &ApiKey,
    keep: impl Fn(&Option<Arc<KeyRecord>>, Instant),
) {
    for question in 1..=QUESTIONS {
        let asked_at = Instant::now();
        let limit = source.limit();
        let answer = match timeout(limit, source.verify(key)).await {
            Ok(answer) => answer,
            Err(_) => Err(KeySourceError::Deadline(limit)),
        };
        let is_last = question == QUESTIONS;
        landing.landed = landing
            .flights
            .land(landing.digest, &answer, is_last, |found| keep(found, asked_at));
        if landing.landed {
            return;
        }
    }
}
