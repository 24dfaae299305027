//! `/api/v1/api_keys`: make, list, show, update, rotate, revoke, import and verify keys.
//!
//! Paths, fields, codes and shapes are those of Kinde's key API. Ours beyond it are import, update, and fields that are
//! absent from answers unless they were used.

mod create;
mod environment;
mod input;
mod lifecycle;
mod list;
mod shapes;
mod verify;

pub(crate) use self::environment::VerifiedEnvironmentKeys;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(create::import))
        .routes(routes!(verify::verify))
        .routes(routes!(
            list::show,
            lifecycle::rotate,
            lifecycle::update,
            lifecycle::revoke
        ))
}
