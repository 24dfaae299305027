//! What nobody refers to.

use super::{Found, Kind};
use crate::config::tree::{Node, Value};
use crate::config::{Access, KeyAccess, Scope, ScopeRule, Settings, UNAUTHENTICATED_LIMIT};

pub(super) fn all(settings: &Settings, found: &mut Found<'_>) {
    let accesses: Vec<&KeyAccess> = settings
        .routes
        .iter()
        .filter_map(|route| match &route.access {
            Access::Key(access) => Some(access),
            Access::Public => None,
        })
        .collect();
    apis(settings, &accesses, found);
    let limits = |name: &str| {
        name == UNAUTHENTICATED_LIMIT
            || accesses
                .iter()
                .any(|access| access.rate_limit.as_deref() == Some(name))
    };
    named(found, "rate_limits", Kind::UnusedLimit, "rate limit", limits);
    let guards = |name: &str| {
        accesses
            .iter()
            .any(|access| access.guard.as_deref() == Some(name))
    };
    named(found, "guards", Kind::UnusedGuard, "guard", guards);
}

fn apis(settings: &Settings, accesses: &[&KeyAccess], found: &mut Found<'_>) {
    for (api, item) in settings.apis.iter().zip(found.items("apis")) {
        let of_api = || accesses.iter().filter(|access| access.api == api.id);
        if of_api().next().is_none() {
            let node = item.get("id").unwrap_or(item);
            found.add(
                &node.place,
                Kind::UnusedApi,
                &format!("no route takes keys of API `{}`", api.id),
                "write a route for it, or remove it",
            );
            continue;
        }
        for scope in &api.scopes {
            if !of_api().any(|access| scopes(access).contains(scope)) {
                found.add(
                    &scope_node(item, scope).place,
                    Kind::UnusedScope,
                    &format!("no route asks for scope `{scope}` of API `{}`", api.id),
                    "ask for it where it protects something, or remove it",
                );
            }
        }
    }
}

fn scopes(access: &KeyAccess) -> &[Scope] {
    match &access.scopes {
        ScopeRule::All(scopes) | ScopeRule::Any(scopes) => scopes,
    }
}

/// Where a scope of an API was written.
fn scope_node<'t>(api: &'t Node, scope: &Scope) -> &'t Node {
    let Some(list) = api.get("scopes") else { return api };
    let is_it = |node: &&Node| matches!(&node.value, Value::Text(text) | Value::Untyped(text) if text == scope.as_str());
    match &list.value {
        Value::List(items) => items.iter().find(is_it).unwrap_or(list),
        _ => list,
    }
}

/// Entries of a map that no route names.
fn named(found: &mut Found<'_>, section: &str, kind: Kind, what: &str, is_used: impl Fn(&str) -> bool) {
    let Some(Value::Map(entries)) = found.tree.get(section).map(|node| &node.value) else {
        return;
    };
    for entry in entries {
        if !is_used(&entry.name) && !matches!(entry.node.value, Value::Null) {
            found.add(
                &entry.place,
                kind,
                &format!("no route names {what} `{}`", entry.name),
                "name it at a route, or remove it",
            );
        }
    }
}
