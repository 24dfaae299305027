//! Keys: their form, their records, where they are kept, and what is remembered of them.
//!
//! A presented key is text from a stranger. It becomes an [`ApiKey`] (which cannot print itself) after its length and
//! characters were checked, is known from then on by its [`KeyDigest`], and is looked up in the [`KeyCache`], which asks a
//! [`KeySource`] at most once at a time for the same key.

mod audit;
mod cache;
mod open;
mod record;
mod remote;
mod secret;
mod source;
mod store;
mod uses;

pub use audit::{
    AUDIT_EVENTS_KEPT, AUDIT_KEPT_MS, AuditEvent, AuditFilter, AuditResult, StoredEvent, UnknownResult,
};
pub use cache::{CacheMetrics, KeyCache, Remembered};
pub use open::open_source;
pub use record::{KeyRateLimit, KeyRecord, KeyStatus, KeyType, Owner, UnknownKeyType, UnknownStatus};
pub use remote::{RemoteSource, StoreThenRemote};
pub use secret::{ApiKey, KeyDigest, NoRandomness};
pub use source::{KeySource, KeySourceError, Verifying};
pub use store::{
    Changed, KeyChange, KeyFilter, KeyStore, MAX_METADATA_BYTES, MAX_NAME_CHARS, MAX_NETWORKS, Metadata,
    NewKey, OldSecret, SecretMark, SqliteStore, StoreError, StoreSource, StoredKey, Storing,
};
pub use uses::{KeyUse, KeyUses, Seen};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let unix = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}
