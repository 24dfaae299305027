//! Renewal: files that changed are put into force, or said to be unusable.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::super::vital::Vitals;
use super::Tls;
use crate::config::FileWatch;

/// Watches the files of one listener until `stop`. Call it on the waiting runtime.
pub(super) fn spawn(tls: Arc<Tls>, mut files: FileWatch, vitals: &Vitals, stop: &CancellationToken) {
    let stopped = stop.clone();
    vitals.spawn("tls_watch", stop.clone(), async move {
        loop {
            tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                () = files.changed() => {}
            }
            // A network file system that hangs must not hold a thread of the runtime.
            let tls = Arc::clone(&tls);
            tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                done = tokio::task::spawn_blocking(move || reload(&tls)) => done?,
            }
        }
    });
}

fn reload(tls: &Tls) {
    let listener = tls.listener;
    match tls.reload() {
        Ok(()) => info!(listener, "the TLS files have changed and are in force"),
        Err(error) => {
            let why = format!("{:#}", anyhow::Error::new(error));
            error!(
                listener,
                error = why,
                "the TLS files have changed and cannot be used; what was in force stays"
            );
        }
    }
}
