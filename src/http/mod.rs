//! The HTTP API: keys over HTTP, in the paths, fields and shapes of Kinde's key API, and what else is asked over HTTP.
//!
//! A handler's argument types say what it needs: `May<ListApis>` is a caller who may list APIs, and without one the handler
//! does not run. Every failure is an `ApiError`, which alone knows how a failure looks. The document at `/openapi.json` is
//! made from the handlers.

mod apis;
mod app;
mod audit;
pub(crate) mod auth;
mod body;
mod error;
mod gate;
mod keys;
mod openapi;
mod operation;
mod peer;
mod query;
pub(crate) mod time;
mod usage;

pub(crate) use app::{App, Operator, Shared};
pub(crate) use audit::{AuditLog, AuditWriter};
pub(crate) use keys::VerifiedEnvironmentKeys;
pub(crate) use peer::Peer;
pub(crate) use usage::Sums;

use axum::Router;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

/// Items on a page when nothing else is asked for, and the most.
const DEFAULT_PAGE: u32 = 50;
const MOST_IN_A_PAGE: u32 = 500;

/// The API that environment keys are for: the management of this Latchkey.
const MANAGEMENT_API: &str = "latchkey:management";

/// Everything that the HTTP listener answers.
pub(crate) fn router(app: App) -> Router {
    let auth = app
        .authenticator
        .as_ref()
        .map(auth::Authenticator::routes)
        .unwrap_or_default();
    let (api, document) = OpenApiRouter::with_openapi(openapi::document())
        .merge(keys::routes())
        .merge(apis::routes())
        .merge(usage::routes())
        .merge(audit::routes())
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
