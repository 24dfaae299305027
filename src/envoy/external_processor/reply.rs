//! The answers to Envoy: one constructor each, none by default.
//!
//! Here Envoy reads `raw_value` only, and of a header that is both set and removed it keeps what was set.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde::Serialize;

use super::wire::{ProcessingMode, ProcessingResponse, Response};
use crate::envoy::messages::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::envoy::messages::envoy::service::ext_proc::v3::body_mutation::Mutation;
use crate::envoy::messages::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, GrpcStatus, HeaderMutation, HeadersResponse,
    ImmediateResponse, TrailersResponse,
};
use crate::envoy::messages::envoy::r#type::v3::HttpStatus;

/// The namespace of the metadata that a guard writes.
const NAMESPACE: &str = "latchkey";

/// An answer, and whether the stream has done its work with it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: ProcessingResponse,
    /// The stream ends with OK after this answer: whatever of the request is still to come passes.
    pub(super) last: bool,
}

impl Reply {
    fn new(response: Response) -> Self {
        Self {
            message: ProcessingResponse {
                response: Some(response),
                dynamic_metadata: None,
                mode_override: None,
            },
            last: false,
        }
    }

    /// Lets request headers pass.
    pub(super) fn request_headers(remove: &[&str], mode: Option<ProcessingMode>) -> Self {
        let mut reply = Self::new(Response::RequestHeaders(headers(remove)));
        reply.message.mode_override = mode;
        reply
    }

    /// Lets response headers pass.
    pub(super) fn response_headers(remove: &[&str], mode: Option<ProcessingMode>) -> Self {
        let mut reply = Self::new(Response::ResponseHeaders(headers(remove)));
        reply.message.mode_override = mode;
        reply
    }

    /// Lets a request body pass: as it is, or this one in its place.
    pub(super) fn request_body(replaced: Option<Vec<u8>>, remove: &[&str]) -> Self {
        let response = match replaced {
            None => CommonResponse::default(),
            Some(body) => CommonResponse {
                // Envoy compares the length with the header, and refuses the request where they differ. With another
                // header than this one, or one that comes later, bytes could be left over as a request of their own.
                header_mutation: Some(HeaderMutation {
                    set_headers: vec![header("content-length", body.len().to_string())],
                    remove_headers: owned(remove),
                }),
                body_mutation: Some(with_body(body.into())),
                ..CommonResponse::default()
            },
        };
        Self::new(Response::RequestBody(BodyResponse {
            response: Some(response),
        }))
    }

    /// Lets a piece of a response body pass: as it is, or these bytes in its place.
    pub(super) fn response_body(replaced: Option<Bytes>) -> Self {
        Self::new(Response::ResponseBody(BodyResponse {
            response: Some(CommonResponse {
                body_mutation: replaced.map(with_body),
                ..CommonResponse::default()
            }),
        }))
    }

    /// Lets request trailers pass.
    pub(super) fn request_trailers() -> Self {
        Self::new(Response::RequestTrailers(TrailersResponse {
            header_mutation: None,
        }))
    }

    /// Lets response trailers pass.
    pub(super) fn response_trailers() -> Self {
        Self::new(Response::ResponseTrailers(TrailersResponse {
            header_mutation: None,
        }))
    }

    /// Ends the request with this answer in place of the backend's.
    pub(super) fn immediate(told: &Told<'_>) -> Self {
        let body = Body {
            error: told.error,
            code: told.code,
            request_id: told.request_id,
        };
        let body = serde_json::to_vec(&body).expect("a Vec takes every byte, and text is always JSON");
        let mut set_headers = vec![
            header("content-type", "application/json"),
            header("cache-control", "no-store"),
        ];
        if let Some(id) = told.decision_id {
            set_headers.push(header("x-latchkey-decision", id));
        }
        let mut reply = Self::new(Response::ImmediateResponse(ImmediateResponse {
            status: Some(HttpStatus {
                code: i32::from(told.status),
            }),
            headers: Some(HeaderMutation {
                set_headers,
                remove_headers: Vec::new(),
            }),
            body: body.into(),
            grpc_status: told.is_grpc.then(|| GrpcStatus {
                status: grpc_code(told.status),
            }),
            details: format!("latchkey_guard_{}", told.code.to_ascii_lowercase()),
        }));
        reply.last = true;
        reply
    }

    /// Adds what later filters and the access log learn; texts and numbers by name.
    pub(super) fn tell(mut self, facts: BTreeMap<String, Value>) -> Self {
        let facts = Value {
            kind: Some(Kind::StructValue(Struct { fields: facts })),
        };
        self.message.dynamic_metadata = Some(Struct {
            fields: BTreeMap::from([(NAMESPACE.to_owned(), facts)]),
        });
        self
    }

    /// Makes it the last one, if it is.
    pub(super) fn last_if(mut self, last: bool) -> Self {
        self.last = last;
        self
    }
}

/// What an immediate answer says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) error: &'a str,
    pub(super) request_id: &'a str,
    pub(super) decision_id: Option<&'a str>,
    /// The caller speaks gRPC, and reads the status in a trailer.
    pub(super) is_grpc: bool,
}

/// As the body of a denied check.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// The gRPC code that stands for an HTTP status.
fn grpc_code(status: u16) -> u32 {
    match status {
        400 | 415 => 3,
        413 => 8,
        _ => 13,
    }
}

fn headers(remove: &[&str]) -> HeadersResponse {
    let mutation = (!remove.is_empty()).then(|| HeaderMutation {
        set_headers: Vec::new(),
        remove_headers: owned(remove),
    });
    HeadersResponse {
        response: Some(CommonResponse {
            header_mutation: mutation,
            ..CommonResponse::default()
        }),
    }
}

fn header(name: &str, value: impl Into<String>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: String::new(),
            raw_value: value.into().into_bytes(),
        }),
        ..HeaderValueOption::default()
    }
}

fn with_body(body: Bytes) -> BodyMutation {
    // An empty body is no body to Envoy.
    let mutation = if body.is_empty() {
        Mutation::ClearBody(true)
    } else {
        Mutation::Body(body)
    };
    BodyMutation {
        mutation: Some(mutation),
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
