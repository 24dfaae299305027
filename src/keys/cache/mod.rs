//! What is remembered of keys, and how the source is asked.
//!
//! [`KeyCache::get`] is the hot path: one hash, one read of a shard, no wait. [`KeyCache::look_up`] asks the source, in a task
//! of its own that outlives whoever began it, once for all who want the same key.
//!
//! A verified key goes `fresh → (refreshed in the background) → due → stale → gone`: due keys are asked for again, stale ones
//! are served only while the source gives no answer. [`KeyCache::forget`] ends all of that at once.

mod bounded;
mod flight;
mod metrics;
mod slots;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use self::bounded::{Bounded, Recency};
use self::flight::{Answer, Flights, Landing};
pub use self::metrics::CacheMetrics;
use self::slots::Slots;
use super::record::{KeyRecord, KeyStatus};
use super::secret::{ApiKey, KeyDigest};
use super::source::{KeySource, KeySourceError};
use super::uses::KeyUses;
use crate::config::{CacheSettings, KeySettings};

/// How long a request waits for the source when a stale answer would do.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a stale answer is given without asking again, after the source gave none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long before the deadline of a request a stale answer is there, so that it is still in time.
const MARGIN: Duration = Duration::from_millis(10);

/// How long before its deadline a request stops waiting for a slot, so that it is told why.
const SLOT_MARGIN: Duration = Duration::from_millis(2);

/// How long a refresh in the background waits for its answer.
const REFRESH_LIMIT: Duration = Duration::from_secs(5);

/// Why the source is asked.
#[derive(Clone, Copy)]
enum Asked {
    /// For a key that is not known; takes a slot of its caller's address.
    Anew { caller: Option<IpAddr> },
    /// For a key that was verified before; needs no slot, so that a flood of unknown ones cannot keep it out.
    Again,
}

/// What the cache can say at once.
#[derive(Clone, Debug)]
pub enum Remembered {
    /// A verified key, fresh.
    Known(Arc<KeyRecord>),
    /// A key that its source does not know, asked a short time ago.
    Unknown,
    /// Nothing usable: [`KeyCache::look_up`].
    Nothing,
}

/// The cache before one source. Its keys are whole digests, and one cache never serves two sources.
pub struct KeyCache {
    source: Arc<dyn KeySource>,
    /// Their times; the sizes are those of the start.
    settings: ArcSwap<CacheSettings>,
    waiting: Handle,
    known: Bounded<Known>,
    unknown: Bounded<Unknown>,
    flights: Arc<Flights>,
    slots: Slots,
    /// Held by the one known key that is asked for while the source is silent.
    probe: Semaphore,
    /// The source gave no answer when it was last asked for a known key.
    silent: AtomicBool,
    /// Since when changes may have been missed; see [`KeyCache::suspect`].
    suspect_since: RwLock<Option<Instant>>,
    /// The same as a flag, so that the hot path reads no lock.
    suspected: AtomicBool,
    metrics: CacheMetrics,
    uses: KeyUses,
}

/// A verified key.
struct Known {
    record: Arc<KeyRecord>,
    asked_at: Instant,
    refresh_at: Instant,
    serve_until: Instant,
    stale_until: Instant,
    used: AtomicBool,
    refreshing: AtomicBool,
}

impl Recency for Known {
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// A key that the source does not know.
struct Unknown {
    until: Instant,
}

/// Unknown keys go in the order in which they came.
impl Recency for Unknown {
    fn take_used(&self) -> bool {
        false
    }
}

impl KeyCache {
    /// A cache before `source`; look-ups run as tasks of `waiting`, never on the caller's runtime.
    pub fn new(source: Arc<dyn KeySource>, settings: &KeySettings, waiting: Handle) -> Arc<Self> {
        let metrics = CacheMetrics::default();
        let cache = settings.cache;
        Arc::new(Self {
            source,
            settings: ArcSwap::from_pointee(cache),
            waiting,
            known: Bounded::new(cache.max_keys, metrics.known()),
            unknown: Bounded::new(cache.max_unknown_keys, metrics.unknown()),
            flights: Arc::default(),
            slots: Slots::new(settings.max_in_flight),
            probe: Semaphore::new(1),
            silent: AtomicBool::new(false),
            suspect_since: RwLock::new(None),
            suspected: AtomicBool::new(false),
            metrics,
            uses: KeyUses::default(),
        })
    }

    /// What is counted of keys, and written later.
    pub fn uses(&self) -> &KeyUses {
        &self.uses
    }

    /// The metrics of this cache.
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    /// From here on answers are kept for these times. What is remembered already keeps the times that it was given, and the
    /// numbers of keys stay as they were.
    pub fn set_times(&self, settings: CacheSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Whether the source can know a key of this form at all.
    pub fn can_know(&self, presented: &str) -> bool {
        self.source.can_know(presented.as_bytes())
    }

    /// What is remembered of a presented key; no I/O, no wait. A key that will soon be due is asked for in the background.
    pub fn get(self: &Arc<Self>, presented: &str, now: Instant) -> Remembered {
        let digest = KeyDigest::of(presented);
        let suspect_since = self.suspect_since();
        let found = self.known.with(&digest, |known| {
            if !known.may_serve(now, suspect_since) {
                return None;
            }
            if !known.used.load(Ordering::Relaxed) {
                known.used.store(true, Ordering::Relaxed);
            }
            let due = now >= known.refresh_at && !known.refreshing.swap(true, Ordering::Relaxed);
            Some((Arc::clone(&known.record), due))
        });
        match found.flatten() {
            Some((record, due)) => {
                if due {
                    self.refresh(presented, digest);
                }
                self.metrics.hit_known();
                Remembered::Known(record)
            }
            None if suspect_since.is_none()
                && self.unknown.with(&digest, |it| now < it.until) == Some(true) =>
            {
                self.metrics.hit_unknown();
                Remembered::Unknown
            }
            None => {
                self.metrics.miss();
                Remembered::Nothing
            }
        }
    }

    /// Asks the source, once for all who want the same key; falls back to a stale answer within `stale_if_error`.
    ///
    /// Ends by the deadline. The look-up itself goes on, for the next try. `caller` is the address that unknown keys are
    /// accounted to; a key that was verified before needs no slot.
    pub async fn look_up(
        self: &Arc<Self>,
        key: ApiKey,
        caller: Option<IpAddr>,
        deadline: Instant,
    ) -> Result<Option<Arc<KeyRecord>>, KeySourceError> {
        let digest = KeyDigest::of(key.expose());
        let began = Instant::now();
        let answer = match self.stale(&digest, began) {
            None => self.ask(key, digest, Asked::Anew { caller }, deadline).await,
            Some(_) => {
                let patience = deadline
                    .checked_sub(MARGIN)
                    .unwrap_or(began)
                    .min(began + PATIENCE);
                self.ask_again(key, digest, patience).await
            }
        };
        match answer {
            Ok(record) => Ok(record),
            Err(error) => {
                self.metrics.no_answer(&error);
                // Looked at again: it may have been forgotten while we waited, and then it is not to be used.
                let now = Instant::now();
                match self.stale(&digest, now) {
                    Some(record) => {
                        self.postpone(&digest, now);
                        self.metrics.served_stale();
                        Ok(Some(record))
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Asks for a key that a stale answer would do for. While the source is silent only one such key at a time is asked
    /// for, so that not every one of them waits for nothing, and the source is not met by all of them when it comes back.
    async fn ask_again(self: &Arc<Self>, key: ApiKey, digest: KeyDigest, deadline: Instant) -> Answer {
        let _probe = if self.silent.load(Ordering::Relaxed) {
            Some(self.probe.try_acquire().map_err(|_| KeySourceError::Busy)?)
        } else {
            None
        };
        let answer = self.ask(key, digest, Asked::Again, deadline).await;
        self.silent.store(answer.is_err(), Ordering::Relaxed);
        answer
    }

    /// Forgets what is known of a key. A look-up under way asks again, so that what it read before cannot come back.
    ///
    /// To be called after the change was committed.
    pub fn forget(&self, digest: &KeyDigest) {
        self.flights.outdate(digest, || {
            self.known.remove(digest);
            self.unknown.remove(digest);
        });
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.flights.outdate_all(|| {
            self.known.clear();
            self.unknown.clear();
        });
    }

    /// From now on changes may go unseen: every key is asked for again before it is used, at most once a second, and what is
    /// known is served only while the source does not answer.
    pub fn suspect(&self, now: Instant) {
        let mut since = self.suspect_since.write().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert(now);
        self.suspected.store(true, Ordering::Release);
    }

    /// Changes are seen again, and those missed have been caught up with.
    pub fn trust(&self) {
        let mut since = self.suspect_since.write().unwrap_or_else(PoisonError::into_inner);
        *since = None;
        self.suspected.store(false, Ordering::Release);
    }

    fn suspect_since(&self) -> Option<Instant> {
        if !self.suspected.load(Ordering::Acquire) {
            return None;
        }
        *self.suspect_since.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record that may be used while the source gives no answer. Only an active key is ever used so.
    fn stale(&self, digest: &KeyDigest, now: Instant) -> Option<Arc<KeyRecord>> {
        let usable = |known: &Known| {
            (known.record.status == KeyStatus::Active && now < known.stale_until)
                .then(|| Arc::clone(&known.record))
        };
        self.known.with(digest, usable).flatten()
    }

    /// Lets a stale record be served for a moment without asking again.
    fn postpone(&self, digest: &KeyDigest, now: Instant) {
        self.known.update(digest, |known| {
            known.asked_at = now;
            known.serve_until = known.stale_until.min(now + RETRY_AFTER);
            known.refresh_at = known.serve_until;
        });
    }

    fn refresh(self: &Arc<Self>, presented: &str, digest: KeyDigest) {
        let Some(key) = ApiKey::presented(presented) else {
            return;
        };
        self.metrics.refreshed();
        let cache = Arc::clone(self);
        self.waiting.spawn(async move {
            let limit = Instant::now() + REFRESH_LIMIT;
            if let Err(error) = cache.ask(key, digest, Asked::Again, limit).await {
                cache.metrics.no_answer(&error);
                // The next one who comes after this may try again; until then the record is still fresh.
                let again = Instant::now() + RETRY_AFTER;
                cache.known.update(&digest, |known| {
                    known.refresh_at = again;
                    known.refreshing.store(false, Ordering::Relaxed);
                });
            }
        });
    }

    /// Joins the look-up of this key that is under way, or begins one.
    ///
    /// The look-up itself waits for a slot, so that all who want the key wait for one, and get its answer together.
    async fn ask(
        self: &Arc<Self>,
        key: ApiKey,
        digest: KeyDigest,
        asked: Asked,
        deadline: Instant,
    ) -> Answer {
        let began = Instant::now();
        let (flight, begins) = self.flights.join(digest);
        if begins {
            let (cache, landing) = (Arc::clone(self), Landing::of(&self.flights, digest));
            self.waiting.spawn(async move {
                cache.fly(landing, digest, &key, asked, deadline).await;
                cache.metrics.in_flight(cache.flights.len());
            });
            self.metrics.in_flight(self.flights.len());
        }
        match timeout_at(deadline.into(), flight.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(KeySourceError::Deadline(
                deadline.saturating_duration_since(began),
            )),
        }
    }

    /// The task of one look-up; `deadline` is that of the one who began it, and bounds the wait for a slot.
    async fn fly(&self, landing: Landing, digest: KeyDigest, key: &ApiKey, asked: Asked, deadline: Instant) {
        let _slot = match asked {
            Asked::Again => None,
            Asked::Anew { caller } => {
                let until = deadline.checked_sub(SLOT_MARGIN).unwrap_or(deadline);
                match timeout_at(until.into(), self.slots.take(caller)).await {
                    Ok(Ok(slot)) => Some(slot),
                    Ok(Err(error)) => return landing.give_up(error),
                    Err(_) => return landing.give_up(KeySourceError::Busy),
                }
            }
        };
        let keep = |found: &Option<Arc<KeyRecord>>, asked_at| {
            self.metrics.looked_up(found.is_some());
            self.keep(digest, found, asked_at);
        };
        flight::fly(landing, &*self.source, key, keep).await;
    }

    /// Remembers an answer of the source; called while no `forget` of this key can come in between.
    fn keep(&self, digest: KeyDigest, answer: &Option<Arc<KeyRecord>>, asked_at: Instant) {
        let now = Instant::now();
        let settings = self.settings.load();
        match answer {
            Some(record) => {
                self.unknown.remove(&digest);
                self.known
                    .insert(digest, Known::new(Arc::clone(record), &settings, asked_at, now));
            }
            None => {
                self.known.remove(&digest);
                self.unknown.insert(
                    digest,
                    Unknown {
                        until: now + settings.negative_ttl,
                    },
                );
            }
        }
    }
}

impl Known {
    fn new(record: Arc<KeyRecord>, settings: &CacheSettings, asked_at: Instant, now: Instant) -> Self {
        Self {
            record,
            asked_at,
            refresh_at: now + settings.ttl.mul_f64(settings.refresh_ahead),
            serve_until: now + settings.ttl,
            stale_until: now + settings.ttl + settings.stale_if_error,
            used: AtomicBool::new(true),
            refreshing: AtomicBool::new(false),
        }
    }

    fn may_serve(&self, now: Instant, suspect_since: Option<Instant>) -> bool {
        now < self.serve_until
            && suspect_since.is_none_or(|since| self.asked_at >= since && now < self.asked_at + RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests;
