//! The HTTP listener: the key API, on the waiting runtime, since its handlers wait for the store.
//!
//! It ends like the lanes: no new connections from GOAWAY on, and what is open gets the rest of `drain.grace`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tracing::warn;

use super::acceptor::{self, Door};
use super::lanes;
use super::listener::Listener;
use super::tls::Tls;
use super::vital::Vitals;

/// Connections at a time; SDKs and dashboards keep a few open each.
const SEATS: usize = 1024;
/// A connection is asked to end after this time and cut a little later, so that none that hangs keeps its seat.
const OLDEST_CONNECTION: Duration = Duration::from_secs(600);
const TIME_TO_LEAVE: Duration = Duration::from_secs(15);

/// How the listener speaks: HTTP/1 too, where hyper gives headers 30 seconds.
fn server() -> Server {
    lanes::http2()
        .accept_http1(true)
        .max_connection_age(OLDEST_CONNECTION)
        .max_connection_age_grace(TIME_TO_LEAVE)
}

/// The running listener.
#[derive(Debug)]
pub(super) struct HttpServer {
    ended: oneshot::Receiver<()>,
}

impl HttpServer {
    /// Serves `router` until `goaway`. Its tasks are vital ones.
    pub(super) fn start(
        listener: Listener,
        tls: Option<Arc<Tls>>,
        router: Router,
        vitals: &Vitals,
        goaway: &CancellationToken,
    ) -> Self {
        let routes: Routes = RoutesBuilder::from(router).routes().prepare();
        let (door, accepted) = Door::new(SEATS);
        let (end, ended) = oneshot::channel();
        let serve = lanes::serve(server(), routes, accepted, goaway.clone());
        vitals.spawn("http", goaway.clone(), async move {
            let served = serve.await;
            // Nobody listens when the server is not drained but dropped.
            let _ = end.send(());
            served
        });
        let accept = acceptor::accept(listener, tls, vec![door], goaway.clone());
        vitals.spawn("http_acceptor", goaway.clone(), accept);
        Self { ended }
    }

    /// Waits until every connection has ended; at most for `grace`.
    pub(super) async fn drain(self, grace: Duration) {
        if tokio::time::timeout(grace, self.ended).await.is_err() {
            warn!(?grace, "HTTP requests were still open at the end of drain.grace");
        }
    }
}
