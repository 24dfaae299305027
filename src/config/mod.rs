//! Configuration: one YAML file and the environment become checked [`Settings`].

mod pattern;
mod settings;

pub use pattern::{InvalidPattern, PathPattern, Segment};
pub use settings::*;
