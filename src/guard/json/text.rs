//! Strings of JSON: checked, decoded, written.

use std::borrow::Cow;

use super::super::report::Unscanned;

/// A string where it stands in a body. Its escapes were checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::guard) struct Text<'t> {
    /// What is between the quotes, as written.
    pub(in crate::guard) raw: &'t str,
    /// Where that begins in the body, in bytes.
    pub(in crate::guard) at: usize,
    /// Whether it has escapes.
    pub(super) is_escaped: bool,
}

impl<'t> Text<'t> {
    /// Reads the string that begins behind the quote at `at - 1`.
    pub(super) fn read(body: &'t str, at: usize) -> Result<Self, Unscanned> {
        let bytes = &body.as_bytes()[at..];
        let mut length = 0;
        let mut is_escaped = false;
        loop {
            length += memchr::memchr2(b'"', b'\\', &bytes[length..]).ok_or(Unscanned::InvalidJson)?;
            if bytes[length] == b'"' {
                break;
            }
            is_escaped = true;
            length += escape(&bytes[length..])?.1;
        }
        // Without an early end the loop is a handful of vector instructions.
        let has_control = bytes[..length]
            .iter()
            .fold(false, |any, &byte| any | (byte < 0x20));
        if has_control {
            return Err(Unscanned::InvalidJson);
        }
        let raw = &body[at..at + length];
        Ok(Self { raw, at, is_escaped })
    }

    /// The text itself.
    pub(in crate::guard) fn decode(&self) -> Cow<'t, str> {
        if !self.is_escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(plain) = memchr::memchr(b'\\', rest.as_bytes()) {
            decoded.push_str(&rest[..plain]);
            // The escapes were checked when the string was read.
            let Ok((char, length)) = escape(&rest.as_bytes()[plain..]) else {
                break;
            };
            decoded.push(char);
            rest = &rest[plain + length..];
        }
        decoded.push_str(rest);
        Cow::Owned(decoded)
    }
}

/// Reads the escape at the beginning of `bytes`: its character, and its length.
fn escape(bytes: &[u8]) -> Result<(char, usize), Unscanned> {
    let char = match bytes.get(1).ok_or(Unscanned::InvalidJson)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes),
        _ => return Err(Unscanned::InvalidJson),
    };
    Ok((char, 2))
}

fn unicode_escape(bytes: &[u8]) -> Result<(char, usize), Unscanned> {
    let first = unit(bytes).ok_or(Unscanned::InvalidJson)?;
    if let Some(char) = char::from_u32(first) {
        return Ok((char, 6));
    }
    if first >= 0xDC00 {
        return Err(Unscanned::LoneSurrogate);
    }
    let second = unit(&bytes[6..]).filter(|second| (0xDC00..0xE000).contains(second));
    let second = second.ok_or(Unscanned::LoneSurrogate)?;
    let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(joined)
        .map(|char| (char, 12))
        .ok_or(Unscanned::LoneSurrogate)
}

/// The UTF-16 unit of `\uXXXX`.
fn unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit * 16 + char::from(digit).to_digit(16)?)
    })
}

/// Writes a text as what stands between the quotes of a JSON string: only what has to be escaped is.
pub(in crate::guard) fn write_text(text: &str, output: &mut String) {
    use std::fmt::Write;
    for char in text.chars() {
        match char {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            // Writing to a String cannot fail.
            '\0'..' ' => drop(write!(output, "\\u{:04x}", u32::from(char))),
            _ => output.push(char),
        }
    }
}
