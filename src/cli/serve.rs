//! `latchkey serve`: the server.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Environment;

/// The server's arguments.
#[derive(clap::Args, Debug)]
pub(super) struct ServeArgs {
    /// The configuration; without it, the embedded defaults
    #[arg(short, long, env = "LATCHKEY_CONFIG")]
    config: Option<PathBuf>,
    /// Where to write the addresses that were bound, as JSON
    #[arg(long)]
    addresses_file: Option<PathBuf>,
}

pub(super) fn run(args: ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let _ = (args, environment);
    Ok(ExitCode::SUCCESS)
}
