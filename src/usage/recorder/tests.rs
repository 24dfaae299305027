//! The recorder on paused time, before a store that refuses, hangs, or never takes a batch.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::decision_id::Replica;
use super::super::event::testing::event;
use super::super::store::{By, Doing, EventFilter, Filter, Settled, UsageRow, UsageStoreError, Written};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// The name of a key whose events the store never takes.
const POISON: &str = "poison";

/// A store that can be away: it then refuses, or does not answer.
#[derive(Default)]
struct Fake {
    refuses: AtomicBool,
    hangs: AtomicBool,
    events: Mutex<BTreeMap<String, u32>>,
    made: Mutex<BTreeMap<Minute, u64>>,
    stopped: AtomicU64,
}

impl Fake {
    fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

impl UsageStore for Fake {
    fn started(&self, _: Replica, _: u64) -> Doing<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    fn stopped(&self, _: Replica, _: u64) -> Doing<'_, ()> {
        self.stopped.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> Doing<'a, Written> {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.refuses.load(Ordering::SeqCst) {
                return Err(UsageStoreError("away".into()));
            }
            if batch.events.iter().any(|event| &*event.key_name == POISON) {
                return Err(UsageStoreError("no such batch".into()));
            }
            for event in &batch.events {
                *self
                    .events
                    .lock()
                    .unwrap()
                    .entry(event.id.as_str().into())
                    .or_default() += 1;
            }
            self.made
                .lock()
                .unwrap()
                .extend(batch.made.iter().map(|(_, minute, made)| (*minute, *made)));
            Ok(Written::default())
        })
    }

    fn settle(&self, _: Minute) -> Doing<'_, Settled> {
        Box::pin(async {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.refuses.load(Ordering::SeqCst) {
                return Err(UsageStoreError("away".into()));
            }
            Ok(Settled { missing: 0 })
        })
    }

    fn expire(&self, _: u64, _: u64) -> Doing<'_, bool> {
        Box::pin(async { Ok(false) })
    }

    fn totals<'a>(&'a self, _: &'a Filter, _: &'a By, _: u32, _: u64) -> Doing<'a, Vec<UsageRow>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn events<'a>(&'a self, _: &'a EventFilter, _: u32) -> Doing<'a, Vec<Event>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn last_used<'a>(&'a self, _: &'a str) -> Doing<'a, Option<(u64, u64)>> {
        Box::pin(async { Ok(None) })
    }
}

struct Test {
    store: Arc<Fake>,
    recorder: Arc<Recorder>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Test {
    fn start(store: Fake) -> Self {
        Self::over(store, tempfile::tempdir().unwrap(), 1 << 20)
    }

    fn over(store: Fake, folder: TempDir, spool_bytes: u64) -> Self {
        let store = Arc::new(store);
        let ledger = Arc::new(Ledger::new(Replica::from_number(1)));
        let settings = Arc::new(crate::config::load(None, &BTreeMap::new()).unwrap().settings);
        let parts = RecorderParts {
            spool: SpoolFolder::open(&folder.path().join("spool"), spool_bytes),
            ledger: Arc::clone(&ledger),
            monitor: Monitor::new(watch::channel(settings).1),
            keeping: Keeping {
                events: LIMIT,
                sums: LIMIT,
                missing_after: LIMIT,
            },
        };
        let (recorder, writing) = Recorder::new(Arc::clone(&store) as Arc<dyn UsageStore>, parts);
        let stop = CancellationToken::new();
        let task = tokio::spawn(writing.run(stop.clone(), LIMIT));
        Self {
            store,
            recorder,
            ledger,
            stop,
            task,
            folder,
        }
    }

    async fn take(&self, numbers: std::ops::Range<u32>) {
        self.recorder.take(numbers.map(event).collect()).await;
    }

    async fn until(&self, events: usize) {
        let all = async {
            while self.store.count() < events {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let done = timeout(Duration::from_secs(60), all).await;
        assert!(done.is_ok(), "{} of {events} events", self.store.count());
    }

    async fn end(self) -> (Arc<Fake>, TempDir) {
        self.stop.cancel();
        timeout(Duration::from_secs(60), self.task)
            .await
            .unwrap()
            .unwrap();
        (self.store, self.folder)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_is_written_and_the_decisions_with_it() {
    let test = Test::start(Fake::default());
    for at_ms in [60_000, 60_001, 120_000] {
        test.ledger.count(at_ms);
    }
    test.take(0..5_000).await;
    test.until(5_000).await;
    test.ledger.count(60_002);
    let (store, _folder) = test.end().await;
    let made = store.made.lock().unwrap().clone();
    assert_eq!(made, BTreeMap::from([(Minute(1), 3), (Minute(2), 1)]));
    assert_eq!(store.stopped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_store_is_away() {
    for hangs in [false, true] {
        let test = Test::start(Fake::default());
        let away = if hangs {
            &test.store.hangs
        } else {
            &test.store.refuses
        };
        test.take(0..10).await;
        test.until(10).await;
        away.store(true, Ordering::SeqCst);
        for second in 1..30 {
            test.take(second * 10..second * 10 + 10).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(test.store.count(), 10);
        away.store(false, Ordering::SeqCst);
        test.until(300).await;
        let (store, folder) = test.end().await;
        assert_eq!(store.count(), 300);
        let left = std::fs::read_dir(folder.path().join("spool")).unwrap().count();
        assert_eq!(left, 0, "what was written has left the disk");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_on_disk_is_written_by_the_next_server() {
    let test = Test::start(Fake::default());
    test.store.refuses.store(true, Ordering::SeqCst);
    test.take(0..10).await;
    let (store, folder) = test.end().await;
    assert_eq!((store.count(), store.stopped.load(Ordering::SeqCst)), (0, 1));
    let test = Test::over(Fake::default(), folder, 1 << 20);
    test.until(10).await;
    test.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_the_end_costs_nothing_either() {
    let test = Test::start(Fake::default());
    test.store.hangs.store(true, Ordering::SeqCst);
    test.take(0..3_000).await;
    let (store, folder) = test.end().await;
    assert_eq!(store.count(), 0);
    let test = Test::over(Fake::default(), folder, 1 << 20);
    test.until(3_000).await;
    test.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_full_spool_cannot_keep_is_counted() {
    let test = Test::over(Fake::default(), tempfile::tempdir().unwrap(), 1);
    test.store.refuses.store(true, Ordering::SeqCst);
    test.take(0..10).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    test.take(10..20).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut registry = prometheus_client::registry::Registry::default();
    test.recorder.metrics().register(&mut registry);
    let metrics = crate::telemetry::render(&registry).unwrap();
    for line in [
        r#"latchkey_usage_events_total{result="spooled"} 10"#,
        r#"latchkey_usage_events_total{result="dropped"} 10"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    test.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_never_taken_keeps_no_other_waiting() {
    let test = Test::start(Fake::default());
    test.recorder
        .take(vec![Event {
            key_name: POISON.into(),
            ..event(1_000_000)
        }])
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    test.take(0..10).await;
    test.until(10).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    test.take(10..20).await;
    test.until(20).await;
    let (_, folder) = test.end().await;
    let left: Vec<_> = std::fs::read_dir(folder.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        matches!(&left[..], [file] if file.extension().is_some_and(|extension| extension == "refused")),
        "{left:?}"
    );
}
