//! Configuration: one YAML file and the environment become checked [`Settings`].

mod load;
mod pattern;
mod settings;

pub use load::{Loaded, Notice, SettingsError, load};
pub use pattern::{InvalidPattern, PathPattern, Segment};
pub use settings::*;
