//! The command line. One file a command; this one parses and dispatches.
//!
//! Exit codes: 0 done; 1 it could not be done; 2 the command line or the configuration is wrong; 3 `check` says deny.

mod config;
mod keys;
mod serve;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The environment, as an argument: nothing below reads the process's own.
pub(crate) type Environment = BTreeMap<String, String>;

/// API-key authorization for AI APIs behind Envoy.
#[derive(Parser, Debug)]
#[command(name = "latchkey", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Create, list, show and revoke keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Check the configuration, or print an example of it
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs the command line and says how the process ends.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    let environment: Environment = environment.into_iter().collect();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, and go to standard output; the rest are mistakes.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(args, &environment),
        Command::Keys(command) => keys::run(command, &environment),
        Command::Config(command) => config::run(command, &environment),
    };
    done.unwrap_or_else(|error| {
        eprintln!("latchkey: {error:#}");
        ExitCode::FAILURE
    })
}
