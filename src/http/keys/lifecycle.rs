//! Changing keys: another secret, other properties, the end.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::input::{self, RateLimitBody};
use super::shapes::{Done, Secret, SecretAnswer};
use crate::http::app::App;
use crate::http::body::Fields;
use crate::http::error::{ApiError, CommonAndNotFound};
use crate::http::operation::{Caller, May, RevokeKey, RotateKey, UpdateKey};
use crate::http::query::QueryPairs;
use crate::http::time;
use crate::keys::{ApiKey, KeyChange, KeyType, Metadata, SecretMark, now_ms};

/// The longest grace of a secret that was rotated out.
const LONGEST_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct RotateQuery {
    /// How long the old secret still works, such as 24h, at most 90d; not at all without.
    #[param(nullable = false, example = "24h")]
    grace_period: Option<String>,
}

/// Give a key another secret. The old one ends at once, or after `grace_period`.
#[utoipa::path(
    put, path = "/api/v1/api_keys/{key_id}", tag = "API keys", operation_id = "rotateApiKey",
    security(("bearer" = ["update:api_keys"])),
    params(("key_id" = String, Path, description = "Id of the key"), RotateQuery),
    responses((status = 201, description = "The key has another secret", body = SecretAnswer), CommonAndNotFound)
)]
pub(super) async fn rotate(
    May { caller, .. }: May<RotateKey>,
    State(app): State<App>,
    Path(key_id): Path<String>,
    query: QueryPairs,
) -> Result<(StatusCode, Json<SecretAnswer>), ApiError> {
    app.audited(&caller, Some(&key_id), async {
        let until_ms = grace(&query)?
            .map(|grace| now_ms().saturating_add(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)));
        may_touch(&app, &caller, &key_id).await?;
        let key = ApiKey::generate(&app.settings().keys.prefix)
            .map_err(|error| ApiError::Internal(error.to_string().into()))?;
        let event = caller.done(&key_id);
        let mark = SecretMark::of(&key);
        let changed = app.store.rotate(&key_id, &mark, until_ms, &event).await?;
        app.changed(&changed);
        app.audit.done(&event);
        Ok((
            StatusCode::CREATED,
            Json(SecretAnswer {
                message: "API key rotated successfully",
                code: "API_KEY_ROTATED",
                api_key: Secret {
                    id: key_id.clone(),
                    key: key.expose().to_owned(),
                    old_key_valid_until: until_ms.map(time::written),
                },
            }),
        ))
    })
    .await
}

fn grace(query: &QueryPairs) -> Result<Option<Duration>, ApiError> {
    let Some(written) = query.get("grace_period")? else {
        return Ok(None);
    };
    match humantime::parse_duration(written) {
        Ok(grace) if grace.is_zero() => Ok(None),
        Ok(grace) if grace <= LONGEST_GRACE => Ok(Some(grace)),
        _ => Err(ApiError::invalid(
            "grace_period must be a duration of at most 90d, such as 24h",
        )),
    }
}

/// A key for the management of Latchkey must not be a way to more permissions: who could get hold of it, or make it live
/// longer, has all of them already.
async fn may_touch(app: &App, caller: &Caller, key_id: &str) -> Result<(), ApiError> {
    let record = app.store.get(key_id).await?.record;
    if record.key_type == KeyType::Environment {
        input::may_hold(&record.scopes, &app.settings(), caller)?;
    }
    Ok(())
}

/// What to change; what is absent stays as it is, and `null` takes away.
#[derive(Deserialize, ToSchema)]
#[schema(as = ApiKeyChange)]
#[expect(dead_code, reason = "describes the body for the document; `Fields` reads it")]
struct ChangeBody {
    #[schema(min_length = 1, max_length = 255, nullable = false)]
    name: Option<String>,
    /// When it expires.
    #[schema(format = DateTime)]
    expires_on: Option<String>,
    /// The networks that it may be used from.
    #[schema(max_items = 64)]
    allowed_networks: Option<Vec<String>>,
    /// How often it may be used, in place of the limits of its routes.
    rate_limit: Option<RateLimitBody>,
    /// All of its metadata.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
}

/// Change what is not fixed of a key. API, scopes and owner are: make another key for others.
#[utoipa::path(
    patch, path = "/api/v1/api_keys/{key_id}", tag = "API keys", operation_id = "updateApiKey",
    security(("bearer" = ["update:api_keys"])),
    params(("key_id" = String, Path, description = "Id of the key")), request_body = ChangeBody,
    responses((status = 200, description = "The key was changed", body = Done), CommonAndNotFound)
)]
pub(super) async fn update(
    May { caller, .. }: May<UpdateKey>,
    State(app): State<App>,
    Path(key_id): Path<String>,
    body: Result<Fields, ApiError>,
) -> Result<Json<Done>, ApiError> {
    app.audited(&caller, Some(&key_id), async {
        let fields = body?;
        for fixed in [
            "api_id",
            "scope_ids",
            "scopes",
            "user_id",
            "org_code",
            "type",
            "status",
        ] {
            if fields.value(fixed).is_some() {
                return Err(ApiError::invalid(format!("{fixed} of a key cannot be changed")));
            }
        }
        let change = change(&fields)?;
        may_touch(&app, &caller, &key_id).await?;
        if app.store.get(&key_id).await?.record.key_type == KeyType::Environment
            && (change.allowed_networks.is_some() || change.rate_limit.is_some())
        {
            return Err(ApiError::invalid(
                "allowed_networks and rate_limit are not for environment keys",
            ));
        }
        let event = caller.done(&key_id);
        let changed = app.store.update(&key_id, &change, &event).await?;
        app.changed(&changed);
        app.audit.done(&event);
        Ok(Json(Done {
            message: "Success",
            code: "OK",
        }))
    })
    .await
}

fn change(fields: &Fields) -> Result<KeyChange, ApiError> {
    let sent = |name| fields.sent(name).is_some();
    let name = fields.text("name")?;
    if sent("name") && name.is_none() {
        return Err(ApiError::invalid("name cannot be taken away"));
    }
    Ok(KeyChange {
        name: name.map(Into::into),
        metadata: sent("metadata")
            .then(|| input::metadata(fields))
            .transpose()?
            .map(Option::unwrap_or_default),
        allowed_networks: sent("allowed_networks")
            .then(|| input::networks(fields))
            .transpose()?
            .map(Option::unwrap_or_default),
        expires_at_ms: sent("expires_on")
            .then(|| input::expiry(fields, now_ms()))
            .transpose()?,
        rate_limit: sent("rate_limit")
            .then(|| input::rate_limit(fields))
            .transpose()?,
    })
}

/// Revoke a key, for ever. Once more is no error.
#[utoipa::path(
    delete, path = "/api/v1/api_keys/{key_id}", tag = "API keys", operation_id = "deleteApiKey",
    security(("bearer" = ["delete:api_keys"])), params(("key_id" = String, Path, description = "Id of the key")),
    responses((status = 200, description = "The key is revoked", body = Done), CommonAndNotFound)
)]
pub(super) async fn revoke(
    May { caller, .. }: May<RevokeKey>,
    State(app): State<App>,
    Path(key_id): Path<String>,
) -> Result<Json<Done>, ApiError> {
    app.audited(&caller, Some(&key_id), async {
        let event = caller.done(&key_id);
        let changed = app.store.revoke(&key_id, &event).await?;
        app.changed(&changed);
        app.audit.done(&event);
        Ok(Json(Done {
            message: "Success",
            code: "OK",
        }))
    })
    .await
}
