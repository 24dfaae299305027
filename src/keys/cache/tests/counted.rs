//! What the cache tells about itself, in a flood and when its source fails.

use super::*;

/// The metrics of a cache, as they are scraped.
fn counted(cache: &KeyCache) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    cache.metrics().register(&mut registry);
    crate::telemetry::render(&registry).unwrap()
}

#[tokio::test]
async fn a_million_junk_keys_evict_no_known_one_and_take_bounded_memory() {
    const KNOWN: usize = 1000;
    const JUNK: usize = 1_000_000;
    let source = Source::with(&[]);
    let mut settings = settings();
    settings.cache.max_unknown_keys = NonZeroUsize::new(10_000).unwrap();
    let cache = cache_of(&source, &settings);
    let names: Vec<String> = (0..KNOWN).map(|number| format!("known-{number}")).collect();
    for name in &names {
        source.set(name, KeyStatus::Active);
        assert!(look_up(&cache, name).await.unwrap().is_some());
    }
    let mut most_queued = 0;
    for number in 0..JUNK {
        let mut digest = [0xa5; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        cache.keep(KeyDigest::from_bytes(digest), &None, Instant::now());
        if number % 1000 == 0 {
            most_queued = most_queued.max(cache.unknown.queued());
        }
    }
    let lost = |name: &&String| !matches!(cache.get(name, Instant::now()), Remembered::Known(_));
    assert_eq!(names.iter().filter(lost).count(), 0);
    assert_eq!((cache.known.len(), cache.unknown.len()), (KNOWN, 10_000));
    assert!(most_queued <= 10_001, "{most_queued}");
    let text = counted(&cache);
    let evicted = JUNK - 10_000;
    for line in [
        format!(r#"latchkey_key_cache_evictions_total{{kind="unknown"}} {evicted}"#),
        r#"latchkey_key_cache_evictions_total{kind="known"} 0"#.into(),
        r#"latchkey_key_cache_entries{kind="unknown"} 10000"#.into(),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_happens_is_counted() {
    let source = Source::with(&["good"]);
    let mut settings = settings();
    settings.max_in_flight = NonZeroUsize::MIN;
    let cache = cache_of(&source, &settings);
    let now = Instant::now;
    assert!(matches!(cache.get("good", now()), Remembered::Nothing));
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    assert!(matches!(cache.get("good", now()), Remembered::Known(_)));
    assert!(look_up(&cache, "bad").await.unwrap().is_none());
    assert!(matches!(cache.get("bad", now()), Remembered::Unknown));
    source.broken.store(true, Ordering::SeqCst);
    assert!(look_up(&cache, "fails").await.is_err());
    assert!(look_up(&cache, "good").await.unwrap().is_some(), "stale");
    source.close();
    assert!(cache.look_up(key("hangs"), None, soon()).await.is_err());
    assert!(cache.look_up(key("no-slot"), None, soon()).await.is_err());
    let text = counted(&cache);
    for line in [
        r#"latchkey_key_cache_hits_total{result="known"} 1"#,
        r#"latchkey_key_cache_hits_total{result="unknown"} 1"#,
        "latchkey_key_cache_misses_total 1",
        r#"latchkey_key_cache_entries{kind="known"} 1"#,
        r#"latchkey_key_cache_entries{kind="unknown"} 1"#,
        r#"latchkey_key_cache_evictions_total{kind="known"} 0"#,
        r#"latchkey_key_lookups_total{result="known"} 1"#,
        r#"latchkey_key_lookups_total{result="unknown"} 1"#,
        r#"latchkey_key_lookups_total{result="failed"} 2"#,
        r#"latchkey_key_lookups_total{result="deadline"} 1"#,
        r#"latchkey_key_lookups_total{result="busy"} 1"#,
        "latchkey_key_cache_stale_served_total 1",
        "latchkey_key_cache_refreshes_total 0",
        "latchkey_key_lookups_in_flight 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    source.open();
    until(|| counted(&cache).contains("latchkey_key_lookups_in_flight 0")).await;
}

#[tokio::test]
async fn a_refresh_that_fails_is_tried_again_and_costs_nobody_a_fresh_record() {
    let source = Source::with(&["good"]);
    let cache = cache_of(&source, &settings());
    assert!(look_up(&cache, "good").await.unwrap().is_some());
    source.broken.store(true, Ordering::SeqCst);
    let later = Instant::now() + Duration::from_secs(50);
    assert!(matches!(cache.get("good", later), Remembered::Known(_)));
    until(|| counted(&cache).contains(r#"latchkey_key_lookups_total{result="failed"} 1"#)).await;
    source.broken.store(false, Ordering::SeqCst);
    // Revoked meanwhile: the next refresh must see it, though no change was told.
    source.set("good", KeyStatus::Revoked);
    until(|| match cache.get("good", later) {
        Remembered::Known(record) => record.status == KeyStatus::Revoked,
        other => panic!("{other:?}"),
    })
    .await;
    assert!(
        !counted(&cache).contains("latchkey_key_cache_refreshes_total 1\n"),
        "it was tried again"
    );
}

#[tokio::test]
async fn new_times_hold_for_new_answers() {
    let source = Source::with(&["old", "new"]);
    let mut settings = settings();
    let cache = cache_of(&source, &settings);
    assert!(look_up(&cache, "old").await.unwrap().is_some());
    settings.cache.ttl = Duration::from_secs(5);
    settings.cache.negative_ttl = Duration::from_secs(1);
    cache.set_times(settings.cache);
    assert!(look_up(&cache, "new").await.unwrap().is_some());
    assert!(look_up(&cache, "bad").await.unwrap().is_none());
    let now = Instant::now();
    for (text, seconds, remembered) in [
        ("old", 30, true),
        ("new", 4, true),
        ("new", 6, false),
        ("bad", 2, false),
    ] {
        let found = cache.get(text, now + Duration::from_secs(seconds));
        assert_eq!(
            !matches!(found, Remembered::Nothing),
            remembered,
            "{text} after {seconds} s"
        );
    }
}
