//! The end: a server that is told to stop loses no call that it can still answer.
//!
//! `serving → NOT_SERVING, not ready → (settle) → GOAWAY, streams end → (grace) → what is left is cut → exit`. Envoy needs the
//! settle time to see NOT_SERVING and send elsewhere. Each step has a bound, so the whole takes at most
//! `drain.settle + drain.grace` and a second.

use std::time::Duration;

use tracing::{info, warn};

use super::start::Running;
use crate::config::Drain;

/// What the ops listener, the watchers and the writer of usage get to end in.
const LAST_TASKS: Duration = Duration::from_millis(900);

/// Ends the server in this order.
pub(super) async fn drain(mut running: Running, pace: Drain) {
    running.readiness.draining();
    running.health.not_serving().await;
    info!(settle = ?pace.settle, grace = ?pace.grace, "draining");
    tokio::select! {
        () = tokio::time::sleep(pace.settle) => {}
        // Nobody is served by waiting on.
        end = running.first_end() => warn!("{end:#}"),
    }

    let Running {
        lanes,
        http,
        vitals,
        tokens,
        ..
    } = running;
    tokens.goaway.cancel();
    tokio::join!(lanes.drain(pace.grace), http.drain(pace.grace));

    // Last, so that probes and the last scrape are answered until here.
    tokens.end.cancel();
    vitals.join(LAST_TASKS).await;
    info!("stopped");
}
