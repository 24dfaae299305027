//! Names of headers: where keys are looked for, what is stripped, and what tells the backend whose request it is.
//!
//! Many servers read `_` and `.` in a header name as `-`, so two names are the same here when they are the same then.

use super::super::reader::{Fields, Reader, did_you_mean, quoted};
use super::super::settings::{CredentialPlace, HeaderName, TenantHeaders};
use super::super::tree::{Node, Place, Value};
use super::all;

/// Everything that names a header.
pub(super) struct Headers {
    pub(super) credentials: Vec<CredentialPlace>,
    pub(super) strip: Vec<HeaderName>,
    pub(super) tenant: TenantHeaders,
}

/// Names that HTTP or Envoy needs as they are. Framing and connection: RFC 9110 §7.6.1, RFC 9112 §6; the rest is how Envoy
/// routes a request and knows it again.
const NEEDED: [&str; 18] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "date",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "grpc-timeout",
];

pub(super) fn read(reader: &mut Reader, top: &Fields<'_>) -> Option<Headers> {
    let credentials = top
        .require(reader, "credentials")
        .and_then(|node| credentials(reader, node));
    let strip = top
        .require(reader, "strip_headers")
        .and_then(|node| strip_headers(reader, node));
    let tenant = top
        .require(reader, "tenant_headers")
        .and_then(|node| tenant_headers(reader, node));

    let (credentials, strip, tenant) = (credentials?, strip?, tenant?);
    let own = |name: &HeaderName| {
        credentials.iter().any(|place| match place {
            CredentialPlace::Header { name: own, .. } => twin(own) == twin(name),
            CredentialPlace::Query { .. } => false,
        })
    };
    for (name, place) in &strip {
        if own(name) {
            reader.mistake(
                place,
                format!(
                    "header {} holds a credential, so it cannot be stripped",
                    quoted(name.as_str())
                ),
            );
        }
    }
    for (name, place) in &tenant {
        let shown = quoted(name.as_str());
        if own(name) {
            reader.mistake(
                place,
                format!("header {shown} holds a credential, so it cannot be a tenant header"),
            );
        }
        if let Some((_, strip_place)) = strip.iter().find(|(stripped, _)| twin(stripped) == twin(name)) {
            // Blames what the user wrote.
            let place = if place.is_of_user() { place } else { strip_place };
            reader.mistake(
                place,
                format!("header {shown} is a tenant header and is in strip_headers too"),
            );
        }
    }
    let [key_id, org_code, user_id, scopes, context_owner] = tenant.map(|(name, _)| name);
    Some(Headers {
        credentials,
        strip: strip.into_iter().map(|(name, _)| name).collect(),
        tenant: TenantHeaders {
            key_id,
            org_code,
            user_id,
            scopes,
            context_owner,
        },
    })
}

/// The name as a lenient server reads it.
fn twin(name: &HeaderName) -> String {
    name.as_str().replace(['_', '.'], "-")
}

/// A name that nothing else needs.
fn free_name(reader: &mut Reader, node: &Node) -> Option<HeaderName> {
    let text = reader.text(node)?;
    if text.starts_with(':') {
        reader.mistake(
            &node.place,
            format!(
                "{} is a pseudo-header of HTTP/2, which cannot be used here",
                quoted(text)
            ),
        );
        return None;
    }
    let name: HeaderName = reader.parsed(node)?;
    let read = twin(&name);
    if NEEDED.contains(&read.as_str()) || read.starts_with("x-envoy-") {
        let twin = if read == name.as_str() {
            String::new()
        } else {
            format!(" (many servers read it as {read:?})")
        };
        reader.mistake(
            &node.place,
            format!("HTTP or Envoy needs header {}{twin}", quoted(name.as_str())),
        );
        return None;
    }
    Some(name)
}

fn strip_headers(reader: &mut Reader, node: &Node) -> Option<Vec<(HeaderName, Place)>> {
    let items = reader.list(node, "header names", 64)?;
    let names = all(items
        .iter()
        .map(|item| Some((free_name(reader, item)?, item.place.clone()))))?;
    for (at, (name, place)) in names.iter().enumerate() {
        if names[..at].iter().any(|(other, _)| other == name) {
            reader.mistake(place, format!("header {} is listed twice", quoted(name.as_str())));
        }
    }
    Some(names)
}

fn tenant_headers(reader: &mut Reader, node: &Node) -> Option<[(HeaderName, Place); 5]> {
    const FIELDS: [&str; 5] = ["key_id", "org_code", "user_id", "scopes", "context_owner"];
    let fields = reader.fields(node, "tenant_headers", &FIELDS)?;
    let names = FIELDS.map(|field| {
        let node = fields.require(reader, field)?;
        Some((free_name(reader, node)?, node.place.clone()))
    });
    let [Some(a), Some(b), Some(c), Some(d), Some(e)] = names else {
        return None;
    };
    let names = [a, b, c, d, e];
    for at in 1..names.len() {
        let (name, place) = &names[at];
        let Some(other) = names[..at]
            .iter()
            .position(|(other, _)| twin(other) == twin(name))
        else {
            continue;
        };
        // Blames what the user wrote.
        let place = if place.is_of_user() {
            place
        } else {
            &names[other].1
        };
        reader.mistake(
            place,
            format!(
                "{} and {} are both told in header {}",
                FIELDS[other],
                FIELDS[at],
                quoted(name.as_str())
            ),
        );
    }
    Some(names)
}

fn credentials(reader: &mut Reader, node: &Node) -> Option<Vec<CredentialPlace>> {
    let items = reader.list(node, "credentials", 16)?;
    if items.is_empty() {
        reader.mistake(
            &node.place,
            "no place for a key; give at least one, such as {header: authorization, scheme: Bearer}",
        );
        return None;
    }
    let places = all(items
        .iter()
        .map(|item| Some((credential(reader, item)?, &item.place))))?;
    for (at, (credential, place)) in places.iter().enumerate() {
        if places[..at]
            .iter()
            .any(|(other, _)| is_same_place(other, credential))
        {
            reader.mistake(
                place,
                "this place is listed twice: one value would count as two keys",
            );
        }
    }
    Some(places.into_iter().map(|(credential, _)| credential).collect())
}

/// Whether one value could be found at both. A header without a scheme takes every value.
fn is_same_place(one: &CredentialPlace, other: &CredentialPlace) -> bool {
    match (one, other) {
        (
            CredentialPlace::Header { name, scheme },
            CredentialPlace::Header {
                name: other,
                scheme: other_scheme,
            },
        ) => {
            let schemes_meet = match (scheme, other_scheme) {
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                _ => true,
            };
            twin(name) == twin(other) && schemes_meet
        }
        (CredentialPlace::Query { name }, CredentialPlace::Query { name: other }) => name == other,
        _ => false,
    }
}

fn credential(reader: &mut Reader, node: &Node) -> Option<CredentialPlace> {
    if let Value::Text(text) = &node.value {
        reader.mistake(
            &node.place,
            format!(
                "expected {{header: {}}} or {{query: …}}",
                quoted(text).trim_matches('"')
            ),
        );
        return None;
    }
    let fields = reader.fields(node, "credential", &["header", "scheme", "query"])?;
    let (header, scheme) = (fields.get("header"), fields.get("scheme"));
    match (header, fields.get("query")) {
        (Some(header), None) => {
            let name = free_name(reader, header);
            let scheme = super::optional(scheme, |node| auth_scheme(reader, node));
            Some(CredentialPlace::Header {
                name: name?,
                scheme: scheme?,
            })
        }
        (None, Some(query)) => {
            if let Some(scheme) = scheme {
                reader.mistake(&scheme.place, "a query parameter has no scheme");
                return None;
            }
            query_parameter(reader, query).map(|name| CredentialPlace::Query { name })
        }
        _ => {
            reader.mistake(
                &node.place,
                "a credential is in a header or in the query: give one of `header` and `query`",
            );
            None
        }
    }
}

fn auth_scheme(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let is_token = (1..=32).contains(&text.len()) && text.parse::<HeaderName>().is_ok();
    if !is_token {
        let hint = did_you_mean(text.trim(), ["Bearer", "ApiKey"]);
        reader.mistake(
            &node.place,
            format!("a scheme is a word such as Bearer, found {}{hint}", quoted(text)),
        );
        return None;
    }
    Some(text.into())
}

fn query_parameter(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        return Some(text.into());
    }
    reader.mistake(
        &node.place,
        format!(
            "a query parameter is 1 to 64 letters, digits, `.`, `_`, `~` or `-`, found {}",
            quoted(text)
        ),
    );
    None
}
