//! From a file and the environment to [`Settings`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::settings::Settings;
use super::tree::{self, Node, Place};
use super::{notices, overrides, read};

/// The documented defaults; also what `latchkey config example` prints.
pub const DEFAULT_FILE: &str = include_str!("default.yaml");

/// The guide to verifying API keys, put into practice to the letter; what `latchkey config example --guide` prints.
pub const GUIDE_FILE: &str = include_str!("guide.yaml");

/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Settings that hold, and what this version does not serve of them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// One line each: what is configured and not served yet.
    pub notices: Vec<Notice>,
}

/// Where settings come from, for those who read them more than once.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file; without one, the embedded defaults.
    pub file: Option<PathBuf>,
    /// The environment that the process was started with.
    pub environment: BTreeMap<String, String>,
}

impl Source {
    /// Reads it as it is now.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        load(self.file.as_deref(), &self.environment)
    }
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
///
/// Files that settings name for a URL (`store_file`, `redis_file`) are read here, relative to the working directory.
pub fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Loaded, SettingsError> {
    load_placed(file, environment).map(|placed| placed.loaded)
}

/// Settings, and where each of them was written.
pub(crate) struct Placed {
    /// The settings.
    pub(crate) loaded: Loaded,
    /// What was written: file, environment and defaults in one.
    pub(crate) tree: Node,
    /// What places call the file.
    pub(crate) name: String,
}

/// [`load`], for who wants to point at places.
pub(crate) fn load_placed(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Placed, SettingsError> {
    let one = |mistake: String| SettingsError {
        mistakes: vec![mistake],
    };
    let Some(path) = file else {
        return load_text_placed("default.yaml", None, environment);
    };
    let name: String = path.to_string_lossy().chars().flat_map(escaped).collect();
    let bytes = read_file(path).map_err(|why| one(format!("{name}: {why}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        one(format!("{name}:{line}: not UTF-8"))
    })?;
    load_text_placed(&name, Some(text), environment)
}

/// A name of a file may hold anything; a line of a message may not.
fn escaped(char: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if char.is_control() {
        (None, Some(char.escape_default()))
    } else {
        (Some(char), None)
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Follows links: Kubernetes mounts a file as one. Asked before opening, since opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if metadata.is_dir() {
        return Err("is a directory; give the path of a file".into());
    }
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(cannot)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB".into());
    }
    Ok(bytes)
}

/// [`load`] for a text that is already read. `name` is what messages call it; without a text, the defaults alone.
pub fn load_text(
    name: &str,
    text: Option<&str>,
    environment: &BTreeMap<String, String>,
) -> Result<Loaded, SettingsError> {
    load_text_placed(name, text, environment).map(|placed| placed.loaded)
}

/// [`load_placed`] for a text that is already read.
pub(crate) fn load_text_placed(
    name: &str,
    text: Option<&str>,
    environment: &BTreeMap<String, String>,
) -> Result<Placed, SettingsError> {
    let defaults = defaults()?;
    let mut reader = Reader::default();
    let mut tree = match text {
        None => defaults.clone(),
        Some(text) => {
            let user = tree::parse(text).map_err(|error| SettingsError {
                mistakes: vec![format!("{}: {}", error.place.in_file(name), error.message)],
            })?;
            let mut tree = overrides::beside_a_file(defaults.clone());
            overrides::lay(&mut tree, user);
            tree
        }
    };
    overrides::lay_environment(&mut tree, environment, &mut reader);
    let settings = read::settings(&mut reader, &tree);
    match settings {
        Some(settings) if reader.is_clean() => {
            let notices = notices::of(&settings, &tree, &defaults, name);
            Ok(Placed {
                loaded: Loaded { settings, notices },
                tree,
                name: name.into(),
            })
        }
        settings => {
            if settings.is_none() && reader.is_clean() {
                reader.mistake(&tree.place, "the settings cannot be read");
            }
            Err(SettingsError {
                mistakes: reader.into_lines(name),
            })
        }
    }
}

fn defaults() -> Result<Node, SettingsError> {
    let mut node = tree::parse(DEFAULT_FILE).map_err(|error| SettingsError {
        mistakes: vec![format!(
            "{}: {}",
            error.place.in_file("default.yaml"),
            error.message
        )],
    })?;
    node.relocate(&|place| match place {
        Place::File { line, column } => Place::Defaults {
            line: *line,
            column: *column,
        },
        other => other.clone(),
    });
    Ok(node)
}
