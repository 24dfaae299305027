//! The HTTP API: keys over HTTP, in the paths, fields and shapes of Kinde's key API, and what else is asked over HTTP.
//!
//! A handler's argument types say what it needs: `May<ReadApis>` is a caller who may read APIs, and without one the handler
//! does not run. Every failure is an `ApiError`, which alone knows how a failure looks. The document at `/openapi.json` is
//! made from the handlers.

mod apis;
mod app;
pub(crate) mod auth;
#[expect(dead_code, reason = "the operations on keys use the rest of it")]
mod error;
mod gate;
mod openapi;
mod peer;
#[expect(dead_code, reason = "the operations on keys use the rest of it")]
mod permission;
mod query;
mod usage;

pub(crate) use app::{App, Shared};
pub(crate) use peer::Peer;
pub(crate) use usage::Sums;

use axum::Router;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

/// Everything that the HTTP listener answers.
pub(crate) fn router(app: App) -> Router {
    let auth = app.authenticator.routes();
    let (api, document) = OpenApiRouter::with_openapi(openapi::document())
        .merge(apis::routes())
        .merge(usage::routes())
        .split_for_parts();
    let api = api
        .route("/openapi.json", openapi::serve(document))
        .merge(auth)
        .fallback(gate::no_such_path)
        .method_not_allowed_fallback(gate::no_such_method)
        .with_state(app);
    // Around the whole router, since a path is matched before any layer of it runs.
    Router::new().fallback_service(gate::guarded(api).map_request(gate::without_final_slash))
}

#[cfg(test)]
mod tests;
