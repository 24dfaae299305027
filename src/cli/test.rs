//! `latchkey test`: the configuration held against requests and what each must come to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use super::Environment;
use super::config::load_settings;
use crate::cases::{self, Verdict};
use crate::explain::StepResult;

/// The arguments of `latchkey test`.
#[derive(clap::Args, Debug)]
pub(super) struct TestArgs {
    /// The cases
    #[arg(value_name = "CASES")]
    cases: PathBuf,
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn run(args: &TestArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let named = super::named_config(args.config.clone(), environment);
    let settings = match load_settings(named.as_deref(), environment) {
        Ok(loaded) => Arc::new(loaded.settings),
        Err(code) => return Ok(code),
    };
    let name = args.cases.to_string_lossy().escape_debug().to_string();
    let text =
        std::fs::read_to_string(&args.cases).with_context(|| format!("reading the cases in {name}"))?;
    let cases = match cases::read(&name, &text, &settings) {
        Ok(cases) => cases,
        Err(mistakes) => {
            eprintln!("{}", mistakes.join("\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let verdicts = runtime.block_on(cases::run(&cases, &settings))?;
    let failed = verdicts
        .iter()
        .filter(|verdict| !verdict.differences.is_empty())
        .count();
    let shown = match args.output {
        Output::Text => text_of(&verdicts, failed)?,
        Output::Json => {
            let report = json!({"cases": verdicts, "passed": verdicts.len() - failed, "failed": failed});
            format!("{report}\n")
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(shown.as_bytes()).and_then(|()| out.flush())?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text_of(verdicts: &[Verdict], failed: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for verdict in verdicts {
        if verdict.differences.is_empty() {
            writeln!(text, "ok    {}", verdict.name)?;
            continue;
        }
        writeln!(text, "FAIL  {} ({})", verdict.name, verdict.place)?;
        for difference in &verdict.differences {
            writeln!(text, "      {}", difference.what)?;
            writeln!(text, "      - {}", plain(&difference.expected))?;
            writeln!(text, "      + {}", plain(&difference.found))?;
        }
        let steps = &verdict.found.steps;
        match steps.iter().find(|step| step.result == StepResult::Refused) {
            Some(step) => writeln!(text, "      denied at {}: {}", step.step.as_str(), step.found)?,
            None => writeln!(
                text,
                "      allowed: {}",
                verdict.found.answer.reason.as_deref().unwrap_or("-")
            )?,
        }
    }
    writeln!(
        text,
        "{} of {} cases hold",
        verdicts.len() - failed,
        verdicts.len()
    )?;
    Ok(text)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "(nothing)".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
