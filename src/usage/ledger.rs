//! How many decisions were made in each minute, to be held against the log entries that came back.
//!
//! Envoy drops log entries in silence when it cannot deliver them, so the only way to know of it is to count what should come.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::decision_id::{Minute, Replica};

/// Minutes that can be open at a time. They are taken out every second, so that more than two never are.
const SLOTS: usize = 8;

/// Counts the decisions of one replica by minute. Shared by all lanes; counting is two relaxed operations.
#[derive(Debug)]
pub struct Ledger {
    replica: Replica,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    minute: AtomicU32,
    made: AtomicU64,
}

impl Ledger {
    /// An empty one for a replica.
    pub fn new(replica: Replica) -> Self {
        Self {
            replica,
            slots: Default::default(),
        }
    }

    /// Whose decisions they are.
    pub fn replica(&self) -> Replica {
        self.replica
    }

    /// Counts a decision made at this time.
    pub fn count(&self, unix_ms: u64) {
        let minute = Minute::of(unix_ms);
        let slot = &self.slots[minute.0 as usize % SLOTS];
        if slot.minute.load(Ordering::Relaxed) != minute.0 {
            slot.minute.store(minute.0, Ordering::Relaxed);
        }
        slot.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes out what was counted since the last time.
    pub fn take(&self) -> Vec<(Minute, u64)> {
        let taken = |slot: &Slot| {
            let made = slot.made.swap(0, Ordering::Relaxed);
            (Minute(slot.minute.load(Ordering::Relaxed)), made)
        };
        self.slots
            .iter()
            .map(taken)
            .filter(|(_, made)| *made > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_is_taken_out_once_under_its_minute() {
        let ledger = Ledger::new(Replica::from_number(1));
        for at_ms in [60_000, 60_001, 119_999, 120_000] {
            ledger.count(at_ms);
        }
        let mut taken = ledger.take();
        taken.sort();
        assert_eq!(taken, [(Minute(1), 3), (Minute(2), 1)]);
        assert_eq!(ledger.take(), []);
        // The slot of a minute serves a later one.
        ledger.count(60_000 * (1 + SLOTS as u64));
        assert_eq!(ledger.take(), [(Minute(9), 1)]);
    }
}
