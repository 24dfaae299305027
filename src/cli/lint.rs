//! `latchkey lint`: what is allowed in the configuration, and probably not meant.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Environment;
use crate::lint::{Finding, lint};

/// The arguments of `latchkey lint`.
#[derive(clap::Args, Debug)]
pub(super) struct LintArgs {
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    /// One finding a line
    Text,
    /// For programs
    Json,
}

pub(super) fn run(args: &LintArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let named = super::named_config(args.config.clone(), environment);
    let findings = match lint(named.as_deref(), environment) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::json!({"findings": findings}))?,
        Output::Text if findings.is_empty() => writeln!(out, "nothing found")?,
        Output::Text => {
            for finding in &findings {
                writeln!(out, "{}", line(finding))?;
            }
        }
    }
    out.flush()?;
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(finding: &Finding) -> String {
    format!(
        "{}: {}; {} ({})",
        finding.place,
        finding.message,
        finding.advice,
        finding.kind.as_str()
    )
}
