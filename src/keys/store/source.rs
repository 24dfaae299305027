//! The store as a source of keys.

use std::fmt;
use std::sync::Arc;

use super::KeyStore;
use crate::keys::now_ms;
use crate::keys::secret::{ApiKey, KeyDigest};
use crate::keys::source::{KeySource, KeySourceError, Verifying};

/// Verifies keys in a store: those of our own shape, and imported ones.
pub struct StoreSource {
    store: Arc<dyn KeyStore>,
    prefix: Box<str>,
}

impl StoreSource {
    /// Knows keys that begin with `prefix`.
    pub fn new(store: impl KeyStore, prefix: &str) -> Self {
        Self {
            store: Arc::new(store),
            prefix: prefix.into(),
        }
    }
}

impl fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSource")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl KeySource for StoreSource {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        Box::pin(async move {
            match self.store.find(&KeyDigest::of(key.expose()), now_ms()).await {
                Ok(record) => Ok(record.map(Arc::new)),
                Err(error) => Err(KeySourceError::Failed(error.to_string().into())),
            }
        })
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        ApiKey::has_own_shape(&self.prefix, presented) || self.store.imported_begin_like(presented)
    }
}
