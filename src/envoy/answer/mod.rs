//! Writes the answer to a check.
//!
//! To Envoy a `CheckResponse` with nothing in it is an allow, and so is one whose status is 0, whatever else it says. So there
//! is one function that writes an allow, and it takes the proof that the request was allowed; and one that writes a denial.
//! Nothing here has a default.

mod denied;
mod metadata;
mod values;
pub(super) mod wire;

use tracing::error;

use self::values::{header, percent_encode, scope_list};
use self::wire::Writer;
use crate::authorizer::Outcome;
use crate::config::HeaderName;
use crate::decision::{Decision, Denial, Grant, Policy};
use crate::keys::Owner;

/// Fields of `CheckResponse` and of what is in it.
mod field {
    pub(super) const STATUS: u32 = 1;
    pub(super) const DENIED_RESPONSE: u32 = 2;
    pub(super) const OK_RESPONSE: u32 = 3;
    pub(super) const DYNAMIC_METADATA: u32 = 4;

    pub(super) const OK_HEADERS: u32 = 2;
    pub(super) const OK_HEADERS_TO_REMOVE: u32 = 5;
    pub(super) const OK_RESPONSE_HEADERS_TO_ADD: u32 = 6;
}

/// Writes the encoded `CheckResponse` of an outcome after what `buffer` holds.
///
/// `facts` that no answer can carry make it a denial: text in protocol buffers is UTF-8, and Envoy writes what it is given.
/// The decision promises not to ask for such things.
pub fn write(policy: &Policy, outcome: &Outcome<'_>, buffer: Vec<u8>) -> Vec<u8> {
    let mut writer = Writer::after(buffer);
    match &outcome.decision {
        Decision::Allow(grant) if can_be_written(outcome) => allow(&mut writer, grant, policy, outcome),
        Decision::Allow(_) => {
            error!(decision.id = %outcome.decision_id, "an allow asks for headers that cannot be written; denied");
            denied::deny(&mut writer, &Denial::Internal, outcome);
        }
        Decision::Deny(denial) => denied::deny(&mut writer, denial, outcome),
    }
    writer.into_bytes()
}

fn can_be_written(outcome: &Outcome<'_>) -> bool {
    let visible = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    outcome.facts.remove.iter().all(|name| visible(name))
        && outcome.facts.new_target.as_deref().is_none_or(visible)
}

/// The one place that writes an allow.
fn allow(writer: &mut Writer, grant: &Grant, policy: &Policy, outcome: &Outcome<'_>) {
    // A message without fields: code 0, OK.
    writer.message(field::STATUS, |_| {});
    writer.message(field::OK_RESPONSE, |ok| {
        let set = tenant_headers(ok, grant, policy);
        if let Some(target) = &outcome.facts.new_target {
            header(ok, field::OK_HEADERS, ":path", |value| {
                value.extend_from_slice(target)
            });
        }
        removals(ok, policy, outcome, set);
        values::rate_limit_headers(ok, field::OK_RESPONSE_HEADERS_TO_ADD, outcome);
    });
    metadata::write(
        writer,
        field::DYNAMIC_METADATA,
        "allow",
        outcome.decision.reason(),
        outcome,
    );
}

/// Sets each tenant header that the grant has a value for, and removes the others; answers which ones were set.
fn tenant_headers<'p>(ok: &mut Writer, grant: &Grant, policy: &'p Policy) -> [Option<&'p str>; 5] {
    let names = &policy.settings.tenant_headers;
    let record = grant.identity().map(|record| &**record);
    let owner = record.and_then(|record| record.owner.as_ref());
    let scopes = record
        .map(|record| &record.scopes)
        .filter(|scopes| !scopes.is_empty());
    [
        tenant(ok, &names.key_id, record, |value, record| {
            percent_encode(value, &record.id)
        }),
        tenant(
            ok,
            &names.org_code,
            owner.and_then(Owner::org_code),
            percent_encode,
        ),
        tenant(ok, &names.user_id, owner.and_then(Owner::user_id), percent_encode),
        tenant(ok, &names.scopes, scopes, |value, scopes| {
            scope_list(value, scopes)
        }),
        tenant(ok, &names.context_owner, owner, |value, owner| {
            let (kind, id) = owner.context();
            value.extend_from_slice(kind.as_bytes());
            value.push(b':');
            percent_encode(value, id);
        }),
    ]
}

fn tenant<'p, T>(
    ok: &mut Writer,
    name: &'p HeaderName,
    value: Option<T>,
    write: impl FnOnce(&mut Vec<u8>, T),
) -> Option<&'p str> {
    match value {
        Some(value) => {
            header(ok, field::OK_HEADERS, name.as_str(), |bytes| write(bytes, value));
            Some(name.as_str())
        }
        None => {
            ok.text(field::OK_HEADERS_TO_REMOVE, name.as_str());
            None
        }
    }
}

/// Removes what must not reach the backend. Removal wins over setting in Envoy, so a name that was set is never among it.
fn removals(ok: &mut Writer, policy: &Policy, outcome: &Outcome<'_>, set: [Option<&str>; 5]) {
    let mut remove = |name: &str| {
        if !set.iter().flatten().any(|set| set.eq_ignore_ascii_case(name)) {
            ok.text(field::OK_HEADERS_TO_REMOVE, name);
        }
    };
    let seen = &outcome.facts.remove;
    // All are visible ASCII, or this would not be an allow.
    seen.iter()
        .filter_map(|name| std::str::from_utf8(name).ok())
        .for_each(&mut remove);
    if outcome.facts.shows_chosen_headers_only {
        let unseen = policy
            .blind_removals
            .iter()
            .filter(|name| !seen.contains(&name.as_bytes()));
        unseen.for_each(|name| remove(name));
    }
}

#[cfg(test)]
mod tests;
