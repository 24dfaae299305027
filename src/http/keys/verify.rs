//! Verifying a key for somebody who holds it: what Check would know of it.
//!
//! A key that is not good is an answer, not an error: 200 with `is_valid: false`. Who shows no token is limited by address:
//! failures are counted with those of Check, under the limit `unauthenticated`, and all calls together by a generous one.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::FromRequest;
use axum::extract::{FromRequestParts, Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{Per, RateLimit, Settings, VerifyAccess};
use crate::http::app::{App, Operator};
use crate::http::auth::Principal;
use crate::http::body::Fields;
use crate::http::error::{ApiError, Common};
use crate::http::operation::Caller;
use crate::http::peer::Peer;
use crate::http::time;
use crate::keys::{ApiKey, KeyRecord, KeyStatus, KeyType, Owner, Remembered, Seen, StoreError, now_ms};
use crate::limits::{NamedLimit, Subject, Verdict};

/// The permission that a strict verify needs.
const PERMISSION: &str = "read:api_keys";

/// How long the source may take.
const LOOK_UP: Duration = Duration::from_secs(2);

/// What one address may ask without a token: 100 a second, and bursts.
static OPEN: LazyLock<NamedLimit> = LazyLock::new(|| NamedLimit {
    // No limit of the settings can have this name.
    name: "verify:open".into(),
    rule: RateLimit {
        limit: NonZeroU32::MIN.saturating_add(5_999),
        window: Duration::from_secs(60),
        per: Per::Address,
        error: "Slow down".into(),
        code: "TOO_MANY_REQUESTS".into(),
    },
});

/// The key to verify.
#[derive(Deserialize, ToSchema)]
#[schema(as = ApiKeyToVerify)]
#[expect(dead_code, reason = "describes the body for the document; `Fields` reads it")]
struct VerifyBody {
    /// The secret.
    api_key: String,
}

/// What is known of a key.
#[derive(Serialize, ToSchema)]
#[schema(as = Verification)]
pub(super) struct VerifyAnswer {
    /// `API_KEY_VERIFIED` or `API_KEY_INVALID`.
    #[schema(example = "API_KEY_VERIFIED")]
    code: &'static str,
    message: &'static str,
    /// Whether the key may be used.
    is_valid: bool,
    /// Stays the same across rotations; absent where no key is known by this secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_id: Option<String>,
    /// active, inactive or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<&'static str>,
    scopes: Vec<String>,
    org_code: Option<String>,
    user_id: Option<String>,
    /// Where a good key may be used from; absent where that is anywhere. Whoever verifies keys has to hold to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    allowed_networks: Option<Vec<String>>,
    #[schema(format = DateTime)]
    last_verified_on: Option<String>,
    /// This verification among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verification_count: Option<u64>,
}

/// Who verifies, and the key.
pub(super) struct Asked {
    caller: Caller,
    is_operator: bool,
    fields: Fields,
}

impl FromRequest<App> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Ok(Peer(address)) = Peer::from_request_parts(&mut parts, app).await;
        let is_operator = parts.extensions.get::<Operator>().is_some();
        let principal = app.principal(&parts).await?;
        check_access(app.settings().management.verify, principal.as_ref())?;
        if principal.is_none() {
            let verdict = app
                .authorizer
                .limits()
                .count(&OPEN, Subject::Address(address), now_ms());
            refuse_over(&verdict)?;
        }
        let fields = Fields::from_request(Request::from_parts(parts, body), app).await?;
        Ok(Self {
            caller: Caller::new(principal, address, "api_key.verify"),
            is_operator,
            fields,
        })
    }
}

fn check_access(access: VerifyAccess, principal: Option<&Principal>) -> Result<(), ApiError> {
    match (access, principal) {
        (VerifyAccess::Open, _) => Ok(()),
        (VerifyAccess::Strict, None) => Err(ApiError::NoToken),
        (VerifyAccess::Strict, Some(principal)) if principal.has(PERMISSION) => Ok(()),
        (VerifyAccess::Strict, Some(_)) => Err(ApiError::MissingPermission(PERMISSION)),
    }
}

fn refuse_over(verdict: &Verdict) -> Result<(), ApiError> {
    if verdict.allowed {
        return Ok(());
    }
    Err(ApiError::TooManyRequests {
        retry_after: verdict.retry_after,
    })
}

/// Verify a key. One that is unknown, revoked, inactive or expired is an answer with `is_valid: false`.
#[utoipa::path(
    post, path = "/api/v1/api_keys/verify", tag = "API keys", operation_id = "verifyApiKey",
    security((), ("bearer" = [])), request_body = VerifyBody,
    responses((status = 200, description = "What is known of the key", body = VerifyAnswer), Common)
)]
pub(super) async fn verify(State(app): State<App>, asked: Asked) -> Result<Json<VerifyAnswer>, ApiError> {
    let presented = asked.fields.required_text("api_key")?;
    let now_ms = now_ms();
    let record = look_up(&app, presented, &asked.caller).await?;
    // After the end of its grace a secret opens nothing, whatever the cache still knows.
    let record = record.filter(|record| !(record.retiring && has_expired(record, now_ms)));
    let Some(record) = record else {
        refuse_guessing(&app, &asked, now_ms)?;
        return Ok(Json(unknown()));
    };
    let status = status(&record, &app.settings(), now_ms);
    let is_valid = status == KeyStatus::Active;
    if !is_valid {
        refuse_guessing(&app, &asked, now_ms)?;
    }
    let uses = app.keys.uses();
    let _settled = uses.settled().await;
    // A look by the operator is no use of the key.
    if is_valid && !asked.is_operator {
        let seen = Seen {
            at_ms: now_ms,
            address: asked.caller.address,
        };
        uses.verified(&record.id, seen);
        if record.retiring {
            uses.old_secret_used(&record.id, seen);
        }
    }
    let stored = match app.store.get(&record.id).await {
        Ok(mut stored) => {
            if let Some(gathered) = uses.of(&record.id) {
                stored.add(&gathered);
            }
            Some(stored)
        }
        // A key of another source.
        Err(StoreError::NoSuchKey(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let owner = record.owner.as_ref();
    Ok(Json(VerifyAnswer {
        code: if is_valid {
            "API_KEY_VERIFIED"
        } else {
            "API_KEY_INVALID"
        },
        message: if is_valid {
            "API key verified"
        } else {
            "API key is not valid"
        },
        is_valid,
        key_id: Some(record.id.to_string()),
        status: Some(status.as_str()),
        scopes: if is_valid {
            scopes(&record, &app.settings())
        } else {
            Vec::new()
        },
        org_code: owner.and_then(Owner::org_code).map(Into::into),
        user_id: owner.and_then(Owner::user_id).map(Into::into),
        allowed_networks: (is_valid && !record.allowed_networks.is_empty())
            .then(|| record.allowed_networks.iter().map(ToString::to_string).collect()),
        last_verified_on: stored
            .as_ref()
            .and_then(|key| key.last_verified_at_ms)
            .map(time::written),
        verification_count: stored.map(|key| key.verification_count),
    }))
}

fn unknown() -> VerifyAnswer {
    VerifyAnswer {
        code: "API_KEY_INVALID",
        message: "API key is not valid",
        is_valid: false,
        key_id: None,
        status: None,
        scopes: Vec::new(),
        org_code: None,
        user_id: None,
        allowed_networks: None,
        last_verified_on: None,
        verification_count: None,
    }
}

async fn look_up(app: &App, presented: &str, caller: &Caller) -> Result<Option<Arc<KeyRecord>>, ApiError> {
    let Some(key) = ApiKey::presented(presented).filter(|_| app.keys.can_know(presented)) else {
        return Ok(None);
    };
    let now = Instant::now();
    match app.keys.get(presented, now) {
        Remembered::Known(record) => Ok(Some(record)),
        Remembered::Unknown => Ok(None),
        Remembered::Nothing => app
            .keys
            .look_up(key, caller.address, now + LOOK_UP)
            .await
            .map_err(|error| ApiError::Unavailable(error.to_string().into())),
    }
}

/// Counts a failure of one who shows no token, and refuses one whose address has too many.
fn refuse_guessing(app: &App, asked: &Asked, now_ms: u64) -> Result<(), ApiError> {
    let policy = app.authorizer.policy();
    match &policy.unauthenticated {
        Some(limit) if asked.caller.principal.is_none() => {
            let subject = Subject::Address(asked.caller.address);
            refuse_over(&app.authorizer.limits().count(limit, subject, now_ms))
        }
        _ => Ok(()),
    }
}

fn has_expired(record: &KeyRecord, now_ms: u64) -> bool {
    record.expires_at_ms.is_some_and(|at| at <= now_ms)
}

/// The status as it is told: a key that has expired, or whose API is no more, is inactive.
fn status(record: &KeyRecord, settings: &Settings, now_ms: u64) -> KeyStatus {
    let api_is_there = match &record.api_id {
        Some(api_id) if record.key_type != KeyType::Environment => {
            settings.apis.iter().any(|api| api.id == *api_id)
        }
        _ => true,
    };
    match record.status {
        KeyStatus::Active if has_expired(record, now_ms) || !api_is_there => KeyStatus::Inactive,
        status => status,
    }
}

/// Its scopes, but for those that its API does not have any more.
fn scopes(record: &KeyRecord, settings: &Settings) -> Vec<String> {
    let api = settings
        .apis
        .iter()
        .find(|api| Some(&api.id) == record.api_id.as_ref());
    record
        .scopes
        .iter()
        .filter(|scope| api.is_none_or(|api| api.scopes.contains(scope)))
        .map(ToString::to_string)
        .collect()
}
