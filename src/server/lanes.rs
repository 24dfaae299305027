//! Lanes: one thread a core, each with a runtime of its own that serves gRPC.
//!
//! A check that needs no look-up never leaves its lane: no other thread is woken, nothing is stolen, and the caches of the core
//! stay warm. Everything that waits for the world runs on the waiting runtime instead.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::transport::Server;
use tower::Service;
use tracing::warn;

use super::acceptor::Door;
use super::connection::Accepted;

/// Connections that one lane serves at a time. Envoy opens one a worker thread: this is for faults and for strangers.
const SEATS: usize = 4096;
/// Calls at a time on one connection; more wait in Envoy, which opens another connection then.
const CALLS_AT_A_TIME: u32 = 2048;
/// Envoy resets each check that it no longer waits for. The default of 20 that may wait to be seen would make a burst of
/// timeouts, which comes when things are slow already, cost the whole connection.
const RESETS_NOT_YET_SEEN: usize = 1024;
/// The headers of a gRPC call, not of the request that it asks about.
const HEADER_BYTES: u32 = 16 * 1024;
/// A peer that vanished without a word is found by a ping after this time.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What lanes get to drop their connections in, after the time that calls get.
const CUT: Duration = Duration::from_millis(500);

/// What serves the calls of a connection.
pub(super) trait Answers<B>:
    Service<Request<Body>, Response = Response<B>, Error: Into<StdError> + Send + 'static, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> Answers<B> for S where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<StdError> + Send + 'static, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The HTTP/2 settings of every listener.
pub(super) fn http2() -> Server {
    Server::builder()
        .max_concurrent_streams(CALLS_AT_A_TIME)
        .http2_max_pending_accept_reset_streams(Some(RESETS_NOT_YET_SEEN))
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(PING_AFTER))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

/// Serves connections until `goaway`, and then until each of them has ended.
pub(super) async fn serve<S, B>(
    server: Server,
    service: S,
    accepted: mpsc::Receiver<Accepted>,
    goaway: CancellationToken,
) -> anyhow::Result<()>
where
    S: Answers<B>,
    B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    // As many at once as there are seats: a handshake that takes its time holds up no other.
    let connections = ReceiverStream::new(accepted)
        .map(Accepted::open)
        .buffer_unordered(SEATS);
    Ok(server
        .serve_with_incoming_shutdown(service, connections, goaway.cancelled_owned())
        .await?)
}

/// The running lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    doors: Vec<Door>,
    threads: Vec<JoinHandle<()>>,
    ends: FuturesUnordered<oneshot::Receiver<anyhow::Result<()>>>,
    goaway: CancellationToken,
    cut: CancellationToken,
}

impl Lanes {
    /// Starts `count` lanes, which serve `service` until `goaway`.
    pub(super) fn start<S, B>(
        count: NonZeroUsize,
        service: S,
        goaway: CancellationToken,
    ) -> anyhow::Result<Self>
    where
        S: Answers<B>,
        B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    {
        let mut lanes = Self {
            doors: Vec::new(),
            threads: Vec::new(),
            ends: FuturesUnordered::new(),
            goaway,
            cut: CancellationToken::new(),
        };
        for number in 0..count.get() {
            lanes
                .open(number, service.clone())
                .with_context(|| format!("starting lane {number}"))?;
        }
        Ok(lanes)
    }

    fn open<S, B>(&mut self, number: usize, service: S) -> io::Result<()>
    where
        S: Answers<B>,
        B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (door, accepted) = Door::new(SEATS);
        let (ended, end) = oneshot::channel();
        let (goaway, cut) = (self.goaway.clone(), self.cut.clone());
        let thread = thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || {
                let served = runtime.block_on(async {
                    tokio::select! {
                        served = serve(http2(), service, accepted, goaway) => served,
                        () = cut.cancelled() => Ok(()),
                    }
                });
                // Ends what is left of connections, before anyone believes that the lane has ended.
                drop(runtime);
                let _ = ended.send(served);
            })?;
        self.doors.push(door);
        self.threads.push(thread);
        self.ends.push(end);
        Ok(())
    }

    /// The ways to the lanes.
    pub(super) fn doors(&self) -> Vec<Door> {
        self.doors.clone()
    }

    /// The open connections of each lane.
    pub(super) fn open_connections(&self) -> Vec<Arc<AtomicUsize>> {
        self.doors.iter().map(|door| Arc::clone(door.open())).collect()
    }

    /// Waits for the first lane that ends; none should before it is told to. Cancel safe.
    pub(super) async fn first_end(&mut self) -> anyhow::Error {
        match self.ends.next().await {
            Some(Ok(Err(error))) => error.context("a lane failed"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a lane has ended"),
            Some(Err(_)) => anyhow::anyhow!("a lane panicked"),
        }
    }

    /// Sends GOAWAY, gives the calls that are open `grace` to end, and cuts what is left then.
    pub(super) async fn drain(mut self, grace: Duration) {
        self.goaway.cancel();
        if !self.all_ended_within(grace).await {
            warn!(
                ?grace,
                "calls were still open at the end of drain.grace, and were cut"
            );
            self.cut.cancel();
            if !self.all_ended_within(CUT).await {
                warn!(left = self.ends.len(), "a lane does not end");
            }
        }
        for thread in self.threads.drain(..) {
            // One that hangs must not hang the exit: it ends with the process.
            if self.ends.is_empty() || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    async fn all_ended_within(&mut self, limit: Duration) -> bool {
        let all = async { while self.ends.next().await.is_some() {} };
        tokio::time::timeout(limit, all).await.is_ok()
    }
}

impl Drop for Lanes {
    /// Without [`Self::drain`], such as after a start that failed, lanes end at once.
    fn drop(&mut self) {
        self.goaway.cancel();
        self.cut.cancel();
    }
}
