//! Keys that somebody lists, in place of a store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::keys::{ApiKey, KeyDigest, KeyRecord, KeySource, Verifying};

/// A source that knows the listed keys and no others; all are of the form of our own.
pub struct ListedKeys {
    prefix: Box<str>,
    records: HashMap<KeyDigest, Arc<KeyRecord>>,
}

impl ListedKeys {
    /// No keys yet; `prefix` is what keys of our own begin with.
    pub fn none(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            records: HashMap::new(),
        }
    }

    /// Knows one more.
    pub fn add(&mut self, key: &ApiKey, record: KeyRecord) {
        self.records.insert(KeyDigest::of(key.expose()), Arc::new(record));
    }
}

impl KeySource for ListedKeys {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> Verifying<'a> {
        let known = self.records.get(&KeyDigest::of(key.expose())).cloned();
        Box::pin(std::future::ready(Ok(known)))
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        ApiKey::has_own_shape(&self.prefix, presented)
    }
}
