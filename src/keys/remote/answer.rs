//! What an answer of a verify endpoint says.
//!
//! Fields that are not known here are ignored, and those that may be absent may be null. A field that decides something and is
//! not of its type, or comes twice, makes the answer unusable: it is never read as if the field were not there.

use http::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::super::record::{KeyRecord, KeyStatus, KeyType, Owner};
use super::super::secret::{ApiKey, KeyDigest};
use crate::config::Scope;
use crate::outbound::{Answer, CallError};

/// The longest id of a key or an owner, in bytes.
const MAX_ID_BYTES: usize = 256;
/// The longest list of scopes as a header value, in bytes.
const MAX_SCOPES_BYTES: usize = 4096;

/// More networks than a key of ours can have.
const MAX_NETWORKS: usize = 256;

/// What an answer says of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is good, and this is whose it is.
    Valid(Box<KeyRecord>),
    /// It is not.
    Invalid,
    /// There is none such.
    NotFound,
    /// With this status it is the key that is refused, or we are.
    Refused(u16),
}

/// The one field without which an answer is none.
#[derive(Deserialize)]
struct Kernel {
    is_valid: bool,
}

/// The rest of what is read of a valid one.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    org_code: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    /// Not of Kinde: another Latchkey may tell it.
    #[serde(default)]
    allowed_networks: Option<Vec<IpNet>>,
}

/// Reads an answer about `key`.
pub(super) fn read(answer: &Answer, key: &ApiKey) -> Result<Verdict, CallError> {
    let try_later = CallError::TryLater {
        status: answer.status.as_u16(),
        retry_after: None,
    };
    match answer.status {
        status if status.is_success() => read_success(&answer.body, key),
        // A page of a proxy in between says nothing of a key.
        _ if !is_json_object(&answer.body) => Err(try_later),
        StatusCode::NOT_FOUND => Ok(Verdict::NotFound),
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Ok(Verdict::Refused(answer.status.as_u16()))
        }
        _ => Err(try_later),
    }
}

/// serde would read a struct from an array as well, so what it begins with is looked at.
fn is_json_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn read_success(body: &[u8], key: &ApiKey) -> Result<Verdict, CallError> {
    let no_answer = CallError::Malformed("it is no JSON object that says is_valid");
    if !is_json_object(body) {
        return Err(no_answer);
    }
    let kernel: Kernel = serde_json::from_slice(body).map_err(|_| no_answer)?;
    if !kernel.is_valid {
        return Ok(Verdict::Invalid);
    }
    let known: Known = serde_json::from_slice(body)
        .map_err(|_| CallError::Unusable("one of its fields is not of the type that it should be"))?;
    if known.status.as_deref().is_some_and(|status| status != "active") {
        return Ok(Verdict::Invalid);
    }
    let owner = Owner::from_parts(id(known.org_code.as_deref())?, id(known.user_id.as_deref())?);
    let id = match id(known.key_id.as_deref())? {
        Some(id) => id.into(),
        None => made_up_id(key),
    };
    Ok(Verdict::Valid(Box::new(KeyRecord {
        id,
        name: "".into(),
        key_type: match &owner {
            Some(Owner::Organization { .. } | Owner::Member { .. }) => KeyType::Organization,
            Some(Owner::User { .. }) => KeyType::User,
            // What nobody owns passes no Check; this says it twice.
            None => KeyType::Environment,
        },
        owner,
        api_id: None,
        scopes: scopes(known.scopes.unwrap_or_default())?,
        status: KeyStatus::Active,
        expires_at_ms: None,
        allowed_networks: networks(known.allowed_networks.unwrap_or_default())?,
        rate_limit: None,
        retiring: false,
    })))
}

/// An id that may be sent to a backend; an empty one is none.
fn id(text: Option<&str>) -> Result<Option<&str>, CallError> {
    match text {
        Some(id) if id.len() > MAX_ID_BYTES => Err(CallError::Unusable("an id has more than 256 bytes")),
        Some(id) if id.contains(char::is_control) => Err(CallError::Unusable("an id has control characters")),
        other => Ok(other.filter(|id| !id.is_empty())),
    }
}

/// Never cut short: a key with fewer networks may be used from fewer places, and one with none from all.
fn networks(written: Vec<IpNet>) -> Result<Vec<IpNet>, CallError> {
    if written.len() > MAX_NETWORKS {
        return Err(CallError::Unusable("it allows more than 256 networks"));
    }
    Ok(written)
}

/// Scopes that cannot be ours are left out: a key with fewer may do less.
fn scopes(written: Vec<String>) -> Result<Vec<Scope>, CallError> {
    let all = written.len();
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in written.iter().filter_map(|scope| scope.parse().ok()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
        let bytes: usize = scopes.iter().map(|scope| scope.as_str().len() + 1).sum();
        if bytes > MAX_SCOPES_BYTES + 1 {
            return Err(CallError::Unusable("its scopes are longer than 4096 bytes"));
        }
    }
    if scopes.is_empty() && all > 0 {
        warn!(
            all,
            "a key of the verify endpoint has no scope of the form that scopes have"
        );
    }
    Ok(scopes)
}

/// An id for a key whose endpoint tells none: the same at every answer, and no way back to the key or its digest.
fn made_up_id(key: &ApiKey) -> Box<str> {
    let digest = Sha256::new()
        .chain_update(b"id of a remote key\0")
        .chain_update(KeyDigest::of(key.expose()).as_bytes())
        .finalize();
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("remote_key_{hex}").into()
}

#[cfg(test)]
mod tests;
