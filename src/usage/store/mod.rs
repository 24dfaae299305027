//! Where usage is kept: what a store promises, and the batch that goes into it.

mod query;
mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::query::{By, EventFilter, Filter, Group, InvalidGroup, UsageRow};
pub use self::sqlite::SqliteUsage;
use super::decision_id::{Minute, Replica};
use super::event::{Event, EventId};

/// What is written at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Requests that have ended; some of them may be known already.
    pub events: Vec<Event>,
    /// How many decisions a replica has made in a minute so far. A total and no difference, so that to write it twice does no harm.
    pub made: Vec<(Replica, Minute, u64)>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.made.is_empty()
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Events that were new.
    pub new: u64,
    /// Events that were known already, and did not count again.
    pub known: u64,
}

/// What was found missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Decisions for which no log entry came.
    pub missing: u64,
}

/// The store gave no answer, or refused; the text is for operators.
#[derive(Debug, Clone, thiserror::Error)]
#[error("usage store: {0}")]
pub struct UsageStoreError(pub String);

/// A task of the store.
pub type Doing<'a, T> = BoxFuture<'a, Result<T, UsageStoreError>>;

/// Keeps usage. Every promise is tested for each store.
pub trait UsageStore: Send + Sync + 'static {
    /// Notes that a server has started, and tells how many before it have ended without [`Self::stopped`].
    fn started(&self, replica: Replica, now_ms: u64) -> Doing<'_, u64>;

    /// Notes that a server has stopped, with all that it had written.
    fn stopped(&self, replica: Replica, now_ms: u64) -> Doing<'_, ()>;

    /// Writes a batch in one transaction: all of it, or nothing. An event that is known already changes nothing.
    fn write<'a>(&'a self, batch: &'a Batch) -> Doing<'a, Written>;

    /// Counts what is missing in minutes before `before`, each minute once.
    fn settle(&self, before: Minute) -> Doing<'_, Settled>;

    /// Deletes some of the events before `events_before_ms` and of the sums before `sums_before_ms`; `true` if there may be
    /// more. Each call is short, so that writers do not wait.
    fn expire(&self, events_before_ms: u64, sums_before_ms: u64) -> Doing<'_, bool>;

    /// Sums by group, from the rollups.
    fn totals<'a>(
        &'a self,
        filter: &'a Filter,
        by: &'a By,
        limit: u32,
        offset: u64,
    ) -> Doing<'a, Vec<UsageRow>>;

    /// Single events, the newest first.
    fn events<'a>(&'a self, filter: &'a EventFilter, limit: u32) -> Doing<'a, Vec<Event>>;

    /// When a key was last used, in milliseconds since the Unix epoch, and how often.
    fn last_used<'a>(&'a self, key_id: &'a str) -> Doing<'a, Option<(u64, u64)>>;
}

/// The sums that a batch adds to one row.
#[derive(Default, Debug)]
struct Sums {
    requests: u64,
    errors: u64,
    input_length: u64,
    response_length: u64,
    input_tokens: u64,
    output_tokens: u64,
    tokens: u64,
    durations: BTreeMap<u16, u64>,
}

impl Sums {
    fn add(&mut self, event: &Event) {
        self.requests += 1;
        self.errors += u64::from(event.failed());
        self.input_length += event.input_length();
        self.response_length += event.response_length();
        self.input_tokens += event.input_tokens.unwrap_or_default();
        self.output_tokens += event.output_tokens.unwrap_or_default();
        self.tokens += event.total_tokens.unwrap_or_default();
        let bucket = super::durations::bucket(event.duration());
        *self.durations.entry(bucket).or_default() += 1;
    }
}

/// What the rows of the rollups differ in.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy, Debug)]
struct Row<'e> {
    hour: u64,
    key_id: &'e str,
    org_code: &'e str,
    user_id: &'e str,
    route: &'e str,
    status: u16,
}

impl<'e> Row<'e> {
    fn of(event: &'e Event) -> Self {
        Self {
            hour: hour_of(event.at_ms),
            key_id: &event.key_id,
            org_code: &event.org_code,
            user_id: &event.user_id,
            route: &event.route,
            status: event.status,
        }
    }
}

/// Hours since the Unix epoch.
fn hour_of(at_ms: u64) -> u64 {
    const MS: u64 = Duration::from_secs(3600).as_millis() as u64;
    at_ms / MS
}

/// Those events of a batch that come first under their name: a name may be twice in one batch.
fn distinct(events: &[Event]) -> Vec<&Event> {
    let mut seen = std::collections::HashSet::<&EventId>::with_capacity(events.len());
    events.iter().filter(|event| seen.insert(&event.id)).collect()
}

#[cfg(test)]
mod tests;
