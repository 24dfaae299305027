//! Path patterns of routes: `/ai/chat`, `/ai/chats/{chat_id}`, `/ai/files/{*rest}`.
//!
//! A literal must be what a request path may have. `decision::path` refuses paths that two readers could understand
//! differently; a route whose literal is such a path could never match, so it is refused here, with a hint.

use std::fmt;
use std::str::FromStr;

/// Longest pattern, in bytes.
const MAX_LENGTH: usize = 1024;
/// Most segments of a pattern.
const MAX_SEGMENTS: usize = 64;

/// A parsed path pattern. Its literals are paths that a request may have: what `decision::path` refuses in a request is
/// refused here too, since such a route could never match.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathPattern {
    written: Box<str>,
    segments: Box<[Segment]>,
}

/// One part of a pattern between two slashes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Segment {
    /// Bytes that must be equal, the hex digits of escapes in upper case; empty only as the last one (`/a/`).
    Literal(Box<str>),
    /// `{name}`: exactly one segment, not empty.
    One(Box<str>),
    /// `{*name}`: the rest of the path, at least one byte; only as the last one.
    Rest(Box<str>),
}

/// Why a pattern cannot be used; the text says what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(pub String);

impl PathPattern {
    /// The pattern as it was written; also its name in metadata and usage.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Its parts: of `/` one empty literal, of `/a/` the literals `a` and the empty one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// A text that is equal for two patterns that match the same paths: names of parameters do not count.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            shape.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::One(_) => "{}",
                Segment::Rest(_) => "{*}",
            });
        }
        shape
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for PathPattern {
    type Err = InvalidPattern;

    fn from_str(written: &str) -> Result<Self, InvalidPattern> {
        let Some(path) = written.strip_prefix('/') else {
            return invalid("a path begins with a slash");
        };
        if written.len() > MAX_LENGTH {
            return invalid(format!("a path has at most {MAX_LENGTH} bytes"));
        }
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() > MAX_SEGMENTS {
            return invalid(format!("a path has at most {MAX_SEGMENTS} segments"));
        }
        let last = parts.len() - 1;
        let segments = parts
            .iter()
            .enumerate()
            .map(|(place, part)| segment(part, place == last))
            .collect::<Result<Box<[_]>, _>>()?;
        check_names(&segments)?;
        Ok(Self {
            written: written.into(),
            segments,
        })
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, InvalidPattern> {
    Err(InvalidPattern(why.into()))
}

fn segment(part: &str, is_last: bool) -> Result<Segment, InvalidPattern> {
    if part.is_empty() && !is_last {
        return invalid("no request path has `//`; write one slash");
    }
    if !part.contains(['{', '}']) {
        check_literal(part)?;
        return Ok(Segment::Literal(upper_hex(part).into()));
    }
    let Some(inside) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return invalid(format!(
            "a parameter is a whole segment, as in `/{{name}}`, not a part of `{}`",
            shown(part)
        ));
    };
    let (name, is_rest) = match inside.strip_prefix('*') {
        Some(name) => (name, true),
        None => (inside, false),
    };
    if !is_name(name) {
        return invalid(format!(
            "`{}` is no parameter; write `{{name}}` or `{{*name}}`, the name of letters, digits and `_`, at most 64",
            shown(part)
        ));
    }
    match (is_rest, is_last) {
        (true, true) => Ok(Segment::Rest(name.into())),
        (true, false) => invalid(format!(
            "`{{*{name}}}` takes the rest of a path, so it is the last segment"
        )),
        (false, _) => Ok(Segment::One(name.into())),
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn check_names(segments: &[Segment]) -> Result<(), InvalidPattern> {
    let mut seen = Vec::new();
    for segment in segments {
        let (Segment::One(name) | Segment::Rest(name)) = segment else {
            continue;
        };
        if seen.contains(&name) {
            return invalid(format!("two parameters are named `{name}`"));
        }
        seen.push(name);
    }
    Ok(())
}

/// Checks that a request path may have this segment.
fn check_literal(part: &str) -> Result<(), InvalidPattern> {
    if part == "." || part == ".." {
        return invalid(format!(
            "no request path has the segment `{part}`; write the path that it leads to"
        ));
    }
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '%' => check_escape(rest.as_bytes())?,
            _ => {
                check_plain(first)?;
                first.len_utf8()
            }
        };
        // An escape is ASCII, so this is a boundary of characters; `get` keeps the loop from any doubt.
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// `pchar` of RFC 3986 §3.3 but for `;`.
fn check_plain(char: char) -> Result<(), InvalidPattern> {
    match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Ok(()),
        '-' | '.' | '_' | '~' | ':' | '@' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '=' => {
            Ok(())
        }
        '?' => invalid("a path ends before `?`; routes do not look at the query"),
        '#' => invalid("no request path has `#`"),
        ';' => invalid("requests with `;` in their path are refused: some servers cut parameters off there"),
        '\\' => {
            invalid("requests with a backslash in their path are refused: some servers take it for a slash")
        }
        _ if char.is_control() => invalid("no request path has control characters"),
        _ => {
            let mut bytes = [0; 4];
            let escaped: String = char
                .encode_utf8(&mut bytes)
                .bytes()
                .map(|byte| format!("%{byte:02X}"))
                .collect();
            invalid(format!(
                "`{}` must be percent-encoded in a path: `{escaped}`",
                char.escape_debug()
            ))
        }
    }
}

/// Checks the character that is escaped at the beginning of `text`, and says how many bytes its escapes take.
fn check_escape(text: &[u8]) -> Result<usize, InvalidPattern> {
    let Some(first) = unescape(text) else {
        return invalid("`%` is followed by two hex digits; the character itself is `%25`");
    };
    let written = || format!("%{first:02X}");
    match first {
        b'-' | b'.' | b'_' | b'~' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => invalid(format!(
            "`{}` is never escaped in a request path; write `{}`",
            written(),
            char::from(first)
        )),
        b'/' | b'\\' | b';' => invalid(format!(
            "requests with `{}` in their path are refused: servers read it in two ways",
            written()
        )),
        b'%' if text
            .get(3..5)
            .is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit)) =>
        {
            invalid("requests with a doubly escaped character in their path are refused")
        }
        _ if first.is_ascii_control() => invalid("no request path has control characters, escaped or not"),
        0..0x80 => Ok(3),
        _ => check_escaped_utf8(first, text),
    }
}

/// Checks one character above ASCII, each byte of it escaped.
fn check_escaped_utf8(first: u8, text: &[u8]) -> Result<usize, InvalidPattern> {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let bytes: Vec<u8> = (0..length)
        .map_while(|place| text.get(3 * place..).and_then(unescape))
        .collect();
    match std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.chars().next())
    {
        Some(char) if bytes.len() == length && !char.is_control() => Ok(3 * length),
        Some(char) if char.is_control() => invalid("no request path has control characters, escaped or not"),
        _ => invalid("the escapes are not UTF-8"),
    }
}

/// The byte that the escape at the beginning of `text` stands for.
fn unescape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// The literal with the hex digits of its escapes in upper case (RFC 3986 §6.2.2.1).
fn upper_hex(literal: &str) -> String {
    let mut upper = String::with_capacity(literal.len());
    let mut digits = 0;
    for char in literal.chars() {
        upper.push(if digits > 0 {
            char.to_ascii_uppercase()
        } else {
            char
        });
        digits = if char == '%' {
            2
        } else {
            usize::saturating_sub(digits, 1)
        };
    }
    upper
}

/// A part of a pattern for a message: printable and short.
fn shown(part: &str) -> String {
    part.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_read_into_segments() {
        let literal = |text: &str| Segment::Literal(text.into());
        for (written, segments) in [
            ("/", vec![literal("")]),
            ("/ai/chat", vec![literal("ai"), literal("chat")]),
            ("/a/", vec![literal("a"), literal("")]),
            (
                "/chats/{chat_id}",
                vec![literal("chats"), Segment::One("chat_id".into())],
            ),
            (
                "/files/{*rest}",
                vec![literal("files"), Segment::Rest("rest".into())],
            ),
            (
                "/{a}/x/{b}/",
                vec![
                    Segment::One("a".into()),
                    literal("x"),
                    Segment::One("b".into()),
                    literal(""),
                ],
            ),
            ("/caf%c3%a9/100%25", vec![literal("caf%C3%A9"), literal("100%25")]),
            (
                "/v1:batch/@me/a...",
                vec![literal("v1:batch"), literal("@me"), literal("a...")],
            ),
        ] {
            let pattern: PathPattern = written
                .parse()
                .unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(pattern.segments(), segments, "{written}");
            assert_eq!(pattern.as_str(), written);
        }
    }

    #[test]
    fn what_no_request_path_has_is_refused_with_a_hint() {
        for (written, part) in [
            ("", "begins with a slash"),
            ("ai/chat", "begins with a slash"),
            ("//a", "write one slash"),
            ("/a//b", "write one slash"),
            ("/a/./b", "the segment `.`"),
            ("/a/..", "the segment `..`"),
            ("/a\\b", "backslash"),
            ("/a;b", "`;`"),
            ("/a?b", "before `?`"),
            ("/a#b", "`#`"),
            ("/a b", "`%20`"),
            ("/café", "`%C3%A9`"),
            ("/a\u{7}", "control characters"),
            ("/a%", "two hex digits"),
            ("/a%2", "two hex digits"),
            ("/a%zz", "two hex digits"),
            ("/%61", "write `a`"),
            ("/%2e%2e", "write `.`"),
            ("/a%2fb", "two ways"),
            ("/a%5Cb", "two ways"),
            ("/a%3bb", "two ways"),
            ("/a%252f", "doubly escaped"),
            ("/a%00", "control characters"),
            ("/a%C2%85", "control characters"),
            ("/%C3", "not UTF-8"),
            ("/%C0%AF", "not UTF-8"),
            ("/%ED%A0%80", "not UTF-8"),
            ("/a{b}c", "whole segment"),
            ("/{a}{b}", "no parameter"),
            ("/{", "whole segment"),
            ("/{}", "no parameter"),
            ("/{*}", "no parameter"),
            ("/{1a}", "no parameter"),
            ("/{a-b}", "no parameter"),
            ("/{*rest}/x", "last segment"),
            ("/{*rest}/", "last segment"),
            ("/{a}/{a}", "two parameters"),
        ] {
            let error = written
                .parse::<PathPattern>()
                .map(|_| ())
                .expect_err(written)
                .to_string();
            assert!(error.contains(part), "{written}: {error}");
        }
        assert!(
            format!("/{}", "a".repeat(MAX_LENGTH))
                .parse::<PathPattern>()
                .is_err()
        );
        assert!("/a".repeat(MAX_SEGMENTS + 1).parse::<PathPattern>().is_err());
    }

    #[test]
    fn names_of_parameters_and_the_case_of_hex_digits_make_no_other_shape() {
        let shape = |written: &str| written.parse::<PathPattern>().expect(written).shape();
        assert_eq!(shape("/a/{b}/{*c}"), shape("/a/{x}/{*y}"));
        assert_eq!(shape("/a%c3%a9"), shape("/a%C3%A9"));
        assert_ne!(shape("/a"), shape("/a/"));
        assert_ne!(shape("/a"), shape("/A"));
        assert_ne!(shape("/{a}"), shape("/{*a}"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>(), path in "/[a-c/%{}*.;25eEfFcC3Aa9]{0,24}") {
            let _ = text.parse::<PathPattern>();
            let _ = path.parse::<PathPattern>();
        }

        #[test]
        fn what_is_accepted_has_only_characters_of_a_path(path in "/[ -~é]{0,16}") {
            if let Ok(pattern) = path.parse::<PathPattern>() {
                prop_assert!(!path.contains("//") && !path.contains([';', '\\', '?', '#', ' ', 'é', '"']));
                prop_assert_eq!(pattern.segments().len(), path.matches('/').count());
            }
        }

        #[test]
        fn plain_segments_are_always_accepted(parts in prop::collection::vec("[a-zA-Z0-9_~-]{1,8}", 1..6)) {
            let path = format!("/{}", parts.join("/"));
            let pattern: PathPattern = path.parse().expect("plain");
            prop_assert_eq!(pattern.shape(), path);
        }
    }
}
