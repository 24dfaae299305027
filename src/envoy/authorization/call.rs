//! One call of `Check`, from its first byte to its answer.
//!
//! `Reading → answered`, and where the key has to be looked up `Reading → Waiting → answered`. Only the second way allocates
//! a future: the first is nearly always taken.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use tokio::time::{Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tracing::{Instrument, debug, debug_span, error};

use super::body::AnswerBody;
use super::deadline::deadline;
use super::frame::{self, Gathered};
use super::traced::Traced;
use crate::authorizer::{ActivePolicy, Arrival, Authorizer, NeedsLookUp, Outcome};
use crate::decision::{Decision, Denial};
use crate::envoy::answer;
use crate::envoy::codec::CheckView;
use crate::telemetry::{Trace, Traces};

/// Room for most answers, so that the buffer is allocated once.
const USUAL_ANSWER: usize = 1536;

/// One call of `Check`.
pub struct Call(State);

enum State {
    Reading(Reading),
    Waiting(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

struct Reading {
    authorizer: Arc<Authorizer>,
    traces: Option<Arc<Traces>>,
    trace: Option<Trace>,
    policy: Arc<ActivePolicy>,
    arrival: Arrival,
    deadline: Instant,
    body: Body,
    gathered: Gathered,
    /// Set once a piece is late: most calls arrive as a whole.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Call {
    pub(super) fn new(
        authorizer: &Arc<Authorizer>,
        traces: Option<&Arc<Traces>>,
        request: Request<Body>,
    ) -> Self {
        let arrival = Arrival::now();
        let policy = authorizer.policy();
        let deadline = deadline(arrival.instant, policy.settings.check_deadline, request.headers());
        Self(State::Reading(Reading {
            authorizer: Arc::clone(authorizer),
            traces: traces.cloned(),
            // Envoy's own span of this call, if it makes one.
            trace: traces.and_then(|_| Traces::continued(|name| request.headers().get(name)?.to_str().ok())),
            policy,
            arrival,
            deadline,
            body: request.into_body(),
            gathered: Gathered::default(),
            timer: None,
        }))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        if let State::Reading(reading) = &mut self.0 {
            let message = match ready!(reading.poll_message(cx)) {
                Ok(message) => message,
                Err(status) => return Poll::Ready(refuse(status)),
            };
            match reading.answer(message) {
                Answer::Now(response) => return Poll::Ready(response),
                Answer::Later(future) => self.0 = State::Waiting(future),
            }
        }
        match &mut self.0 {
            State::Waiting(future) => future.as_mut().poll(cx),
            // Left above in every case.
            State::Reading(_) => Poll::Pending,
        }
    }
}

enum Answer {
    Now(Response<Body>),
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Reading {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of a request say nothing.
                    if let Ok(piece) = frame.into_data() {
                        self.gathered.push(piece)?;
                    }
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                Poll::Ready(None) => return Poll::Ready(std::mem::take(&mut self.gathered).finish()),
                Poll::Pending => break,
            }
        }
        let deadline = self.deadline;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(Status::deadline_exceeded(
            "the request did not arrive in time",
        )))
    }

    fn answer(&self, message: Bytes) -> Answer {
        let view = match CheckView::read(message) {
            Ok(view) => view,
            Err(malformed) => {
                return Answer::Now(refuse(Status::invalid_argument(format!(
                    "CheckRequest: {malformed}"
                ))));
            }
        };
        let case = Case {
            authorizer: Arc::clone(&self.authorizer),
            policy: Arc::clone(&self.policy),
            arrival: self.arrival,
            deadline: self.deadline,
            traced: self
                .traces
                .as_ref()
                .and_then(|traces| Traced::begin(traces, self.trace.as_ref(), &view)),
        };
        let span = debug_span!("check");
        let answered = span.in_scope(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let outcome = case.authorizer.authorize_now(&case.policy, &view, case.arrival)?;
                Ok(case.finish(outcome))
            }))
        });
        match answered {
            Ok(Ok(response)) => Answer::Now(response),
            Ok(Err(NeedsLookUp)) => Answer::Later(Box::pin(case.wait(view).instrument(span))),
            Err(_) => Answer::Now(case.fault()),
        }
    }
}

/// What a decision needs beside the request.
struct Case {
    authorizer: Arc<Authorizer>,
    policy: Arc<ActivePolicy>,
    arrival: Arrival,
    deadline: Instant,
    traced: Option<Traced>,
}

impl Case {
    /// Decides with a look-up.
    async fn wait(mut self, view: CheckView) -> Response<Body> {
        if let Some(traced) = &mut self.traced {
            traced.cache_missed();
        }
        let deciding = async {
            let outcome = self
                .authorizer
                .authorize(&self.policy, &view, self.arrival, self.deadline)
                .await;
            self.finish(outcome)
        };
        match AssertUnwindSafe(deciding).catch_unwind().await {
            Ok(response) => response,
            Err(_) => self.fault(),
        }
    }

    fn finish(&self, mut outcome: Outcome<'_>) -> Response<Body> {
        // Envoy has given up: an allow that nobody waits for must not exist, nor be counted as one.
        if matches!(outcome.decision, Decision::Allow(_)) && Instant::now() >= self.deadline {
            outcome.decision = Decision::Deny(Denial::SourceUnavailable);
        }
        let mut framed = Vec::with_capacity(USUAL_ANSWER);
        framed.resize(frame::PREFIX, 0);
        let mut framed = answer::write(&self.policy, &outcome, framed);
        frame::close(&mut framed);
        self.authorizer.ledger().count(self.arrival.unix_ms);
        self.authorizer
            .record(&self.policy, &outcome, self.arrival.instant.elapsed());
        if let Some(traced) = &self.traced {
            traced.end(&outcome);
        }
        respond(Bytes::from(framed))
    }

    /// For a request in which Latchkey panicked. The panic hook has told where; what was shared is made of atomics and maps
    /// that each call leaves whole, so the lane goes on.
    fn fault(&self) -> Response<Body> {
        error!("a check panicked; it was answered as a fault of our own");
        self.finish(Outcome::fault(self.authorizer.ledger().replica(), self.arrival))
    }
}

fn respond(framed: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(AnswerBody::new(framed)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer without a message: its status is in the headers.
fn refuse(status: Status) -> Response<Body> {
    debug!(code = ?status.code(), reason = status.message(), "a call of Check makes no sense or came too late");
    status.into_http()
}
