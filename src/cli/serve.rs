//! `latchkey serve`: the server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Environment;
use crate::server;

/// The variable that names the configuration when `--config` does not.
const CONFIG_VARIABLE: &str = "LATCHKEY_CONFIG";

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

impl ServeArgs {
    fn config<'a>(&'a self, environment: &'a Environment) -> Option<&'a Path> {
        let named = || {
            environment
                .get(CONFIG_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(Path::new)
        };
        self.config.as_deref().or_else(named)
    }
}

pub(super) fn run(args: ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    match super::config::load_settings(args.config(environment), environment) {
        Ok(loaded) => server::run(loaded, args.addresses_file.as_deref()),
        Err(exit_code) => Ok(exit_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_goes_before_the_variable() {
        let named = |config: Option<&str>, variable: Option<&str>| {
            let args = ServeArgs {
                config: config.map(PathBuf::from),
                addresses_file: None,
            };
            let environment = variable
                .map(|path| (CONFIG_VARIABLE.into(), path.into()))
                .into_iter()
                .collect();
            args.config(&environment).map(Path::to_owned)
        };
        for (config, variable, expected) in [
            (None, None, None),
            (None, Some(""), None),
            (None, Some("env.yaml"), Some("env.yaml")),
            (Some("arg.yaml"), None, Some("arg.yaml")),
            (Some("arg.yaml"), Some("env.yaml"), Some("arg.yaml")),
        ] {
            assert_eq!(
                named(config, variable),
                expected.map(PathBuf::from),
                "{config:?} {variable:?}"
            );
        }
    }
}
