//! APIs with their scopes, and rate limits.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::super::UNAUTHENTICATED_LIMIT;
use super::super::reader::{Reader, quoted};
use super::super::settings::{Api, Per, RateLimit, Scope};
use super::super::tree::{Node, Value};
use super::{all, optional};

const MOST_SCOPES: usize = 1000;

pub(super) fn apis(reader: &mut Reader, node: &Node) -> Option<Vec<Api>> {
    let items = reader.list(node, "APIs", 1000)?;
    let mut seen: Vec<Box<str>> = Vec::new();
    all(items.iter().map(|item| {
        let fields = reader.fields(item, "API", &["id", "name", "audience", "scopes"])?;
        let id = fields.require(reader, "id").and_then(|node| {
            let id = reader.name(node, "the id of an API")?;
            if seen.contains(&id) {
                reader.mistake(&node.place, format!("two APIs have the id {}", quoted(&id)));
                return None;
            }
            seen.push(id.clone());
            Some(id)
        });
        let name = fields
            .require(reader, "name")
            .and_then(|node| reader.printable(node, "the name of an API", 1..=255));
        let audience = fields
            .require(reader, "audience")
            .and_then(|node| reader.printable(node, "an audience", 1..=1024));
        let scopes = fields
            .require(reader, "scopes")
            .and_then(|node| scope_list(reader, node));
        Some(Api {
            id: id?,
            name: name?,
            audience: audience?,
            scopes: scopes?,
        })
    }))
}

pub(super) fn scope_list(reader: &mut Reader, node: &Node) -> Option<Vec<Scope>> {
    let items = reader.list(node, "scopes", MOST_SCOPES)?;
    let mut scopes: Vec<Scope> = Vec::new();
    let mut is_good = true;
    for item in items {
        match reader.parsed::<Scope>(item) {
            Some(scope) if scopes.contains(&scope) => {
                reader.mistake(
                    &item.place,
                    format!("scope {} is listed twice", quoted(scope.as_str())),
                );
                is_good = false;
            }
            Some(scope) => scopes.push(scope),
            None => is_good = false,
        }
    }
    is_good.then_some(scopes)
}

pub(super) fn rate_limits(reader: &mut Reader, node: &Node) -> Option<BTreeMap<Box<str>, RateLimit>> {
    let entries = reader.named(node, "rate limits", 1000)?;
    // `unauthenticated: null` turns the default off.
    let entries = entries
        .iter()
        .filter(|entry| !(entry.name == UNAUTHENTICATED_LIMIT && matches!(entry.node.value, Value::Null)));
    let limits = all(entries.map(|entry| {
        let is_name = reader.is_name(&entry.name, &entry.place, "the name of a rate limit");
        let limit = rate_limit(reader, &entry.node, entry.name == UNAUTHENTICATED_LIMIT)?;
        is_name.then(|| (entry.name.as_str().into(), limit))
    }))?;
    Some(limits.into_iter().collect())
}

fn rate_limit(reader: &mut Reader, node: &Node, is_unauthenticated: bool) -> Option<RateLimit> {
    const PER: [(&str, Per); 4] = [
        ("key", Per::Key),
        ("owner", Per::Owner),
        ("address", Per::Address),
        ("route", Per::Route),
    ];
    const WINDOW: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3600);
    let fields = reader.fields(node, "rate limit", &["limit", "window", "per", "error", "code"])?;
    let limit = fields
        .require(reader, "limit")
        .and_then(|node| reader.whole(node, 1..=1_000_000_000));
    let window = fields
        .require(reader, "window")
        .and_then(|node| reader.duration(node, WINDOW));
    let per = fields.require(reader, "per").and_then(|node| {
        let per = reader.choice(node, &PER)?;
        if is_unauthenticated && per != Per::Address {
            reader.mistake(
                &node.place,
                "`unauthenticated` counts callers that are not known yet, so it is per: address",
            );
            return None;
        }
        Some(per)
    });
    let error = optional(fields.get("error"), |node| {
        reader.printable(node, "the text of an error", 1..=256)
    });
    let code = optional(fields.get("code"), |node| code(reader, node));
    Some(RateLimit {
        limit: NonZeroU32::new(limit?)?,
        window: window?,
        per: per?,
        error: error?.unwrap_or_else(|| "Rate limit exceeded".into()),
        code: code?.unwrap_or_else(|| "RATE_LIMITED".into()),
    })
}

fn code(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        return Some(text.into());
    }
    reader.mistake(
        &node.place,
        format!(
            "a code is 1 to 64 upper-case letters, digits or `_`, such as AI_RATE_LIMITED; found {}",
            quoted(text)
        ),
    );
    None
}
