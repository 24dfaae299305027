//! Reads a `CheckRequest` where it lies.
//!
//! A check needs few fields of the request, and Envoy sends many. So nothing is copied and nothing else is looked into: the
//! view keeps the bytes, and where in them the wanted fields are.

mod view;
pub(super) mod wire;

pub use view::CheckView;
pub use wire::Malformed;

#[cfg(test)]
mod tests;
