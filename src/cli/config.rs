//! `latchkey config …`: check the configuration, or print examples, schema and reference of it.
//!
//! Results go to standard output, mistakes and warnings to standard error.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Environment;
use crate::config::{self, Loaded};

/// What `latchkey config` can do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum ConfigCommand {
    /// Check a configuration, and say what this version does not serve of it
    Check(CheckArgs),
    /// Print the documented defaults, to begin a file with
    Example {
        /// The guide to verifying API keys to the letter, in place of the defaults
        #[arg(long)]
        guide: bool,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the reference of all settings, in Markdown
    Docs,
}

/// The arguments of `latchkey config check`.
#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// The configuration; without it, that of LATCHKEY_CONFIG, else the embedded defaults
    file: Option<PathBuf>,
    /// The same, as in the other commands
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(command: ConfigCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(args) => check(&args, environment),
        ConfigCommand::Example { guide } => print_whole(if guide {
            config::GUIDE_FILE
        } else {
            config::DEFAULT_FILE
        }),
        ConfigCommand::Schema => print_whole(&format!("{:#}\n", config::json_schema())),
        ConfigCommand::Docs => print_whole(&config::documentation()),
    }
}

fn print_whole(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The settings of `file` and the environment, for every command that needs them. Mistakes are printed here, one a line;
/// the exit code (2) is all that is left to do with them.
pub(super) fn load_settings(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ExitCode> {
    config::load(file, environment).map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn check(args: &CheckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    // Not clap's `env`: a variable would then conflict with the argument that is to win over it.
    let variable = environment.get("LATCHKEY_CONFIG").filter(|path| !path.is_empty());
    let file = args
        .file
        .as_deref()
        .or(args.config.as_deref())
        .or(variable.map(Path::new));
    let loaded = match config::load(file, environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            if args.output == Output::Json {
                print_line(&serde_json::json!({"ok": false, "mistakes": error.mistakes}).to_string())?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    for notice in &loaded.notices {
        let stops = if notice.stops_start {
            " (`serve` does not start)"
        } else {
            ""
        };
        eprintln!("{}{stops}", notice.text);
    }
    let summary = match args.output {
        Output::Text => text_summary(file, &loaded),
        Output::Json => json_summary(file, &loaded),
    };
    print_line(&summary)?;
    Ok(ExitCode::SUCCESS)
}

fn print_line(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

fn text_summary(file: Option<&Path>, loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let name = file.map_or_else(|| "embedded defaults".into(), Path::to_string_lossy);
    let counted =
        |number: usize, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    let name: String = name.chars().filter(|char| !char.is_control()).collect();
    format!(
        "{name}: ok, {}, {}, {}, {}",
        counted(settings.routes.len(), "route", "routes"),
        counted(settings.apis.len(), "API", "APIs"),
        counted(settings.rate_limits.len(), "rate limit", "rate limits"),
        counted(settings.guards.len(), "guard", "guards"),
    )
}

fn json_summary(file: Option<&Path>, loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let notices: Vec<_> = loaded
        .notices
        .iter()
        .map(|notice| serde_json::json!({"text": notice.text, "stops_start": notice.stops_start}))
        .collect();
    serde_json::json!({
        "ok": true,
        "file": file.map(Path::to_string_lossy),
        "routes": settings.routes.len(),
        "apis": settings.apis.len(),
        "rate_limits": settings.rate_limits.len(),
        "guards": settings.guards.len(),
        "notices": notices,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[track_caller]
    fn assert_exit(arguments: &[&str], environment: &[(&str, &str)], expected: ExitCode) {
        let arguments = ["latchkey", "config"].iter().chain(arguments).map(OsString::from);
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let exit = super::super::run(arguments, environment);
        // `ExitCode` cannot be compared.
        assert_eq!(format!("{exit:?}"), format!("{expected:?}"));
    }

    #[test]
    fn a_wrong_configuration_exits_with_2_and_a_good_one_with_0() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (good, wrong) = (path("good.yaml"), path("wrong.yaml"));
        std::fs::write(&good, "routes: []\n").expect("written");
        std::fs::write(&wrong, "routs: []\n").expect("written");
        let two = ExitCode::from(2);
        assert_exit(&["example"], &[], ExitCode::SUCCESS);
        assert_exit(&["check"], &[], ExitCode::SUCCESS);
        assert_exit(&["check", &good], &[], ExitCode::SUCCESS);
        assert_exit(
            &["check", "-c", &good, "--output", "json"],
            &[],
            ExitCode::SUCCESS,
        );
        assert_exit(&["check", &wrong], &[], two);
        assert_exit(&["check", &wrong, "--output", "json"], &[], two);
        assert_exit(&["check"], &[("LATCHKEY_CONFIG", &wrong)], two);
        assert_exit(
            &["check", &good],
            &[("LATCHKEY_CONFIG", &wrong)],
            ExitCode::SUCCESS,
        );
        assert_exit(&["check"], &[("LATCHKEY__STOER", "x")], two);
        assert_exit(&["check", &good, "-c", &good], &[], two);
    }

    #[test]
    fn the_summary_counts_what_was_read() {
        let loaded = config::load(None, &Environment::new()).expect("the defaults hold");
        assert_eq!(
            text_summary(None, &loaded),
            "embedded defaults: ok, 6 routes, 3 APIs, 2 rate limits, 1 guard"
        );
    }
}
