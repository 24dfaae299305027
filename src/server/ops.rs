//! The ops listener: `/livez`, `/readyz`, `/metrics` over HTTP/1 and HTTP/2, and gRPC health, on one plaintext port.
//!
//! It never asks for a key: kubelet and Prometheus have none. So it must not be reachable from outside, and tells nothing of
//! callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tracing::error;

use super::health::Health;
use super::lanes;
use crate::telemetry::{Registry, render};

/// Connections at a time; probes and scrapes need a handful.
pub(super) const SEATS: usize = 256;
/// A connection is asked to end after this time and cut a little later, so that none that hangs keeps its seat.
const OLDEST_CONNECTION: Duration = Duration::from_secs(600);
const TIME_TO_LEAVE: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether requests should come here.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    phase: AtomicU8,
    store_is_usable: AtomicBool,
}

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    pub(super) fn serving(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
    }

    pub(super) fn draining(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// Says whether the store answers, and whether that is news.
    pub(super) fn store_is_usable(&self, usable: bool) -> bool {
        self.store_is_usable.swap(usable, Ordering::Relaxed) != usable
    }

    /// Why not; `None` means ready.
    fn reason(&self) -> Option<&'static str> {
        match self.phase.load(Ordering::Relaxed) {
            DRAINING => Some("draining"),
            STARTING => Some("starting"),
            _ if !self.store_is_usable.load(Ordering::Relaxed) => Some("store_unavailable"),
            _ => None,
        }
    }
}

#[derive(Clone)]
struct Ops {
    readiness: Arc<Readiness>,
    registry: Arc<Registry>,
}

/// What the ops listener answers; `Watch` streams end on `stop`.
pub(super) fn routes(
    readiness: Arc<Readiness>,
    registry: Registry,
    health: &Health,
    stop: &CancellationToken,
) -> Routes {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Ops {
            readiness,
            registry: Arc::new(registry),
        });
    let mut routes = RoutesBuilder::from(router);
    routes.add_service(health.service(stop));
    routes.routes().prepare()
}

/// How the ops listener speaks: HTTP/1 too, where hyper gives headers 30 seconds and about 400 kB.
pub(super) fn server() -> Server {
    lanes::http2()
        .accept_http1(true)
        .max_connection_age(OLDEST_CONNECTION)
        .max_connection_age_grace(TIME_TO_LEAVE)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(ops): State<Ops>) -> Response {
    match ops.readiness.reason() {
        None => Json(json!({"ready": true})).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"ready": false, "reason": reason})),
        )
            .into_response(),
    }
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match render(&ops.registry) {
        Ok(metrics) => ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics).into_response(),
        Err(error) => {
            error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
