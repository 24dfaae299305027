//! Hot reload: the configuration is read again when its file changes, and on SIGHUP.
//!
//! The whole policy is swapped at once; a check that has begun ends under the policy that it began with. A configuration that
//! is wrong in any place changes nothing: what is in force stays, the log says where the mistakes are, and the refusal is
//! counted. What a running process cannot change (listeners, stores) is left as it was, by name, and the rest is applied.

mod metrics;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(super) use self::metrics::ReloadMetrics;
use self::metrics::Result as Counted;
use crate::authorizer::Authorizer;
use crate::config::{FileWatch, Loaded, Notice, Settings, SettingsError, Source};
use crate::decision::Policy;
use crate::keys::KeyCache;
use crate::telemetry::LogLevel;

/// Mistakes of one file that are logged; a file that is no configuration at all can have thousands.
const MISTAKES_LOGGED: usize = 20;

/// What a reload needs of the outside.
pub(super) struct Trigger {
    /// Where the settings are read.
    pub(super) source: Source,
    /// Watches the file; begun before it was first read.
    pub(super) file: FileWatch,
    /// SIGHUP.
    pub(super) hangups: Signal,
}

/// What a reload changes.
pub(super) struct Target {
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) keys: Arc<KeyCache>,
    pub(super) log_level: LogLevel,
    /// The settings in force, for whoever needs them now and then.
    pub(super) settings: watch::Sender<Arc<Settings>>,
}

/// Reads the configuration again whenever it is time to, and applies what is good.
pub(super) struct Reloader {
    trigger: Trigger,
    target: Target,
    /// The settings of the start, which are in force where only a restart changes anything.
    started: Arc<Settings>,
    metrics: ReloadMetrics,
}

impl Reloader {
    /// The settings that `target` has now are those of the start.
    pub(super) fn new(trigger: Trigger, target: Target) -> Self {
        let started = Arc::clone(&target.settings.borrow());
        let version = started.policy_version();
        info!(policy.version = %version, "policy in force");
        Self {
            trigger,
            target,
            started,
            metrics: ReloadMetrics::new(version, SystemTime::now()),
        }
    }

    pub(super) fn metrics(&self) -> &ReloadMetrics {
        &self.metrics
    }

    /// Reloads until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let cause = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(()) = self.trigger.hangups.recv() => "signal",
                () = self.trigger.file.changed() => "file",
            };
            self.reload(cause).await;
        }
    }

    async fn reload(&self, cause: &'static str) {
        let source = self.trigger.source.clone();
        // Reads files, and compiles what may be thousands of routes.
        let read = tokio::task::spawn_blocking(move || {
            source.load().map(|Loaded { settings, notices }| {
                let settings = Arc::new(settings);
                (Policy::compile(Arc::clone(&settings)), settings, notices)
            })
        });
        match read.await {
            Ok(Ok((policy, settings, notices))) => self.apply(cause, policy, &settings, &notices),
            Ok(Err(mistakes)) => self.refuse(cause, &mistakes),
            Err(broken) => {
                // The panic hook has told where.
                let mistakes = vec![format!("reading the configuration broke: {broken}")];
                self.refuse(cause, &SettingsError { mistakes });
            }
        }
    }

    fn apply(&self, cause: &'static str, policy: Policy, settings: &Arc<Settings>, notices: &[Notice]) {
        for notice in notices {
            if notice.stops_start {
                error!("{}: the next start will be refused", notice.text);
            } else {
                warn!("{}", notice.text);
            }
        }
        let before = self.target.settings.send_replace(Arc::clone(settings));
        let (old, new) = (before.policy_version(), settings.policy_version());
        let has_new_policy = old != new;
        if has_new_policy {
            self.target.authorizer.replace_policy(policy);
        }
        if !settings.has_same_pace(&before) {
            self.target.keys.set_times(settings.keys.cache);
            if let Err(error) = self.target.log_level.set(&settings.telemetry.log_level) {
                warn!(%error, "the level of the logs stays");
            }
        }
        let waiting = settings.needing_restart(&self.started);
        if !waiting.is_empty() {
            warn!(
                settings = waiting.join(", "),
                "these settings need a restart; the rest is applied"
            );
        }
        let is_change = has_new_policy || !settings.has_same_pace(&before);
        let result = if is_change {
            Counted::Applied
        } else {
            Counted::Unchanged
        };
        if has_new_policy {
            info!(cause, policy.version = %new, policy.replaced = %old, routes = settings.routes.len(), "policy replaced");
        } else if is_change {
            info!(cause, policy.version = %new, "settings applied; the policy is the same");
        } else {
            info!(cause, policy.version = %new, "configuration read; nothing to change");
        }
        self.metrics
            .succeeded(result, new, waiting.len(), SystemTime::now());
    }

    fn refuse(&self, cause: &'static str, error: &SettingsError) {
        let in_force = self.target.settings.borrow().policy_version();
        for mistake in error.mistakes.iter().take(MISTAKES_LOGGED) {
            error!(cause, mistake, policy.version = %in_force, "configuration refused; what is in force stays");
        }
        if let Some(more) = error
            .mistakes
            .len()
            .checked_sub(MISTAKES_LOGGED)
            .filter(|&more| more > 0)
        {
            error!(more, "further mistakes; `latchkey config check` names them all");
        }
        self.metrics.refused();
    }
}
