//! Takes the key from the configured places.
//!
//! Two values, in one place or in two, are ambiguous, even if they are equal: whoever takes the first and whoever takes the
//! last would see different callers. Length and characters are checked before anything else is done with a key.

use std::borrow::Cow;
use std::fmt;

use super::denial::InvalidKey;
use super::path::unescape;

/// The longest key, in bytes.
const MAX_KEY: usize = 256;

/// A key as the caller sent it: 1 to 256 bytes of visible ASCII. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub(super) struct PresentedKey<'r>(Cow<'r, str>);

impl PresentedKey<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey")
    }
}

/// What all places together hold.
#[derive(Debug, Default)]
pub(super) enum Presented<'r> {
    /// No place holds a key.
    #[default]
    Nothing,
    /// One key.
    Key(PresentedKey<'r>),
    /// Something that is no key, or more than one.
    Invalid(InvalidKey),
}

impl<'r> Presented<'r> {
    /// Adds what one more place holds.
    pub(super) fn add(&mut self, found: Result<PresentedKey<'r>, InvalidKey>) {
        *self = match (&self, found) {
            (Self::Nothing, Ok(key)) => Self::Key(key),
            (Self::Nothing, Err(invalid)) => Self::Invalid(invalid),
            (Self::Key(_) | Self::Invalid(_), _) => Self::Invalid(InvalidKey::Ambiguous),
        };
    }
}

/// How keys are written in one header.
#[derive(Debug, Default)]
pub(super) struct HeaderPlace {
    /// Schemes before a key.
    pub(super) schemes: Vec<Box<str>>,
    /// The whole value may be a key.
    pub(super) bare: bool,
}

impl HeaderPlace {
    /// The key in one line of the header; `None` if the line holds no credential of ours, such as `Basic …`.
    pub(super) fn read<'r>(&self, value: &'r [u8]) -> Option<Result<PresentedKey<'r>, InvalidKey>> {
        let value = trim(value);
        if let Some(rest) = self.after_scheme(value) {
            return Some(match rest.first() {
                None => Err(InvalidKey::Malformed),
                Some(_) if rest.contains(&b',') => Err(InvalidKey::Ambiguous),
                Some(b' ') => check(Cow::Borrowed(rest.trim_ascii_start())),
                Some(_) => Err(InvalidKey::Malformed),
            });
        }
        // Envoy joins lines of one name with a comma: `Basic x,Bearer lk_…` was two credentials.
        if value
            .split(|&byte| byte == b',')
            .skip(1)
            .any(|part| self.after_scheme(trim(part)).is_some())
        {
            return Some(Err(InvalidKey::Ambiguous));
        }
        self.bare.then(|| check(Cow::Borrowed(value)))
    }

    /// What follows the scheme (RFC 9110 §11.1: without regard to case), if the value begins with one of ours.
    fn after_scheme<'r>(&self, value: &'r [u8]) -> Option<&'r [u8]> {
        self.schemes.iter().find_map(|scheme| {
            let (begin, rest) = value.split_at_checked(scheme.len())?;
            let ends = rest.first().is_none_or(|&byte| !is_token(byte));
            (begin.eq_ignore_ascii_case(scheme.as_bytes()) && ends).then_some(rest)
        })
    }
}

/// Parameters of the query that hold a key.
#[derive(Debug, Default)]
pub(super) struct QueryPlaces {
    /// Their names, decoded.
    pub(super) names: Vec<Box<str>>,
}

impl QueryPlaces {
    /// The keys in a query.
    pub(super) fn read<'r>(
        &self,
        query: &'r [u8],
    ) -> impl Iterator<Item = Result<PresentedKey<'r>, InvalidKey>> {
        let query = if self.names.is_empty() { &[][..] } else { query };
        query
            .split(is_separator)
            .filter_map(|pair| self.value(pair))
            .map(|value| {
                if value.iter().any(|byte| matches!(byte, b'%' | b'+')) {
                    check(Cow::Owned(decode(value)))
                } else {
                    check(Cow::Borrowed(value))
                }
            })
    }

    /// The target without these parameters, all else byte for byte: each one goes with the separator before it, the first
    /// with the one after it. `None` when there is nothing to cut. `only`: cut keys of our own shape and no others.
    pub(super) fn cut(&self, target: &[u8], path_len: usize, only: Option<&OwnShape>) -> Option<Vec<u8>> {
        let query = target.get(path_len + 1..)?;
        let goes = |pair: &[u8]| {
            self.value(pair)
                .is_some_and(|value| only.is_none_or(|shape| shape.is_in(&decode(value))))
        };
        if self.names.is_empty() || !query.split(is_separator).any(goes) {
            return None;
        }
        let mut kept = target[..path_len].to_vec();
        let mut at = path_len + 1;
        let mut is_first = true;
        for pair in query.split(is_separator) {
            if !goes(pair) {
                kept.push(if is_first { b'?' } else { target[at - 1] });
                kept.extend_from_slice(pair);
                is_first = false;
            }
            at += pair.len() + 1;
        }
        Some(kept)
    }

    /// The value of a pair whose name, decoded, is one of ours.
    fn value<'r>(&self, pair: &'r [u8]) -> Option<&'r [u8]> {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let (name, value) = equals.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        let is_ours = self.names.iter().any(|known| decoded(name).eq(known.bytes()));
        is_ours.then_some(value)
    }
}

/// What keys of our own begin with.
#[derive(Debug)]
pub(super) struct OwnShape {
    /// `lk_`
    pub(super) begin: Box<[u8]>,
}

impl OwnShape {
    /// Whether a key of our own may be anywhere in the text: its beginning stands at a place where a word begins. A token of
    /// somebody else may have `lk_` in its middle.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        text.windows(self.begin.len())
            .enumerate()
            .any(|(at, window)| window == &*self.begin && (at == 0 || !is_word(text[at - 1])))
    }
}

fn check(value: Cow<'_, [u8]>) -> Result<PresentedKey<'_>, InvalidKey> {
    if value.contains(&b',') {
        return Err(InvalidKey::Ambiguous);
    }
    if !(1..=MAX_KEY).contains(&value.len()) || !value.iter().all(u8::is_ascii_graphic) {
        return Err(InvalidKey::Malformed);
    }
    let text = match value {
        Cow::Borrowed(value) => std::str::from_utf8(value).map(Cow::Borrowed).ok(),
        Cow::Owned(value) => String::from_utf8(value).map(Cow::Owned).ok(),
    };
    text.map(PresentedKey).ok_or(InvalidKey::Malformed)
}

/// Both are in use, and some servers take either.
fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'&' | b';')
}

/// The bytes of a name or value of a query (WHATWG URL, `application/x-www-form-urlencoded`); what is no escape stands for
/// itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if let Some(byte) = unescape(rest) {
            rest = &rest[3..];
            return Some(byte);
        }
        rest = after;
        Some(if first == b'+' { b' ' } else { first })
    })
}

fn decode(text: &[u8]) -> Vec<u8> {
    decoded(text).collect()
}

/// Without the optional whitespace around a field value (RFC 9110 §5.6.3).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
