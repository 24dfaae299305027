//! Bodies that are JSON objects.
//!
//! Fields are read one by one, so that a mistake names its field, and fields that nobody knows are accepted, as Kinde's
//! clients may send them. `null` is as good as absent.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::app::App;
use super::error::ApiError;

/// The body as its fields.
pub(crate) struct Fields(Map<String, Value>);

impl FromRequest<App> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        let bytes = match Bytes::from_request(request, app).await {
            Ok(bytes) => bytes,
            Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(ApiError::BodyTooLong);
            }
            Err(_) => return Err(ApiError::invalid("the body did not arrive whole")),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid("the body must be a JSON object")),
            Err(error) => Err(ApiError::invalid(format!(
                "the body is not JSON: line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }
}

/// `application/json`, or a type with the suffix `+json`, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl Fields {
    /// The fields of a value, which must be an object.
    pub(crate) fn of(value: &Value, name: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self(fields.clone())),
            _ => Err(ApiError::invalid(format!("{name} must be an object"))),
        }
    }

    /// The field as it was sent, `null` too.
    pub(crate) fn sent(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The field, unless it is absent or null.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(format!("{name} must be a string"))),
        }
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?
            .ok_or_else(|| ApiError::invalid(format!("{name} is required")))
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Result<Option<Vec<&str>>, ApiError> {
        let wrong = || ApiError::invalid(format!("{name} must be a list of at most {most} strings"));
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() <= most => items
                .iter()
                .map(|item| item.as_str().ok_or_else(wrong))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(wrong()),
        }
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(_) => Err(ApiError::invalid(format!("{name} must be an object"))),
        }
    }
}
