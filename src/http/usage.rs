//! `/api/v1/usage`: who used what, how much, how long, and what failed; as JSON, or as CSV where that is asked for.

mod csv;

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::csv::{csv, link, wants_csv};
use super::app::App;
use super::error::{ApiError, Common};
use super::operation::{May, ReadUsage};
use super::query::QueryPairs;
use crate::usage::{By, Event, EventFilter, Filter, UsageRow, UsageStoreError, rfc3339};

/// Rows of an answer, unless a caller says how many; and the most that one answer has.
const USUAL_PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 500;

/// The farthest page: who wants more narrows the time.
const LARGEST_OFFSET: u64 = 1_000_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(totals))
        .routes(routes!(events))
}

/// Which requests are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct Which {
    /// From this time on: RFC 3339, or a date. Sums are by whole hours, in UTC.
    #[param(nullable = false, example = "2026-01-01")]
    from: Option<String>,
    /// Before this time.
    #[param(nullable = false, example = "2026-02-01T00:00:00Z")]
    to: Option<String>,
    /// Of this key.
    #[param(nullable = false)]
    key_id: Option<String>,
    /// Of this organization.
    #[param(nullable = false)]
    org_code: Option<String>,
    /// Of this user.
    #[param(nullable = false)]
    user_id: Option<String>,
    /// On this route of the configuration.
    #[param(nullable = false)]
    route: Option<String>,
    /// Answered with this status.
    #[param(nullable = false, maximum = 999)]
    status: Option<u16>,
    /// Rows of one answer; more than 500 are 500.
    #[param(nullable = false, minimum = 1)]
    page_size: Option<u64>,
}

/// How sums are told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct Grouped {
    /// One or more of `key`, `owner`, `route`, `status`, `hour` and `day`, separated by commas; without it, one row for all.
    #[param(nullable = false, example = "key,day")]
    group_by: Option<String>,
    /// Rows to leave out at the beginning.
    #[param(nullable = false, maximum = 1_000_000)]
    offset: Option<u32>,
}

/// Which single requests are told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct Page {
    /// Only those that failed, or only those that did not.
    #[param(nullable = false)]
    failed: Option<bool>,
    /// Go on after this: the `next` of the answer before.
    #[param(nullable = false)]
    starting_after: Option<String>,
}

/// Sums of one group; of `key_id` to `start` those that it was grouped by.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sums {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_id: Option<String>,
    /// Empty for keys of a user without an organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    org_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    route: Option<String>,
    /// 0 where the caller was gone before there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Where the hour or the day begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    start: Option<String>,
    requests: u64,
    /// Of them, those that failed for a reason that is not the caller's.
    errors: u64,
    /// Characters where the guard counted them, else bytes.
    input_length: u64,
    response_length: u64,
    input_tokens: u64,
    output_tokens: u64,
    tokens: u64,
    /// Within 5 %.
    duration_ms_p50: f64,
    duration_ms_p95: f64,
    duration_ms_p99: f64,
}

impl From<UsageRow> for Sums {
    fn from(row: UsageRow) -> Self {
        let percentile = |part| {
            let ms = row.durations.percentile_ms(part).unwrap_or_default();
            (ms * 10.0).round() / 10.0
        };
        Self {
            duration_ms_p50: percentile(0.5),
            duration_ms_p95: percentile(0.95),
            duration_ms_p99: percentile(0.99),
            start: row.start_ms.map(|ms| rfc3339(ms).to_string()),
            key_id: row.key_id,
            org_code: row.org_code,
            user_id: row.user_id,
            route: row.route,
            status: row.status,
            requests: row.requests,
            errors: row.errors,
            input_length: row.input_length,
            response_length: row.response_length,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            tokens: row.tokens,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct UsageAnswer {
    usage: Vec<Sums>,
    /// Whether there are rows after these.
    has_more: bool,
}

/// One request.
#[derive(Serialize, ToSchema)]
struct EventItem {
    /// The decision that let it through or refused it, where there was one.
    id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    key_id: String,
    key_name: String,
    org_code: String,
    user_id: String,
    route: String,
    method: String,
    /// Without the query.
    path: String,
    status: u16,
    /// `allow`, `deny`, or empty where no check answered.
    outcome: String,
    /// Why, in the words of the check.
    reason: String,
    failed: bool,
    /// Envoy's short flags, separated by commas.
    response_flags: String,
    response_code_details: String,
    /// What the guard says, where there is one.
    guard: String,
    input_bytes: u64,
    response_bytes: u64,
    input_chars: Option<u64>,
    response_chars: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    tokens: Option<u64>,
    duration_ms: f64,
}

impl From<Event> for EventItem {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.as_str().to_owned(),
            timestamp: rfc3339(event.at_ms).to_string(),
            failed: event.failed(),
            key_id: event.key_id.into(),
            key_name: event.key_name.into(),
            org_code: event.org_code.into(),
            user_id: event.user_id.into(),
            route: event.route.into(),
            method: event.method.into(),
            path: event.path.into(),
            status: event.status,
            outcome: event.outcome.into(),
            reason: event.reason.into(),
            response_flags: event.flags.into(),
            response_code_details: event.details.into(),
            guard: event.guard.into(),
            input_bytes: event.input_bytes,
            response_bytes: event.response_bytes,
            input_chars: event.input_chars,
            response_chars: event.response_chars,
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            tokens: event.total_tokens,
            // Exact below 2^53 microseconds, which are centuries.
            duration_ms: event.duration_us as f64 / 1000.0,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct EventsAnswer {
    events: Vec<EventItem>,
    /// Whether there are older ones.
    has_more: bool,
    /// What to send as `starting_after` for those.
    next: Option<String>,
}

/// Sums of usage by group.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "Usage", operation_id = "getUsage", security(("bearer" = ["read:usage"])),
    params(Which, Grouped),
    responses((status = 200, description = "Sums, also as CSV, whose `Link` names the next page", content((UsageAnswer = "application/json"), (String = "text/csv"))), Common)
)]
async fn totals(
    _: May<ReadUsage>,
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, ApiError> {
    let filter = filter(&query)?;
    let by: By = query
        .get("group_by")?
        .unwrap_or_default()
        .parse()
        .map_err(|error| ApiError::invalid(format!("group_by: {error}")))?;
    let size = page_size(&query)?;
    let offset = query.number("offset")?.unwrap_or(0);
    if offset > LARGEST_OFFSET {
        return Err(ApiError::invalid(format!(
            "offset must be at most {LARGEST_OFFSET}"
        )));
    }
    let rows = app.usage.totals(&filter, &by, size + 1, offset).await?;
    let (rows, has_more) = page(rows, size);
    if wants_csv(&headers) {
        let next = (offset + u64::from(size)).to_string();
        return csv(&rows, link(&uri, "offset", has_more.then_some(&next)));
    }
    Ok(Json(UsageAnswer {
        usage: rows,
        has_more,
    })
    .into_response())
}

/// Single requests, the newest first.
#[utoipa::path(
    get, path = "/api/v1/usage/events", tag = "Usage", operation_id = "getUsageEvents",
    security(("bearer" = ["read:usage"])), params(Which, Page),
    responses((status = 200, description = "Requests, also as CSV, whose `Link` names the next page", content((EventsAnswer = "application/json"), (String = "text/csv"))), Common)
)]
async fn events(
    _: May<ReadUsage>,
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    query: QueryPairs,
) -> Result<Response, ApiError> {
    let failed = match query.get("failed")? {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(ApiError::invalid("failed must be true or false")),
    };
    let asked = EventFilter {
        filter: filter(&query)?,
        failed,
        before: query.get("starting_after")?.map(cursor).transpose()?,
    };
    let size = page_size(&query)?;
    let found = app.usage.events(&asked, size + 1).await?;
    let next = |event: &Event| format!("{}_{}", event.at_ms, event.id.as_str());
    let last = found.get(size as usize - 1).map(next);
    let (events, has_more) = page(found, size);
    let next = last.filter(|_| has_more);
    if wants_csv(&headers) {
        return csv(&events, link(&uri, "starting_after", next.as_deref()));
    }
    Ok(Json(EventsAnswer {
        events,
        has_more,
        next,
    })
    .into_response())
}

impl From<UsageStoreError> for ApiError {
    fn from(error: UsageStoreError) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

/// One row more was asked for than fits: if it is there, there are more.
fn page<T, R: From<T>>(mut rows: Vec<T>, size: u32) -> (Vec<R>, bool) {
    let has_more = rows.len() > size as usize;
    rows.truncate(size as usize);
    (rows.into_iter().map(R::from).collect(), has_more)
}

fn page_size(query: &QueryPairs) -> Result<u32, ApiError> {
    match query.number("page_size")? {
        Some(0) => Err(ApiError::invalid("page_size must be at least 1")),
        size => Ok(u32::try_from(size.unwrap_or(USUAL_PAGE).min(LARGEST_PAGE)).unwrap_or(u32::MAX)),
    }
}

fn filter(query: &QueryPairs) -> Result<Filter, ApiError> {
    let text = |name| query.get(name).map(|value| value.map(ToOwned::to_owned));
    let status = match query.number("status")? {
        None => None,
        Some(status) => Some(
            u16::try_from(status)
                .ok()
                .filter(|status| *status < 1000)
                .ok_or_else(|| ApiError::invalid("status must be below 1000"))?,
        ),
    };
    let (from_ms, to_ms) = (time(query, "from")?, time(query, "to")?);
    if from_ms.zip(to_ms).is_some_and(|(from, to)| from > to) {
        return Err(ApiError::invalid("from must not be after to"));
    }
    Ok(Filter {
        from_ms,
        to_ms,
        key_id: text("key_id")?,
        org_code: text("org_code")?,
        user_id: text("user_id")?,
        route: text("route")?,
        status,
    })
}

/// A time in milliseconds since the Unix epoch: RFC 3339, or a date, which begins at midnight in UTC.
fn time(query: &QueryPairs, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.get(name)? else {
        return Ok(None);
    };
    let whole = if text.len() == "2026-01-01".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.replace("+00:00", "Z")
    };
    let since = humantime::parse_rfc3339(&whole)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since
        .as_ref()
        .map(Duration::as_millis)
        .and_then(|ms| u64::try_from(ms).ok());
    ms.map(Some).ok_or_else(|| {
        ApiError::invalid(format!(
            "{name} must be a time such as 2026-01-01T00:00:00Z, or a date"
        ))
    })
}

/// Where a page ended: the time of its last request, and its id.
fn cursor(text: &str) -> Result<(u64, String), ApiError> {
    text.split_once('_')
        .and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())))
        .ok_or_else(|| ApiError::invalid("starting_after must be the `next` of an answer"))
}
