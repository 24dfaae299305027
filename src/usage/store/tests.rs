//! What every store promises.

use super::*;
use crate::keys::SqliteStore;
use crate::usage::testing::event;
use crate::usage::{DecisionId, cut};

const HOUR_MS: u64 = 3_600_000;
const NOON_MS: u64 = 1_800_000_000_000 / (24 * HOUR_MS) * (24 * HOUR_MS) + 12 * HOUR_MS;

async fn sqlite() -> (SqliteUsage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("usage.db")).await.unwrap();
    (SqliteUsage::new(&store), folder)
}

fn batch(events: Vec<Event>) -> Batch {
    Batch {
        events,
        made: Vec::new(),
    }
}

async fn all(store: &dyn UsageStore) -> UsageRow {
    let rows = store
        .totals(&Filter::default(), &By::default(), 10, 0)
        .await
        .unwrap();
    rows.into_iter().next().unwrap_or_default()
}

#[tokio::test]
async fn an_event_counts_once_however_often_it_comes() {
    let (store, _folder) = sqlite().await;
    let first = batch(vec![event(1), event(2), event(1)]);
    assert_eq!(store.write(&first).await.unwrap(), Written { new: 2, known: 1 });
    let again = batch(vec![event(2), event(3)]);
    assert_eq!(store.write(&again).await.unwrap(), Written { new: 1, known: 1 });
    let sums = all(&store).await;
    assert_eq!(
        (sums.requests, sums.input_length, sums.response_length),
        (3, 300, 3000)
    );
    assert_eq!(
        store.last_used("api_key_1").await.unwrap(),
        Some((event(1).at_ms, 3))
    );
    assert_eq!(store.last_used("api_key_2").await.unwrap(), None);
}

#[tokio::test]
async fn a_large_batch_is_written_whole() {
    let (store, _folder) = sqlite().await;
    let events: Vec<Event> = (0..1001).map(event).collect();
    assert_eq!(store.write(&batch(events)).await.unwrap().new, 1001);
    assert_eq!(all(&store).await.requests, 1001);
}

/// Four requests of two hours, two keys, three statuses.
fn several() -> Vec<Event> {
    let other_key = |number, at_ms, status, ms: u64| Event {
        at_ms,
        status,
        key_id: "api_key_2".into(),
        org_code: "".into(),
        user_id: "user_1".into(),
        duration_us: ms * 1000,
        total_tokens: Some(10),
        input_chars: Some(7),
        ..event(number)
    };
    vec![
        Event {
            at_ms: NOON_MS,
            ..event(1)
        },
        other_key(2, NOON_MS + 1, 200, 100),
        other_key(3, NOON_MS + HOUR_MS, 502, 6_000),
        other_key(4, NOON_MS + HOUR_MS + 5, 403, 1),
    ]
}

#[tokio::test]
async fn sums_are_grouped_filtered_and_paged() {
    let (store, _folder) = sqlite().await;
    store.write(&batch(several())).await.unwrap();
    let ask = |by: &str, filter: Filter| {
        let (store, by) = (store.clone(), by.parse::<By>().unwrap());
        async move { store.totals(&filter, &by, 100, 0).await.unwrap() }
    };

    let keys = ask("key", Filter::default()).await;
    let told: Vec<_> = keys
        .iter()
        .map(|row| (row.key_id.as_deref().unwrap(), row.requests, row.errors))
        .collect();
    assert_eq!(told, [("api_key_2", 3, 1), ("api_key_1", 1, 0)]);
    assert_eq!((keys[0].tokens, keys[0].input_length), (30, 21));
    assert!((keys[0].durations.percentile_ms(0.99).unwrap() / 6000.0 - 1.0).abs() < 0.05);

    let owners = ask("owner", Filter::default()).await;
    let told: Vec<_> = owners
        .iter()
        .map(|row| {
            (
                row.org_code.as_deref().unwrap(),
                row.user_id.as_deref().unwrap(),
                row.requests,
            )
        })
        .collect();
    assert_eq!(told, [("", "user_1", 3), ("org_acme", "", 1)]);

    let hours = ask("hour,status", Filter::default()).await;
    let told: Vec<_> = hours
        .iter()
        .map(|row| (row.start_ms.unwrap(), row.status.unwrap(), row.requests))
        .collect();
    assert_eq!(
        told,
        [
            (NOON_MS, 200, 2),
            (NOON_MS + HOUR_MS, 403, 1),
            (NOON_MS + HOUR_MS, 502, 1)
        ]
    );
    let days = ask("day", Filter::default()).await;
    assert_eq!((days.len(), days[0].start_ms), (1, Some(NOON_MS - 12 * HOUR_MS)));

    for (filter, requests) in [
        (
            Filter {
                from_ms: Some(NOON_MS + HOUR_MS),
                ..Filter::default()
            },
            2,
        ),
        (
            Filter {
                to_ms: Some(NOON_MS + HOUR_MS),
                ..Filter::default()
            },
            2,
        ),
        (
            Filter {
                to_ms: Some(NOON_MS + HOUR_MS + 1),
                ..Filter::default()
            },
            4,
        ),
        (
            Filter {
                status: Some(200),
                ..Filter::default()
            },
            2,
        ),
        (
            Filter {
                user_id: Some("user_1".into()),
                route: Some("chat".into()),
                ..Filter::default()
            },
            3,
        ),
        (
            Filter {
                org_code: Some("org_acme".into()),
                ..Filter::default()
            },
            1,
        ),
        (
            Filter {
                key_id: Some("' OR 1=1 --".into()),
                ..Filter::default()
            },
            0,
        ),
    ] {
        let rows = ask("", filter.clone()).await;
        assert_eq!(rows.first().map_or(0, |row| row.requests), requests, "{filter:?}");
    }

    let by = "hour,status".parse().unwrap();
    let page = store.totals(&Filter::default(), &by, 2, 1).await.unwrap();
    assert_eq!(
        page.iter().map(|row| row.status.unwrap()).collect::<Vec<_>>(),
        [403, 502]
    );
    assert!(page.iter().all(|row| row.durations.percentile_ms(0.5).is_some()));
}

#[tokio::test]
async fn events_come_newest_first_and_page_by_page() {
    let (store, _folder) = sqlite().await;
    let events = several();
    store.write(&batch(events.clone())).await.unwrap();
    let mut seen = Vec::new();
    let mut asked = EventFilter::default();
    loop {
        let page = store.events(&asked, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        asked.before = Some((last.at_ms, last.id.as_str().to_owned()));
        seen.extend(page);
    }
    assert_eq!(seen, events.into_iter().rev().collect::<Vec<_>>());
    let failed = EventFilter {
        failed: Some(true),
        ..EventFilter::default()
    };
    let failed = store.events(&failed, 10).await.unwrap();
    assert_eq!(failed.iter().map(|event| event.status).collect::<Vec<_>>(), [502]);
}

#[tokio::test]
async fn what_never_came_is_counted_once() {
    let (store, _folder) = sqlite().await;
    let (ours, other) = (Replica::from_number(1), Replica::from_number(u32::MAX));
    let minute = Minute(1000);
    let seen = |replica, number: u32| Event {
        id: EventId::of_decision(DecisionId::new(replica, 60_000 * 1000 + u64::from(number))),
        ..event(1)
    };
    let mut written = batch(vec![seen(ours, 1), seen(ours, 2), seen(other, 3)]);
    written.made = vec![(ours, minute, 3), (other, minute, 1)];
    store.write(&written).await.unwrap();
    // A total that is written again is the same total.
    let grown = Batch {
        events: Vec::new(),
        made: vec![(ours, minute, 5)],
    };
    for _ in 0..2 {
        store.write(&grown).await.unwrap();
    }
    assert_eq!(store.settle(minute).await.unwrap().missing, 0, "not due yet");
    assert_eq!(store.settle(Minute(1001)).await.unwrap().missing, 3);
    assert_eq!(store.settle(Minute(1001)).await.unwrap().missing, 0);
}

#[tokio::test]
async fn a_server_that_is_gone_without_a_word_is_noticed_by_the_next() {
    let (store, _folder) = sqlite().await;
    let replica = Replica::from_number;
    assert_eq!(store.started(replica(1), 1).await.unwrap(), 0);
    store.stopped(replica(1), 2).await.unwrap();
    assert_eq!(store.started(replica(2), 3).await.unwrap(), 0);
    // This process cannot run twice: the one before has not stopped.
    assert_eq!(store.started(replica(3), 4).await.unwrap(), 1);
    assert_eq!(store.started(replica(3 + 1), 5).await.unwrap(), 1);
}

#[tokio::test]
async fn old_events_go_before_old_sums() {
    let (store, _folder) = sqlite().await;
    store.write(&batch(several())).await.unwrap();
    while store.expire(NOON_MS + HOUR_MS, NOON_MS).await.unwrap() {}
    assert_eq!(store.events(&EventFilter::default(), 10).await.unwrap().len(), 2);
    assert_eq!(all(&store).await.requests, 4);
    while store.expire(NOON_MS + HOUR_MS, NOON_MS + HOUR_MS).await.unwrap() {}
    assert_eq!(all(&store).await.requests, 2);
    let left: i64 = sqlx::query_scalar("SELECT SUM(requests) FROM usage_durations")
        .fetch_one(store.store.pool().unwrap())
        .await
        .unwrap();
    assert_eq!(left, 2, "durations go with their sums");
}

#[tokio::test]
async fn every_query_finds_its_rows_by_an_index() {
    let (store, _folder) = sqlite().await;
    for (query, index) in [
        (
            "SELECT id FROM usage_events WHERE at_ms < 5 ORDER BY at_ms LIMIT 5",
            "usage_events_by_time",
        ),
        (
            "SELECT * FROM usage_events WHERE at_ms >= 1 AND at_ms < 9 AND key_id = 'k' ORDER BY at_ms DESC, id DESC",
            "usage_events_by_key",
        ),
        (
            "SELECT * FROM usage_events WHERE at_ms >= 1 AND at_ms < 9 AND org_code = 'o' ORDER BY at_ms DESC, id DESC",
            "usage_events_by_org",
        ),
        (
            "SELECT SUM(requests) FROM usage_rollups WHERE hour >= 1 AND hour < 9",
            "sqlite_autoindex_usage_rollups_1",
        ),
        (
            "SELECT SUM(requests) FROM usage_rollups WHERE hour >= 1 AND hour < 9 AND key_id = 'k'",
            "usage_rollups_by_key",
        ),
        (
            "SELECT SUM(requests) FROM usage_rollups WHERE hour >= 1 AND hour < 9 AND org_code = 'o'",
            "usage_rollups_by_org",
        ),
        (
            "SELECT minute FROM usage_minutes WHERE settled = 0 AND minute < 5",
            "usage_minutes_open",
        ),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(store.store.pool().unwrap())
                .await
                .unwrap();
        let plan = plan.into_iter().map(|step| step.3).collect::<Vec<_>>().join("; ");
        assert!(
            plan.contains(index) && !plan.contains("TEMP B-TREE"),
            "{query}: {plan}"
        );
    }
}

#[test]
fn a_row_of_the_rollups_has_no_path() {
    let one = event(1);
    let other = Event {
        path: cut(&"x".repeat(5000), 1024).into(),
        ..event(2)
    };
    assert_eq!(Row::of(&one), Row::of(&other));
}
