//! The audit log: who did what, when, and what came of it.
//!
//! A change and its event are one transaction of the store. Refusals are written later, by a task, from a bounded queue; what
//! does not fit is counted, and is in the log of the process all the same. Refusals of callers who could not be told are
//! stored at most ten times a minute, so that strangers cannot push out what matters. What was only read is not written down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::{ApiError, Common};
use super::operation::{Caller, ListEvents, May};
use super::query::QueryPairs;
use super::{DEFAULT_PAGE, MOST_IN_A_PAGE, time};
use crate::keys::{AuditEvent, AuditFilter, AuditResult, KeyCache, KeyStore, StoredEvent, now_ms};
use crate::telemetry::Registry;

/// Refusals that wait to be written.
const QUEUE: usize = 1024;
/// Refusals of unknown callers that are stored in a minute.
const UNKNOWN_A_MINUTE: u32 = 10;
/// How often what has gathered is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often old events are dropped.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// What one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Where actions are written down.
#[derive(Clone)]
pub(crate) struct AuditLog {
    queue: mpsc::Sender<AuditEvent>,
    unknown: Arc<Mutex<Minute>>,
    lost: Counter,
}

struct Minute {
    began: Instant,
    stored: u32,
}

/// The other end of the queue.
pub(crate) struct AuditWriter {
    queue: mpsc::Receiver<AuditEvent>,
}

impl AuditLog {
    /// An empty log, and what writes it.
    pub(crate) fn new() -> (Self, AuditWriter) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let minute = Minute {
            began: Instant::now(),
            stored: 0,
        };
        let log = Self {
            queue: sender,
            unknown: Arc::new(Mutex::new(minute)),
            lost: Counter::default(),
        };
        (log, AuditWriter { queue: receiver })
    }

    /// Adds the metrics of this room to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_audit_events_lost",
            "Refusals that are in the log of the process only, and not in the audit log",
            self.lost.clone(),
        );
    }

    /// An action that came to nothing.
    pub(crate) fn refused(&self, caller: &Caller, target: Option<&str>, error: &ApiError) {
        let result = if error.status().is_server_error() {
            AuditResult::Failed
        } else {
            AuditResult::Refused
        };
        let event = caller.event(target, result, Some(error.code()));
        tell(&event);
        if event.actor.is_some() || self.may_store_unknown() {
            if self.queue.try_send(event).is_err() {
                self.lost.inc();
            }
        } else {
            self.lost.inc();
        }
    }

    /// An action that was done, and whose event is stored.
    pub(crate) fn done(&self, event: &AuditEvent) {
        tell(event);
    }

    fn may_store_unknown(&self) -> bool {
        let mut minute = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.began.elapsed() >= Duration::from_secs(60) {
            *minute = Minute {
                began: Instant::now(),
                stored: 0,
            };
        }
        minute.stored += 1;
        minute.stored <= UNKNOWN_A_MINUTE
    }
}

fn tell(event: &AuditEvent) {
    info!(
        audit.actor = event.actor.as_deref(),
        audit.action = &*event.action,
        audit.target = event.target.as_deref(),
        audit.result = event.result.as_str(),
        audit.code = event.code.as_deref(),
        client.address = event.address.map(tracing::field::display),
        "management"
    );
}

impl AuditWriter {
    /// Writes refusals, and what is counted of keys, until `stop`; then once more.
    pub(crate) async fn run(
        mut self,
        store: Arc<dyn KeyStore>,
        keys: Arc<KeyCache>,
        stop: CancellationToken,
    ) {
        let mut writes = interval(WRITE_EVERY);
        writes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pruned: Option<Instant> = None;
        while stop.run_until_cancelled(writes.tick()).await.is_some() {
            self.write(&*store, &keys).await;
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                if let Err(error) = store.prune_events(now_ms()).await {
                    warn!(%error, "old audit events could not be dropped");
                }
                pruned = Some(Instant::now());
            }
        }
        self.write(&*store, &keys).await;
    }

    async fn write(&mut self, store: &dyn KeyStore, keys: &KeyCache) {
        let mut events = Vec::new();
        while events.len() < QUEUE
            && let Ok(event) = self.queue.try_recv()
        {
            events.push(event);
        }
        let written = tokio::time::timeout(WRITE_LIMIT, async {
            if !events.is_empty() {
                store.note_events(&events).await?;
            }
            keys.uses().write_to(store).await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(%error, events = events.len(), "audit events or uses of keys could not be stored")
            }
            Err(_) => warn!(events = events.len(), "the store takes no audit events"),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Events of the audit log, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvents)]
struct EventsAnswer {
    #[schema(example = "OK")]
    code: &'static str,
    message: &'static str,
    /// Whether there are more: go on with `starting_after` set to the last id.
    has_more: bool,
    audit_events: Vec<EventItem>,
}

/// One action.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
struct EventItem {
    id: String,
    #[schema(format = DateTime)]
    created_on: String,
    /// Who; null where nobody was proven.
    actor: Option<String>,
    #[schema(example = "api_key.create")]
    action: String,
    /// On what: the id of a key.
    target: Option<String>,
    #[schema(example = "done")]
    result: &'static str,
    /// The code of a refusal.
    error_code: Option<String>,
    ip: Option<String>,
}

impl From<StoredEvent> for EventItem {
    fn from(StoredEvent { seq, event }: StoredEvent) -> Self {
        Self {
            id: seq.to_string(),
            created_on: time::written(event.at_ms),
            actor: event.actor.map(String::from),
            action: event.action.into(),
            target: event.target.map(String::from),
            result: event.result.as_str(),
            error_code: event.code.map(String::from),
            ip: event.address.map(|address| address.to_string()),
        }
    }
}

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct EventsQuery {
    /// At most so many; more than 500 are 500.
    #[param(minimum = 1, nullable = false)]
    page_size: Option<u64>,
    /// The id of the last event of the page before.
    #[param(nullable = false)]
    starting_after: Option<u64>,
    /// Only of this actor, such as `token:bootstrap`.
    #[param(nullable = false)]
    actor: Option<String>,
    /// Only this action, such as `api_key.create`.
    #[param(nullable = false)]
    action: Option<String>,
    /// Only on the key with this id.
    #[param(nullable = false)]
    target: Option<String>,
    /// Only with this result: done, refused or failed.
    #[param(nullable = false)]
    result: Option<String>,
    /// Only from this time on, such as 2026-01-05T09:00:00Z.
    #[param(nullable = false)]
    from: Option<String>,
    /// Only before this time, written alike.
    #[param(nullable = false)]
    to: Option<String>,
}

/// List what was done, and what was refused.
#[utoipa::path(
    get, path = "/api/v1/audit_events", tag = "Audit log", operation_id = "getAuditEvents",
    security(("bearer" = ["read:audit_events"])), params(EventsQuery),
    responses((status = 200, description = "The events, the newest first", body = EventsAnswer), Common)
)]
async fn list(
    _: May<ListEvents>,
    State(app): State<App>,
    query: QueryPairs,
) -> Result<Json<EventsAnswer>, ApiError> {
    let page = query.page_size(DEFAULT_PAGE, MOST_IN_A_PAGE)?;
    let text = |name| query.get(name).map(|text| text.map(Into::into));
    let at = |name| -> Result<Option<u64>, ApiError> {
        let read = |text| {
            time::read(text).ok_or_else(|| {
                ApiError::invalid(format!("{name} must be a time such as 2026-01-05T09:00:00Z"))
            })
        };
        query.get(name)?.map(read).transpose()
    };
    let result = query.get("result")?.map(str::parse).transpose();
    let filter = AuditFilter {
        actor: text("actor")?,
        action: text("action")?,
        target: text("target")?,
        result: result.map_err(|_| ApiError::invalid("result must be done, refused or failed"))?,
        from_ms: at("from")?,
        to_ms: at("to")?,
        before: query.number("starting_after")?,
        limit: page + 1,
    };
    let mut events = app.store.events(&filter).await?;
    let has_more = events.len() > page as usize;
    events.truncate(page as usize);
    Ok(Json(EventsAnswer {
        code: "OK",
        message: "Success",
        has_more,
        audit_events: events.into_iter().map(EventItem::from).collect(),
    }))
}
