//! Where keys are kept: what every store can do, whatever is under it.
//!
//! Each change is one transaction, with the event of the audit log in it: either both are there or neither. Each change
//! also tells every server which digests it concerns; a server that makes one itself forgets them after the commit.

mod bounds;
#[cfg(test)]
mod contract;
mod source;
mod sqlite;

use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use ipnet::IpNet;

pub use self::bounds::{MAX_METADATA_BYTES, MAX_NAME_CHARS, MAX_NETWORKS};
pub use self::source::StoreSource;
pub use self::sqlite::SqliteStore;
use super::audit::{AuditEvent, AuditFilter, StoredEvent};
use super::record::{KeyRateLimit, KeyRecord, KeyStatus, KeyType};
use super::secret::{ApiKey, KeyDigest};
use super::uses::KeyUse;

/// An operation of a store under way.
pub type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of keys.
pub trait KeyStore: Send + Sync + 'static {
    /// Asks for a sign of life.
    fn ping(&self) -> Storing<'_, ()>;

    /// The record that a secret opens, whichever of a key's secrets it is. Revoked keys are found too.
    fn find<'a>(&'a self, digest: &'a KeyDigest, now_ms: u64) -> Storing<'a, Option<KeyRecord>>;

    /// Whether an imported key begins like this, so that a key of foreign shape is worth a look.
    fn imported_begin_like(&self, presented: &[u8]) -> bool;

    /// The key with this id.
    fn get<'a>(&'a self, id: &'a str) -> Storing<'a, StoredKey>;

    /// Keys, the newest first; the id decides between two of one moment.
    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Storing<'a, Vec<StoredKey>>;

    /// Stores a new key.
    fn create<'a>(&'a self, key: &'a NewKey, event: &'a AuditEvent) -> Storing<'a, ()>;

    /// Changes a key that is not revoked.
    fn update<'a>(
        &'a self,
        id: &'a str,
        change: &'a KeyChange,
        event: &'a AuditEvent,
    ) -> Storing<'a, Changed>;

    /// Gives a key that is not revoked another secret. With `grace_until_ms` the one before works until then; one before
    /// that ends at once.
    fn rotate<'a>(
        &'a self,
        id: &'a str,
        secret: &'a SecretMark,
        grace_until_ms: Option<u64>,
        event: &'a AuditEvent,
    ) -> Storing<'a, Changed>;

    /// Revokes a key, with all its secrets, for ever. Once more is no error.
    fn revoke<'a>(&'a self, id: &'a str, event: &'a AuditEvent) -> Storing<'a, Changed>;

    /// Adds to what is counted of keys; an id that is not there is left out.
    fn note_uses<'a>(&'a self, uses: &'a [KeyUse]) -> Storing<'a, ()>;

    /// Adds events to the audit log.
    fn note_events<'a>(&'a self, events: &'a [AuditEvent]) -> Storing<'a, ()>;

    /// Events of the audit log, the newest first.
    fn events<'a>(&'a self, filter: &'a AuditFilter) -> Storing<'a, Vec<StoredEvent>>;

    /// Drops events that are older or more than what is kept.
    fn prune_events(&self, now_ms: u64) -> Storing<'_, ()>;
}

/// A key as it is stored: its record, and what is for people only.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredKey {
    /// Its record.
    pub record: KeyRecord,
    /// First characters of the secret; empty for keys made before these were kept.
    pub prefix: String,
    /// Last four characters of the secret; may be empty for an imported one.
    pub suffix: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Who made it.
    pub created_by: Option<String>,
    /// What its maker wanted to remember.
    pub metadata: Metadata,
    /// When it was last verified over HTTP, in milliseconds since the Unix epoch.
    pub last_verified_at_ms: Option<u64>,
    /// From where.
    pub last_verified_ip: Option<IpAddr>,
    /// How often it was verified over HTTP.
    pub verification_count: u64,
    /// The secret before the last rotation, until its grace ends.
    pub old_secret: Option<OldSecret>,
}

impl StoredKey {
    /// Its status at a time: what has expired is inactive.
    pub fn status(&self, now_ms: u64) -> KeyStatus {
        let expired = self.record.expires_at_ms.is_some_and(|at| at <= now_ms);
        match self.record.status {
            KeyStatus::Active if expired => KeyStatus::Inactive,
            status => status,
        }
    }
}

impl StoredKey {
    /// Adds what has gathered of it and is not stored yet.
    pub fn add(&mut self, gathered: &KeyUse) {
        self.verification_count += gathered.verifications;
        if let Some(seen) = gathered.verified {
            self.last_verified_at_ms = Some(seen.at_ms);
            self.last_verified_ip = seen.address;
        }
        if let (Some(old), Some(seen)) = (&mut self.old_secret, gathered.old_secret) {
            old.last_used_at_ms = Some(seen.at_ms);
            old.last_used_ip = seen.address;
        }
    }
}

/// A JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// A secret that was rotated out and still works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldSecret {
    /// Its last four characters.
    pub suffix: String,
    /// When its grace ends, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// When it was last used, since the rotation.
    pub last_used_at_ms: Option<u64>,
    /// From where.
    pub last_used_ip: Option<IpAddr>,
}

/// What is stored of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretMark {
    /// What it is known by.
    pub digest: KeyDigest,
    /// First characters.
    pub prefix: Box<str>,
    /// Last four characters.
    pub suffix: Box<str>,
}

impl SecretMark {
    /// Of a secret that is at hand.
    pub fn of(key: &ApiKey) -> Self {
        Self {
            digest: KeyDigest::of(key.expose()),
            prefix: key.beginning().into(),
            suffix: key.suffix().into(),
        }
    }
}

/// A key to be stored.
#[derive(Clone, PartialEq, Debug)]
pub struct NewKey {
    /// Its record.
    pub record: KeyRecord,
    /// Its secret.
    pub secret: SecretMark,
    /// Whether the secret was made elsewhere, and so may have any shape.
    pub imported: bool,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Who makes it.
    pub created_by: Option<Box<str>>,
    /// What its maker wants to remember.
    pub metadata: Metadata,
}

/// What to change of a key; `None` leaves it as it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KeyChange {
    /// Its name.
    pub name: Option<Box<str>>,
    /// All of its metadata.
    pub metadata: Option<Metadata>,
    /// All of its networks; none means any.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// Its expiry; `Some(None)` takes it away.
    pub expires_at_ms: Option<Option<u64>>,
    /// Its own limit; `Some(None)` takes it away.
    pub rate_limit: Option<Option<KeyRateLimit>>,
}

/// What came of a change.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// The key as it is now.
    pub key: StoredKey,
    /// The digests that caches must forget.
    pub digests: Vec<KeyDigest>,
}

/// Which keys to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyFilter {
    /// Only of this type.
    pub key_type: Option<KeyType>,
    /// Only with this status at `now_ms`.
    pub status: Option<KeyStatus>,
    /// Only of this user.
    pub user_id: Option<Box<str>>,
    /// Only of this organization.
    pub org_code: Option<Box<str>>,
    /// Only those that come after the key with this id.
    pub after: Option<Box<str>>,
    /// At most so many.
    pub limit: u32,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error("store {path} cannot be opened: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why, in the system's or SQLite's words.
        cause: String,
    },
    /// A newer version of Latchkey has changed the file.
    #[error("store {path} was written by a newer version of latchkey (schema {version}); use that version")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Number of a schema change that this version does not know.
        version: i64,
    },
    /// Another file is at its path, or none; what was opened is no longer the store.
    #[error(
        "store {path} was replaced or removed since it was opened; restart latchkey to use what is there now"
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// There is no key with this id.
    #[error("no key has the id {0:?}")]
    NoSuchKey(String),
    /// A key that must not be stored.
    #[error("{0}")]
    Refused(&'static str),
    /// The key is revoked, and that is for ever.
    #[error("the key is revoked")]
    Revoked,
    /// There is a key with this secret already.
    #[error("a key with this secret is there already")]
    SecretTaken,
    /// The database failed.
    #[error("store failed: {0}")]
    Failed(#[from] sqlx::Error),
}
