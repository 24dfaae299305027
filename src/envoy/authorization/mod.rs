//! Answers `Check` in front of tonic's router.
//!
//! A unary call with a reader and a writer of its own needs none of what tonic does for a method, and to go without costs
//! less than half. Everything else on the listener goes to the router as it came.
//!
//! A call that was answered ends with gRPC status OK, also when the answer is a denial; to Envoy any other status is a failure
//! of the check, which it answers by its own settings. So a status other than OK is for calls that make no sense, or that
//! came too late to be answered.

mod body;
mod call;
mod deadline;
mod frame;
mod traced;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer, Service};

use self::call::Call;
use crate::authorizer::Authorizer;
use crate::telemetry::Traces;

/// The name of the service, as in health checks.
pub const AUTHORIZATION_SERVICE: &str = "envoy.service.auth.v3.Authorization";

const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Puts a [`CheckService`] before a router.
#[derive(Clone)]
pub struct CheckLayer {
    authorizer: Arc<Authorizer>,
    traces: Option<Arc<Traces>>,
}

impl CheckLayer {
    /// Answers with what `authorizer` decides.
    pub fn new(authorizer: Arc<Authorizer>) -> Self {
        Self {
            authorizer,
            traces: None,
        }
    }

    /// Also records what belongs to the traces of requests.
    pub fn with_traces(mut self, traces: Option<Arc<Traces>>) -> Self {
        self.traces = traces;
        self
    }
}

impl<S> Layer<S> for CheckLayer {
    type Service = CheckService<S>;

    fn layer(&self, inner: S) -> CheckService<S> {
        CheckService {
            authorizer: Arc::clone(&self.authorizer),
            traces: self.traces.clone(),
            inner,
        }
    }
}

/// Answers `Check`, and hands everything else on.
#[derive(Clone)]
pub struct CheckService<S> {
    authorizer: Arc<Authorizer>,
    traces: Option<Arc<Traces>>,
    inner: S,
}

impl<S> Service<Request<Body>> for CheckService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = CheckFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> CheckFuture<S::Future> {
        if is_check(&request) {
            CheckFuture::Check {
                call: Call::new(&self.authorizer, self.traces.as_ref(), request),
            }
        } else {
            CheckFuture::Inner {
                future: self.inner.call(request),
            }
        }
    }
}

fn is_check(request: &Request<Body>) -> bool {
    request.uri().path() == CHECK_PATH
        && request.method() == Method::POST
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| is_grpc(value.as_bytes()))
}

/// `application/grpc`, alone or with `+proto`; a router says better than we can what it makes of others.
fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some(rest) => {
            let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
            matches!(rest, [] | [b';' | b' ', ..])
        }
        None => false,
    }
}

pin_project! {
    /// An answer under way.
    #[project = Projected]
    pub enum CheckFuture<F> {
        /// Of our own.
        Check {
            call: Call,
        },
        /// Of the router.
        Inner {
            #[pin]
            future: F,
        },
    }
}

impl<F, E> Future for CheckFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Projected::Check { call } => Poll::Ready(Ok(ready!(call.poll(cx)))),
            Projected::Inner { future } => future.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests;
