//! From the access log to the store, without losing an event on the way.
//!
//! Events wait in a queue that is bounded in bytes. A task writes them in batches, by count and by age. While the store does not
//! take a batch, it goes to the [`Spool`]; when the store is back, what waits there is written first. The last batch is written
//! when the recorder is told to stop. What a process that is killed loses is what came in since the last batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::decision_id::Minute;
use super::event::Event;
use super::ledger::Ledger;
use super::metrics::UsageMetrics;
use super::monitor::Monitor;
use super::spool::{Kept, Spool};
use super::store::{Batch, UsageStore};

/// Events in memory that are not written yet, in bytes. The stream that brings more waits.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Events of one batch, and how long the first of them waits for others.
const BATCH_EVENTS: usize = 2_000;
const BATCH_AGE: Duration = Duration::from_millis(250);

/// What one batch may take before it goes to the spool.
const WRITE_LIMIT: Duration = Duration::from_secs(3);

/// How long the store is left alone after it has not taken a batch; what comes meanwhile goes to the spool at once.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a store that is well may refuse a batch before it is set aside.
const MOST_REFUSALS: u32 = 3;

/// Minutes whose total may still grow.
const MINUTES_OPEN: usize = 16;

/// How often decisions are compared with what came back, and old events deleted.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// How long one step of that may take, and how many steps are taken at a time.
const STEP_LIMIT: Duration = Duration::from_secs(2);
const STEPS_AT_A_TIME: usize = 50;

/// For how long things are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// Single events.
    pub events: Duration,
    /// Sums by hour.
    pub sums: Duration,
    /// When a decision without a log entry counts as missing; longer than any stream of an answer.
    pub missing_after: Duration,
}

/// Takes events; one for the process. [`Writing::run`] writes them.
#[derive(Debug)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<Event>,
    /// One permit a byte.
    room: Arc<Semaphore>,
    metrics: UsageMetrics,
}

impl Recorder {
    /// A recorder, and the task that writes what it takes.
    pub fn new(store: Arc<dyn UsageStore>, parts: RecorderParts) -> (Arc<Self>, Writing) {
        // Unbounded in number, since each event has had to find room in bytes.
        let (queue, queued) = mpsc::unbounded_channel();
        let recorder = Arc::new(Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            metrics: UsageMetrics::default(),
        });
        let writing = Writing {
            recorder: Arc::clone(&recorder),
            queued,
            store,
            spool: parts.spool.0,
            ledger: parts.ledger,
            monitor: parts.monitor,
            keeping: parts.keeping,
            batch: Batch::default(),
            made: BTreeMap::new(),
            changed: BTreeSet::new(),
            away_until: None,
            spool_rests_until: None,
            refusals: 0,
        };
        (recorder, writing)
    }

    /// Takes events; waits while the queue is full.
    pub async fn take(&self, events: Vec<Event>) {
        for event in events {
            let bytes = u32::try_from(event.size_bytes().min(QUEUE_BYTES)).unwrap_or(u32::MAX);
            // Never closed.
            if let Ok(room) = self.room.acquire_many(bytes).await {
                room.forget();
            }
            // The task that reads ends with the process.
            let _ = self.queue.send(event);
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &UsageMetrics {
        &self.metrics
    }

    fn written(&self, event: &Event) {
        self.room.add_permits(event.size_bytes().min(QUEUE_BYTES));
    }
}

/// What a recorder is made of.
#[derive(Debug)]
pub struct RecorderParts {
    /// Where events wait while the store is away.
    pub spool: SpoolFolder,
    /// What was decided, to be held against what comes back.
    pub ledger: Arc<Ledger>,
    /// Who watches.
    pub monitor: Monitor,
    /// For how long things are kept.
    pub keeping: Keeping,
}

/// A folder for events that wait.
#[derive(Debug)]
pub struct SpoolFolder(Spool);

impl SpoolFolder {
    /// At most `most_bytes` in this folder, which need not be there.
    pub fn open(folder: &std::path::Path, most_bytes: u64) -> Self {
        Self(Spool::open(folder, most_bytes))
    }
}

/// The task of a recorder.
pub struct Writing {
    recorder: Arc<Recorder>,
    queued: mpsc::UnboundedReceiver<Event>,
    store: Arc<dyn UsageStore>,
    spool: Spool,
    ledger: Arc<Ledger>,
    monitor: Monitor,
    keeping: Keeping,
    batch: Batch,
    /// Decisions of each minute so far, and the minutes whose total is not in the store yet.
    made: BTreeMap<Minute, u64>,
    changed: BTreeSet<Minute>,
    away_until: Option<Instant>,
    /// Until when the spool is left alone, and how often the store has refused its first batch.
    spool_rests_until: Option<Instant>,
    refusals: u32,
}

impl Writing {
    /// Writes until `stop`, and then what is left: to the store within `last`, else to the spool.
    pub async fn run(mut self, stop: CancellationToken, last: Duration) {
        self.note_start().await;
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flush = interval(BATCH_AGE);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = flush.tick() => {
                    self.flush().await;
                    // However long that took, the queue is read now.
                    flush.reset();
                }
                event = self.queued.recv() => self.add(event).await,
                _ = housekeeping.tick() => self.keep_house().await,
            }
        }
        if timeout(last, self.finish()).await.is_err() {
            // A disk is faster than a store that does not answer.
            while let Ok(event) = self.queued.try_recv() {
                self.batch.events.push(event);
            }
            self.spool_events();
        }
    }

    async fn note_start(&mut self) {
        match timeout(WRITE_LIMIT, self.store.started(self.ledger.replica(), now_ms())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(unclean)) => warn!(
                servers = unclean,
                "the last stop was unclean: usage of the last moments before it may be missing"
            ),
            Ok(Err(error)) => warn!(%error, "whether the last stop was clean is not known"),
            Err(_) => warn!("whether the last stop was clean is not known: no answer in time"),
        }
        let waiting = self.spool.bytes();
        self.recorder.metrics.spool_bytes(waiting);
        if waiting > 0 {
            info!(bytes = waiting, "usage waits on disk to be written");
        }
    }

    async fn add(&mut self, event: Option<Event>) {
        let Some(event) = event else { return };
        self.monitor.see(&event);
        self.recorder.written(&event);
        self.batch.events.push(event);
        if self.batch.events.len() >= BATCH_EVENTS {
            self.flush().await;
        }
    }

    /// Writes what has come since the last time, and some of what waits on disk.
    async fn flush(&mut self) {
        self.add_decisions();
        self.recorder
            .metrics
            .queued_bytes(QUEUE_BYTES - self.recorder.room.available_permits().min(QUEUE_BYTES));
        if self.away_until.is_some_and(|until| Instant::now() < until) {
            self.spool_events();
            return;
        }
        if self.batch.is_empty() || self.write().await {
            self.write_spooled().await;
        }
    }

    /// Puts the totals of the minutes in which decisions were made into the batch.
    fn add_decisions(&mut self) {
        for (minute, made) in self.ledger.take() {
            *self.made.entry(minute).or_default() += made;
            self.changed.insert(minute);
        }
        let replica = self.ledger.replica();
        let total = |minute: &Minute| Some((replica, *minute, *self.made.get(minute)?));
        self.batch.made = self.changed.iter().filter_map(total).collect();
    }

    /// The totals are in the store; those that cannot change any more are forgotten.
    fn decisions_written(&mut self) {
        self.changed.clear();
        while self.made.len() > MINUTES_OPEN {
            self.made.pop_first();
        }
    }

    /// Whether the store took the batch.
    async fn write(&mut self) -> bool {
        match timeout(WRITE_LIMIT, self.store.write(&self.batch)).await {
            Ok(Ok(written)) => {
                if self.away_until.take().is_some() {
                    info!("usage is written again");
                }
                self.recorder.metrics.written(written.new, written.known);
                self.batch = Batch::default();
                self.decisions_written();
                return true;
            }
            Ok(Err(error)) => self.is_away(&error.to_string()),
            Err(_) => self.is_away("no answer in time"),
        }
        self.spool_events();
        false
    }

    fn is_away(&mut self, error: &str) {
        self.recorder.metrics.write_failed();
        if self.away_until.is_none() {
            warn!(
                error,
                "usage cannot be written; it waits on disk until the store is back"
            );
        }
        self.away_until = Some(Instant::now() + PAUSE);
    }

    /// Puts the events of the batch on disk. The totals of decisions stay: they are few, and go with a later batch.
    fn spool_events(&mut self) {
        if self.batch.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.batch.events);
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        // A disk's moment on the waiting runtime, and only while the store is away.
        match self.spool.keep(&events, now_ms()) {
            Ok(()) => self.recorder.metrics.spooled(count),
            Err(error) => {
                self.recorder.metrics.dropped(count);
                error!(
                    error = &error as &dyn std::error::Error,
                    events = count,
                    "usage is lost"
                );
            }
        }
        self.recorder.metrics.spool_bytes(self.spool.bytes());
    }

    /// Writes one batch of those that wait.
    async fn write_spooled(&mut self) {
        if self.spool.bytes() == 0 || self.spool_rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.spool_rests_until = None;
        let kept = match self.spool.oldest() {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => return self.rest_spool("usage that waits on disk cannot be read", &error),
        };
        let batch = Batch {
            events: kept.events.clone(),
            made: Vec::new(),
        };
        match timeout(WRITE_LIMIT, self.store.write(&batch)).await {
            Ok(Ok(written)) => {
                self.away_until = None;
                self.refusals = 0;
                self.recorder.metrics.written(written.new, written.known);
                match self.spool.remove(&kept) {
                    Ok(()) if kept.broken > 0 => {
                        error!(lines = kept.broken, "usage on disk was broken, and is lost");
                        self.recorder.metrics.dropped(kept.broken);
                    }
                    Ok(()) => {}
                    // It then comes again, and counts once.
                    Err(error) => self.rest_spool("usage that was written stays on disk", &error),
                }
            }
            Ok(Err(error)) if self.store_takes_changes().await => self.refused(&kept, &error.to_string()),
            Ok(Err(error)) => self.is_away(&error.to_string()),
            Err(_) => self.is_away("no answer in time"),
        }
        self.recorder.metrics.spool_bytes(self.spool.bytes());
    }

    /// Whether the store is there and can be written. Settles nothing.
    async fn store_takes_changes(&self) -> bool {
        matches!(
            timeout(WRITE_LIMIT, self.store.settle(Minute(0))).await,
            Ok(Ok(_))
        )
    }

    /// The store is well and does not take this batch. One that is never taken must not keep all others waiting.
    fn refused(&mut self, kept: &Kept, error: &str) {
        self.refusals += 1;
        if self.refusals < MOST_REFUSALS {
            return self.rest_spool("the store refuses usage that waits on disk", &error);
        }
        self.refusals = 0;
        let events = u64::try_from(kept.events.len()).unwrap_or(u64::MAX);
        match self.spool.set_aside(kept) {
            Ok(place) => {
                self.recorder.metrics.dropped(events);
                error!(error, events, file = %place.display(), "usage that the store refuses was set aside, and is not counted");
            }
            Err(cause) => self.rest_spool("usage that the store refuses cannot be set aside", &cause),
        }
    }

    /// Leaves the spool alone for a moment: something is wrong with it, and not with the store.
    fn rest_spool(&mut self, what: &str, error: &dyn std::fmt::Display) {
        warn!(%error, "{what}");
        self.spool_rests_until = Some(Instant::now() + PAUSE);
    }

    async fn keep_house(&mut self) {
        if self.away_until.is_some() {
            return;
        }
        let now_ms = now_ms();
        let before =
            |kept: Duration| now_ms.saturating_sub(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
        let settled = self.store.settle(Minute::of(before(self.keeping.missing_after)));
        match timeout(STEP_LIMIT, settled).await {
            Ok(Ok(settled)) => {
                self.recorder.metrics.missing(settled.missing);
                if settled.missing > 0 {
                    warn!(
                        decisions = settled.missing,
                        "access log entries are missing: Envoy has not delivered them"
                    );
                }
            }
            Ok(Err(error)) => warn!(%error, "decisions cannot be compared with access log entries"),
            Err(_) => warn!("decisions cannot be compared with access log entries: no answer in time"),
        }
        for _ in 0..STEPS_AT_A_TIME {
            let step = self
                .store
                .expire(before(self.keeping.events), before(self.keeping.sums));
            match timeout(STEP_LIMIT, step).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(error)) => return warn!(%error, "old usage cannot be deleted"),
                Err(_) => return warn!("old usage cannot be deleted: no answer in time"),
            }
            // Events that came meanwhile do not wait for the next step.
            while let Ok(event) = self.queued.try_recv() {
                self.add(Some(event)).await;
            }
            self.flush().await;
        }
    }

    /// The end: everything that has come is written, or put on disk.
    async fn finish(&mut self) {
        self.queued.close();
        self.away_until = None;
        while let Some(event) = self.queued.recv().await {
            self.add(Some(event)).await;
        }
        self.flush().await;
        if self.batch.is_empty() {
            let stopped = self.store.stopped(self.ledger.replica(), now_ms()).await;
            if let Err(error) = stopped {
                warn!(%error, "the clean stop was not noted");
            }
        }
    }
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing")
            .field("spool", &self.spool)
            .field("keeping", &self.keeping)
            .finish_non_exhaustive()
    }
}

fn now_ms() -> u64 {
    let unix = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
