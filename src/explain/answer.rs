//! An answer of Check, read back as Envoy reads it.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::value::Kind;
use serde::Serialize;
use serde_json::{Value, json};

use crate::envoy::messages::envoy::config::core::v3::HeaderValueOption;
use crate::envoy::messages::envoy::service::auth::v3::check_response::HttpResponse;
use crate::envoy::messages::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};

/// Whether a request may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// What Envoy is told of a request.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Answer {
    /// Whether it may pass.
    pub decision: Verb,
    /// The status that the caller gets; 200 stands for whatever the backend answers.
    pub status: u16,
    /// Why, in the words of metrics and logs.
    pub reason: Option<String>,
    /// The route, if one was found.
    pub route: Option<String>,
    /// Headers set on the way to the backend.
    pub set: BTreeMap<String, String>,
    /// Headers removed on the way to the backend, sorted.
    pub remove: Vec<String>,
    /// Headers that the caller gets.
    pub response_headers: BTreeMap<String, String>,
    /// The body of a denial.
    pub body: Option<Value>,
    /// What later filters and the access log learn.
    pub metadata: BTreeMap<String, Value>,
}

/// The bytes are no answer.
#[derive(Debug, thiserror::Error)]
#[error("that is no CheckResponse")]
pub struct NoAnswer(#[source] prost::DecodeError);

/// What differs between two answers to one request: names, times, and what is left of a limit.
const PASSING_HEADERS: [&str; 3] = ["x-latchkey-decision", "ratelimit", "retry-after"];
const PASSING_METADATA: [&str; 2] = ["decision_id", "request_started_ms"];

impl Answer {
    /// Reads an encoded `CheckResponse`.
    pub fn read(encoded: &[u8]) -> Result<Self, NoAnswer> {
        let response = CheckResponse::decode(encoded).map_err(NoAnswer)?;
        let metadata: BTreeMap<String, Value> = response
            .dynamic_metadata
            .map(|fields| {
                fields
                    .fields
                    .into_iter()
                    .map(|(name, value)| (name, plain(value)))
                    .collect()
            })
            .unwrap_or_default();
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
        // To Envoy code 0 is an allow, whatever else the answer says.
        let is_allow = response.status.is_none_or(|status| status.code == 0);
        let (mut ok, mut denied) = (OkHttpResponse::default(), DeniedHttpResponse::default());
        match response.http_response {
            Some(HttpResponse::OkResponse(response)) => ok = response,
            Some(HttpResponse::DeniedResponse(response) | HttpResponse::ErrorResponse(response)) => {
                denied = response;
            }
            None => {}
        }
        let status = denied.status.map_or(403, |status| status.code);
        let mut remove = ok.headers_to_remove;
        remove.sort_unstable();
        Ok(Self {
            decision: if is_allow { Verb::Allow } else { Verb::Deny },
            status: if is_allow {
                200
            } else {
                u16::try_from(status).unwrap_or(403)
            },
            reason: text("reason"),
            route: text("route"),
            set: headers(ok.headers),
            remove,
            response_headers: headers(if is_allow {
                ok.response_headers_to_add
            } else {
                denied.headers
            }),
            body: (!denied.body.is_empty())
                .then(|| serde_json::from_str(&denied.body).unwrap_or_else(|_| json!(denied.body))),
            metadata,
        })
    }

    /// The answer without what another answer to the same request has different: the decision's own name, times, and what is
    /// left of a limit.
    pub fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        for name in PASSING_HEADERS {
            lasting.response_headers.remove(name);
        }
        for name in PASSING_METADATA {
            lasting.metadata.remove(name);
        }
        let own_id = self.metadata.get("decision_id");
        if let Some(Value::Object(body)) = &mut lasting.body
            && body.get("request_id") == own_id
        {
            body.remove("request_id");
        }
        lasting
    }

    /// `code` of the body of a denial.
    pub fn code(&self) -> Option<&str> {
        self.body.as_ref()?.get("code")?.as_str()
    }
}

fn headers(options: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    options
        .into_iter()
        .filter_map(|option| option.header)
        .map(|header| (header.key, header.value))
        .collect()
}

fn plain(value: prost_types::Value) -> Value {
    match value.kind {
        Some(Kind::StringValue(text)) => text.into(),
        // Times in milliseconds are whole.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 => json!(number as i64),
        Some(Kind::NumberValue(number)) => json!(number),
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(plain).collect(),
        Some(Kind::StructValue(fields)) => fields
            .fields
            .into_iter()
            .map(|(name, value)| (name, plain(value)))
            .collect(),
        Some(Kind::NullValue(_)) | None => Value::Null,
    }
}
