//! Denials: what the caller is told, and what not.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{header, percent_encode, print, rate_limit_headers, scope_list, whole_seconds};
use super::wire::Writer;
use super::{field, metadata};
use crate::authorizer::Outcome;
use crate::config::{Access, Scope, ScopeRule};
use crate::decision::Denial;

const HTTP_STATUS: u32 = 1;
const HEADERS: u32 = 2;
const BODY: u32 = 3;

/// The body of every denial.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// What a denial says beyond [`Denial::status`] and [`Denial::code`].
struct Told<'a> {
    /// `error` of the body.
    error: Cow<'a, str>,
    /// The gRPC code of `status`, never 0.
    grpc_code: u32,
    /// `WWW-Authenticate` beyond the realm; `None` for no such header.
    challenge: Option<Challenge<'a>>,
    /// `Retry-After` in seconds.
    retry_after_s: Option<u64>,
}

/// Parameters of RFC 6750 §3.
enum Challenge<'a> {
    /// None: no credential was sent.
    Bare,
    /// `error="invalid_token"`
    InvalidToken,
    /// `error="insufficient_scope"`, and what would do.
    InsufficientScope(&'a Scope),
}

mod grpc {
    pub(super) const INVALID_ARGUMENT: u32 = 3;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const INTERNAL: u32 = 13;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// Seconds after which to come again when the key source is away.
const SOURCE_RETRY_S: u64 = 1;

fn told(denial: &Denial) -> Told<'_> {
    let plain = |error: &'static str, grpc_code| Told {
        error: Cow::Borrowed(error),
        grpc_code,
        challenge: None,
        retry_after_s: None,
    };
    match denial {
        Denial::InvalidPath => plain("Invalid request path", grpc::INVALID_ARGUMENT),
        Denial::InvalidHost => plain("Invalid request host", grpc::INVALID_ARGUMENT),
        Denial::MissingKey => Told {
            challenge: Some(Challenge::Bare),
            ..plain("Missing API key", grpc::UNAUTHENTICATED)
        },
        Denial::InvalidKey(_) => Told {
            challenge: Some(Challenge::InvalidToken),
            ..plain("Invalid API key", grpc::UNAUTHENTICATED)
        },
        Denial::NoTrustedOwner => plain(
            "Trusted context required (user-level or org-level API key)",
            grpc::PERMISSION_DENIED,
        ),
        Denial::NotAllowed(_) => plain("Access denied", grpc::PERMISSION_DENIED),
        Denial::UpgradeNotAllowed => plain("Upgrade not allowed", grpc::PERMISSION_DENIED),
        Denial::InsufficientScope { missing } => Told {
            error: format!("Insufficient scope: {missing}").into(),
            grpc_code: grpc::PERMISSION_DENIED,
            challenge: Some(Challenge::InsufficientScope(missing)),
            retry_after_s: None,
        },
        Denial::RateLimited { limit, retry_after } => Told {
            error: Cow::Borrowed(&limit.rule.error),
            grpc_code: grpc::RESOURCE_EXHAUSTED,
            challenge: None,
            retry_after_s: Some(whole_seconds(*retry_after).max(1)),
        },
        Denial::SourceUnavailable => Told {
            retry_after_s: Some(SOURCE_RETRY_S),
            ..plain("Authorization temporarily unavailable", grpc::UNAVAILABLE)
        },
        Denial::Internal => plain("Internal server error", grpc::INTERNAL),
    }
}

/// The one place that writes a denial.
pub(super) fn deny(writer: &mut Writer, denial: &Denial, outcome: &Outcome<'_>) {
    let told = told(denial);
    writer.message(field::STATUS, |status| status.number(1, told.grpc_code));
    writer.message(field::DENIED_RESPONSE, |denied| {
        denied.message(HTTP_STATUS, |status| status.number(1, denial.status().into()));
        headers(denied, &told, outcome);
        denied.message(BODY, |text| body(text.raw(), denial, &told, outcome));
    });
    metadata::write(writer, field::DYNAMIC_METADATA, "deny", denial.reason(), outcome);
}

fn headers(denied: &mut Writer, told: &Told<'_>, outcome: &Outcome<'_>) {
    let mut set = |name: &str, value: &dyn Fn(&mut Vec<u8>)| header(denied, HEADERS, name, value);
    set("content-type", &|value| {
        value.extend_from_slice(b"application/json")
    });
    set("cache-control", &|value| value.extend_from_slice(b"no-store"));
    set("x-latchkey-decision", &|value| {
        value.extend_from_slice(&outcome.decision_id.to_hex())
    });
    if let Some(challenge) = &told.challenge {
        set("www-authenticate", &|value| {
            write_challenge(value, challenge, outcome)
        });
    }
    if let Some(seconds) = told.retry_after_s {
        set("retry-after", &|value| print(value, format_args!("{seconds}")));
    }
    if outcome.facts.is_grpc {
        // Envoy derives a code from the HTTP status otherwise, and makes UNAVAILABLE of 429.
        set("grpc-status", &|value| {
            print(value, format_args!("{}", told.grpc_code))
        });
        set("grpc-message", &|value| percent_encode(value, &told.error));
    }
    rate_limit_headers(denied, HEADERS, outcome);
}

fn write_challenge(value: &mut Vec<u8>, challenge: &Challenge<'_>, outcome: &Outcome<'_>) {
    value.extend_from_slice(br#"Bearer realm="latchkey""#);
    match challenge {
        Challenge::Bare => {}
        Challenge::InvalidToken => value.extend_from_slice(br#", error="invalid_token""#),
        Challenge::InsufficientScope(missing) => {
            value.extend_from_slice(br#", error="insufficient_scope", scope=""#);
            scope_list(value, scopes_that_would_do(missing, outcome));
            value.push(b'"');
        }
    }
}

/// Every scope of the route where all are needed; where any one does, the one that is named as missing.
fn scopes_that_would_do<'a>(missing: &'a Scope, outcome: &'a Outcome<'_>) -> &'a [Scope] {
    match outcome.route.as_deref().map(|route| &route.settings.access) {
        Some(Access::Key(access)) => match &access.scopes {
            ScopeRule::All(scopes) => scopes,
            ScopeRule::Any(_) => std::slice::from_ref(missing),
        },
        Some(Access::Public) | None => std::slice::from_ref(missing),
    }
}

fn body(to: &mut Vec<u8>, denial: &Denial, told: &Told<'_>, outcome: &Outcome<'_>) {
    let own_id = outcome.decision_id.to_hex();
    let own_id = std::str::from_utf8(&own_id).unwrap_or_default();
    let request_id = outcome.facts.request_id.unwrap_or(own_id);
    let body = Body {
        error: &told.error,
        code: denial.code(),
        request_id,
    };
    serde_json::to_writer(to, &body).expect("a Vec takes every byte, and text is always JSON");
}
