//! Keys: their form, their records, where they are kept, and what is remembered of them.
//!
//! A presented key is text from a stranger. It becomes an [`ApiKey`] (which cannot print itself) after its length and
//! characters were checked, is known from then on by its [`KeyDigest`], and is looked up in the [`KeyCache`], which asks a
//! [`KeySource`] at most once at a time for the same key.

mod cache;
mod open;
mod record;
mod remote;
mod secret;
mod source;
mod store;

pub use cache::{CacheMetrics, KeyCache, Remembered};
pub use open::open_source;
pub use record::{KeyRateLimit, KeyRecord, KeyStatus, KeyType, Owner, UnknownKeyType};
pub use remote::{RemoteSource, StoreThenRemote};
pub use secret::{ApiKey, KeyDigest, NoRandomness};
pub use source::{KeySource, KeySourceError, Verifying};
pub use store::{SqliteStore, StoreError, StoreSource, StoredKey};
