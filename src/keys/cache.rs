//! What is remembered of keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::record::KeyRecord;
use super::secret::{ApiKey, KeyDigest};
use super::source::{KeySource, KeySourceError};
use crate::config::KeySettings;

/// What the cache can say at once.
#[derive(Clone, Debug)]
pub enum Remembered {
    /// A verified key, fresh.
    Known(Arc<KeyRecord>),
    /// A key that its source does not know, asked a short time ago.
    Unknown,
    /// Nothing usable: [`KeyCache::look_up`].
    Nothing,
}

/// The cache.
pub struct KeyCache {
    source: Arc<dyn KeySource>,
}

impl KeyCache {
    /// A cache before `source`; look-ups run as tasks of `waiting`, never on the caller's runtime.
    pub fn new(source: Arc<dyn KeySource>, settings: &KeySettings, waiting: tokio::runtime::Handle) -> Arc<Self> {
        let _ = (settings, waiting);
        Arc::new(Self { source })
    }

    /// Whether the source can know a key of this form at all.
    pub fn can_know(&self, presented: &str) -> bool {
        self.source.can_know(presented.as_bytes())
    }

    /// What is remembered; no I/O, no await.
    pub fn get(&self, digest: &KeyDigest, now: Instant) -> Remembered {
        let _ = (digest, now);
        Remembered::Nothing
    }

    /// Asks the source, once for all who want the same key; falls back to a stale answer within `stale_if_error`.
    pub async fn look_up(
        self: &Arc<Self>,
        key: ApiKey,
        caller: Option<IpAddr>,
        deadline: Instant,
    ) -> Result<Option<Arc<KeyRecord>>, KeySourceError> {
        let _ = (key, caller, deadline);
        Ok(None)
    }

    /// Forgets what is known of a key, also what a look-up under way will answer.
    pub fn forget(&self, digest: &KeyDigest) {
        let _ = digest;
    }

    /// Forgets everything.
    pub fn forget_all(&self) {}
}
