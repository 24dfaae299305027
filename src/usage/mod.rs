//! Usage: who used what, how much, how long, and did it fail.
//!
//! Envoy's access log brings one [`Event`] for each finished request, with the identity that the check put into its metadata.
//! The [`Recorder`] takes events into a bounded queue and writes them in batches; a store that is away costs none, since
//! batches go to disk then and are written later. Whatever arrives twice counts once. What never arrives is known as well:
//! a [`Ledger`] counts the decisions, and the store the entries that came back for them.

mod decision_id;
pub mod durations;
mod event;
mod ledger;
mod metrics;
mod monitor;
mod recorder;
mod spool;
mod store;

pub use decision_id::{DecisionId, Minute, Replica};
#[cfg(test)]
pub(crate) use event::testing;
pub use event::{Event, EventId, MAX_TEXT_BYTES, cut};
pub use ledger::Ledger;
pub use metrics::UsageMetrics;
pub use monitor::{Monitor, rfc3339};
pub use recorder::{Keeping, Recorder, RecorderParts, SpoolFolder, Writing};
pub use store::{
    Batch, By, Doing, EventFilter, Filter, Group, InvalidGroup, Settled, SqliteUsage, UsageRow, UsageStore,
    UsageStoreError, Written,
};
