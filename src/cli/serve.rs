//! `latchkey serve`: the server.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Environment;
use crate::config::{FileWatch, Source};
use crate::server;

/// The server's arguments.
#[derive(clap::Args, Debug)]
pub(super) struct ServeArgs {
    /// The configuration; without it the file that LATCHKEY_CONFIG names, else the embedded defaults
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Where to write the addresses that were bound, as JSON
    #[arg(long)]
    addresses_file: Option<PathBuf>,
}

pub(super) fn run(args: ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = super::named_config(args.config, environment);
    // Before the file is read, so that no change after that goes unseen.
    let file = FileWatch::new(config.clone());
    match super::config::load_settings(config.as_deref(), environment) {
        Ok(loaded) => {
            let source = Source {
                file: config,
                environment: environment.clone(),
            };
            server::run(loaded, source, file, args.addresses_file.as_deref())
        }
        Err(exit_code) => Ok(exit_code),
    }
}
