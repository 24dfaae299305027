//! JSON, read strictly and in place.
//!
//! Whoever reads a body otherwise than the backend does scans another body than the one that arrives: so this reader knows
//! one reading only. It refuses what parsers disagree on: duplicate keys, lone surrogates, anything outside RFC 8259. It tells a
//! visitor what it meets and where it stands, so that a text can be replaced and every other byte stays as it was. It keeps
//! its own stack, of bounded depth, and so does not care how deep a body is nested.

mod fields;
#[cfg(test)]
mod tests;
mod text;
mod walk;

pub(super) use self::fields::{Fields, Selection};
pub(super) use self::text::{Text, write_text};
pub(super) use self::walk::{Scalar, Step, Visitor, walk};
