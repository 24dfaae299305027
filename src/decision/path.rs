//! Reads the request target and the host once, and never changes them.
//!
//! Envoy chose its route by these very bytes, and the upstream gets them too. So a target is taken only if it is its own
//! normal form (RFC 3986 §6.2.2): an upstream that decodes, removes dot segments or merges slashes arrives at the same
//! path, and so does one that does nothing. Everything else is refused rather than repaired. No URL parser is used: those
//! read `//admin/x` as a host and a path.
//!
//! What two readers may tell apart and a decoding one may not, such as `%3A` and `:`, is no fault of the target; the
//! route table's twin rule keeps it away from more specific routes.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A target that every conforming upstream reads alike.
#[derive(Debug)]
pub(super) struct Target<'r> {
    /// The path, hex digits of escapes in upper case (RFC 3986 §6.2.2.1); what routes are compared with.
    pub(super) path: Cow<'r, [u8]>,
    /// Length of the path as it was sent.
    pub(super) path_len: usize,
    /// What follows the first `?`.
    pub(super) query: Option<&'r [u8]>,
}

/// The target or the host can be read in more than one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ambiguous;

impl<'r> Target<'r> {
    /// Reads `:path` (RFC 9112 §3.2.1: origin form only).
    pub(super) fn read(target: &'r [u8]) -> Result<Self, Ambiguous> {
        let question_mark = target.iter().position(|&byte| byte == b'?');
        let (path, query) = match question_mark {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        if query.is_some_and(|query| query.iter().any(|&byte| byte == b'#' || byte.is_ascii_control())) {
            return Err(Ambiguous);
        }
        let path_len = path.len();
        let path = match check_path(path)? {
            HexCase::Upper => Cow::Borrowed(path),
            HexCase::Mixed => Cow::Owned(upper_hex(path)),
        };
        Ok(Self {
            path,
            path_len,
            query,
        })
    }
}

/// Whether the hex digits of all escapes are in upper case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HexCase {
    Upper,
    Mixed,
}

fn check_path(path: &[u8]) -> Result<HexCase, Ambiguous> {
    let mut segments = path
        .strip_prefix(b"/")
        .ok_or(Ambiguous)?
        .split(|&byte| byte == b'/')
        .peekable();
    let mut case = HexCase::Upper;
    while let Some(segment) = segments.next() {
        let is_inner = segments.peek().is_some();
        if (segment.is_empty() && is_inner) || segment == b"." || segment == b".." {
            return Err(Ambiguous);
        }
        if check_segment(segment)? == HexCase::Mixed {
            case = HexCase::Mixed;
        }
    }
    Ok(case)
}

fn check_segment(segment: &[u8]) -> Result<HexCase, Ambiguous> {
    let mut case = HexCase::Upper;
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            if !is_plain(byte) {
                return Err(Ambiguous);
            }
            rest = after;
            continue;
        }
        let escapes = check_escape(rest)?;
        let (checked, after) = rest.split_at(3 * escapes);
        if checked.iter().any(u8::is_ascii_lowercase) {
            case = HexCase::Mixed;
        }
        rest = after;
    }
    Ok(case)
}

/// Characters of a path that stand for themselves: `pchar` of RFC 3986 §3.3 but for `;`, whose parameters some servers cut
/// off. `"<>^|{}`, the backtick and the space are no `pchar`s; Envoy's `normalize_path` would encode them. Raw bytes above
/// ASCII would be a second spelling of their escapes.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
        )
}

/// Checks the character that is escaped at the beginning of `text`, and says how many escapes it takes.
fn check_escape(text: &[u8]) -> Result<usize, Ambiguous> {
    let first = unescape(text).ok_or(Ambiguous)?;
    match first {
        // Unreserved: must not be escaped; so no dot segment can hide in escapes either.
        b'-' | b'.' | b'_' | b'~' => Err(Ambiguous),
        _ if first.is_ascii_alphanumeric() || first.is_ascii_control() => Err(Ambiguous),
        b'/' | b'\\' | b';' => Err(Ambiguous),
        // Escaped twice. What it would become does not matter: no upstream should be asked to decode twice. A percent sign
        // that two hex digits do not follow, as in `100%25`, is data.
        b'%' if text
            .get(3..5)
            .is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit)) =>
        {
            Err(Ambiguous)
        }
        0..0x80 => Ok(1),
        _ => check_escaped_utf8(first, text),
    }
}

/// Checks one character above ASCII, each byte of it escaped. Overlong forms are no UTF-8 (RFC 3629 §3).
fn check_escaped_utf8(first: u8, text: &[u8]) -> Result<usize, Ambiguous> {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(Ambiguous),
    };
    let mut bytes = [0; 4];
    for (place, byte) in bytes.iter_mut().take(length).enumerate() {
        *byte = text.get(3 * place..).and_then(unescape).ok_or(Ambiguous)?;
    }
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| Ambiguous)?;
    if text.chars().any(char::is_control) {
        Err(Ambiguous)
    } else {
        Ok(length)
    }
}

/// The byte that the escape at the beginning of `text` stands for; `None` if there is no whole escape.
pub(super) fn unescape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// The path with the hex digits of its escapes in upper case.
pub(super) fn upper_hex(path: &[u8]) -> Vec<u8> {
    let mut upper = path.to_vec();
    let mut at = 0;
    while at < upper.len() {
        if upper[at] == b'%' {
            let end = upper.len().min(at + 3);
            upper[at + 1..end].make_ascii_uppercase();
            at = end;
        } else {
            at += 1;
        }
    }
    upper
}

/// Reads the host: one name or address, for comparison in lower case and without its port.
///
/// A final dot is refused rather than dropped: Envoy takes `api.example.com.` for another virtual host than
/// `api.example.com`, and most upstreams take it for the same.
pub(super) fn read_host(host: &[u8]) -> Result<Cow<'_, str>, Ambiguous> {
    let text = std::str::from_utf8(host).map_err(|_| Ambiguous)?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or(Ambiguous)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Ambiguous)?;
        match port.strip_prefix(':') {
            Some(port) => check_port(port)?,
            None if port.is_empty() => {}
            None => return Err(Ambiguous),
        }
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let name = match text.split_once(':') {
        Some((name, port)) => {
            check_port(port)?;
            name
        }
        None => text,
    };
    check_name(name)?;
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Ok(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(name))
    }
}

fn check_port(port: &str) -> Result<(), Ambiguous> {
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err(Ambiguous),
    }
}

/// A name as in RFC 1123 §2.1, with underscores, which inner names often have. One whose last label is a number is an IPv4
/// address or nothing: some resolvers take `127.1` and `0x7f.1` for `127.0.0.1`.
fn check_name(name: &str) -> Result<(), Ambiguous> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Ambiguous);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if is_number(last) && name.parse::<Ipv4Addr>().is_err() {
        return Err(Ambiguous);
    }
    Ok(())
}

/// A number as the WHATWG URL standard reads one in a host ("ends in a number checker").
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
