//! The start: what is bound becomes a server that serves.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::codegen::StdError;
use tonic::service::Routes;
use tower::Layer;
use tracing::{info, warn};

use super::acceptor::{self, Door};
use super::health::{self, Health};
use super::http::HttpServer;
use super::lanes::{self, Answers, Lanes};
use super::listener::Listener;
use super::ops::{self, Readiness};
use super::parts::{Parts, Probe};
use super::tls::TlsListeners;
use super::vital::Vitals;
use crate::config::Listen;
use crate::telemetry::ProcessMetrics;

/// How often the store is asked for a sign of life, and how long it gets.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sockets that are bound, and accept nothing yet.
#[derive(Debug)]
pub(super) struct Bound {
    grpc: Listener,
    http: Listener,
    ops: Listener,
    tls: TlsListeners,
}

impl Bound {
    /// Binds every listener that this version serves, once its certificates were found good.
    pub(super) async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        Ok(Self {
            tls: TlsListeners::open(listen)?,
            grpc: Listener::bind("listen.grpc", &listen.grpc).await?,
            http: Listener::bind("listen.http", &listen.http).await?,
            ops: Listener::bind("listen.ops", &listen.ops).await?,
        })
    }
}

/// The addresses that were bound, as settings write them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Addresses {
    pub(super) grpc: String,
    pub(super) http: String,
    pub(super) ops: String,
}

impl Addresses {
    /// Writes them as JSON, in a way that no reader sees half of it.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut name = file.file_name().context("it has no file name")?.to_owned();
        name.push(format!(".{}", std::process::id()));
        let unfinished = file.with_file_name(name);
        fs::write(&unfinished, serde_json::to_vec(self)?)?;
        fs::rename(&unfinished, file).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })?;
        Ok(())
    }
}

/// A server that serves. [`super::drain`] ends it; dropped, it ends at once.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) addresses: Addresses,
    pub(super) readiness: Arc<Readiness>,
    pub(super) health: Health,
    pub(super) lanes: Lanes,
    pub(super) http: HttpServer,
    pub(super) vitals: Vitals,
    pub(super) tokens: Tokens,
}

/// The two steps of an end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    /// No new connections and calls; streams end.
    pub(super) goaway: CancellationToken,
    /// Everything else ends, the ops listener among it.
    pub(super) end: CancellationToken,
}

impl Running {
    /// Serves `parts` on what is bound. `vitals` may have tasks of the parts already; call it on the waiting runtime.
    pub(super) async fn start<L, B>(
        bound: Bound,
        parts: Parts<L>,
        vitals: Vitals,
        tokens: Tokens,
    ) -> anyhow::Result<Self>
    where
        L: Layer<Routes, Service: Answers<B>>,
        B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    {
        let Parts {
            front,
            services,
            http: router,
            descriptors,
            store,
            mut registry,
        } = parts;
        let Bound {
            grpc,
            http,
            ops,
            mut tls,
        } = bound;
        let addresses = Addresses {
            grpc: address_of(&grpc)?,
            http: address_of(&http)?,
            ops: address_of(&ops)?,
        };
        let health = Health::new().await;
        let readiness = Arc::new(Readiness::default());

        let service = front.layer(health::routes(services, &health, &descriptors, &tokens.goaway)?.prepare());
        let count = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let lanes = Lanes::start(count, service, tokens.goaway.clone())?;
        ProcessMetrics::new(SystemTime::now(), lanes.open_connections()).register(&mut registry);
        tls.start(&vitals, &tokens.end, &mut registry);
        let grpc = acceptor::accept(grpc, tls.grpc, lanes.doors(), tokens.goaway.clone());
        vitals.spawn("grpc_acceptor", tokens.goaway.clone(), grpc);

        let http = HttpServer::start(http, tls.http, router, &vitals, &tokens.goaway);

        let routes = ops::routes(Arc::clone(&readiness), registry, &health, &tokens.goaway);
        let (door, accepted) = Door::new(ops::SEATS);
        let serve_ops = lanes::serve(ops::server(), routes, accepted, tokens.end.clone());
        vitals.spawn("ops", tokens.end.clone(), serve_ops);
        let ops = acceptor::accept(ops, None, vec![door], tokens.end.clone());
        vitals.spawn("ops_acceptor", tokens.end.clone(), ops);

        probe_once(&store, &readiness).await;
        vitals.spawn(
            "store_probe",
            tokens.end.clone(),
            probe(store, Arc::clone(&readiness), tokens.end.clone()),
        );

        readiness.serving();
        health.serving().await;
        info!(
            listener = "grpc",
            address = addresses.grpc,
            lanes = count,
            "listening"
        );
        info!(listener = "http", address = addresses.http, "listening");
        info!(listener = "ops", address = addresses.ops, "listening");
        Ok(Self {
            addresses,
            readiness,
            health,
            lanes,
            http,
            vitals,
            tokens,
        })
    }

    /// Waits for the first part that ends, though it should not. Cancel safe.
    pub(super) async fn first_end(&mut self) -> anyhow::Error {
        tokio::select! {
            end = self.lanes.first_end() => end,
            end = self.vitals.first_end() => end,
        }
    }
}

fn address_of(listener: &Listener) -> io::Result<String> {
    listener.address().map(|address| address.to_string())
}

async fn probe(store: Probe, readiness: Arc<Readiness>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first comes at once, and the start has just asked
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = probe_once(&store, &readiness) => {}
        }
    }
}

async fn probe_once(store: &Probe, readiness: &Readiness) {
    let answer = match timeout(PROBE_TIMEOUT, store()).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {PROBE_TIMEOUT:?}")),
    };
    let is_news = readiness.store_is_usable(answer.is_ok());
    match answer {
        Err(error) => warn!(error, "the store is not usable"),
        Ok(()) if is_news => info!("the store is usable"),
        Ok(()) => {}
    }
}
