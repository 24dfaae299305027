//! Tests from the outside.

mod conformance;
