//! The composition root: opens, binds, wires, runs, drains.
//!
//! There are two kinds of runtimes. Lanes serve gRPC, one thread a core, and never wait for the world. The *waiting*
//! runtime has everything that does: acceptors, the store, the ops listener. An acceptor hands each new connection to the
//! least loaded lane. `parts` opens what is served, `start` serves it, `reload` changes
//! it, `drain` ends it.

mod acceptor;
mod connection;
mod drain;
mod health;
mod http;
mod lanes;
mod listener;
mod ops;
mod parts;
mod reload;
mod signals;
mod start;
mod streams;
mod tls;
mod vital;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

pub use listener::BindError;
pub use tls::TlsError;

use crate::config::{Drain, FileWatch, Loaded, Settings, Source};
use crate::telemetry::{LogLevel, logs};
use reload::Trigger;
use signals::Signals;
use start::{Bound, Running, Tokens};
use vital::Vitals;

/// What a task that hangs gets before the process ends without it.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT, and drains then: exit code 0. A second signal ends it at once, with 143 or 130 as if it had
/// killed the process; a vital part that fails, with 1. With a notice that forbids the start: 2.
///
/// The addresses that were bound are written to `addresses_file` once everything is served. `loaded` was read from `source`,
/// and `file` watches it since before.
pub fn run(
    loaded: Loaded,
    source: Source,
    file: FileWatch,
    addresses_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let Loaded { settings, notices } = loaded;
    let log_level = logs::init(&settings.telemetry)?;
    for notice in notices.iter().filter(|notice| !notice.stops_start) {
        warn!("{}", notice.text);
    }
    let mut stops_start = notices.iter().filter(|notice| notice.stops_start).peekable();
    if stops_start.peek().is_some() {
        for notice in stops_start {
            error!("{}", notice.text);
        }
        return Ok(ExitCode::from(2));
    }

    let waiting = tokio::runtime::Builder::new_multi_thread()
        .thread_name("waiting")
        .enable_all()
        .build()
        .context("starting the waiting runtime")?;
    let ended = waiting.block_on(serve(Arc::new(settings), log_level, source, file, addresses_file));
    waiting.shutdown_timeout(LAST_MOMENT);
    ended
}

async fn serve(
    settings: Arc<Settings>,
    log_level: LogLevel,
    source: Source,
    file: FileWatch,
    addresses_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("listening to signals")?;
    let trigger = Trigger {
        source,
        file,
        hangups: signals::hangups().context("listening to SIGHUP")?,
    };
    let stop = CancellationToken::new();
    let (settings, in_force) = watch::channel(settings);
    let served = async {
        let running = start(settings, log_level, trigger, addresses_file).await?;
        until(running, &stop, || in_force.borrow().drain).await
    };
    tokio::select! {
        served = served => served.map(|()| ExitCode::SUCCESS),
        exit_code = second_signal(&mut signals, &stop) => Ok(ExitCode::from(exit_code)),
    }
}

/// The exit code of the second signal; the first one stops.
async fn second_signal(signals: &mut Signals, stop: &CancellationToken) -> u8 {
    signals.next().await;
    stop.cancel();
    signals.next().await
}

async fn start(
    settings: watch::Sender<Arc<Settings>>,
    log_level: LogLevel,
    trigger: Trigger,
    addresses_file: Option<&Path>,
) -> anyhow::Result<Running> {
    let listen = settings.borrow().listen.clone();
    let bound = Bound::bind(&listen).await?;
    let (vitals, tokens) = (Vitals::new(), Tokens::default());
    let parts = parts::open(settings, log_level, trigger, &vitals, &tokens).await?;
    let running = Running::start(bound, parts, vitals, tokens).await?;
    if let Some(file) = addresses_file {
        running
            .addresses
            .write(file)
            .with_context(|| format!("writing the addresses to {}", file.display()))?;
    }
    Ok(running)
}

/// Serves until `stop` and drains then, at the pace that holds by then; fails when a vital part ends early.
async fn until(
    mut running: Running,
    stop: &CancellationToken,
    pace: impl Fn() -> Drain,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => {
            drain::drain(running, pace()).await;
            Ok(())
        }
        end = running.first_end() => {
            error!("{end:#}");
            Err(end.context("the server cannot go on"))
        }
    }
}

#[cfg(test)]
mod tests;
