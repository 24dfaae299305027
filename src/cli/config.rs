//! `latchkey config …`: check the configuration, or print the documented defaults.
//!
//! Results go to standard output, mistakes and warnings to standard error.

use std::path::Path;
use std::process::ExitCode;

use super::Environment;
use crate::config::{self, Loaded};

/// What `latchkey config` can do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum ConfigCommand {}

pub(super) fn run(command: ConfigCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    let _ = environment;
    match command {}
}

/// The settings of `file` and the environment, for every command that needs them. Mistakes are printed here, one a line;
/// the exit code (2) is all that is left to do with them.
pub(super) fn load_settings(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ExitCode> {
    config::load(file, environment).map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
