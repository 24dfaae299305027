//! `latchkey config …`

use std::process::ExitCode;

use super::Environment;

/// What `latchkey config` can do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum ConfigCommand {}

pub(super) fn run(command: ConfigCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    let _ = environment;
    match command {}
}
