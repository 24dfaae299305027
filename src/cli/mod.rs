//! The command line. One file a command; this one parses and dispatches.
//!
//! Exit codes: 0 done; 1 it could not be done; 2 the command line or the configuration is wrong; 3 `check` says deny.

mod check;
mod config;
mod keys;
mod lint;
mod routes;
mod serve;
mod table;
mod test;
mod usage;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
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
    /// Say what would become of a request, and why; exits with 0 for allow and 3 for deny
    Check(check::CheckArgs),
    /// Show the routes in matching order
    Routes(routes::RoutesArgs),
    /// Look for what is allowed in the configuration and probably not meant; exits with 1 when there is something
    Lint(lint::LintArgs),
    /// Hold the configuration against requests and what each must come to; exits with 1 when one does not
    Test(test::TestArgs),
    /// Make, import, list, show, verify, rotate, update and revoke keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show who used what, how much, how long, and what failed
    Usage(usage::UsageArgs),
    /// Check the configuration, or print an example of it
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs the command line and says how the process ends.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let environment = match readable(environment) {
        Ok(environment) => environment,
        Err(name) => {
            eprintln!("latchkey: environment variable {name} is not UTF-8");
            return ExitCode::from(2);
        }
    };
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
        Command::Check(args) => check::run(args, &environment),
        Command::Routes(args) => routes::run(&args, &environment),
        Command::Lint(args) => lint::run(&args, &environment),
        Command::Test(args) => test::run(&args, &environment),
        Command::Keys(command) => keys::run(command, &environment),
        Command::Usage(args) => usage::run(args, &environment),
        Command::Config(command) => config::run(command, &environment),
    };
    done.unwrap_or_else(|error| {
        eprintln!("latchkey: {error:#}");
        ExitCode::FAILURE
    })
}

/// The variables that are text. One of ours that is not is a mistake; any other does not concern us.
fn readable(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Environment, String> {
    let mut readable = Environment::new();
    for (name, value) in environment {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                readable.insert(name, value);
            }
            (Ok(name), Err(_)) if name.to_ascii_uppercase().starts_with("LATCHKEY") => return Err(name),
            _ => {}
        }
    }
    Ok(readable)
}

/// The configuration that a command line names, or else the environment; an empty name is none.
fn named_config(argument: Option<PathBuf>, environment: &Environment) -> Option<PathBuf> {
    argument.or_else(|| {
        environment
            .get("LATCHKEY_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_variable_that_is_no_text_matters_only_if_it_is_ours() {
        let garbage = || OsString::from_vec(vec![0xff]);
        let others = readable([("FOO".into(), garbage()), ("BAR".into(), "x".into())]).unwrap();
        assert_eq!(others.len(), 1);
        assert_eq!(
            readable([("LATCHKEY__STORE".into(), garbage())]).unwrap_err(),
            "LATCHKEY__STORE"
        );
    }

    #[test]
    fn an_empty_name_of_a_configuration_is_none() {
        let empty = Environment::from([("LATCHKEY_CONFIG".into(), String::new())]);
        assert_eq!(named_config(None, &empty), None);
        let set = Environment::from([("LATCHKEY_CONFIG".into(), "a.yaml".into())]);
        assert_eq!(named_config(None, &set), Some("a.yaml".into()));
        assert_eq!(named_config(Some("b.yaml".into()), &set), Some("b.yaml".into()));
    }
}
