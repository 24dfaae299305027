//! What the cache promises, against a source that can be slow, wrong, broken or changed in between.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::config::SourceKind;
use crate::keys::{KeyType, Owner, Verifying};

mod counted;

const LONG: Duration = Duration::from_secs(20);

/// A source in the hands of the test.
struct Source {
    keys: Mutex<HashMap<String, KeyStatus>>,
    asked: AtomicUsize,
    /// Held by the test, it makes every question wait after the key was read.
    gate: Semaphore,
    broken: AtomicBool,
    panics: AtomicBool,
}

impl Source {
    fn with(keys: &[&str]) -> Arc<Self> {
        let keys = keys
            .iter()
            .map(|key| ((*key).to_owned(), KeyStatus::Active))
            .collect();
        Arc::new(Self {
            keys: Mutex::new(keys),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            broken: AtomicBool::new(false),
            panics: AtomicBool::new(false),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn set(&self, key: &str, status: KeyStatus) {
        self.keys.lock().unwrap().insert(key.to_owned(), status);
    }

    fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn open(&self) {
        self.gate.add_permits(1000);
    }
}

impl KeySource for Source {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            assert!(!self.panics.load(Ordering::SeqCst), "planted");
            let status = self.keys.lock().unwrap().get(key.expose()).copied();
            self.gate.acquire().await.unwrap().forget();
            if self.broken.load(Ordering::SeqCst) {
                return Err(KeySourceError::Failed("planted".into()));
            }
            Ok(status.map(|status| Arc::new(record(key.expose(), status))))
        })
    }

    fn can_know(&self, _presented: &[u8]) -> bool {
        true
    }
}

fn record(key: &str, status: KeyStatus) -> KeyRecord {
    KeyRecord {
        id: format!("id-of-{key}").into(),
        name: "test".into(),
        owner: Owner::from_parts(Some("org"), None),
        api_id: None,
        scopes: Vec::new(),
        status,
        expires_at_ms: None,
        allowed_networks: Vec::new(),
        key_type: KeyType::Organization,
        rate_limit: None,
        retiring: false,
    }
}

fn settings() -> KeySettings {
    KeySettings {
        source: SourceKind::Store,
        prefix: "lk".into(),
        max_in_flight: NonZeroUsize::new(8).unwrap(),
        remote: None,
        cache: CacheSettings {
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(300),
            refresh_ahead: 0.8,
            max_keys: NonZeroUsize::new(1000).unwrap(),
            max_unknown_keys: NonZeroUsize::new(100).unwrap(),
        },
    }
}

fn cache_of(source: &Arc<Source>, settings: &KeySettings) -> Arc<KeyCache> {
    KeyCache::new(
        Arc::clone(source) as Arc<dyn KeySource>,
        settings,
        Handle::current(),
    )
}

fn key(text: &str) -> ApiKey {
    ApiKey::presented(text).unwrap()
}

async fn look_up(cache: &Arc<KeyCache>, text: &str) -> Answer {
    cache.look_up(key(text), None, Instant::now() + LONG).await
}

/// A deadline in the near future of tokio's clock, which may be paused: then timers fire one after the other, however busy the
/// machine is.
fn soon() -> Instant {
    tokio::time::Instant::now().into_std() + Duration::from_millis(20)
}

/// Waits for what another task is about to do.
async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !what() {
        assert!(Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_hundred_who_want_one_key_ask_once() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    source.close();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { look_up(&cache, "good").await })
        })
        .collect();
    until(|| source.asked() == 1).await;
    source.open();
    for one in waiting {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(source.asked(), 1);
    assert!(matches!(cache.get("good", Instant::now()), Remembered::Known(_)));
}

#[tokio::test]
async fn a_key_is_fresh_for_its_ttl_and_unknown_ones_for_theirs() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    assert!(look_up(&cache, "bad").await.unwrap().is_none());
    let now = Instant::now();
    for (text, seconds, remembered) in [
        ("good", 59, true),
        ("good", 61, false),
        ("bad", 9, true),
        ("bad", 11, false),
    ] {
        let found = cache.get(text, now + Duration::from_secs(seconds));
        assert_eq!(
            !matches!(found, Remembered::Nothing),
            remembered,
            "{text} after {seconds} s: {found:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_in_flight_cannot_undo_a_revocation() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    source.close();
    let waiting = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { look_up(&cache, "good").await }
    });
    until(|| source.asked() == 1).await;
    // The look-up has read the active record and has not come back with it.
    source.set("good", KeyStatus::Revoked);
    cache.forget(&KeyDigest::of("good"));
    source.open();
    let seen = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(
        seen.status,
        KeyStatus::Revoked,
        "the one who waited got the old record"
    );
    match cache.get("good", Instant::now()) {
        Remembered::Known(record) => assert_eq!(record.status, KeyStatus::Revoked),
        other => panic!("{other:?}"),
    }
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn a_forgotten_key_is_asked_for_again() {
    let source = Source::with(&[]);
    let cache = cache_of(&source, &settings());
    assert!(look_up(&cache, "new").await.unwrap().is_none());
    source.set("new", KeyStatus::Active);
    cache.forget(&KeyDigest::of("new"));
    assert!(matches!(cache.get("new", Instant::now()), Remembered::Nothing));
    assert!(look_up(&cache, "new").await.unwrap().is_some());
    cache.forget_all();
    assert!(matches!(cache.get("new", Instant::now()), Remembered::Nothing));
}

#[tokio::test]
async fn a_source_that_fails_lets_known_keys_go_on_for_a_while() {
    let source = Source::with(&["good", "revoked"]);
    source.set("revoked", KeyStatus::Revoked);
    let mut settings = settings();
    settings.cache.ttl = Duration::ZERO;
    let cache = cache_of(&source, &settings);
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    assert!(look_up(&cache, "revoked").await.unwrap().is_some());
    source.broken.store(true, Ordering::SeqCst);
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    assert!(
        matches!(cache.get("good", Instant::now()), Remembered::Known(_)),
        "asked again at once"
    );
    assert!(
        look_up(&cache, "revoked").await.is_err(),
        "a revoked key was served stale"
    );
    assert!(look_up(&cache, "never-seen").await.is_err());
    cache.forget(&KeyDigest::of("good"));
    assert!(
        look_up(&cache, "good").await.is_err(),
        "a forgotten key was served stale"
    );
}

#[tokio::test]
async fn a_stale_key_ends_with_its_bound() {
    let source = Source::with(&["good"]);
    let mut settings = settings();
    settings.cache.ttl = Duration::ZERO;
    settings.cache.stale_if_error = Duration::ZERO;
    let cache = cache_of(&source, &settings);
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    source.broken.store(true, Ordering::SeqCst);
    assert!(look_up(&cache, "good").await.is_err());
}

#[tokio::test]
async fn a_source_that_hangs_keeps_nobody_past_the_deadline() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    source.close();
    let began = Instant::now();
    let answer = cache
        .look_up(key("good"), None, began + Duration::from_millis(30))
        .await;
    assert!(matches!(answer, Err(KeySourceError::Deadline(_))), "{answer:?}");
    // The look-up goes on for the next try.
    source.open();
    until(|| matches!(cache.get("good", Instant::now()), Remembered::Known(_))).await;
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn a_panic_in_the_source_is_an_error_and_the_next_one_asks_anew() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    source.panics.store(true, Ordering::SeqCst);
    assert!(matches!(
        look_up(&cache, "good").await,
        Err(KeySourceError::Failed(_))
    ));
    source.panics.store(false, Ordering::SeqCst);
    assert!(look_up(&cache, "good").await.unwrap().is_some());
}

#[tokio::test]
async fn one_address_holds_a_quarter_of_the_slots() {
    let source = Source::with(&[]);
    let cache = cache_of(&source, &settings());
    source.close();
    let deadline = Instant::now() + LONG;
    let flood = |address: [u8; 4], number: usize| {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            cache
                .look_up(
                    key(&format!("{address:?}-{number}").replace(' ', "")),
                    Some(address.into()),
                    deadline,
                )
                .await
        })
    };
    let mut waiting: Vec<_> = (0..50).map(|number| flood([192, 0, 2, 1], number)).collect();
    until(|| source.asked() == 2).await;
    waiting.push(flood([192, 0, 2, 2], 0));
    until(|| source.asked() == 3).await;
    source.open();
    for one in waiting {
        assert!(one.await.unwrap().unwrap().is_none());
    }
    assert!(cache.slots.is_idle(), "slots are left behind");
}

#[tokio::test(start_paused = true)]
async fn no_slot_before_the_deadline_is_said_so_and_a_known_key_needs_none() {
    let source = Source::with(&["good"]);
    let mut settings = settings();
    settings.max_in_flight = NonZeroUsize::MIN;
    settings.cache.ttl = Duration::ZERO;
    let cache = cache_of(&source, &settings);
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    source.close();
    let hanging = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { look_up(&cache, "unknown").await }
    });
    until(|| source.asked() == 2).await;
    let refused = cache.look_up(key("another"), None, soon()).await;
    assert!(matches!(refused, Err(KeySourceError::Busy)), "{refused:?}");
    assert_eq!(source.asked(), 2, "it was looked up without a slot");
    let known = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { look_up(&cache, "good").await }
    });
    until(|| source.asked() == 3).await;
    source.open();
    assert!(known.await.unwrap().unwrap().is_some());
    assert!(hanging.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn keys_in_use_stay_when_the_cache_is_full() {
    let source = Source::with(&[]);
    let cache = cache_of(&source, &settings());
    let known = |number: usize| Some(Arc::new(record(&number.to_string(), KeyStatus::Active)));
    cache.keep(KeyDigest::of("busy"), &known(0), Instant::now());
    for number in 1..20_000 {
        cache.keep(KeyDigest::of(&number.to_string()), &known(number), Instant::now());
        assert!(
            matches!(cache.get("busy", Instant::now()), Remembered::Known(_)),
            "after {number}"
        );
    }
    assert!(cache.known.len() <= 1000);
}

#[tokio::test]
async fn a_key_that_is_used_is_refreshed_before_it_is_due() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    let later = Instant::now() + Duration::from_secs(50);
    for _ in 0..10 {
        assert!(matches!(cache.get("good", later), Remembered::Known(_)));
    }
    until(|| source.asked() == 2).await;
    assert_eq!(source.asked(), 2, "one refresh at a time");
}

#[tokio::test]
async fn while_changes_are_not_seen_every_key_is_asked_for_again() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    cache.suspect(Instant::now());
    assert!(matches!(cache.get("good", Instant::now()), Remembered::Nothing));
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    assert!(matches!(cache.get("good", Instant::now()), Remembered::Known(_)));
    assert!(matches!(
        cache.get("good", Instant::now() + Duration::from_secs(2)),
        Remembered::Nothing
    ));
    cache.trust();
    assert!(matches!(
        cache.get("good", Instant::now() + Duration::from_secs(2)),
        Remembered::Known(_)
    ));
}

#[tokio::test]
async fn a_silent_source_is_asked_by_one_known_key_at_a_time() {
    let source = Source::with(&[]);
    let mut settings = settings();
    settings.cache.ttl = Duration::ZERO;
    let cache = cache_of(&source, &settings);
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    for text in &keys {
        source.set(text, KeyStatus::Active);
        assert!(look_up(&cache, text).await.unwrap().is_some());
    }
    source.close();
    assert!(
        look_up(&cache, "key-0").await.unwrap().is_some(),
        "the one that finds out"
    );
    let before = source.asked();
    let waiting: Vec<_> = keys
        .iter()
        .map(|text| {
            let (cache, text) = (Arc::clone(&cache), text.clone());
            tokio::spawn(async move { look_up(&cache, &text).await })
        })
        .collect();
    for one in waiting {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert!(
        source.asked() - before <= 2,
        "{} were asked for",
        source.asked() - before
    );
    source.open();
}

#[tokio::test]
async fn a_key_that_comes_and_goes_leaves_no_trace_behind() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    for _ in 0..10_000 {
        cache.keep(
            KeyDigest::of("good"),
            &Some(Arc::new(record("good", KeyStatus::Active))),
            Instant::now(),
        );
        cache.forget(&KeyDigest::of("good"));
    }
    assert!(cache.known.queued() <= 2001, "{}", cache.known.queued());
}

#[tokio::test]
async fn a_look_up_that_cannot_run_ends_at_once() {
    let source = Source::with(&["good"]);
    let elsewhere = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache = KeyCache::new(
        Arc::clone(&source) as Arc<dyn KeySource>,
        &settings(),
        elsewhere.handle().clone(),
    );
    elsewhere.shutdown_background();
    let began = Instant::now();
    assert!(look_up(&cache, "good").await.is_err());
    assert!(began.elapsed() < LONG / 2);
}
