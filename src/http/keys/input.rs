//! From the fields of a body to what is stored. Each mistake names its field.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::config::{ALL_PERMISSIONS, Scope, Settings};
use crate::http::MANAGEMENT_API;
use crate::http::apis::scope_id;
use crate::http::body::Fields;
use crate::http::error::ApiError;
use crate::http::operation::Caller;
use crate::http::time;
use crate::keys::{KeyRateLimit, KeyRecord, KeyStatus, KeyType, MAX_NETWORKS, Metadata, Owner};

/// The permission that keys for the management of Latchkey need, beside that of the operation.
const MANAGE: &str = "create:management_keys";

/// The most scopes in one request.
const MAX_SCOPES: usize = 1000;

/// What a key should be. Fields that are not named here are ignored.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewApiKey)]
#[expect(dead_code, reason = "describes the body for the document; `Fields` reads it")]
pub(super) struct NewKeyBody {
    /// For people; need not be unique.
    #[schema(min_length = 1, max_length = 255, example = "billing-sync")]
    name: String,
    /// organization, user or environment; without it user where there is a `user_id`, else organization.
    #[schema(example = "organization")]
    r#type: Option<String>,
    /// Id of the API that the key is for.
    #[schema(example = "api_ai")]
    api_id: String,
    /// Ids or names of scopes of that API.
    #[schema(max_items = 1000, example = json!(["read:ai_chats"]))]
    scope_ids: Option<Vec<String>>,
    /// The user who owns it.
    #[schema(max_length = 256)]
    user_id: Option<String>,
    /// The organization that owns it; with both, the user acts inside of it.
    #[schema(max_length = 256, example = "org_acme")]
    org_code: Option<String>,
    /// When it expires; never without.
    #[schema(format = DateTime)]
    expires_on: Option<String>,
    /// The networks that it may be used from, such as 192.0.2.0/24; any without.
    #[schema(max_items = 64)]
    allowed_networks: Option<Vec<String>>,
    /// How often it may be used, in place of the limits of its routes.
    rate_limit: Option<RateLimitBody>,
    /// Whatever its maker wants to remember; at most 4096 bytes.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
}

/// How often a key may be used, on all routes together.
#[derive(Deserialize, ToSchema)]
#[schema(as = RateLimit)]
#[expect(dead_code, reason = "describes the body for the document; `Fields` reads it")]
pub(super) struct RateLimitBody {
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    limit: u32,
    /// 1s to 366d.
    #[schema(example = "15m")]
    window: String,
}

/// The record that the fields describe, and the metadata.
pub(super) fn new_key(
    fields: &Fields,
    settings: &Settings,
    caller: &Caller,
    now_ms: u64,
) -> Result<(KeyRecord, Metadata), ApiError> {
    let name = fields.required_text("name")?;
    let filled = |name| fields.text(name).map(|text| text.filter(|text| !text.is_empty()));
    let (org_code, user_id) = (filled("org_code")?, filled("user_id")?);
    let owner = Owner::from_parts(org_code, user_id);
    let key_type = match filled("type")? {
        Some(written) => written
            .parse()
            .map_err(|_| ApiError::invalid("type must be organization, user or environment"))?,
        None => KeyType::of(owner.as_ref()),
    };
    match key_type {
        KeyType::Organization if org_code.is_none() => {
            return Err(ApiError::invalid(
                "org_code is required for an organization key (and user_id for a user key)",
            ));
        }
        KeyType::User if user_id.is_none() => {
            return Err(ApiError::invalid("user_id is required for a user key"));
        }
        KeyType::Organization | KeyType::User => {}
        KeyType::Environment => may_manage(settings, caller)?,
    }
    let api_id = fields.required_text("api_id")?;
    let wanted = fields.texts("scope_ids", MAX_SCOPES)?.unwrap_or_default();
    let scopes = if key_type == KeyType::Environment {
        management_scopes(api_id, &wanted, caller)?
    } else {
        api_scopes(settings, api_id, &wanted)?
    };
    let record = KeyRecord {
        id: new_id()?.into(),
        name: name.into(),
        key_type,
        owner,
        api_id: Some(api_id.into()),
        scopes,
        status: KeyStatus::Active,
        expires_at_ms: expiry(fields, now_ms)?,
        allowed_networks: networks(fields)?.unwrap_or_default(),
        rate_limit: rate_limit(fields)?,
        retiring: false,
    };
    if key_type == KeyType::Environment
        && (!record.allowed_networks.is_empty() || record.rate_limit.is_some())
    {
        return Err(ApiError::invalid(
            "allowed_networks and rate_limit are not for environment keys",
        ));
    }
    Ok((record, metadata(fields)?.unwrap_or_default()))
}

/// `api_key_` and 128 random bits.
fn new_id() -> Result<String, ApiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ApiError::Internal("no random bytes for an id".into()))?;
    Ok(format!("api_key_{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether a caller may have to do with keys for the management of Latchkey.
pub(super) fn may_manage(settings: &Settings, caller: &Caller) -> Result<(), ApiError> {
    if !settings.management.environment_keys {
        return Err(ApiError::Forbidden {
            code: "ENVIRONMENT_KEYS_OFF",
            message: "Environment keys are off: the setting management.environment_keys turns them on".into(),
        });
    }
    if caller.has(MANAGE) {
        Ok(())
    } else {
        Err(ApiError::MissingPermission(MANAGE))
    }
}

/// Who gets hold of an environment key must not gain by it.
pub(super) fn may_hold(scopes: &[Scope], settings: &Settings, caller: &Caller) -> Result<(), ApiError> {
    may_manage(settings, caller)?;
    match scopes.iter().find(|scope| !caller.has(scope.as_str())) {
        None => Ok(()),
        Some(scope) => Err(ApiError::Forbidden {
            code: "SCOPE_NOT_HELD",
            message: format!("An environment key has no scope that its maker lacks: {scope}").into(),
        }),
    }
}

fn management_scopes(api_id: &str, wanted: &[&str], caller: &Caller) -> Result<Vec<Scope>, ApiError> {
    if api_id != MANAGEMENT_API {
        return Err(ApiError::invalid(format!(
            "api_id of an environment key must be {MANAGEMENT_API}"
        )));
    }
    let all = ALL_PERMISSIONS.map(|permission| permission.parse::<Scope>());
    let scopes = resolve(MANAGEMENT_API, all.iter().flatten(), wanted)?;
    match scopes.iter().find(|scope| !caller.has(scope.as_str())) {
        None => Ok(scopes),
        Some(scope) => Err(ApiError::Forbidden {
            code: "SCOPE_NOT_HELD",
            message: format!("An environment key has no scope that its maker lacks: {scope}").into(),
        }),
    }
}

fn api_scopes(settings: &Settings, api_id: &str, wanted: &[&str]) -> Result<Vec<Scope>, ApiError> {
    let api = settings.apis.iter().find(|api| *api.id == *api_id);
    let Some(api) = api else {
        let near = near(api_id, settings.apis.iter().map(|api| &*api.id));
        return Err(ApiError::BadRequest {
            code: "INVALID_API",
            message: format!("api_id: no API has the id {api_id:?}{near}").into(),
        });
    };
    resolve(&api.id, api.scopes.iter(), wanted)
}

/// Each wanted scope, by its id or else by its name; once, whatever the list says.
fn resolve<'a>(
    api_id: &str,
    declared: impl Iterator<Item = &'a Scope> + Clone,
    wanted: &[&str],
) -> Result<Vec<Scope>, ApiError> {
    let mut scopes: Vec<Scope> = Vec::new();
    for wanted in wanted {
        let found = declared
            .clone()
            .find(|scope| scope_id(api_id, scope) == *wanted)
            .or_else(|| declared.clone().find(|scope| scope.as_str() == *wanted));
        let Some(scope) = found else {
            let near = near(wanted, declared.clone().map(Scope::as_str));
            return Err(ApiError::BadRequest {
                code: "INVALID_SCOPE",
                message: format!("scope_ids: Scope not found: {wanted:?}{near}").into(),
            });
        };
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    Ok(scopes)
}

/// A hint at the nearest of the names.
fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(name, wanted);
    names
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|name| likeness(name) > 0.7)
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// `expires_on`, which lies in the future.
pub(super) fn expiry(fields: &Fields, now_ms: u64) -> Result<Option<u64>, ApiError> {
    let Some(written) = fields.text("expires_on")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match time::read(written) {
        Some(at_ms) if at_ms > now_ms => Ok(Some(at_ms)),
        Some(_) => Err(ApiError::invalid("expires_on must lie in the future")),
        None => Err(ApiError::invalid(
            "expires_on must be a time such as 2026-01-05T09:00:00Z",
        )),
    }
}

pub(super) fn networks(fields: &Fields) -> Result<Option<Vec<IpNet>>, ApiError> {
    let wrong =
        || ApiError::invalid("allowed_networks must be networks such as 192.0.2.0/24 or 2001:db8::/32");
    let network = |text: &str| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map_err(|_| wrong())
    };
    let Some(written) = fields.texts("allowed_networks", MAX_NETWORKS)? else {
        return Ok(None);
    };
    written
        .into_iter()
        .map(network)
        .collect::<Result<_, _>>()
        .map(Some)
}

pub(super) fn rate_limit(fields: &Fields) -> Result<Option<KeyRateLimit>, ApiError> {
    const WINDOW: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3600);
    let Some(value) = fields.value("rate_limit") else {
        return Ok(None);
    };
    let fields = Fields::of(value, "rate_limit")?;
    let limit = fields
        .value("limit")
        .and_then(Value::as_u64)
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| *limit <= 1_000_000_000)
        .and_then(NonZeroU32::new)
        .ok_or_else(|| ApiError::invalid("rate_limit.limit must be a whole number of 1 to 1000000000"))?;
    let window = fields
        .value("window")
        .and_then(Value::as_str)
        .and_then(|window| humantime::parse_duration(window).ok())
        .filter(|window| WINDOW.contains(window))
        .ok_or_else(|| {
            ApiError::invalid("rate_limit.window must be a duration of 1s to 366d, such as 15m")
        })?;
    Ok(Some(KeyRateLimit { limit, window }))
}

pub(super) fn metadata(fields: &Fields) -> Result<Option<Metadata>, ApiError> {
    fields.object("metadata").map(|metadata| metadata.cloned())
}
