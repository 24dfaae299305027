//! `latchkey check`: the decision on a request, and every step to it.
//!
//! Offline it is what a server with this configuration and this store would say; with `--server` a running one is asked,
//! and where there is a configuration too, both are shown. Nothing counts against a limit offline.

mod args;
mod print;
mod server;
mod source;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

pub(super) use self::args::CheckArgs;
use self::args::{Asked, Mistake};
use self::print::{Hidden, Report};
use super::Environment;
use super::config::load_settings;
use crate::authorizer::Arrival;
use crate::config::Settings;
use crate::explain::{Answer, Counting, Explanation, Judge, Request, Verb};
use crate::keys::ApiKey;

/// Exit code of a denial.
const DENIED: u8 = 3;

pub(super) fn run(args: CheckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let named = super::named_config(args.config.clone(), environment);
    // With a server to ask, the embedded defaults are nobody's configuration.
    let settings = if args.server.is_some() && named.is_none() {
        None
    } else {
        match load_settings(named.as_deref(), environment) {
            Ok(loaded) => Some(Arc::new(loaded.settings)),
            Err(code) => return Ok(code),
        }
    };
    let asked = match Asked::of(&args, environment, settings.as_deref()) {
        Ok(asked) => asked,
        Err(Mistake::Usage(lines)) => {
            eprintln!("{lines}");
            return Ok(ExitCode::from(2));
        }
        Err(Mistake::Unreadable(error)) => return Err(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let done = runtime.block_on(check(&args, settings, asked));
    runtime.shutdown_background();
    done
}

async fn check(args: &CheckArgs, settings: Option<Arc<Settings>>, asked: Asked) -> anyhow::Result<ExitCode> {
    let judge = match &settings {
        Some(settings) => {
            let source = source::open(settings).await?;
            let waiting = tokio::runtime::Handle::current();
            Some(Judge::new(Arc::clone(settings), source, Counting::Never, waiting))
        }
        None => None,
    };
    let mut server = match &args.server {
        Some(address) => Some(server::Server::connect(address).await?),
        None => None,
    };
    let prefix = settings.as_ref().map_or("lk", |settings| &*settings.keys.prefix);
    let (requests, one) = match asked.requests {
        args::Requests::One(request) => (vec![request], true),
        args::Requests::Many(requests) => (requests, false),
    };
    let mut last = Verb::Deny;
    for request in &requests {
        let report = ask(judge.as_ref(), server.as_mut(), request).await?;
        let hidden = Hidden {
            prefix,
            keys: [asked.key.as_ref(), report.presented()]
                .into_iter()
                .flatten()
                .collect(),
        };
        last = report.decision();
        print::print(&report, request, args.output, one, &hidden)?;
    }
    Ok(if one && last == Verb::Deny {
        ExitCode::from(DENIED)
    } else {
        ExitCode::SUCCESS
    })
}

async fn ask(
    judge: Option<&Judge>,
    server: Option<&mut server::Server>,
    request: &Request,
) -> anyhow::Result<Report> {
    let message = request.encode();
    let offline = match judge {
        Some(judge) => Some(explain(judge, message.clone()).await?),
        None => None,
    };
    let server: Option<Answer> = match server {
        Some(server) => Some(server.check(message).await?),
        None => None,
    };
    Report::new(offline, server).context("neither a configuration nor a server to ask")
}

async fn explain(judge: &Judge, message: Bytes) -> anyhow::Result<Explanation> {
    judge
        .judge(message, Arrival::now())
        .await
        .context("the request cannot be asked about")
}

/// What a file holds; `-` is standard input. `what` is for the message.
fn read_bytes(path: &OsStr, what: &str) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;

    let most = 16 * 1024 * 1024;
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(Path::new(path)).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("reading {what} {}", Path::new(path).display()))?;
    Ok(bytes)
}

/// A key as it may be shown to nobody.
fn presented(bytes: &[u8]) -> Option<ApiKey> {
    std::str::from_utf8(bytes).ok().and_then(ApiKey::presented)
}

#[cfg(test)]
mod tests;
