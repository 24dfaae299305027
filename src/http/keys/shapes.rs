//! How keys look in answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::time;
use crate::keys::{KeyRateLimit, Metadata, OldSecret, Owner, StoredKey};

/// What an operation came to, where there is nothing more to say.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    #[schema(example = "Success")]
    pub(super) message: &'static str,
    #[schema(example = "OK")]
    pub(super) code: &'static str,
}

/// A new secret.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretAnswer {
    pub(super) message: &'static str,
    #[schema(example = "API_KEY_CREATED")]
    pub(super) code: &'static str,
    pub(super) api_key: Secret,
}

/// A new secret: the only time that it is shown.
#[derive(Serialize, ToSchema)]
pub(super) struct Secret {
    #[schema(example = "api_key_0123456789abcdef0123456789abcdef")]
    pub(super) id: String,
    /// The secret.
    pub(super) key: String,
    /// Until when the secret before it works, after a rotation with a grace time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub(super) old_key_valid_until: Option<String>,
}

/// What was imported.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportAnswer {
    pub(super) message: &'static str,
    #[schema(example = "API_KEY_IMPORTED")]
    pub(super) code: &'static str,
    pub(super) api_key: Imported,
}

/// The id of a key whose secret was made elsewhere.
#[derive(Serialize, ToSchema)]
pub(super) struct Imported {
    pub(super) id: String,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(super) struct KeysAnswer {
    #[schema(example = "OK")]
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// Whether there are more: go on with `starting_after` set to the last id.
    pub(super) has_more: bool,
    pub(super) api_keys: Vec<KeyItem>,
}

/// One key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    #[schema(example = "OK")]
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) api_key: KeyDetail,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyItem {
    id: String,
    name: String,
    /// organization, user or environment.
    #[serde(rename = "type")]
    key_type: &'static str,
    /// active, inactive (also when it has expired) or revoked.
    status: &'static str,
    /// The first characters of the secret.
    key_prefix: String,
    /// The last four.
    key_suffix: Option<String>,
    #[schema(format = DateTime)]
    created_on: String,
    /// When it was last verified over HTTP.
    #[schema(format = DateTime)]
    last_verified_on: Option<String>,
    last_verified_ip: Option<String>,
    created_by: Option<String>,
    api_ids: Vec<String>,
    scopes: Vec<String>,
    /// In a list with `expand=owner`, as in the key alone.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    owner: Option<OwnerItem>,
    /// When it expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    expires_on: Option<String>,
    /// The networks that it may be used from, if not from any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_networks: Vec<String>,
    /// Its own limit, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rate_limit: Option<RateLimitItem>,
    /// What its maker wanted to remember, if anything.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    #[schema(value_type = Object)]
    metadata: Metadata,
}

/// Who owns a key.
#[derive(Serialize, ToSchema)]
struct OwnerItem {
    /// The code of the organization.
    organization_id: Option<String>,
    user_id: Option<String>,
}

impl OwnerItem {
    fn of(owner: Option<&Owner>) -> Self {
        Self {
            organization_id: owner.and_then(Owner::org_code).map(Into::into),
            user_id: owner.and_then(Owner::user_id).map(Into::into),
        }
    }
}

/// How often a key may be used, on all routes together.
#[derive(Serialize, ToSchema)]
struct RateLimitItem {
    limit: u32,
    #[schema(example = "15m")]
    window: String,
}

/// A key with what is not in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyDetail {
    #[serde(flatten)]
    item: KeyItem,
    /// How often it was verified over HTTP.
    verification_count: u64,
    /// When a request was last let through with it, as far as access logs have come in.
    #[schema(format = DateTime)]
    last_used_on: Option<String>,
    /// How many requests were let through with it.
    use_count: u64,
    /// The secret before the last rotation, while it still works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    old_key: Option<OldKey>,
}

/// A secret that was rotated out and still works.
#[derive(Serialize, ToSchema)]
struct OldKey {
    /// Its last four characters.
    key_suffix: String,
    #[schema(format = DateTime)]
    valid_until: String,
    /// When it was last used since the rotation.
    #[schema(format = DateTime)]
    last_used_on: Option<String>,
    /// From where.
    last_used_ip: Option<String>,
}

impl KeyItem {
    pub(super) fn of(key: StoredKey, now_ms: u64, with_owner: bool) -> Self {
        let status = key.status(now_ms).as_str();
        let record = key.record;
        Self {
            id: record.id.into(),
            name: record.name.into(),
            key_type: record.key_type.as_str(),
            status,
            key_prefix: key.prefix,
            key_suffix: Some(key.suffix).filter(|suffix| !suffix.is_empty()),
            created_on: time::written(key.created_at_ms),
            last_verified_on: key.last_verified_at_ms.map(time::written),
            last_verified_ip: key.last_verified_ip.map(|address| address.to_string()),
            created_by: key.created_by,
            api_ids: record.api_id.map(String::from).into_iter().collect(),
            scopes: record.scopes.iter().map(ToString::to_string).collect(),
            owner: with_owner.then(|| OwnerItem::of(record.owner.as_ref())),
            expires_on: record.expires_at_ms.map(time::written),
            allowed_networks: record.allowed_networks.iter().map(ToString::to_string).collect(),
            rate_limit: record.rate_limit.map(RateLimitItem::of),
            metadata: key.metadata,
        }
    }
}

impl RateLimitItem {
    fn of(own: KeyRateLimit) -> Self {
        Self {
            limit: own.limit.get(),
            window: humantime::format_duration(own.window)
                .to_string()
                .replace(' ', ""),
        }
    }
}

impl KeyDetail {
    /// `used` is when the key was last used, and how often.
    pub(super) fn of(key: StoredKey, used: Option<(u64, u64)>, now_ms: u64) -> Self {
        let works = |old: &OldSecret| old.until_ms > now_ms;
        Self {
            verification_count: key.verification_count,
            last_used_on: used.map(|(at_ms, _)| time::written(at_ms)),
            use_count: used.map_or(0, |(_, count)| count),
            old_key: key.old_secret.clone().filter(works).map(|old| OldKey {
                key_suffix: old.suffix,
                valid_until: time::written(old.until_ms),
                last_used_on: old.last_used_at_ms.map(time::written),
                last_used_ip: old.last_used_ip.map(|address| address.to_string()),
            }),
            item: KeyItem::of(key, now_ms, true),
        }
    }
}
