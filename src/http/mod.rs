//! What is served over HTTP.

#[cfg_attr(not(test), expect(dead_code, reason = "the key API is what will ask it"))]
pub(crate) mod auth;
