//! `latchkey keys …`

use std::process::ExitCode;

use super::Environment;

/// What `latchkey keys` can do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum KeysCommand {}

pub(super) fn run(command: KeysCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    let _ = environment;
    match command {}
}
