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
use crate::keys::store::contract::{self, event, make, record};
use crate::keys::{ApiKey, KeyCache, KeyStatus, KeyType, Remembered, StoreSource};

async fn store_in(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("keys.db")).await.unwrap()
}

/// Runs each promise of a store on one of its own.
macro_rules! keeps {
    ($($promise:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            let folder = TempDir::new().unwrap();
            contract::$promise(&store_in(&folder).await).await;
        }
    )+};
}

keeps! {
    a_page_is_newest_first_and_filtered_as_asked,
    a_revocation_is_for_ever_and_twice_is_no_error,
    a_rotated_secret_works_until_its_grace_ends_and_then_only_the_new_one,
    a_secret_is_stored_once,
    events_are_listed_newest_first_and_filtered_as_asked,
    imported_keys_are_known_by_how_they_begin,
    uses_add_up,
    what_changes_is_changed_and_nothing_else,
    what_no_answer_could_hold_is_not_stored,
    what_was_stored_is_found_by_id_by_secret_and_in_the_list,
}

#[tokio::test]
async fn the_secret_is_nowhere_in_the_files_and_only_the_owner_reads_them() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let key = ApiKey::generate("lk").unwrap();
    make(&store, record("a"), &key, 1).await.unwrap();
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

/// What SQLite says that it would do.
async fn plan(store: &SqliteStore, sql: &str) -> Vec<String> {
    let explained = format!("EXPLAIN QUERY PLAN {sql}");
    let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(AssertSqlSafe(explained))
        .fetch_all(&store.opened_pool)
        .await
        .unwrap();
    steps.into_iter().map(|step| step.3).collect()
}

#[tokio::test]
async fn lookups_use_an_index() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    for sql in [
        &*find_sql(),
        "SELECT digest FROM changes WHERE seq > 5 ORDER BY seq",
        "SELECT name FROM keys WHERE id = 'a'",
    ] {
        let told = plan(&store, sql).await;
        let searches = told.iter().filter(|step| step.starts_with("SEARCH")).count();
        let other = ["COMPOUND QUERY", "LEFT-MOST SUBQUERY", "UNION ALL"];
        assert!(
            searches > 0
                && told
                    .iter()
                    .all(|step| step.starts_with("SEARCH") || other.contains(&&**step)),
            "{sql}: {told:?}"
        );
    }
}

#[tokio::test]
async fn every_page_of_keys_is_one_search_in_an_index_that_has_its_order() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let types = [None, Some(KeyType::User)];
    let statuses = [
        None,
        Some(KeyStatus::Active),
        Some(KeyStatus::Inactive),
        Some(KeyStatus::Revoked),
    ];
    for (number, (key_type, status)) in types
        .into_iter()
        .flat_map(|key_type| statuses.map(|status| (key_type, status)))
        .enumerate()
    {
        for (user_id, org_code, first) in [
            (None, None, None),
            (Some("u"), None, Some("user_id=?")),
            (None, Some("o"), Some("org_code=?")),
            (Some("u"), Some("o"), Some("user_id=?")),
        ] {
            let filter = KeyFilter {
                key_type,
                status,
                user_id: user_id.map(Into::into),
                org_code: org_code.map(Into::into),
                ..KeyFilter::default()
            };
            let told = plan(&store, &list::sql(&filter)).await;
            let [step] = &told[..] else {
                panic!("{filter:?}: it sorts, or searches more than once: {told:?}");
            };
            assert!(
                step.starts_with("SEARCH keys USING INDEX keys_by_") && step.contains("created_at_ms"),
                "{number} {filter:?}: {step}"
            );
            assert!(step.contains(first.unwrap_or("")), "{filter:?}: {step}");
        }
    }
}

#[tokio::test]
async fn every_page_of_events_is_one_search() {
    let folder = TempDir::new().unwrap();
    let store = store_in(&folder).await;
    let some = || Some("x".into());
    for filter in [
        AuditFilter::default(),
        AuditFilter {
            actor: some(),
            ..AuditFilter::default()
        },
        AuditFilter {
            action: some(),
            ..AuditFilter::default()
        },
        AuditFilter {
            target: some(),
            ..AuditFilter::default()
        },
        AuditFilter {
            actor: some(),
            action: some(),
            target: some(),
            ..AuditFilter::default()
        },
    ] {
        let told = plan(&store, &audit::sql(&filter)).await;
        assert!(
            told.len() == 1 && told[0].starts_with("SEARCH"),
            "{filter:?}: {told:?}"
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
        make(&store, record("known"), &known, 1).await.unwrap();
        make(&store, record("other"), &other, 1).await.unwrap();
        // Until the watcher has come past the changes that made the keys, it may forget them.
        let end = deadline();
        for number in 0.. {
            assert!(Instant::now() < end, "{way}: the watcher does not catch up");
            assert!(look_up(&known).await.unwrap().is_some());
            let marker = ApiKey::generate("lk").unwrap();
            let name = format!("marker-{number}");
            make(&store, record(&name), &marker, 1).await.unwrap();
            assert!(look_up(&marker).await.unwrap().is_some());
            store.revoke(&name, &event()).await.unwrap();
            while matches!(cache.get(marker.expose(), Instant::now()), Remembered::Known(_)) {
                assert!(Instant::now() < end, "{way}: the watcher sees no change");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if matches!(cache.get(known.expose(), Instant::now()), Remembered::Known(_)) {
                break;
            }
        }

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
        let revoked = store.revoke("known", &event()).await;
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
    make(&other, record("a"), &key, 1).await.unwrap();
    let end = Instant::now() + Duration::from_secs(1);
    while look_up_is_unknown(&cache, &text) {
        assert!(Instant::now() < end, "the new key is still unknown");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = look_up().await.unwrap().unwrap();
    assert_eq!(found.status, KeyStatus::Active);
    other.revoke("a", &event()).await.unwrap();
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
