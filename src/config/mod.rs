//! Configuration: one YAML file and the environment become checked [`Settings`].
//!
//! The file becomes a `tree` that knows the place of every value, is laid over the documented defaults, and the
//! environment over both (`overrides`); then every section is `read` and every mistake collected (`reader`).

mod change;
mod load;
mod notices;
mod overrides;
mod pattern;
mod read;
pub(crate) mod reader;
mod schema;
mod settings;
pub(crate) mod tree;
mod watch;

pub use change::PolicyVersion;
#[cfg(test)]
pub(crate) use load::load_text_placed;
pub use load::{DEFAULT_FILE, GUIDE_FILE, Loaded, Notice, SettingsError, Source, load, load_text};
pub(crate) use load::{Placed, load_placed};
pub use pattern::{InvalidPattern, PathPattern, Segment};
pub use schema::{documentation, json_schema};
pub use settings::*;
pub use watch::FileWatch;

#[cfg(test)]
mod tests;
