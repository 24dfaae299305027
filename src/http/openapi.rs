//! The OpenAPI document, made from the handlers.

use axum::Json;
use axum::routing::{MethodRouter, get};
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::app::App;

/// The name of the security scheme that operations refer to.
pub(super) const BEARER: &str = "bearer";

/// The document before any operation.
pub(super) fn document() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A management token"))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Latchkey")
                .description(Some("API keys: make, list, rotate, revoke and verify them."))
                .version(env!("CARGO_PKG_VERSION")),
        )
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(BEARER, SecurityScheme::Http(bearer))
                .build(),
        ))
        .build()
}

/// Serves the finished document.
pub(super) fn serve(document: OpenApi) -> MethodRouter<App> {
    let document = Arc::new(document);
    get(move || {
        let document = Arc::clone(&document);
        async move { Json((*document).clone()) }
    })
}
