//! A batch, written in one transaction.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::super::{Row, Sums};
use super::{EVENT, integer};
use crate::usage::decision_id::{Minute, Replica};
use crate::usage::event::Event;

/// Rows of one statement: SQLite takes 32,766 parameters, and an event has 24.
pub(super) const ROWS_AT_A_TIME: usize = 200;

/// Writes events that are not there yet, and tells which those were.
pub(super) async fn insert(
    change: &mut SqliteConnection,
    events: &[&Event],
) -> Result<Vec<String>, sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO usage_events (");
    query.push(EVENT).push(") ");
    query.push_values(events, |mut row, event| {
        row.push_bind(event.id.as_str());
        row.push_bind(integer(event.at_ms));
        for text in [
            &event.key_id,
            &event.key_name,
            &event.org_code,
            &event.user_id,
            &event.route,
            &event.method,
            &event.path,
        ] {
            row.push_bind(&**text);
        }
        row.push_bind(i64::from(event.status));
        for text in [
            &event.outcome,
            &event.reason,
            &event.flags,
            &event.details,
            &event.guard,
        ] {
            row.push_bind(&**text);
        }
        row.push_bind(i64::from(event.failed()));
        row.push_bind(integer(event.input_bytes));
        row.push_bind(integer(event.response_bytes));
        for number in [
            event.input_chars,
            event.response_chars,
            event.input_tokens,
            event.output_tokens,
            event.total_tokens,
        ] {
            row.push_bind(number.map(integer));
        }
        row.push_bind(integer(event.duration_us));
    });
    query.push(" RETURNING id");
    query.build_query_scalar().fetch_all(change).await
}

pub(super) async fn add_to_rollups(
    change: &mut SqliteConnection,
    events: &[&Event],
) -> Result<(), sqlx::Error> {
    let mut sums: BTreeMap<Row<'_>, Sums> = BTreeMap::new();
    for event in events {
        sums.entry(Row::of(event)).or_default().add(event);
    }
    for (row, sums) in &sums {
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO usage_rollups (hour, key_id, org_code, user_id, route, status, requests, errors, input_length, \
             response_length, input_tokens, output_tokens, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (hour, key_id, org_code, user_id, route, status) DO UPDATE SET \
             requests = requests + excluded.requests, errors = errors + excluded.errors, \
             input_length = input_length + excluded.input_length, \
             response_length = response_length + excluded.response_length, \
             input_tokens = input_tokens + excluded.input_tokens, \
             output_tokens = output_tokens + excluded.output_tokens, tokens = tokens + excluded.tokens RETURNING id",
        )
        .bind(integer(row.hour))
        .bind(row.key_id)
        .bind(row.org_code)
        .bind(row.user_id)
        .bind(row.route)
        .bind(i64::from(row.status))
        .bind(integer(sums.requests))
        .bind(integer(sums.errors))
        .bind(integer(sums.input_length))
        .bind(integer(sums.response_length))
        .bind(integer(sums.input_tokens))
        .bind(integer(sums.output_tokens))
        .bind(integer(sums.tokens))
        .fetch_one(&mut *change)
        .await?;
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO usage_durations (rollup_id, bucket, requests) ");
        query.push_values(&sums.durations, |mut row, (bucket, requests)| {
            row.push_bind(id);
            row.push_bind(i64::from(*bucket));
            row.push_bind(integer(*requests));
        });
        query.push(" ON CONFLICT (rollup_id, bucket) DO UPDATE SET requests = requests + excluded.requests");
        query.build().execute(&mut *change).await?;
    }
    Ok(())
}

pub(super) async fn add_to_keys(change: &mut SqliteConnection, events: &[&Event]) -> Result<(), sqlx::Error> {
    let mut keys: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| &*event.outcome == "allow" && !event.key_id.is_empty())
    {
        let (last, uses) = keys.entry(&event.key_id).or_default();
        *last = event.at_ms.max(*last);
        *uses += 1;
    }
    for (key_id, (last, uses)) in keys {
        sqlx::query(
            "INSERT INTO usage_keys (key_id, last_used_ms, uses) VALUES (?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET \
             last_used_ms = max(last_used_ms, excluded.last_used_ms), uses = uses + excluded.uses",
        )
        .bind(key_id)
        .bind(integer(last))
        .bind(integer(uses))
        .execute(&mut *change)
        .await?;
    }
    Ok(())
}

pub(super) async fn add_to_minutes(
    change: &mut SqliteConnection,
    events: &[&Event],
    made: &[(Replica, Minute, u64)],
) -> Result<(), sqlx::Error> {
    let mut minutes: BTreeMap<(Replica, Minute), (u64, u64)> = BTreeMap::new();
    for (replica, minute, made) in made {
        minutes.entry((*replica, *minute)).or_default().0 = *made;
    }
    for id in events.iter().filter_map(|event| event.id.decision()) {
        minutes.entry((id.replica(), id.minute())).or_default().1 += 1;
    }
    for ((replica, minute), (made, seen)) in minutes {
        sqlx::query(
            "INSERT INTO usage_minutes (replica, minute, made, seen, settled) VALUES (?, ?, ?, ?, 0) \
             ON CONFLICT (replica, minute) DO UPDATE SET made = max(made, excluded.made), seen = seen + excluded.seen",
        )
        .bind(i64::from(replica.number()))
        .bind(i64::from(minute.0))
        .bind(integer(made))
        .bind(integer(seen))
        .execute(&mut *change)
        .await?;
    }
    Ok(())
}
