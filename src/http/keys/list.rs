//! Looking at keys.

use axum::Json;
use axum::extract::{Path, State};
use utoipa::IntoParams;

use super::shapes::{KeyAnswer, KeyDetail, KeyItem, KeysAnswer};
use crate::http::app::App;
use crate::http::error::{ApiError, Common, CommonAndNotFound};
use crate::http::operation::{ListKeys, May, ShowKey};
use crate::http::query::QueryPairs;
use crate::http::{DEFAULT_PAGE, MOST_IN_A_PAGE};
use crate::keys::{KeyFilter, StoreError, now_ms};

/// Which keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct KeysQuery {
    /// At most so many; more than 500 are 500.
    #[param(minimum = 1, nullable = false)]
    page_size: Option<u64>,
    /// The id of the last key of the page before.
    #[param(nullable = false)]
    starting_after: Option<String>,
    /// Only organization, user or environment keys.
    #[param(nullable = false)]
    key_type: Option<String>,
    /// Only active, inactive or revoked ones.
    #[param(nullable = false)]
    status: Option<String>,
    /// Only of this user.
    #[param(nullable = false)]
    user_id: Option<String>,
    /// Only of this organization.
    #[param(nullable = false)]
    org_code: Option<String>,
    /// `owner` shows whose each key is.
    #[param(nullable = false)]
    expand: Option<String>,
}

/// List keys, the newest first.
#[utoipa::path(
    get, path = "/api/v1/api_keys", tag = "API keys", operation_id = "getApiKeys",
    security(("bearer" = ["read:api_keys"])), params(KeysQuery),
    responses((status = 200, description = "The keys, the newest first", body = KeysAnswer), Common)
)]
pub(super) async fn list(
    _: May<ListKeys>,
    State(app): State<App>,
    query: QueryPairs,
) -> Result<Json<KeysAnswer>, ApiError> {
    let page = query.page_size(DEFAULT_PAGE, MOST_IN_A_PAGE)?;
    let key_type = query.get("key_type")?.map(str::parse).transpose();
    let status = query.get("status")?.map(str::parse).transpose();
    let with_owner = query.get("expand")? == Some("owner");
    let now_ms = now_ms();
    let filter = KeyFilter {
        key_type: key_type
            .map_err(|_| ApiError::invalid("key_type must be organization, user or environment"))?,
        status: status.map_err(|_| ApiError::invalid("status must be active, inactive or revoked"))?,
        user_id: query.get("user_id")?.map(Into::into),
        org_code: query.get("org_code")?.map(Into::into),
        after: query.get("starting_after")?.map(Into::into),
        limit: page + 1,
        now_ms,
    };
    let mut keys = app.store.list(&filter).await.map_err(|error| match error {
        StoreError::NoSuchKey(_) => ApiError::invalid("starting_after: no API key has this id"),
        other => other.into(),
    })?;
    let has_more = keys.len() > page as usize;
    keys.truncate(page as usize);
    Ok(Json(KeysAnswer {
        code: "OK",
        message: "Success",
        has_more,
        api_keys: keys
            .into_iter()
            .map(|key| KeyItem::of(key, now_ms, with_owner))
            .collect(),
    }))
}

/// Show one key.
#[utoipa::path(
    get, path = "/api/v1/api_keys/{key_id}", tag = "API keys", operation_id = "getApiKey",
    security(("bearer" = ["read:api_keys"])), params(("key_id" = String, Path, description = "Id of the key")),
    responses((status = 200, description = "The key", body = KeyAnswer), CommonAndNotFound)
)]
pub(super) async fn show(
    _: May<ShowKey>,
    State(app): State<App>,
    Path(key_id): Path<String>,
) -> Result<Json<KeyAnswer>, ApiError> {
    let _settled = app.keys.uses().settled().await;
    let mut key = app.store.get(&key_id).await?;
    // What is not written yet counts too.
    if let Some(gathered) = app.keys.uses().of(&key_id) {
        key.add(&gathered);
    }
    let used = app.usage.last_used(&key_id).await?;
    Ok(Json(KeyAnswer {
        code: "OK",
        message: "Success",
        api_key: KeyDetail::of(key, used, now_ms()),
    }))
}
