//! The store on real files.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{CacheSettings, KeySettings, SourceKind};
use crate::keys::{KeyCache, KeyType, Owner, Remembered};

fn record(id: &str) -> KeyRecord {
    KeyRecord {
        id: id.into(),
        name: "CI".into(),
        owner: Owner::from_parts(Some("org_acme"), Some("user_ada")),
        api_id: Some("api_ai".into()),
        scopes: vec!["read:ai_chats".parse().unwrap(), "write:ai_chat".parse().unwrap()],
        status: KeyStatus::Active,
        expires_at_ms: Some(1_900_000_000_000),
        allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        key_type: KeyType::User,
        rate_limit: None,
        retiring: false,
    }
}

async fn store_in(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("keys.db")).await.unwrap()
}

#[tokio::test]
async fn what_was_stored_is_found_by_id_by_secret_and_in_the_list() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let key = ApiKey::generate("lk").unwrap();
    store.create(&record("api_key_1"), &key, 1000).await.unwrap();
    let stored = store.get("api_key_1").await.unwrap();
    assert_eq!(stored.record, record("api_key_1"));
    assert!(key.expose().ends_with(&stored.suffix));
    let source = StoreSource::new(store.clone(), "lk");
    assert!(source.can_know(key.expose().as_bytes()));
    assert!(!source.can_know(b"lk_garbage"));
    assert_eq!(*source.verify(&key).await.unwrap().unwrap(), record("api_key_1"));
    assert!(
        source
            .verify(&ApiKey::generate("lk").unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(store.list(10, None).await.unwrap(), [stored]);
}

#[tokio::test]
async fn the_list_is_newest_first_and_goes_on_after_a_key() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    for (id, age) in [("a", 1), ("b", 3), ("c", 3), ("d", 2)] {
        store
            .create(&record(id), &ApiKey::generate("lk").unwrap(), age)
            .await
            .unwrap();
    }
    let ids = |keys: Vec<StoredKey>| {
        keys.into_iter()
            .map(|key| key.record.id.into_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(store.list(3, None).await.unwrap()), ["c", "b", "d"]);
    assert_eq!(ids(store.list(3, Some("b")).await.unwrap()), ["d", "a"]);
    assert!(matches!(
        store.list(3, Some("x")).await,
        Err(StoreError::NoSuchKey(_))
    ));
}

#[tokio::test]
async fn a_revocation_is_for_ever_and_twice_is_no_error() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    store
        .create(&record("a"), &ApiKey::generate("lk").unwrap(), 1)
        .await
        .unwrap();
    store.revoke("a").await.unwrap();
    store.revoke("a").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().record.status, KeyStatus::Revoked);
    assert!(matches!(store.revoke("b").await, Err(StoreError::NoSuchKey(_))));
}

#[tokio::test]
async fn what_no_answer_could_hold_is_not_stored() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let long = "x".repeat(257);
    let many = (0..100)
        .map(|number| format!("scope-{number:058}").parse().unwrap())
        .collect();
    for (what, record) in [
        (
            "no name",
            KeyRecord {
                name: " ".into(),
                ..record("a")
            },
        ),
        (
            "a long name",
            KeyRecord {
                name: "n".repeat(256).into(),
                ..record("a")
            },
        ),
        (
            "a control character",
            KeyRecord {
                name: "a\nb".into(),
                ..record("a")
            },
        ),
        (
            "no owner",
            KeyRecord {
                owner: None,
                ..record("a")
            },
        ),
        (
            "a long owner",
            KeyRecord {
                owner: Owner::from_parts(Some(&long), None),
                ..record("a")
            },
        ),
        (
            "many scopes",
            KeyRecord {
                scopes: many,
                ..record("a")
            },
        ),
    ] {
        let refused = store.create(&record, &ApiKey::generate("lk").unwrap(), 1).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{what}: {refused:?}"
        );
    }
    assert!(store.list(10, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_secret_is_nowhere_in_the_files_and_only_the_owner_reads_them() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let key = ApiKey::generate("lk").unwrap();
    store.create(&record("a"), &key, 1).await.unwrap();
    let mut seen = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let bytes = fs::read(file.path()).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(
            !holds(key.expose()) && !holds(&key.expose()[3..46]),
            "{:?}",
            file.path()
        );
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            file.path()
        );
        seen += 1;
    }
    assert!(seen >= 2, "the write-ahead log is not there");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_said_so() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text");
    fs::write(
        &text,
        "this is a letter to a friend, and much longer than a page of SQLite would have to be",
    )
    .unwrap();
    let missing = folder.path().join("missing/keys.db");
    for path in [folder.path(), &text, &missing] {
        let error = SqliteStore::open(path).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "{path:?}: {error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_newer_store_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'later', TRUE, x'00', 0)",
    )
    .execute(&store.opened_pool)
    .await
    .unwrap();
    let error = SqliteStore::open(&folder.path().join("keys.db"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { version: 999, .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_make_the_file_at_once_both_open_it() {
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let path = folder.path().join("keys.db");
                tokio::spawn(async move { SqliteStore::open(&path).await })
            })
            .collect();
        for one in opening {
            one.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn lookups_and_pages_use_an_index() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    for sql in [
        "EXPLAIN QUERY PLAN SELECT id FROM keys WHERE digest = x'00'",
        "EXPLAIN QUERY PLAN SELECT id FROM keys WHERE (created_at_ms, id) < (5, 'a') \
         ORDER BY created_at_ms DESC, id DESC LIMIT 50",
        "EXPLAIN QUERY PLAN SELECT digest FROM changes WHERE seq > 5 ORDER BY seq",
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sql).fetch_all(&store.opened_pool).await.unwrap();
        let told: Vec<&str> = plan.iter().map(|row| row.3.as_str()).collect();
        assert!(
            told.iter().all(|step| step.starts_with("SEARCH")),
            "{sql}: {told:?}"
        );
    }
}

/// A cache before the store, which is watched until the token is cancelled.
fn watched_cache(store: &SqliteStore) -> (Arc<KeyCache>, CancellationToken, JoinHandle<()>) {
    let settings = KeySettings {
        source: SourceKind::Store,
        prefix: "lk".into(),
        max_in_flight: NonZeroUsize::new(8).unwrap(),
        remote: None,
        cache: CacheSettings {
            ttl: Duration::from_secs(600),
            negative_ttl: Duration::from_secs(600),
            stale_if_error: Duration::from_secs(600),
            refresh_ahead: 1.0,
            max_keys: NonZeroUsize::new(100).unwrap(),
            max_unknown_keys: NonZeroUsize::new(100).unwrap(),
        },
    };
    let cache = KeyCache::new(
        Arc::new(StoreSource::new(store.clone(), "lk")),
        &settings,
        Handle::current(),
    );
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (store, cache, stop) = (store.clone(), Arc::clone(&cache), stop.clone());
        async move { store.watch(&cache, stop).await }
    });
    (cache, stop, watching)
}

#[tokio::test]
async fn a_store_that_was_replaced_answers_nothing_until_it_is_back() {
    type Replace = fn(&Path, &Path);
    let ways: [(&str, Replace); 2] = [
        ("replaced", |path, other| std::fs::rename(other, path).unwrap()),
        ("removed", |path, _| std::fs::remove_file(path).unwrap()),
    ];
    for (way, replace) in ways {
        let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = folder.path().join("latchkey.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let (cache, stop, watching) = watched_cache(&store);
        let deadline = || Instant::now() + Duration::from_secs(10);
        let look_up = async |key: &ApiKey| {
            let key = ApiKey::presented(key.expose()).unwrap();
            cache.look_up(key, None, deadline()).await
        };
        let (known, other) = (ApiKey::generate("lk").unwrap(), ApiKey::generate("lk").unwrap());
        store.create(&record("known"), &known, 1).await.unwrap();
        store.create(&record("other"), &other, 1).await.unwrap();
        assert!(look_up(&known).await.unwrap().is_some());

        let kept = elsewhere.path().join("kept.db");
        std::fs::hard_link(&path, &kept).unwrap();
        let backup = elsewhere.path().join("backup.db");
        SqliteStore::open(&backup).await.unwrap();
        replace(&path, &backup);
        let end = deadline();
        while store.ping().await.is_ok() {
            assert!(Instant::now() < end, "{way}: not noticed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(look_up(&other).await.is_err(), "{way}");
        assert!(
            look_up(&known).await.unwrap().is_some(),
            "{way}: known keys go on for a while"
        );
        let revoked = store.revoke("known").await;
        assert!(
            matches!(revoked, Err(StoreError::Replaced { .. })),
            "{way}: {revoked:?}"
        );

        std::fs::rename(&kept, &path).unwrap();
        let end = deadline();
        while store.ping().await.is_err() {
            assert!(Instant::now() < end, "{way}: not used again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(look_up(&other).await.unwrap().is_some(), "{way}");
        stop.cancel();
        watching.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_changes_leaves_the_cache_within_a_second() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let other = store_in(&folder).await;
    let (cache, stop, watching) = watched_cache(&store);
    let key = ApiKey::generate("lk").unwrap();
    let deadline = || Instant::now() + Duration::from_secs(10);
    let text = key.expose().to_owned();
    let look_up = || cache.look_up(ApiKey::presented(&text).unwrap(), None, deadline());

    assert!(look_up().await.unwrap().is_none());
    other.create(&record("a"), &key, 1).await.unwrap();
    let end = Instant::now() + Duration::from_secs(1);
    while look_up_is_unknown(&cache, &text) {
        assert!(Instant::now() < end, "the new key is still unknown");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = look_up().await.unwrap().unwrap();
    assert_eq!(found.status, KeyStatus::Active);
    other.revoke("a").await.unwrap();
    let end = Instant::now() + Duration::from_secs(1);
    while matches!(cache.get(&text, Instant::now()), Remembered::Known(record) if record.status == KeyStatus::Active)
    {
        assert!(Instant::now() < end, "the revoked key is still known");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(look_up().await.unwrap().unwrap().status, KeyStatus::Revoked);
    stop.cancel();
    watching.await.unwrap();
}

fn look_up_is_unknown(cache: &Arc<KeyCache>, text: &str) -> bool {
    matches!(cache.get(text, Instant::now()), Remembered::Unknown)
}
