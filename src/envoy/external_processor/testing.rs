//! Messages as Envoy sends them, for tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::wire::{ProcessingRequest, Request};
use crate::envoy::messages::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use crate::envoy::messages::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use crate::envoy::messages::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, HttpTrailers, ProtocolConfiguration,
};

pub(super) const DECISION: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a check would have written.
pub(super) fn metadata(fields: &[(&str, &str)]) -> Metadata {
    let value = |text: &str| Value {
        kind: Some(Kind::StringValue(text.into())),
    };
    let fields = fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), value(text)))
        .collect();
    Metadata {
        filter_metadata: BTreeMap::from([("envoy.filters.http.ext_authz".to_owned(), Struct { fields })]),
        ..Metadata::default()
    }
}

/// That of an allowed request; `guard` may be empty.
pub(super) fn allowed(guard: &str) -> Metadata {
    let mut fields = vec![
        ("decision_id", DECISION),
        ("outcome", "allow"),
        ("route", "chat"),
        ("context_owner", "org:org_acme"),
    ];
    if !guard.is_empty() {
        fields.push(("guard", guard));
    }
    metadata(&fields)
}

/// A message of an Envoy with the shipped configuration.
pub(super) fn message(request: Request, metadata: Option<Metadata>) -> ProcessingRequest {
    ProcessingRequest {
        request: Some(request),
        metadata_context: metadata,
        protocol_config: Some(ProtocolConfiguration {
            request_body_mode: BodySendMode::Buffered.into(),
            response_body_mode: BodySendMode::None.into(),
            send_body_without_waiting_for_header_response: false,
        }),
        ..ProcessingRequest::default()
    }
}

fn headers(pairs: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    let header = |(name, value): &(&str, &str)| HeaderValue {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: value.as_bytes().to_vec(),
    };
    HttpHeaders {
        headers: Some(HeaderMap {
            headers: pairs.iter().map(header).collect(),
        }),
        end_of_stream,
    }
}

pub(super) fn request_headers(pairs: &[(&str, &str)], end_of_stream: bool) -> Request {
    Request::RequestHeaders(headers(pairs, end_of_stream))
}

pub(super) fn response_headers(pairs: &[(&str, &str)], end_of_stream: bool) -> Request {
    Request::ResponseHeaders(headers(pairs, end_of_stream))
}

pub(super) fn request_body(body: impl Into<Bytes>) -> Request {
    Request::RequestBody(HttpBody {
        body: body.into(),
        end_of_stream: true,
    })
}

pub(super) fn response_body(body: impl Into<Bytes>, end_of_stream: bool) -> Request {
    Request::ResponseBody(HttpBody {
        body: body.into(),
        end_of_stream,
    })
}

pub(super) fn response_trailers() -> Request {
    Request::ResponseTrailers(HttpTrailers { trailers: None })
}
