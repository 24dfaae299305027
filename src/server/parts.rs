//! The parts that a server is made of, opened from the settings: the only place that knows which concrete ones there are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::reload::{Reloader, Target, Trigger};
use super::start::Tokens;
use super::streams::EndsOnStop;
use super::vital::Vitals;
use crate::authorizer::Authorizer;
use crate::config::{Settings, SourceKind, StoreUrl, Telemetry};
use crate::decision::Policy;
use crate::envoy::{self, AccessLogService, CheckLayer, GuardMetrics, Processor};
use crate::http::{self, App, AuditLog};
use crate::keys::{self, KeyCache, KeyStore, SqliteStore, StoreSource};
use crate::limits::LocalLimits;
use crate::outbound::RemoteMetrics;
use crate::telemetry::{CheckMetrics, LogLevel, Registry, Traces};
use crate::usage::{Keeping, Ledger, Monitor, Recorder, RecorderParts, SpoolFolder, SqliteUsage};

/// Subjects of rate limits that are counted at a time: about 150 bytes each.
const MAX_LIMIT_SUBJECTS: usize = 1_000_000;

/// What usage gets to be written in at the end; what is left then goes to disk.
const LAST_USAGE: Duration = Duration::from_millis(500);

/// What the last spans get to be sent in at the end.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// Asks the store for a sign of life; an error says what is wrong, without a secret.
pub(super) type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a server serves, and what it needs for that.
pub(super) struct Parts<L> {
    /// A layer in front of the router of every lane, for what must be answered fast.
    pub(super) front: L,
    /// The other services of a lane, each one line here.
    pub(super) services: Routes,
    /// What the HTTP listener answers.
    pub(super) http: Router,
    /// Encoded file descriptor sets, for reflection.
    pub(super) descriptors: Vec<&'static [u8]>,
    /// Whether the store answers.
    pub(super) store: Probe,
    /// Where the rooms have put their metrics.
    pub(super) registry: Registry,
}

/// Opens the store, compiles the policy, and puts the authorizer together. What has to run beside it becomes one of `vitals`.
/// To be called on the waiting runtime.
pub(super) async fn open(
    in_force: watch::Sender<Arc<Settings>>,
    log_level: LogLevel,
    trigger: Trigger,
    vitals: &Vitals,
    tokens: &Tokens,
) -> anyhow::Result<Parts<CheckLayer>> {
    let stop = &tokens.end;
    let settings = Arc::clone(&in_force.borrow());
    let StoreUrl::Sqlite(path) = &settings.store else {
        bail!("this version stores keys in SQLite only");
    };
    let remotes = RemoteMetrics::default();
    let store = SqliteStore::open(path).await?;
    let stored = StoreSource::new(store.clone(), &settings.keys.prefix);
    let source = keys::open_source(&settings.keys, stored, &remotes).context("keys.remote")?;
    let keys = KeyCache::new(source, &settings.keys, Handle::current());
    let environment_keys = Arc::new(http::VerifiedEnvironmentKeys(Arc::clone(&keys)));
    let authenticator = http::auth::Authenticator::open(&settings, Some(environment_keys), &remotes)?;
    let limits = LocalLimits::new(MAX_LIMIT_SUBJECTS);
    let checks = CheckMetrics::default();

    let mut registry = Registry::default();
    checks.register(&mut registry);
    keys.metrics().register(&mut registry);
    limits.register(&mut registry);
    remotes.register(&mut registry);
    authenticator.register(&mut registry);

    // What is remembered of another server's keys does not depend on this store.
    if settings.keys.source != SourceKind::Remote {
        let (watcher, watched, until) = (store.clone(), Arc::clone(&keys), stop.clone());
        vitals.spawn("store_watch", stop.clone(), async move {
            watcher.watch(&watched, until).await;
            Ok(())
        });
    }

    let (bearers, until) = (authenticator.clone(), stop.clone());
    vitals.spawn("management_tokens", stop.clone(), async move {
        bearers.keep_up(until).await;
        Ok(())
    });

    let traces = send_traces(&settings.telemetry, vitals, stop)?;
    let policy = Policy::compile(settings);
    let authorizer = Arc::new(Authorizer::new(policy, Arc::clone(&keys), limits, checks));
    let target = Target {
        authorizer: Arc::clone(&authorizer),
        keys: Arc::clone(&keys),
        log_level,
        settings: in_force,
    };
    let recorder = record_usage(
        &store,
        authorizer.ledger(),
        target.settings.subscribe(),
        vitals,
        stop,
    );
    recorder.metrics().register(&mut registry);

    let reloader = Reloader::new(trigger, target);
    reloader.metrics().register(&mut registry);
    vitals.spawn("config_reload", stop.clone(), reloader.run(stop.clone()));

    let guards = GuardMetrics::default();
    guards.register(&mut registry);
    let processor =
        Processor::new(Arc::clone(&authorizer), guards, Handle::current()).with_traces(traces.clone());

    let (audit, writer) = AuditLog::new();
    audit.register(&mut registry);
    let shared: Arc<dyn KeyStore> = Arc::new(store.clone());
    let (written, counted, until) = (Arc::clone(&shared), Arc::clone(&keys), stop.clone());
    vitals.spawn("audit_writer", stop.clone(), async move {
        writer.run(written, counted, until).await;
        Ok(())
    });
    let app = App::new(http::Shared {
        authorizer: Arc::clone(&authorizer),
        store: shared,
        keys,
        authenticator: Some(authenticator),
        audit,
        usage: Arc::new(SqliteUsage::new(&store)),
    });
    Ok(Parts {
        front: CheckLayer::new(authorizer).with_traces(traces),
        services: Routes::default()
            .add_service(processor.service())
            .add_service(EndsOnStop::new(
                AccessLogService::new(recorder),
                tokens.goaway.clone(),
            )),
        http: http::router(app),
        descriptors: vec![envoy::FILE_DESCRIPTOR_SET],
        store: Box::new(move || {
            let store = store.clone();
            Box::pin(async move { store.ping().await.map_err(|error| error.to_string()) })
        }),
        registry,
    })
}

/// Writes usage to the store, and to disk while that is away.
fn record_usage(
    store: &SqliteStore,
    ledger: &Arc<Ledger>,
    settings: watch::Receiver<Arc<Settings>>,
    vitals: &Vitals,
    stop: &CancellationToken,
) -> Arc<Recorder> {
    let usage = settings.borrow().usage.clone();
    let parts = RecorderParts {
        spool: SpoolFolder::open(&usage.spool_dir, usage.spool_max_bytes),
        ledger: Arc::clone(ledger),
        monitor: Monitor::new(settings),
        keeping: Keeping {
            events: usage.retention,
            sums: usage.sums_retention,
            missing_after: usage.missing_after,
        },
    };
    let (recorder, writing) = Recorder::new(Arc::new(SqliteUsage::new(store)), parts);
    let until = stop.clone();
    vitals.spawn("usage", stop.clone(), async move {
        writing.run(until, LAST_USAGE).await;
        Ok(())
    });
    recorder
}

/// Opens the way to the collector of traces, if there is one, and sends the last spans at the end.
fn send_traces(
    telemetry: &Telemetry,
    vitals: &Vitals,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Arc<Traces>>> {
    let Some(endpoint) = &telemetry.otlp_endpoint else {
        return Ok(None);
    };
    let traces = Traces::open(endpoint).with_context(|| format!("telemetry.otlp_endpoint: {endpoint}"))?;
    let (closed, until) = (Arc::clone(&traces), stop.clone());
    vitals.spawn("traces", stop.clone(), async move {
        until.cancelled().await;
        // Waits for the thread that sends.
        Ok(tokio::task::spawn_blocking(move || closed.close(LAST_SPANS)).await?)
    });
    Ok(Some(traces))
}
