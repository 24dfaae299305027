//! The service: a stream in, a stream out, and an [`Exchange`] between.
//!
//! A stream that ends with OK lets the rest of its request pass, so that happens only after an answer that says so. Whatever
//! else ends it (Envoy itself, a message that cannot be read, a stop) ends it with an error, at which Envoy fails closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error};

use super::exchange::Exchange;
use super::metrics::GuardMetrics;
use super::reply::Reply;
use super::traced::Traced;
use super::wire::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use super::wire::{ProcessingRequest, ProcessingResponse};
use crate::authorizer::Authorizer;
use crate::telemetry::Traces;

/// The name of the service, as in health checks.
pub const EXTERNAL_PROCESSOR_SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";

/// The largest message. Envoy sends bodies up to `per_connection_buffer_limit_bytes`, 4 MiB as shipped; the guard says no to
/// larger ones in its own words, up to here.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The longest that a body may wait for its turn and be judged. Envoy's `message_timeout` ends nearly every wait before.
const WORK_WITHIN: Duration = Duration::from_secs(10);

/// Runs guards over bodies. Clones share everything.
#[derive(Clone)]
pub struct Processor {
    authorizer: Arc<Authorizer>,
    metrics: GuardMetrics,
    waiting: Handle,
    /// Large bodies that are judged at a time, so that a burst of them waits in turn and not in memory.
    seats: Arc<Semaphore>,
    traces: Option<Arc<Traces>>,
}

impl Processor {
    /// Takes policies from `authorizer`, and judges large bodies on `waiting`.
    pub fn new(authorizer: Arc<Authorizer>, metrics: GuardMetrics, waiting: Handle) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            authorizer,
            metrics,
            waiting,
            seats: Arc::new(Semaphore::new(2 * cores)),
            traces: None,
        }
    }

    /// Also records what belongs to the traces of requests.
    pub fn with_traces(mut self, traces: Option<Arc<Traces>>) -> Self {
        self.traces = traces;
        self
    }

    /// The service for a router.
    pub fn service(self) -> ExternalProcessorServer<Self> {
        ExternalProcessorServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = Answers;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let traced = self
            .traces
            .as_ref()
            .map(|traces| Traced::begin(traces, request.metadata()));
        let session = Session {
            incoming: request.into_inner(),
            traced,
            exchange: Exchange::new(self.authorizer.policy(), self.metrics.clone()),
            waiting: self.waiting.clone(),
            seats: Arc::clone(&self.seats),
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(session), next))))
    }
}

/// One stream.
struct Session {
    incoming: Streaming<ProcessingRequest>,
    traced: Option<Traced>,
    exchange: Exchange,
    waiting: Handle,
    seats: Arc<Semaphore>,
}

/// The next answer, and the session if there may be more. No session and no answer ends the stream with OK.
async fn next(session: Option<Session>) -> Option<(Result<ProcessingResponse, Status>, Option<Session>)> {
    let Session {
        mut incoming,
        mut traced,
        mut exchange,
        waiting,
        seats,
    } = session?;
    let message = match incoming.message().await {
        Ok(Some(message)) => message,
        // Envoy has ended it and waits for nothing, or something between us has.
        Ok(None) => return Some((Err(Status::cancelled("the exchange is not over")), None)),
        Err(status) => {
            debug!(code = ?status.code(), reason = status.message(), "a stream of the processor broke");
            let status = Status::new(status.code(), "the message cannot be read");
            return Some((Err(status), None));
        }
    };
    let judged = traced.as_mut().and_then(|traced| traced.judging(&message));
    let reply = if exchange.is_heavy(&message) {
        let judging = elsewhere(exchange, message, &waiting, &seats);
        match tokio::time::timeout(WORK_WITHIN, judging).await {
            Ok(Some((back, reply))) => {
                exchange = back;
                reply
            }
            Ok(None) | Err(_) => {
                error!("a body was not judged in time; the request was refused");
                return Some((
                    Err(Status::deadline_exceeded("the body was not judged in time")),
                    None,
                ));
            }
        }
    } else {
        answer(&mut exchange, message)
    };
    if let (Some(traced), Some(judged)) = (&traced, judged) {
        traced.judged(judged);
    }
    let session = (!reply.last).then_some(Session {
        incoming,
        traced,
        exchange,
        waiting,
        seats,
    });
    Some((Ok(reply.message), session))
}

/// Judges on the waiting runtime, so that a lane goes on with other checks meanwhile; `None` if that runtime ends.
async fn elsewhere(
    mut exchange: Exchange,
    message: ProcessingRequest,
    waiting: &Handle,
    seats: &Arc<Semaphore>,
) -> Option<(Exchange, Reply)> {
    let seat = Arc::clone(seats).acquire_owned().await.ok()?;
    let work = move || {
        let reply = answer(&mut exchange, message);
        drop(seat);
        (exchange, reply)
    };
    waiting.spawn_blocking(work).await.ok()
}

/// A panic is a refusal, and the lane lives on.
fn answer(exchange: &mut Exchange, message: ProcessingRequest) -> Reply {
    catch_unwind(AssertUnwindSafe(|| exchange.answer(message))).unwrap_or_else(|_| {
        error!("the guard panicked; the request was refused");
        exchange.fault()
    })
}
