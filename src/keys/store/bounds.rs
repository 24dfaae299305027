//! What every stored key must hold to, so that its answer always fits (tenant headers, metadata), and nobody can fill the
//! store with one key.

use super::{KeyChange, NewKey, StoreError, StoredKey};
use crate::keys::record::{KeyRecord, KeyStatus, KeyType};

/// The longest name of a key, in characters.
pub const MAX_NAME_CHARS: usize = 255;

/// The longest metadata of a key as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 4096;

/// The most networks of a key.
pub const MAX_NETWORKS: usize = 64;

/// The longest id of an owner, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The longest list of scopes as a header value, in bytes.
const MAX_SCOPES_BYTES: usize = 4096;

/// How the secret of an imported key may begin, in characters.
const IMPORTED_PREFIX_CHARS: std::ops::RangeInclusive<usize> = 3..=16;

/// A later expiry makes no sense, and overflows what prints it: the end of the year 9999.
const LATEST_EXPIRY_MS: u64 = 253_402_300_799_000;

fn refused(why: &'static str) -> Result<(), StoreError> {
    Err(StoreError::Refused(why))
}

impl NewKey {
    /// Whether it may be stored.
    pub fn check(&self) -> Result<(), StoreError> {
        check_record(&self.record)?;
        if self.record.status != KeyStatus::Active {
            return refused("a new key is active");
        }
        check_metadata(&self.metadata)?;
        let prefix = &*self.secret.prefix;
        if self.imported
            && !(IMPORTED_PREFIX_CHARS.contains(&prefix.len())
                && prefix.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return refused("key_prefix is the first 3 to 16 characters of the secret, of visible ASCII");
        }
        if self.secret.suffix.len() > 4 || !self.secret.suffix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused("key_suffix is at most the last four characters of the secret");
        }
        Ok(())
    }
}

impl KeyChange {
    /// The key after the change, if it may be so.
    pub(super) fn apply(&self, key: &mut StoredKey) -> Result<(), StoreError> {
        if key.record.status == KeyStatus::Revoked {
            return Err(StoreError::Revoked);
        }
        let record = &mut key.record;
        if let Some(name) = &self.name {
            record.name = name.clone();
        }
        if let Some(networks) = &self.allowed_networks {
            record.allowed_networks.clone_from(networks);
        }
        if let Some(expires_at_ms) = self.expires_at_ms {
            record.expires_at_ms = expires_at_ms;
        }
        if let Some(rate_limit) = self.rate_limit {
            record.rate_limit = rate_limit;
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
            key.metadata.clone_from(metadata);
        }
        check_record(&key.record)
    }
}

fn check_metadata(metadata: &super::Metadata) -> Result<(), StoreError> {
    let length = serde_json::to_string(metadata).map_or(usize::MAX, |text| text.len());
    if length > MAX_METADATA_BYTES {
        return refused("metadata is at most 4096 bytes of JSON");
    }
    Ok(())
}

fn check_record(record: &KeyRecord) -> Result<(), StoreError> {
    if record.name.trim().is_empty() || record.name.chars().count() > MAX_NAME_CHARS {
        return refused("a name is 1 to 255 characters, not all of them space");
    }
    if record.name.chars().any(char::is_control) {
        return refused("a name holds no control characters");
    }
    let ids = record
        .owner
        .iter()
        .flat_map(|owner| [owner.org_code(), owner.user_id()])
        .flatten();
    if ids
        .into_iter()
        .any(|id| id.len() > MAX_ID_BYTES || id.chars().any(char::is_control))
    {
        return refused("an owner's id (org_code, user_id) is 1 to 256 bytes without control characters");
    }
    let environment = record.key_type == KeyType::Environment;
    if environment && record.owner.is_some() {
        return refused("an environment key has no owner: neither org_code nor user_id");
    }
    if !environment && record.owner.is_none() {
        return refused("a key needs an owner: an organization (org_code), a user (user_id), or both");
    }
    let scopes: usize = record
        .scopes
        .iter()
        // A percent sign is three bytes in the header; a space follows each but the last.
        .map(|scope| scope.as_str().len() + 2 * scope.as_str().matches('%').count() + 1)
        .sum();
    if scopes > MAX_SCOPES_BYTES + 1 {
        return refused("the scopes of a key are at most 4096 bytes together");
    }
    if record.allowed_networks.len() > MAX_NETWORKS {
        return refused("allowed_networks are at most 64");
    }
    if record.expires_at_ms.is_some_and(|at| at > LATEST_EXPIRY_MS) {
        return refused("expires_on is at the latest in the year 9999");
    }
    Ok(())
}
