//! What later filters and the access log learn of a decision.
//!
//! Envoy keeps it with the request under `envoy.filters.http.ext_authz`. It is for operators: the reason that a refusal hides
//! from the caller is in it, and ids are as they are, not encoded.

use super::values::scope_list;
use super::wire::Writer;
use crate::authorizer::Outcome;
use crate::config::{Access, KeyAccess};

/// Writes a `google.protobuf.Struct`. What is not known is left out. `scopes` is one text, separated by spaces, as in the
/// tenant header, because access log formats and CEL print a text as it is.
pub(super) fn write(to: &mut Writer, field: u32, verb: &str, reason: &str, outcome: &Outcome<'_>) {
    let record = outcome.identity.as_deref();
    let owner = record.and_then(|record| record.owner.as_ref());
    let route = outcome.route.as_deref();
    let access = route.and_then(|route| match &route.settings.access {
        Access::Key(access) => Some(access),
        Access::Public => None,
    });
    let guard = access.and_then(|access: &KeyAccess| access.guard.as_deref());

    to.message(field, |to| {
        entry(to, "decision_id", |text| {
            text.extend_from_slice(&outcome.decision_id.to_hex())
        });
        entry(to, "outcome", |text| text.extend_from_slice(verb.as_bytes()));
        entry(to, "reason", |text| text.extend_from_slice(reason.as_bytes()));
        text(to, "route", route.map(|route| &*route.settings.name));
        text(to, "guard", guard);
        if let Some(record) = record {
            text(to, "key_id", Some(&record.id));
            text(to, "key_name", Some(&record.name));
            // A key of a source that names no API is taken for the one of the route.
            let api_id = record.api_id.as_deref().or(access.map(|access| &*access.api));
            text(to, "api_id", api_id);
            entry(to, "scopes", |text| scope_list(text, &record.scopes));
        }
        if let Some(owner) = owner {
            text(to, "org_code", owner.org_code());
            text(to, "user_id", owner.user_id());
            entry(to, "context_owner", |text| {
                let (kind, id) = owner.context();
                text.extend_from_slice(kind.as_bytes());
                text.push(b':');
                text.extend_from_slice(id.as_bytes());
            });
        }
        started(to, outcome.arrival.unix_ms);
    });
}

const FIELDS: u32 = 1;
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

/// An entry whose value is text.
fn entry(to: &mut Writer, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    const STRING_VALUE: u32 = 3;
    to.message(FIELDS, |entry| {
        entry.text(ENTRY_KEY, name);
        entry.message(ENTRY_VALUE, |kind| {
            kind.message(STRING_VALUE, |text| value(text.raw()))
        });
    });
}

fn text(to: &mut Writer, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        entry(to, name, |text| text.extend_from_slice(value.as_bytes()));
    }
}

/// Milliseconds since the Unix epoch: exact in a double for the next 285,000 years.
fn started(to: &mut Writer, unix_ms: u64) {
    const NUMBER_VALUE: u32 = 2;
    to.message(FIELDS, |entry| {
        entry.text(ENTRY_KEY, "request_started_ms");
        entry.message(ENTRY_VALUE, |kind| kind.double(NUMBER_VALUE, unix_ms as f64));
    });
}
