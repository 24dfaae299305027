//! Usage in the embedded store, beside the keys.

mod read;
mod write;

use std::collections::HashSet;

use super::query::{By, EventFilter, Filter, UsageRow};
use super::{Batch, Doing, Settled, UsageStore, UsageStoreError, Written, distinct, hour_of};
use crate::keys::{SqliteStore, StoreError};
use crate::usage::decision_id::{Minute, Replica};
use crate::usage::event::Event;

/// Rows that one step of an expiry deletes.
const EXPIRED_AT_A_TIME: i64 = 2_000;

/// Columns of an event, in the order in which they are written and read.
const EVENT: &str = "id, at_ms, key_id, key_name, org_code, user_id, route, method, path, status, outcome, reason, flags, \
                     details, guard, failed, input_bytes, response_bytes, input_chars, response_chars, input_tokens, \
                     output_tokens, total_tokens, duration_us";

/// Usage in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteUsage {
    pub(super) store: SqliteStore,
}

impl SqliteUsage {
    /// In the file of the keys.
    pub fn new(store: &SqliteStore) -> Self {
        Self { store: store.clone() }
    }

    async fn start(&self, replica: Replica, now_ms: u64) -> Result<u64, StoreError> {
        let mut change = self.store.pool()?.begin().await?;
        let open: Vec<(i64, String)> =
            sqlx::query_as("SELECT replica, process FROM usage_runs WHERE stopped_ms IS NULL")
                .fetch_all(&mut *change)
                .await?;
        let process = this_process();
        let mut unclean = 0;
        for (replica, run) in open {
            // Another server may be running on the same file.
            if run != process && is_running(&run) {
                continue;
            }
            unclean += 1;
            sqlx::query("UPDATE usage_runs SET stopped_ms = alive_ms WHERE replica = ?")
                .bind(replica)
                .execute(&mut *change)
                .await?;
        }
        sqlx::query("INSERT INTO usage_runs (replica, process, started_ms, alive_ms) VALUES (?, ?, ?, ?)")
            .bind(i64::from(replica.number()))
            .bind(process)
            .bind(integer(now_ms))
            .bind(integer(now_ms))
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(unclean)
    }

    async fn stop(&self, replica: Replica, now_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE usage_runs SET stopped_ms = ? WHERE replica = ?")
            .bind(integer(now_ms))
            .bind(i64::from(replica.number()))
            .execute(self.store.pool()?)
            .await?;
        Ok(())
    }

    async fn use_of(&self, key_id: &str) -> Result<Option<(u64, u64)>, StoreError> {
        let found: Option<(i64, i64)> =
            sqlx::query_as("SELECT last_used_ms, uses FROM usage_keys WHERE key_id = ?")
                .bind(key_id)
                .fetch_optional(self.store.pool()?)
                .await?;
        Ok(found.map(|(at, uses)| (whole(at), whole(uses))))
    }

    async fn write_batch(&self, batch: &Batch) -> Result<Written, StoreError> {
        let mut change = self.store.pool()?.begin().await?;
        let events = distinct(&batch.events);
        let mut new: HashSet<String> = HashSet::with_capacity(events.len());
        for rows in events.chunks(write::ROWS_AT_A_TIME) {
            new.extend(write::insert(&mut change, rows).await?);
        }
        let new: Vec<&Event> = events
            .into_iter()
            .filter(|event| new.contains(event.id.as_str()))
            .collect();
        write::add_to_rollups(&mut change, &new).await?;
        write::add_to_keys(&mut change, &new).await?;
        write::add_to_minutes(&mut change, &new, &batch.made).await?;
        change.commit().await?;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Written {
            new: count(new.len()),
            known: count(batch.events.len() - new.len()),
        })
    }

    async fn settle_minutes(&self, before: Minute) -> Result<Settled, StoreError> {
        let missing: Vec<i64> = sqlx::query_scalar(
            "UPDATE usage_minutes SET settled = 1 WHERE settled = 0 AND minute < ? RETURNING max(made - seen, 0)",
        )
        .bind(i64::from(before.0))
        .fetch_all(self.store.pool()?)
        .await?;
        let missing = missing.into_iter().map(whole).sum();
        Ok(Settled { missing })
    }

    async fn expire_some(&self, events_before_ms: u64, sums_before_ms: u64) -> Result<bool, StoreError> {
        let (events, sums) = (integer(events_before_ms), integer(hour_of(sums_before_ms)));
        let minute = i64::from(Minute::of(events_before_ms).0);
        let mut more = false;
        for (statement, before) in [
            (
                "DELETE FROM usage_events WHERE id IN (SELECT id FROM usage_events WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
                events,
            ),
            (
                "DELETE FROM usage_rollups WHERE id IN (SELECT id FROM usage_rollups WHERE hour < ? ORDER BY hour LIMIT ?)",
                sums,
            ),
            (
                "DELETE FROM usage_minutes WHERE (replica, minute) IN \
                 (SELECT replica, minute FROM usage_minutes WHERE settled = 1 AND minute < ? LIMIT ?)",
                minute,
            ),
        ] {
            let done = sqlx::query(statement)
                .bind(before)
                .bind(EXPIRED_AT_A_TIME)
                .execute(self.store.pool()?)
                .await?;
            more |= done.rows_affected() >= whole(EXPIRED_AT_A_TIME);
        }
        sqlx::query("DELETE FROM usage_runs WHERE stopped_ms < ?")
            .bind(events)
            .execute(self.store.pool()?)
            .await?;
        Ok(more)
    }
}

impl UsageStore for SqliteUsage {
    fn started(&self, replica: Replica, now_ms: u64) -> Doing<'_, u64> {
        doing(self.start(replica, now_ms))
    }

    fn stopped(&self, replica: Replica, now_ms: u64) -> Doing<'_, ()> {
        doing(self.stop(replica, now_ms))
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> Doing<'a, Written> {
        doing(self.write_batch(batch))
    }

    fn settle(&self, before: Minute) -> Doing<'_, Settled> {
        doing(self.settle_minutes(before))
    }

    fn expire(&self, events_before_ms: u64, sums_before_ms: u64) -> Doing<'_, bool> {
        doing(self.expire_some(events_before_ms, sums_before_ms))
    }

    fn totals<'a>(
        &'a self,
        filter: &'a Filter,
        by: &'a By,
        limit: u32,
        offset: u64,
    ) -> Doing<'a, Vec<UsageRow>> {
        doing(self.sums(filter, by, limit, offset))
    }

    fn events<'a>(&'a self, filter: &'a EventFilter, limit: u32) -> Doing<'a, Vec<Event>> {
        doing(self.list(filter, limit))
    }

    fn last_used<'a>(&'a self, key_id: &'a str) -> Doing<'a, Option<(u64, u64)>> {
        doing(self.use_of(key_id))
    }
}

fn doing<'a, T>(work: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Doing<'a, T> {
    Box::pin(async move { work.await.map_err(|error| UsageStoreError(error.to_string())) })
}

/// SQLite's integers have 63 bits and a sign.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Number and start of this process, as Linux tells them; a number alone may be another process's soon.
fn this_process() -> String {
    process(std::process::id())
}

fn process(id: u32) -> String {
    // Field 22 is the start, in ticks since boot; the name of the process, which may hold anything, ends at the last `)`.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let started = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_ascii_whitespace().nth(19));
    format!("{id}/{}", started.unwrap_or("?"))
}

fn is_running(run: &str) -> bool {
    let id = run.split('/').next().and_then(|id| id.parse().ok());
    id.is_some_and(|id| !run.ends_with("/?") && process(id) == run)
}
