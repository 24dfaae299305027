//! What is counted of keys and written later: verifications over HTTP, and who still uses a secret that was rotated out.
//!
//! Nothing here waits for the store on a request's way. A task writes what has gathered, about once a second, and a crash
//! loses at most that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{RwLock, RwLockReadGuard};

use super::store::{KeyStore, StoreError};

/// Keys that something is remembered of at a time; of more nothing is, until the next write.
const MOST_KEYS: usize = 100_000;

/// When and from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The address, where it is known.
    pub address: Option<IpAddr>,
}

/// What has gathered of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// Its id.
    pub id: Box<str>,
    /// Verifications over HTTP.
    pub verifications: u64,
    /// The last one.
    pub verified: Option<Seen>,
    /// The last use of the secret that was rotated out.
    pub old_secret: Option<Seen>,
}

/// What has gathered since the last write.
#[derive(Debug, Default)]
pub struct KeyUses {
    // Held for a look into the map, never across an await.
    gathered: Mutex<HashMap<Box<str>, KeyUse>>,
    /// Whoever adds what has gathered to what is stored reads; the write itself, which moves one into the other, writes.
    settled: RwLock<()>,
}

impl KeyUses {
    /// Counts a verification.
    pub fn verified(&self, id: &str, seen: Seen) {
        self.note(id, |key| {
            key.verifications += 1;
            key.verified = Some(seen);
        });
    }

    /// Notes a use of a secret that was rotated out.
    pub fn old_secret_used(&self, id: &str, seen: Seen) {
        self.note(id, |key| key.old_secret = Some(seen));
    }

    /// What has gathered of a key.
    pub fn of(&self, id: &str) -> Option<KeyUse> {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.get(id).cloned()
    }

    /// While this is held, nothing moves from here into the store: what is read of both fits together.
    pub async fn settled(&self) -> RwLockReadGuard<'_, ()> {
        self.settled.read().await
    }

    /// Writes what has gathered; what cannot be written stays for the next time.
    pub async fn write_to(&self, store: &dyn KeyStore) -> Result<(), StoreError> {
        let _moving = self.settled.write().await;
        let uses: Vec<KeyUse> = {
            let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.values().cloned().collect()
        };
        if uses.is_empty() {
            return Ok(());
        }
        store.note_uses(&uses).await?;
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        for written in &uses {
            // What came in meanwhile stays.
            if let Some(key) = gathered.get_mut(&written.id) {
                key.verifications -= written.verifications;
                if key.verifications == 0 && key.old_secret == written.old_secret {
                    gathered.remove(&written.id);
                }
            }
        }
        Ok(())
    }

    fn note(&self, id: &str, change: impl FnOnce(&mut KeyUse)) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = gathered.get_mut(id) {
            change(key);
        } else if gathered.len() < MOST_KEYS {
            let mut key = KeyUse {
                id: id.into(),
                verifications: 0,
                verified: None,
                old_secret: None,
            };
            change(&mut key);
            gathered.insert(id.into(), key);
        }
    }
}
