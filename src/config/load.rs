//! From a file and the environment to [`Settings`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::settings::Settings;

/// Settings that hold, and what this version does not serve of them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// One line each: what is configured and not served yet.
    pub notices: Vec<Notice>,
}

/// Something configured that this version does not serve.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Where, what, and what it means.
    pub text: String,
    /// Whether `serve` must refuse to start: the setting protects something, and going on without it would not be safe.
    pub stops_start: bool,
}

/// Every mistake found, not only the first.
#[derive(Debug)]
pub struct SettingsError {
    /// One a mistake.
    pub mistakes: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for SettingsError {}

/// Reads `file` (the embedded defaults without one), lays the environment over it, checks everything.
pub fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Loaded, SettingsError> {
    let _ = (file, environment);
    Err(SettingsError { mistakes: vec!["not written yet".into()] })
}
