//! What it costs to keep usage, and to ask for it: events a second beside a bare insert of the same rows in batches of the same
//! size, and a month's sums at 10⁵, 10⁶ and 10⁷ requests (`USAGE_BENCH_EVENTS` chooses the largest).

use std::time::{Duration, Instant};

use latchkey::keys::SqliteStore;
use latchkey::usage::{Batch, By, Event, EventId, Filter, SqliteUsage, UsageStore};

const BATCH: u64 = 2_000;
const KEYS: u64 = 200;
const MONTH_MS: u64 = 30 * 24 * 3_600_000;
const START_MS: u64 = 1_788_220_800_000;

/// The requests of a month, spread evenly.
fn event(number: u64, of: u64) -> Event {
    let key = number % KEYS;
    Event {
        id: EventId::of_request("bench", u128::from(number), 1),
        at_ms: START_MS
            + u64::try_from(u128::from(number) * u128::from(MONTH_MS) / u128::from(of)).unwrap_or(0),
        key_id: format!("api_key_{key:032x}").into(),
        key_name: "bench".into(),
        org_code: format!("org_{}", key % 50).into(),
        user_id: "".into(),
        route: ["chat", "support", "process"][usize::try_from(number % 3).unwrap_or(0)].into(),
        method: "POST".into(),
        path: "/ai/chat".into(),
        status: if number.is_multiple_of(50) { 429 } else { 200 },
        outcome: "allow".into(),
        reason: "key".into(),
        flags: "".into(),
        details: "via_upstream".into(),
        guard: "ok".into(),
        input_bytes: 400,
        response_bytes: 4_000,
        input_chars: Some(380),
        response_chars: Some(3_900),
        input_tokens: Some(100),
        output_tokens: Some(900),
        total_tokens: Some(1_000),
        duration_us: 200_000 + number % 1_000_000,
    }
}

/// The events of one batch: neighbours in time, as they come.
fn batch(first: u64, of: u64) -> Batch {
    Batch {
        events: (first..(first + BATCH).min(of))
            .map(|number| event(number, of))
            .collect(),
        made: Vec::new(),
    }
}

#[tokio::main]
async fn main() {
    let most: u64 = match std::env::var("USAGE_BENCH_EVENTS") {
        Ok(number) => number.parse().expect("USAGE_BENCH_EVENTS is a number"),
        Err(_) => 10_000_000,
    };
    println!("usage in SQLite, {KEYS} keys, batches of {BATCH}");
    inserts().await;
    for events in [100_000, 1_000_000, 10_000_000] {
        if events <= most {
            month(events).await;
        }
    }
}

async fn open() -> (SqliteUsage, std::path::PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("usage.db");
    let store = SqliteStore::open(&path).await.expect("a new store");
    (SqliteUsage::new(&store), path, folder)
}

/// Rounds of both, one after the other, so that noise meets both.
async fn inserts() {
    const EVENTS: u64 = 100_000;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (store, _, _folder) = open().await;
        let mut took = Duration::ZERO;
        for first in (0..EVENTS).step_by(BATCH as usize) {
            let batch = batch(first, EVENTS);
            let began = Instant::now();
            store.write(&batch).await.expect("the store is there");
            took += began.elapsed();
        }
        ours.push(EVENTS as f64 / took.as_secs_f64());
        bare.push(EVENTS as f64 / bare_insert(EVENTS).await.as_secs_f64());
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, bare) = (median(&mut ours), median(&mut bare));
    println!(
        "  events a second: {ours:.0} with sums and without counting twice; a bare insert of one table {bare:.0}; ratio {:.2}",
        ours / bare
    );
}

/// The same rows into a table with nothing but a primary key, in one transaction a batch.
async fn bare_insert(events: u64) -> Duration {
    use sqlx::Connection as _;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.path().join("bare.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let mut connection = sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("a new file");
    sqlx::query("CREATE TABLE bare (id TEXT PRIMARY KEY, at_ms INTEGER, key_id TEXT, org_code TEXT, route TEXT, status INTEGER, input INTEGER, output INTEGER, duration INTEGER) WITHOUT ROWID")
        .execute(&mut connection)
        .await
        .expect("a new table");
    let mut took = Duration::ZERO;
    for first in (0..events).step_by(BATCH as usize) {
        let batch = batch(first, events);
        let began = Instant::now();
        let mut change = connection.begin().await.expect("a transaction");
        for rows in batch.events.chunks(200) {
            let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new("INSERT INTO bare ");
            query.push_values(rows, |mut row, event| {
                row.push_bind(event.id.as_str());
                row.push_bind(event.at_ms as i64);
                row.push_bind(&*event.key_id);
                row.push_bind(&*event.org_code);
                row.push_bind(&*event.route);
                row.push_bind(i64::from(event.status));
                row.push_bind(event.input_bytes as i64);
                row.push_bind(event.response_bytes as i64);
                row.push_bind(event.duration_us as i64);
            });
            query.build().execute(&mut *change).await.expect("rows");
        }
        change.commit().await.expect("a commit");
        took += began.elapsed();
    }
    took
}

/// A month's sums by key, for all and for one organization, and one page of its requests.
async fn month(events: u64) {
    let (store, path, _folder) = open().await;
    for first in (0..events).step_by(BATCH as usize) {
        store
            .write(&batch(first, events))
            .await
            .expect("the store is there");
    }
    let month = Filter {
        from_ms: Some(START_MS),
        to_ms: Some(START_MS + MONTH_MS),
        ..Filter::default()
    };
    let one = Filter {
        org_code: Some("org_7".into()),
        ..month.clone()
    };
    let mut told = Vec::new();
    for (name, filter, by) in [
        ("all by key", &month, "key"),
        ("all by day", &month, "day"),
        ("one organization by day", &one, "day"),
    ] {
        let by: By = by.parse().expect("a group");
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let began = Instant::now();
            let rows = store
                .totals(filter, &by, 500, 0)
                .await
                .expect("the store is there");
            best = best.min(began.elapsed());
            let requests: u64 = rows.iter().map(|row| row.requests).sum();
            assert!(
                requests > 0 && (filter.org_code.is_some() || requests == events),
                "{requests}"
            );
        }
        told.push(format!("{name} {:.0} ms", best.as_secs_f64() * 1000.0));
    }
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    println!(
        "  {events} requests of a month ({} bytes each): {}",
        size / events,
        told.join(", ")
    );
}
