//! The secret itself: how a key is made, how one of our own is told from garbage, and the digest that stands for it.
//!
//! A key of ours is `<prefix>_<43 base-62 characters><6 base-62 characters>`. The 43 are drawn evenly from `0-9A-Za-z`
//! by the operating system's generator: 43 × log2 62 is 256.03 bits. The 6 are the CRC-32 (IEEE 802.3, as in zip) of
//! those 43 characters, without prefix and underscore, written in base 62 with the highest digit first and zeros in
//! front. The checksum is no secret and protects nothing; it lets scanners and Latchkey tell a key from a lookalike.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARACTERS: usize = 43;
const CHECKSUM_CHARACTERS: usize = 6;
const LONGEST_KEY_BYTES: usize = 256;

/// A presented or newly made key: 1 to 256 bytes of visible ASCII. Has no `Display` and a `Debug` that shows nothing of it;
/// its memory is cleared on drop.
pub struct ApiKey(Box<str>);

/// SHA-256 of a key: what is stored, and what the cache is keyed by.
///
/// Digests are compared in plain time on purpose. They are only ever compared by a hash map or an index that was asked for
/// one, and whoever wanted to learn a stored digest byte by byte from the time that takes would need keys with chosen
/// digests, which is to break SHA-256. A digest is not the key, but it names one: `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness(#[source] getrandom::Error);

impl ApiKey {
    /// A new key that begins with `prefix` and an underscore; the prefix is one that the settings accepted.
    pub fn generate(prefix: &str) -> Result<Self, NoRandomness> {
        let length = prefix.len() + 1 + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS;
        // The exact capacity: a buffer that grew would leave a copy behind that nobody clears.
        let mut text = String::with_capacity(length);
        text.push_str(prefix);
        text.push('_');
        push_random(&mut text)?;
        let checksum = checksum(&text.as_bytes()[prefix.len() + 1..]);
        text.extend(checksum.map(char::from));
        Ok(Self(text.into_boxed_str()))
    }

    /// The presented text as a key; `None` when it is empty, over 256 bytes or not visible ASCII.
    pub fn presented(text: &str) -> Option<Self> {
        Self::can_be_presented(text.as_bytes()).then(|| Self(text.into()))
    }

    /// Whether this is 1 to 256 bytes of visible ASCII.
    pub fn can_be_presented(text: &[u8]) -> bool {
        (1..=LONGEST_KEY_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
    }

    /// Whether `text` could be a key of our own with this prefix: its length, alphabet and checksum are right.
    pub fn has_own_shape(prefix: &str, text: &[u8]) -> bool {
        let Some([b'_', body @ ..]) = text.strip_prefix(prefix.as_bytes()) else {
            return false;
        };
        match body.split_last_chunk::<CHECKSUM_CHARACTERS>() {
            Some((random, sum)) => {
                random.len() == RANDOM_CHARACTERS
                    && random.iter().all(u8::is_ascii_alphanumeric)
                    && *sum == checksum(random)
            }
            None => false,
        }
    }

    /// The secret, for the one who must send or hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first six characters, which people may see to tell keys apart; all of a shorter key's are withheld.
    pub fn beginning(&self) -> &str {
        if self.0.len() < 16 { "" } else { &self.0[..6] }
    }

    /// The last four characters, which people may see to tell keys apart; all of a shorter key's are withheld.
    pub fn suffix(&self) -> &str {
        if self.0.len() < 16 {
            ""
        } else {
            &self.0[self.0.len() - 4..]
        }
    }
}

/// Draws bytes until enough of them are below the largest multiple of 62, so that no character is likelier than another.
fn push_random(text: &mut String) -> Result<(), NoRandomness> {
    const EVEN: u8 = 62 * 4;
    let mut left = RANDOM_CHARACTERS;
    let mut drawn = Zeroizing::new([0_u8; 64]);
    while left > 0 {
        getrandom::fill(&mut *drawn).map_err(NoRandomness)?;
        for &byte in drawn.iter().filter(|&&byte| byte < EVEN).take(left) {
            text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            left -= 1;
        }
    }
    Ok(())
}

fn checksum(random: &[u8]) -> [u8; CHECKSUM_CHARACTERS] {
    let mut left = crc32fast::hash(random);
    let mut digits = [0; CHECKSUM_CHARACTERS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(left % 62) as usize];
        left /= 62;
    }
    digits
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

impl Drop for ApiKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl KeyDigest {
    /// Digest of a presented key.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented).into())
    }

    /// The 32 bytes, for the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest with these bytes, as the store has them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_crc_32_of_the_random_characters_in_base_62() {
        // CRC-32 of "123456789" is cbf43926, the check value of the algorithm: 3421780262 in base 10.
        let digits = checksum(b"123456789");
        let value = digits.iter().fold(0_u64, |value, digit| {
            value * 62 + ALPHABET.iter().position(|letter| letter == digit).unwrap() as u64
        });
        assert_eq!(value, 0xcbf4_3926);
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn a_new_key_has_the_documented_form() {
        let key = ApiKey::generate("lk").unwrap();
        let body = key.expose().strip_prefix("lk_").unwrap();
        assert_eq!(body.len(), 49);
        assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(ApiKey::has_own_shape("lk", key.expose().as_bytes()));
        assert!(!ApiKey::has_own_shape("xy", key.expose().as_bytes()));
        assert!(key.expose().ends_with(key.suffix()));
        assert_eq!(key.suffix().len(), 4);
    }

    #[test]
    fn keys_differ_and_use_the_whole_alphabet() {
        let keys: Vec<ApiKey> = (0..200).map(|_| ApiKey::generate("lk").unwrap()).collect();
        let texts: HashSet<&str> = keys.iter().map(ApiKey::expose).collect();
        assert_eq!(texts.len(), keys.len());
        let letters: HashSet<u8> = texts.iter().flat_map(|text| text[3..46].bytes()).collect();
        assert_eq!(letters.len(), 62);
    }

    #[test]
    fn a_presented_key_is_short_visible_ascii() {
        for (text, good) in [
            ("", false),
            ("k", true),
            ("has space", false),
            ("tab\t", false),
            ("caf\u{e9}", false),
            (&"k".repeat(256), true),
            (&"k".repeat(257), false),
        ] {
            assert_eq!(ApiKey::presented(text).is_some(), good, "{text:?}");
        }
    }

    #[test]
    fn neither_key_nor_digest_shows_itself() {
        let key = ApiKey::generate("lk").unwrap();
        assert_eq!(
            format!("{key:?} {:?}", KeyDigest::of(key.expose())),
            "ApiKey(..) KeyDigest(..)"
        );
        assert_eq!(ApiKey::presented("shortkey").unwrap().suffix(), "");
    }

    #[test]
    fn the_digest_is_sha_256() {
        let digest = KeyDigest::of("abc");
        assert_eq!(digest.as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(KeyDigest::from_bytes(*digest.as_bytes()), digest);
    }

    proptest! {
        #[test]
        fn what_was_made_is_recognized(prefix in "[a-z][a-z0-9]{0,9}") {
            let key = ApiKey::generate(&prefix).unwrap();
            prop_assert!(ApiKey::has_own_shape(&prefix, key.expose().as_bytes()));
            prop_assert!(ApiKey::presented(key.expose()).is_some());
        }

        #[test]
        fn one_changed_character_is_always_refused(at in 0_usize..52, to in any::<u8>()) {
            let key = ApiKey::generate("lk").unwrap();
            let mut text = key.expose().as_bytes().to_vec();
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(!ApiKey::has_own_shape("lk", &text));
        }

        #[test]
        fn no_text_makes_the_shape_check_panic(prefix in ".{0,8}", text in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!ApiKey::has_own_shape(&prefix, &text));
        }
    }
}
