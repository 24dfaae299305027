//! Slots for look-ups of unknown keys: `keys.max_in_flight` in all, and a quarter of them for one address.
//!
//! So a flood of unknown keys costs the source a bounded number of questions at a time, and one address cannot keep all
//! others out. Who waits for a slot waits in order, until the deadline of the request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::source::KeySourceError;
use crate::config::address_group;

type ByAddress = Arc<Mutex<HashMap<Option<IpAddr>, Arc<Semaphore>>>>;

pub(super) struct Slots {
    all: Arc<Semaphore>,
    each: usize,
    by_address: ByAddress,
}

/// A slot; free again when dropped.
pub(super) struct Slot {
    _one_of_all: OwnedSemaphorePermit,
    _share: Share,
}

impl Slots {
    pub(super) fn new(max_in_flight: NonZeroUsize) -> Self {
        let most = max_in_flight.get().min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(most)),
            each: (most / 4).max(1),
            by_address: ByAddress::default(),
        }
    }

    /// Waits for a slot; the caller sets the deadline, and dropping the future gives up the place in the queue.
    pub(super) async fn take(&self, caller: Option<IpAddr>) -> Result<Slot, KeySourceError> {
        let share = self.share(caller.map(address_group)).await?;
        let one_of_all = Arc::clone(&self.all)
            .acquire_owned()
            .await
            .map_err(|_| KeySourceError::Busy)?;
        Ok(Slot {
            _one_of_all: one_of_all,
            _share: share,
        })
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.by_address.lock().unwrap().is_empty()
    }

    async fn share(&self, address: Option<IpAddr>) -> Result<Share, KeySourceError> {
        let semaphore = {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                by_address
                    .entry(address)
                    .or_insert_with(|| Arc::new(Semaphore::new(self.each))),
            )
        };
        // Made before the wait, so that one who gives up while waiting cleans up as well.
        let mut share = Share {
            by_address: Arc::clone(&self.by_address),
            address,
            permit: None,
            semaphore,
        };
        let permit = Arc::clone(&share.semaphore)
            .acquire_owned()
            .await
            .map_err(|_| KeySourceError::Busy)?;
        share.permit = Some(permit);
        Ok(share)
    }
}

/// One of the slots of an address.
struct Share {
    by_address: ByAddress,
    address: Option<IpAddr>,
    permit: Option<OwnedSemaphorePermit>,
    semaphore: Arc<Semaphore>,
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody else holds or waits for a slot of this address.
        if Arc::strong_count(&self.semaphore) == 2 {
            by_address.remove(&self.address);
        }
    }
}
