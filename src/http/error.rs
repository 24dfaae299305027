//! What can go wrong with a request, and how a caller is told: in the shapes of Kinde's key API.
//!
//! `{"errors": [{"code", "message"}]}`, but with an object in place of the list where something is not found. Callers
//! go by the status; the codes are stable. What went wrong inside is logged here, once, and never told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::{error, warn};
use utoipa::openapi::{RefOr, ResponseBuilder, ResponsesBuilder, content::ContentBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::auth::AuthError;
use crate::keys::StoreError;

/// A failure of a request.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ApiError {
    /// Something in it makes no sense; the text names the field.
    #[error("{message}")]
    BadRequest {
        /// Such as `INVALID_REQUEST`.
        code: &'static str,
        /// For the caller.
        message: Cow<'static, str>,
    },
    /// No bearer, where one is needed.
    #[error("an access token is needed: send it as `Authorization: Bearer …`")]
    NoToken,
    /// A bearer that proves nothing, or cannot be verified now.
    #[error("{0}")]
    Unauthenticated(AuthError),
    /// The caller lacks this permission.
    #[error("Scope missing: {0}")]
    MissingPermission(&'static str),
    /// Nobody may do this here.
    #[error("{message}")]
    Forbidden {
        /// Such as `APIS_ARE_CONFIGURED`.
        code: &'static str,
        /// For the caller.
        message: Cow<'static, str>,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// Such as `API_NOT_FOUND`.
        code: &'static str,
        /// For the caller.
        message: &'static str,
    },
    /// The path is there, and not this method of it.
    #[error("This path has no such method")]
    MethodNotAllowed,
    /// The body is longer than any that makes sense.
    #[error("The body is too long")]
    BodyTooLong,
    /// The body is not JSON.
    #[error("The body must be JSON, with `Content-Type: application/json`")]
    NotJson,
    /// Too many headers, or too long ones.
    #[error("The headers are too long")]
    HeadersTooLong,
    /// Too often.
    #[error("Slow down")]
    TooManyRequests {
        /// Until one more passes.
        retry_after: Duration,
    },
    /// What is needed does not answer; the text is for operators.
    #[error("Temporarily unavailable")]
    Unavailable(Cow<'static, str>),
    /// A fault of our own; the text is for operators.
    #[error("Internal server error")]
    Internal(Cow<'static, str>),
}

impl ApiError {
    /// A field, or what is said of it, is wrong.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest {
            code: "INVALID_REQUEST",
            message: message.into(),
        }
    }

    /// The status that callers go by.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(AuthError::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoToken | Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::MissingPermission(_) | Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Its stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { code, .. } | Self::Forbidden { code, .. } | Self::NotFound { code, .. } => {
                code
            }
            Self::Unauthenticated(AuthError::Unavailable { .. }) => "UNAVAILABLE",
            Self::NoToken | Self::Unauthenticated(_) => "UNAUTHORIZED",
            Self::MissingPermission(_) => "SCOPE_MISSING",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::BodyTooLong => "BODY_TOO_LONG",
            Self::NotJson => "UNSUPPORTED_MEDIA_TYPE",
            Self::HeadersTooLong => "HEADERS_TOO_LONG",
            Self::TooManyRequests { .. } => "TOO_MANY_REQUESTS",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// What a caller is told beside the body.
    fn header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        let fixed = HeaderValue::from_static;
        match self {
            Self::NoToken => Some((header::WWW_AUTHENTICATE, fixed(r#"Bearer realm="latchkey""#))),
            Self::Unauthenticated(AuthError::Unavailable { retry_after }) => {
                Some((header::RETRY_AFTER, whole_seconds(*retry_after).into()))
            }
            Self::Unauthenticated(_) => Some((
                header::WWW_AUTHENTICATE,
                fixed(r#"Bearer realm="latchkey", error="invalid_token""#),
            )),
            Self::MissingPermission(_) => Some((
                header::WWW_AUTHENTICATE,
                fixed(r#"Bearer realm="latchkey", error="insufficient_scope""#),
            )),
            Self::Unavailable(_) => Some((header::RETRY_AFTER, fixed("1"))),
            _ => None,
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        Self::Unauthenticated(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchKey(_) => Self::NotFound {
                code: "API_KEY_NOT_FOUND",
                message: "No API key has this id",
            },
            StoreError::Refused(why) => Self::invalid(why),
            StoreError::Revoked => Self::BadRequest {
                code: "API_KEY_REVOKED",
                message: "The API key is revoked, and cannot be changed any more".into(),
            },
            StoreError::SecretTaken => Self::BadRequest {
                code: "API_KEY_EXISTS",
                message: "digest: an API key with this secret is there already".into(),
            },
            error @ (StoreError::Open { .. }
            | StoreError::Newer { .. }
            | StoreError::Replaced { .. }
            | StoreError::Failed(_)) => Self::Unavailable(error.to_string().into()),
        }
    }
}

/// Seconds, rounded up: who waits that long has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// One failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    /// Stable, in upper case.
    code: &'static str,
    /// For people.
    message: String,
}

/// The body of a failure.
#[derive(Serialize, ToSchema)]
#[schema(as = Errors)]
struct Failures {
    #[schema(min_items = 1)]
    errors: Vec<Failure>,
}

/// The body where something is not found.
#[derive(Serialize, ToSchema)]
#[schema(as = NotFound)]
struct NotFound {
    errors: Failure,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            Self::Unavailable(why) => warn!(%why, "a request could not be served"),
            Self::Internal(why) => error!(%why, "a request failed"),
            _ => {}
        }
        let failure = Failure {
            code: self.code(),
            message: self.to_string(),
        };
        let status = self.status();
        let mut response = match self {
            Self::NotFound { .. } => (status, Json(NotFound { errors: failure })).into_response(),
            _ => (
                status,
                Json(Failures {
                    errors: vec![failure],
                }),
            )
                .into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.header() {
            headers.insert(name, value);
        }
        if let Self::TooManyRequests { retry_after } = self {
            let seconds = whole_seconds(retry_after);
            headers.insert("ratelimit-reset", seconds.into());
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What every operation may answer, for the OpenAPI document.
pub(crate) struct Common;

/// The same, and 404.
pub(crate) struct CommonAndNotFound;

fn responses(statuses: &[(u16, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let mut all = ResponsesBuilder::new();
    for (status, description) in statuses {
        let schema = if *status == 404 {
            NotFound::schema()
        } else {
            Failures::schema()
        };
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/json", content)
            .build();
        all = all.response(status.to_string(), response);
    }
    all.build().responses.into_iter().collect()
}

const COMMON: [(u16, &str); 10] = [
    (400, "The request makes no sense; the message names the field"),
    (401, "No access token, or none that is good"),
    (403, "The caller may not do this"),
    (405, "The path has no such method"),
    (413, "The body is too long"),
    (415, "The body is not JSON"),
    (429, "Too often; `RateLimit-Reset` says how many seconds to wait"),
    (431, "The headers are too long"),
    (500, "A fault of Latchkey itself"),
    (503, "The store or an identity provider does not answer"),
];

impl IntoResponses for Common {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&COMMON)
    }
}

impl IntoResponses for CommonAndNotFound {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = responses(&COMMON);
        all.extend(responses(&[(404, "There is no such thing")]));
        all
    }
}
