//! Tasks that the server cannot do without.
//!
//! A server whose acceptor has died still answers `/livez`, and nothing else. So each task that runs for as long as the server
//! has an owner who notices when it ends early, by return, error or panic, and then the process ends, for its supervisor to
//! start it anew.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span, warn};

/// The owner of the vital tasks on the waiting runtime.
#[derive(Debug)]
pub(super) struct Vitals {
    tracker: TaskTracker,
    ended: mpsc::Sender<anyhow::Error>,
    end: mpsc::Receiver<anyhow::Error>,
}

impl Vitals {
    pub(super) fn new() -> Self {
        // Only the first one is read: the server ends with it.
        let (ended, end) = mpsc::channel(1);
        Self {
            tracker: TaskTracker::new(),
            ended,
            end,
        }
    }

    /// Runs a task that may end once `stop` has come, and not before. Call it on the waiting runtime.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        stop: CancellationToken,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let running = self.tracker.spawn(task.instrument(info_span!("task", name)));
        let ended = self.ended.clone();
        self.tracker.spawn(async move {
            let end = running.await;
            if !stop.is_cancelled() {
                let _ = ended.try_send(describe(name, end));
            }
        });
    }

    /// Waits for the first task that ends early. Cancel safe.
    pub(super) async fn first_end(&mut self) -> anyhow::Error {
        match self.end.recv().await {
            Some(error) => error,
            // `self` holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Waits for the tasks to end, whose stop has come; at most for `limit`.
    pub(super) async fn join(self, limit: Duration) {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            warn!(
                ?limit,
                left = self.tracker.len(),
                "tasks were still running, and were dropped"
            );
        }
    }
}

fn describe(name: &str, end: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match end {
        Ok(Ok(())) => anyhow::anyhow!("the task {name} has ended"),
        Ok(Err(error)) => error.context(format!("the task {name} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("the task {name} broke")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_is_noticed_however_it_ends() {
        for (task, what) in [
            (
                Box::pin(async { Ok(()) }) as futures_util::future::BoxFuture<'static, _>,
                "the task watcher has ended",
            ),
            (
                Box::pin(async { anyhow::bail!("no more") }),
                "the task watcher failed: no more",
            ),
            (Box::pin(async { panic!("oh") }), "the task watcher broke: "),
        ] {
            let mut vitals = Vitals::new();
            vitals.spawn("watcher", CancellationToken::new(), task);
            let end = format!("{:#}", vitals.first_end().await);
            assert!(end.starts_with(what), "{end}");
        }
    }

    #[tokio::test]
    async fn a_task_that_was_told_to_stop_is_no_failure() {
        let mut vitals = Vitals::new();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        vitals.spawn("watcher", stop.clone(), async move {
            stopped.cancelled().await;
            Ok(())
        });
        stop.cancel();
        vitals.tracker.close();
        vitals.tracker.wait().await;
        assert!(futures_util::poll!(Box::pin(vitals.first_end())).is_pending());
    }
}
