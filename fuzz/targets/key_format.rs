//! Any bytes as a key: what has our own shape has its checksum right, and nothing next to it has.
#![cfg_attr(fuzzing, no_main)]

use latchkey::keys::{ApiKey, KeyDigest};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

const PREFIX: &str = "lk";

/// One input.
pub(crate) fn run(data: &[u8]) {
    let shaped = ApiKey::has_own_shape(PREFIX, data);
    assert_eq!(shaped, has_shape(data));
    let presented = std::str::from_utf8(data).ok().and_then(ApiKey::presented);
    let is_key = (1..=256).contains(&data.len()) && data.iter().all(u8::is_ascii_graphic);
    assert_eq!(presented.is_some(), is_key);
    let Some(key) = presented else {
        assert!(!shaped);
        return;
    };
    assert_eq!(key.expose().as_bytes(), data);
    assert!(data.ends_with(key.suffix().as_bytes()) && key.suffix().len() * 4 <= data.len());
    let other = ApiKey::presented("other").expect("a key");
    assert_eq!(
        format!("{key:?}"),
        format!("{other:?}"),
        "it shows something of the key"
    );
    assert!(KeyDigest::of(key.expose()) == KeyDigest::of(key.expose()));

    // A key of ours with another character in one place is none: CRC-32 sees every burst of up to 32 bits.
    let mut ours = made_of(data);
    assert!(ApiKey::has_own_shape(PREFIX, &ours));
    let place = PREFIX.len() + 1 + usize::from(data[0]) % (ours.len() - PREFIX.len() - 1);
    ours[place] = if ours[place] == b'0' { b'1' } else { b'0' };
    assert!(!ApiKey::has_own_shape(PREFIX, &ours));
}

/// A key of our own shape with characters of `data`.
fn made_of(data: &[u8]) -> Vec<u8> {
    let alphanumeric = data.iter().copied().filter(u8::is_ascii_alphanumeric);
    let random: Vec<u8> = alphanumeric.chain(std::iter::repeat(b'a')).take(43).collect();
    [b"lk_", &random[..], &checksum(&random)].concat()
}

fn has_shape(data: &[u8]) -> bool {
    let body = data.strip_prefix(b"lk_").filter(|body| body.len() == 49);
    body.is_some_and(|body| body.iter().all(u8::is_ascii_alphanumeric) && body[43..] == checksum(&body[..43]))
}

/// CRC-32 (IEEE 802.3) bit by bit, in base 62.
fn checksum(bytes: &[u8]) -> [u8; 6] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    let mut rest = !crc;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(rest % 62).expect("less than 62");
        *digit = match value {
            0..=9 => b'0' + value,
            10..=35 => b'A' + value - 10,
            _ => b'a' + value - 36,
        };
        rest /= 62;
    }
    digits
}
