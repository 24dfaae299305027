//! The name of one decision, which goes with its request from the check to the access log.
//!
//! It names the minute and the replica in which the decision was made as well, so that decisions and the log entries that
//! come back can be counted against each other without a look at each.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

/// One run of one server; 32 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Replica(u32);

impl Replica {
    /// A new one: each start of a server is another replica.
    pub fn new() -> Self {
        Self(u32::from_be_bytes(POOL.with_borrow_mut(Pool::take)))
    }

    /// The number, as it is stored.
    pub fn number(self) -> u32 {
        self.0
    }

    /// From a stored number.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

/// Eight lower-case hexadecimal digits.
impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A minute since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Minute(pub u32);

impl Minute {
    /// The minute of a time in milliseconds since the Unix epoch.
    pub fn of(unix_ms: u64) -> Self {
        const MS: u64 = Duration::from_secs(60).as_millis() as u64;
        Self(u32::try_from(unix_ms / MS).unwrap_or(u32::MAX))
    }
}

const MINUTE: usize = 4;
const REPLICA: usize = 4;
const RANDOM: usize = 16;
const BYTES: usize = MINUTE + REPLICA + RANDOM;

/// Minute, replica and 128 random bits; 48 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; BYTES]);

/// Random bytes fetched from the operating system at a time: one call serves 64 decisions.
const POOL_BYTES: usize = 1024;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

impl Pool {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > POOL_BYTES {
            // Without entropy ids would repeat; that is worth knowing, but no reason to refuse a request.
            if let Err(error) = getrandom::fill(&mut self.bytes) {
                tracing::error!(%error, "no random bytes for decision ids");
            }
            self.used = 0;
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.used..self.used + N]);
        self.used += N;
        taken
    }
}

impl DecisionId {
    /// The digits of its text.
    pub const DIGITS: usize = 2 * BYTES;

    /// A new one, of a decision that `replica` makes at `unix_ms`.
    pub fn new(replica: Replica, unix_ms: u64) -> Self {
        let mut id = [0; BYTES];
        id[..MINUTE].copy_from_slice(&Minute::of(unix_ms).0.to_be_bytes());
        id[MINUTE..MINUTE + REPLICA].copy_from_slice(&replica.0.to_be_bytes());
        id[MINUTE + REPLICA..].copy_from_slice(&POOL.with_borrow_mut(Pool::take::<RANDOM>));
        Self(id)
    }

    /// Reads what [`Self::to_hex`] writes, and nothing else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::DIGITS {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut id = [0; BYTES];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(id))
    }

    /// The minute in which the decision was made.
    pub fn minute(&self) -> Minute {
        Minute(self.number_at(0))
    }

    /// The replica that made it.
    pub fn replica(&self) -> Replica {
        Replica(self.number_at(MINUTE))
    }

    fn number_at(&self, at: usize) -> u32 {
        let mut number = [0; 4];
        number.copy_from_slice(&self.0[at..at + 4]);
        u32::from_be_bytes(number)
    }

    /// 48 lower-case hexadecimal digits.
    pub fn to_hex(self) -> [u8; Self::DIGITS] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; Self::DIGITS];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_do_not_repeat_and_name_replica_and_minute() {
        let replica = Replica(0x00ab_cdef);
        let at_ms = 120_000 * 61 + 59_999;
        let ids: HashSet<String> = (0..1000)
            .map(|_| DecisionId::new(replica, at_ms).to_string())
            .collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), DecisionId::DIGITS);
            let read = DecisionId::parse(id.as_bytes()).unwrap();
            assert_eq!(read.to_string(), id);
            assert_eq!((read.replica(), read.minute()), (replica, Minute(122)));
        }
    }

    proptest! {
        #[test]
        fn only_what_was_written_is_read(text in "[0-9a-fA-F\\PC]{0,60}") {
            if let Some(id) = DecisionId::parse(text.as_bytes()) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
