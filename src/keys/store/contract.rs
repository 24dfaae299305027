//! What every store promises, as functions over the trait: each implementation runs all of them on an empty store.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::keys::audit::AuditResult;
use crate::keys::uses::Seen;
use crate::keys::{ApiKey, KeySource as _, Owner};

/// A long time from now.
const LATER_MS: u64 = 1_900_000_000_000;

pub(super) fn event() -> AuditEvent {
    AuditEvent {
        at_ms: 1,
        actor: Some("test".into()),
        action: "api_key.test".into(),
        target: None,
        result: AuditResult::Done,
        code: None,
        address: None,
    }
}

pub(super) fn record(id: &str) -> KeyRecord {
    KeyRecord {
        id: id.into(),
        name: "CI".into(),
        key_type: KeyType::User,
        owner: Owner::from_parts(Some("org_acme"), Some("user_ada")),
        api_id: Some("api_ai".into()),
        scopes: vec!["read:ai_chats".parse().unwrap(), "write:ai_chat".parse().unwrap()],
        status: KeyStatus::Active,
        expires_at_ms: Some(LATER_MS),
        allowed_networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        rate_limit: Some(KeyRateLimit {
            limit: NonZeroU32::new(7).unwrap(),
            window: Duration::from_secs(60),
        }),
        retiring: false,
    }
}

fn new_key(record: KeyRecord, key: &ApiKey, created_at_ms: u64) -> NewKey {
    NewKey {
        record,
        secret: SecretMark::of(key),
        imported: false,
        created_at_ms,
        created_by: Some("test".into()),
        metadata: Metadata::new(),
    }
}

pub(super) async fn make(
    store: &dyn KeyStore,
    record: KeyRecord,
    key: &ApiKey,
    created_at_ms: u64,
) -> Result<(), StoreError> {
    store.create(&new_key(record, key, created_at_ms), &event()).await
}

fn generate() -> ApiKey {
    ApiKey::generate("lk").unwrap()
}

async fn find(store: &dyn KeyStore, key: &ApiKey, now_ms: u64) -> Option<KeyRecord> {
    store.find(&KeyDigest::of(key.expose()), now_ms).await.unwrap()
}

pub(super) async fn what_was_stored_is_found_by_id_by_secret_and_in_the_list(
    store: &(impl KeyStore + Clone),
) {
    let key = generate();
    let mut new = new_key(record("api_key_1"), &key, 1000);
    new.metadata = json!({"team": "billing"}).as_object().unwrap().clone();
    store.create(&new, &event()).await.unwrap();
    let stored = store.get("api_key_1").await.unwrap();
    assert_eq!(stored.record, record("api_key_1"));
    assert!(key.expose().starts_with(&stored.prefix) && key.expose().ends_with(&stored.suffix));
    assert_eq!((stored.prefix.len(), stored.suffix.len()), (6, 4));
    assert_eq!(stored.metadata, new.metadata);
    assert_eq!(stored.created_by.as_deref(), Some("test"));
    let source = StoreSource::new(store.clone(), "lk");
    assert!(source.can_know(key.expose().as_bytes()));
    assert!(!source.can_know(b"lk_garbage"));
    assert_eq!(*source.verify(&key).await.unwrap().unwrap(), record("api_key_1"));
    assert!(source.verify(&generate()).await.unwrap().is_none());
    let filter = KeyFilter {
        limit: 10,
        ..KeyFilter::default()
    };
    assert_eq!(store.list(&filter).await.unwrap(), [stored]);
    assert!(matches!(store.get("other").await, Err(StoreError::NoSuchKey(_))));
}

pub(super) async fn a_page_is_newest_first_and_filtered_as_asked(store: &impl KeyStore) {
    let now_ms = 5_000;
    for (id, age, org, user, expires) in [
        ("a", 1, Some("o1"), None, None),
        ("b", 3, Some("o1"), Some("u1"), Some(4_000)),
        ("c", 3, None, Some("u1"), Some(6_000)),
        ("d", 2, Some("o2"), None, Some(6_000)),
        ("e", 9, None, Some("u2"), None),
    ] {
        let owner = Owner::from_parts(org, user);
        let record = KeyRecord {
            key_type: KeyType::of(owner.as_ref()),
            owner,
            expires_at_ms: expires,
            ..record(id)
        };
        make(store, record, &generate(), age).await.unwrap();
    }
    store.revoke("e", &event()).await.unwrap();
    let page = KeyFilter {
        limit: 10,
        now_ms,
        ..KeyFilter::default()
    };
    let org = |code: &str| KeyFilter {
        org_code: Some(code.into()),
        ..page.clone()
    };
    let user = |id: &str| KeyFilter {
        user_id: Some(id.into()),
        ..page.clone()
    };
    let status = |status| KeyFilter {
        status: Some(status),
        ..page.clone()
    };
    let key_type = |key_type| KeyFilter {
        key_type: Some(key_type),
        ..page.clone()
    };
    for (filter, expected) in [
        (page.clone(), "ecbda"),
        (
            KeyFilter {
                limit: 3,
                ..page.clone()
            },
            "ecb",
        ),
        (
            KeyFilter {
                after: Some("b".into()),
                ..page.clone()
            },
            "da",
        ),
        (
            KeyFilter {
                after: Some("a".into()),
                ..page.clone()
            },
            "",
        ),
        (org("o1"), "ba"),
        (
            KeyFilter {
                after: Some("b".into()),
                ..org("o1")
            },
            "a",
        ),
        (org("o3"), ""),
        (user("u1"), "cb"),
        (
            KeyFilter {
                org_code: Some("o1".into()),
                ..user("u1")
            },
            "b",
        ),
        (status(KeyStatus::Active), "cda"),
        (status(KeyStatus::Inactive), "b"),
        (status(KeyStatus::Revoked), "e"),
        (key_type(KeyType::User), "ecb"),
        (key_type(KeyType::Organization), "da"),
        (key_type(KeyType::Environment), ""),
        (
            KeyFilter {
                key_type: Some(KeyType::User),
                ..status(KeyStatus::Active)
            },
            "c",
        ),
        (
            KeyFilter {
                key_type: Some(KeyType::User),
                ..status(KeyStatus::Inactive)
            },
            "b",
        ),
        (
            KeyFilter {
                key_type: Some(KeyType::Organization),
                ..status(KeyStatus::Inactive)
            },
            "",
        ),
        (
            KeyFilter {
                status: Some(KeyStatus::Inactive),
                ..user("u1")
            },
            "b",
        ),
    ] {
        let keys = store.list(&filter).await.unwrap();
        let ids: String = keys.iter().map(|key| &*key.record.id).collect();
        assert_eq!(ids, expected, "{filter:?}");
        for (key, wanted) in keys.iter().zip(filter.status) {
            assert_eq!(key.status(now_ms), wanted, "{filter:?}");
        }
    }
    let filter = KeyFilter {
        after: Some("x".into()),
        ..page
    };
    assert!(matches!(store.list(&filter).await, Err(StoreError::NoSuchKey(_))));
}

pub(super) async fn a_revocation_is_for_ever_and_twice_is_no_error(store: &impl KeyStore) {
    let (first, second) = (generate(), generate());
    make(store, record("a"), &first, 1).await.unwrap();
    let mark = SecretMark::of(&second);
    store.rotate("a", &mark, Some(10_000), &event()).await.unwrap();
    let changed = store.revoke("a", &event()).await.unwrap();
    assert_eq!(changed.digests.len(), 2, "both secrets are to be forgotten");
    store.revoke("a", &event()).await.unwrap();
    for key in [&first, &second] {
        assert_eq!(find(store, key, 5_000).await.unwrap().status, KeyStatus::Revoked);
    }
    assert_eq!(store.get("a").await.unwrap().record.status, KeyStatus::Revoked);
    let rotated = store
        .rotate("a", &SecretMark::of(&generate()), None, &event())
        .await;
    assert!(matches!(rotated, Err(StoreError::Revoked)), "{rotated:?}");
    let change = KeyChange {
        name: Some("other".into()),
        ..KeyChange::default()
    };
    let updated = store.update("a", &change, &event()).await;
    assert!(matches!(updated, Err(StoreError::Revoked)), "{updated:?}");
    assert!(matches!(
        store.revoke("b", &event()).await,
        Err(StoreError::NoSuchKey(_))
    ));
}

pub(super) async fn a_rotated_secret_works_until_its_grace_ends_and_then_only_the_new_one(
    store: &impl KeyStore,
) {
    let [first, second, third] = [generate(), generate(), generate()];
    make(store, record("a"), &first, 1).await.unwrap();
    let changed = store
        .rotate("a", &SecretMark::of(&second), Some(10_000), &event())
        .await
        .unwrap();
    for key in [&first, &second] {
        assert!(changed.digests.contains(&KeyDigest::of(key.expose())));
    }
    let old = find(store, &first, 9_999).await.unwrap();
    assert_eq!((old.retiring, old.expires_at_ms), (true, Some(10_000)));
    assert!(find(store, &first, 10_000).await.is_none(), "its grace is over");
    let new = find(store, &second, 20_000).await.unwrap();
    assert_eq!((new.retiring, new.expires_at_ms), (false, Some(LATER_MS)));
    assert_eq!(
        store.get("a").await.unwrap().old_secret.unwrap().suffix,
        first.suffix()
    );

    // Another rotation ends the grace of the first secret, whatever is left of it.
    let changed = store
        .rotate("a", &SecretMark::of(&third), None, &event())
        .await
        .unwrap();
    for key in [&first, &second, &third] {
        assert!(changed.digests.contains(&KeyDigest::of(key.expose())));
    }
    assert!(find(store, &first, 5_000).await.is_none());
    assert!(find(store, &second, 5_000).await.is_none());
    assert_eq!(find(store, &third, 5_000).await.unwrap(), record("a"));
    assert_eq!(store.get("a").await.unwrap().old_secret, None);
    let missing = store
        .rotate("b", &SecretMark::of(&generate()), None, &event())
        .await;
    assert!(matches!(missing, Err(StoreError::NoSuchKey(_))));
}

pub(super) async fn what_changes_is_changed_and_nothing_else(store: &impl KeyStore) {
    make(store, record("a"), &generate(), 1).await.unwrap();
    let before = store.get("a").await.unwrap();
    let nothing = store.update("a", &KeyChange::default(), &event()).await.unwrap();
    assert_eq!(nothing.key, before);
    let change = KeyChange {
        name: Some("Another".into()),
        metadata: json!({"a": [1, null]}).as_object().cloned(),
        allowed_networks: Some(Vec::new()),
        expires_at_ms: Some(None),
        rate_limit: Some(None),
    };
    let changed = store.update("a", &change, &event()).await.unwrap();
    assert_eq!(changed.key, store.get("a").await.unwrap());
    assert_eq!(changed.digests.len(), 1);
    let expected = KeyRecord {
        name: "Another".into(),
        allowed_networks: Vec::new(),
        expires_at_ms: None,
        rate_limit: None,
        ..record("a")
    };
    assert_eq!(changed.key.record, expected);
    assert_eq!(changed.key.metadata, change.metadata.unwrap());
    let wrong = KeyChange {
        name: Some(" ".into()),
        ..KeyChange::default()
    };
    assert!(matches!(
        store.update("a", &wrong, &event()).await,
        Err(StoreError::Refused(_))
    ));
    assert_eq!(
        store.get("a").await.unwrap().record,
        expected,
        "nothing is half changed"
    );
}

pub(super) async fn imported_keys_are_known_by_how_they_begin(store: &(impl KeyStore + Clone)) {
    let key = ApiKey::presented("k_live_0123456789abcdef").unwrap();
    let source = StoreSource::new(store.clone(), "lk");
    assert!(!source.can_know(key.expose().as_bytes()));
    let mut new = new_key(record("a"), &key, 1);
    new.imported = true;
    new.secret.prefix = "k_live_".into();
    store.create(&new, &event()).await.unwrap();
    assert!(source.can_know(key.expose().as_bytes()));
    assert!(!source.can_know(b"k_test_0123456789abcdef"));
    assert_eq!(source.verify(&key).await.unwrap().unwrap().id, "a".into());
    for prefix in ["", "k_", "with space", "a-prefix-of-17-ch"] {
        let mut new = new_key(record("b"), &generate(), 1);
        new.imported = true;
        new.secret.prefix = prefix.into();
        let refused = store.create(&new, &event()).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{prefix}: {refused:?}"
        );
    }
}

pub(super) async fn a_secret_is_stored_once(store: &impl KeyStore) {
    let (first, second) = (generate(), generate());
    make(store, record("a"), &first, 1).await.unwrap();
    store
        .rotate("a", &SecretMark::of(&second), Some(u64::MAX / 4), &event())
        .await
        .unwrap();
    for key in [&first, &second] {
        let again = make(store, record("b"), key, 1).await;
        assert!(matches!(again, Err(StoreError::SecretTaken)), "{again:?}");
    }
    assert!(matches!(store.get("b").await, Err(StoreError::NoSuchKey(_))));
}

pub(super) async fn uses_add_up(store: &impl KeyStore) {
    make(store, record("a"), &generate(), 1).await.unwrap();
    store
        .rotate("a", &SecretMark::of(&generate()), Some(10_000), &event())
        .await
        .unwrap();
    let seen = |at_ms, address: &str| Seen {
        at_ms,
        address: address.parse().ok(),
    };
    let used = |id: &str, verifications, verified, old_secret| KeyUse {
        id: id.into(),
        verifications,
        verified,
        old_secret,
    };
    let uses = [
        used("a", 2, Some(seen(500, "192.0.2.1")), None),
        used("gone", 1, Some(seen(500, "192.0.2.1")), None),
    ];
    store.note_uses(&uses).await.unwrap();
    let uses = [used(
        "a",
        3,
        Some(seen(900, "2001:db8::1")),
        Some(seen(800, "192.0.2.9")),
    )];
    store.note_uses(&uses).await.unwrap();
    let key = store.get("a").await.unwrap();
    assert_eq!((key.verification_count, key.last_verified_at_ms), (5, Some(900)));
    assert_eq!(key.last_verified_ip, "2001:db8::1".parse().ok());
    let old = key.old_secret.unwrap();
    assert_eq!(
        (old.last_used_at_ms, old.last_used_ip),
        (Some(800), "192.0.2.9".parse().ok())
    );
    // A rotation begins anew.
    store
        .rotate("a", &SecretMark::of(&generate()), Some(10_000), &event())
        .await
        .unwrap();
    assert_eq!(
        store.get("a").await.unwrap().old_secret.unwrap().last_used_at_ms,
        None
    );
}

pub(super) async fn events_are_listed_newest_first_and_filtered_as_asked(store: &impl KeyStore) {
    let made = AuditEvent {
        at_ms: 1_000,
        action: "api_key.create".into(),
        target: Some("a".into()),
        ..event()
    };
    store
        .create(&new_key(record("a"), &generate(), 1), &made)
        .await
        .unwrap();
    // A change that came to nothing leaves no event behind.
    let failed = store.create(&new_key(record("a"), &generate(), 1), &made).await;
    assert!(failed.is_err());
    let refused = AuditEvent {
        at_ms: 2_000,
        actor: None,
        result: AuditResult::Refused,
        code: Some("UNAUTHORIZED".into()),
        address: "192.0.2.1".parse().ok(),
        ..event()
    };
    store
        .note_events(&[
            refused.clone(),
            AuditEvent {
                at_ms: 3_000,
                ..event()
            },
        ])
        .await
        .unwrap();
    let page = AuditFilter {
        limit: 10,
        ..AuditFilter::default()
    };
    let times = async |filter: AuditFilter| {
        let events = store.events(&filter).await.unwrap();
        events.iter().map(|stored| stored.event.at_ms).collect::<Vec<_>>()
    };
    let all = store.events(&page).await.unwrap();
    assert_eq!(all[1].event, refused);
    assert_eq!(all[2].event, made);
    for (filter, expected) in [
        (page.clone(), vec![3_000, 2_000, 1_000]),
        (
            AuditFilter {
                limit: 1,
                ..page.clone()
            },
            vec![3_000],
        ),
        (
            AuditFilter {
                before: Some(all[0].seq),
                ..page.clone()
            },
            vec![2_000, 1_000],
        ),
        (
            AuditFilter {
                target: Some("a".into()),
                ..page.clone()
            },
            vec![1_000],
        ),
        (
            AuditFilter {
                actor: Some("test".into()),
                ..page.clone()
            },
            vec![3_000, 1_000],
        ),
        (
            AuditFilter {
                action: Some("api_key.create".into()),
                ..page.clone()
            },
            vec![1_000],
        ),
        (
            AuditFilter {
                result: Some(AuditResult::Refused),
                ..page.clone()
            },
            vec![2_000],
        ),
        (
            AuditFilter {
                from_ms: Some(2_000),
                ..page.clone()
            },
            vec![3_000, 2_000],
        ),
        (
            AuditFilter {
                to_ms: Some(2_000),
                ..page.clone()
            },
            vec![1_000],
        ),
    ] {
        assert_eq!(times(filter.clone()).await, expected, "{filter:?}");
    }
    store
        .prune_events(2_500 + crate::keys::AUDIT_KEPT_MS)
        .await
        .unwrap();
    assert_eq!(times(page).await, [3_000]);
}

pub(super) async fn what_no_answer_could_hold_is_not_stored(store: &impl KeyStore) {
    let long = "x".repeat(257);
    let many = (0..100)
        .map(|number| format!("scope-{number:058}").parse().unwrap())
        .collect();
    let networks = (0..65)
        .map(|number| format!("10.0.{number}.0/24").parse().unwrap())
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
            "an owned environment key",
            KeyRecord {
                key_type: KeyType::Environment,
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
        (
            "many networks",
            KeyRecord {
                allowed_networks: networks,
                ..record("a")
            },
        ),
        (
            "a revoked key",
            KeyRecord {
                status: KeyStatus::Revoked,
                ..record("a")
            },
        ),
        (
            "no end that can be printed",
            KeyRecord {
                expires_at_ms: Some(u64::MAX),
                ..record("a")
            },
        ),
    ] {
        let refused = make(store, record, &generate(), 1).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{what}: {refused:?}"
        );
    }
    let mut new = new_key(record("a"), &generate(), 1);
    new.metadata
        .insert("long".into(), "x".repeat(MAX_METADATA_BYTES).into());
    assert!(matches!(
        store.create(&new, &event()).await,
        Err(StoreError::Refused(_))
    ));
    assert!(
        store
            .list(&KeyFilter {
                limit: 10,
                ..KeyFilter::default()
            })
            .await
            .unwrap()
            .is_empty()
    );
}
