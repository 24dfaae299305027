//! A dashmap that never grows past its bound.
//!
//! Who goes when it is full is decided by a clock over the order of insertion: an entry that was used since the hand last
//! passed gets a second chance. The queue is touched by inserts only, so reads share nothing but their shard.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use dashmap::DashMap;

use super::super::secret::KeyDigest;
use super::metrics::Size;

/// Second chances given in one insert, so that it stays short when everything is in use.
const CHANCES: usize = 32;

/// Says, once, whether an entry was used since it was last asked.
pub(super) trait Recency {
    fn take_used(&self) -> bool;
}

pub(super) struct Bounded<V> {
    map: DashMap<KeyDigest, V, RandomState>,
    order: Mutex<VecDeque<KeyDigest>>,
    max: usize,
    size: Size,
}

impl<V: Recency> Bounded<V> {
    pub(super) fn new(max: NonZeroUsize, size: Size) -> Self {
        Self {
            map: DashMap::default(),
            order: Mutex::default(),
            max: max.get(),
            size,
        }
    }

    /// Reads an entry in place.
    pub(super) fn with<T>(&self, digest: &KeyDigest, read: impl FnOnce(&V) -> T) -> Option<T> {
        self.map.get(digest).map(|entry| read(entry.value()))
    }

    /// Changes an entry in place, if it is there.
    pub(super) fn update(&self, digest: &KeyDigest, change: impl FnOnce(&mut V)) {
        if let Some(mut entry) = self.map.get_mut(digest) {
            change(entry.value_mut());
        }
    }

    pub(super) fn insert(&self, digest: KeyDigest, value: V) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if self.map.insert(digest, value).is_some() {
            return;
        }
        order.push_back(digest);
        // Entries that were removed leave their place in the queue behind, and may come back with another one: it must not
        // outgrow the map by much.
        if order.len() > self.max.saturating_mul(2).max(1024) {
            let mut seen = HashSet::new();
            order.retain(|digest| self.map.contains_key(digest) && seen.insert(*digest));
        }
        let mut chances = CHANCES;
        while self.map.len() > self.max {
            let Some(oldest) = order.pop_front() else { break };
            let used = self.map.get(&oldest).map(|entry| entry.value().take_used());
            match used {
                None => {}
                Some(true) if chances > 0 => {
                    chances -= 1;
                    order.push_back(oldest);
                }
                Some(_) => {
                    self.map.remove(&oldest);
                    self.size.evicted();
                }
            }
        }
        self.size.set(self.map.len());
    }

    pub(super) fn remove(&self, digest: &KeyDigest) {
        if self.map.remove(digest).is_some() {
            self.size.set(self.map.len());
        }
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.order.lock().unwrap().len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn clear(&self) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.clear();
        self.map.clear();
        self.size.set(0);
    }
}
