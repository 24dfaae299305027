//! What stands before every handler: limits on what a request may be, and a time by which it is answered.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::Uri;
use tokio::time::timeout;
use tracing::debug;

use super::error::ApiError;

/// Longest body that is read. The longest that makes sense has metadata of 4 KiB and 1,000 scopes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// All names and values of a request's headers together.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How long a request may take, from its headers to its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The router behind the gate.
pub(super) fn guarded(router: Router) -> Router {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(gate))
}

async fn gate(request: Request, next: Next) -> Response {
    let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    if request.headers().iter().map(size).sum::<usize>() > MAX_HEADER_BYTES {
        return ApiError::HeadersTooLong.into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A panic is an answer of 500, and not a connection that breaks.
    let answered = timeout(DEADLINE, AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::Internal("a handler panicked".into()).into_response(),
        Err(_) => ApiError::Unavailable(format!("no answer within {DEADLINE:?}").into()).into_response(),
    };
    debug!(http.method = %method, http.path = path, http.status = response.status().as_u16(), "http request");
    response
}

/// The request without a slash at the end of its path, which some clients send.
pub(super) fn without_final_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() > 1
        && let Some(short) = path.strip_suffix('/')
    {
        let target = match request.uri().query() {
            Some(query) => format!("{short}?{query}"),
            None => short.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        // What is not a path any more stays as it was, and is found nowhere.
        if let Ok(target) = target.parse() {
            parts.path_and_query = Some(target);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

pub(super) async fn no_such_path() -> ApiError {
    ApiError::NotFound {
        code: "ROUTE_NOT_FOUND",
        message: "There is no such path",
    }
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::MethodNotAllowed
}
