//! The routes, held against the APIs, limits and guards that they name.

use std::collections::BTreeMap;

use super::super::UNAUTHENTICATED_LIMIT;
use super::super::pattern::PathPattern;
use super::super::reader::{Fields, Reader, did_you_mean, quoted};
use super::super::settings::{Access, CorsPreflight, KeyAccess, Route, Scope, ScopeRule};
use super::super::tree::{Node, Place, Value};
use super::apis::scope_list;
use super::optional;

/// What routes may name, as it was written: also what has a mistake of its own, so that one mistake is told once.
struct Declared<'t> {
    apis: BTreeMap<&'t str, Option<Vec<&'t str>>>,
    limits: Vec<&'t str>,
    guards: Vec<&'t str>,
}

impl<'t> Declared<'t> {
    fn read(root: &'t Node) -> Self {
        let names = |section: &str| match root.get(section).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|entry| entry.name.as_str()).collect(),
            _ => Vec::new(),
        };
        let apis = match root.get("apis").map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().filter_map(Self::api).collect(),
            _ => BTreeMap::new(),
        };
        Self {
            apis,
            limits: names("rate_limits"),
            guards: names("guards"),
        }
    }

    fn api(node: &'t Node) -> Option<(&'t str, Option<Vec<&'t str>>)> {
        let scopes = match node.get("scopes").map(|node| &node.value) {
            Some(Value::List(scopes)) => Some(scopes.iter().filter_map(plain).collect()),
            _ => None,
        };
        Some((plain(node.get("id")?)?, scopes))
    }
}

fn plain(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Untyped(text) => Some(text),
        _ => None,
    }
}

/// A route, and where it was written.
struct Placed<'t> {
    route: Route,
    place: &'t Place,
}

pub(super) fn routes(reader: &mut Reader, node: &Node, root: &Node) -> Option<Vec<Route>> {
    let items = reader.list(node, "routes", 10_000)?;
    let declared = Declared::read(root);
    let routes: Vec<Option<Placed<'_>>> = items.iter().map(|item| route(reader, item, &declared)).collect();
    // Duplicates among the good ones are found also when another one is wrong.
    check_duplicates(reader, routes.iter().flatten());
    routes
        .into_iter()
        .map(|placed| placed.map(|placed| placed.route))
        .collect()
}

fn check_duplicates<'r, 't: 'r>(reader: &mut Reader, routes: impl Iterator<Item = &'r Placed<'t>>) {
    let mut by_name: BTreeMap<&str, ()> = BTreeMap::new();
    let mut by_target: BTreeMap<(Option<&str>, String), Vec<&Route>> = BTreeMap::new();
    for Placed { route, place } in routes {
        if by_name.insert(&route.name, ()).is_some() {
            reader.mistake(place, format!("two routes are named {}", quoted(&route.name)));
        }
        let target = by_target
            .entry((route.host.as_deref(), route.path.shape()))
            .or_default();
        if let Some(other) = target
            .iter()
            .find(|other| methods_overlap(&other.methods, &route.methods))
        {
            reader.mistake(
                place,
                format!("route {} takes requests that route {} takes already: same host and path, and a method in common (GET includes HEAD)", quoted(&route.name), quoted(&other.name)),
            );
        }
        target.push(route);
    }
}

/// No method means any; `GET` includes `HEAD`.
fn methods_overlap(one: &[Box<str>], other: &[Box<str>]) -> bool {
    let meets = |a: &str, b: &str| a == b || matches!((a, b), ("GET", "HEAD") | ("HEAD", "GET"));
    one.is_empty() || other.is_empty() || one.iter().any(|a| other.iter().any(|b| meets(a, b)))
}

fn route<'t>(reader: &mut Reader, node: &'t Node, declared: &Declared<'_>) -> Option<Placed<'t>> {
    let known = [
        "name",
        "methods",
        "path",
        "host",
        "public",
        "auth",
        "api",
        "scopes",
        "rate_limit",
        "guard",
        "cors_preflight",
        "slow_after",
    ];
    let fields = reader.fields(node, "route", &known)?;
    let name_node = fields.require(reader, "name");
    let name = name_node.and_then(|node| reader.name(node, "the name of a route"));
    let shown = name.as_deref().unwrap_or("(without a name)");
    let methods = fields
        .get("methods")
        .map_or(Some(Vec::new()), |node| methods(reader, node));
    let path = fields.require(reader, "path").and_then(|node| path(reader, node));
    let host = optional(fields.get("host"), |node| host(reader, node));
    let preflight = [("check", CorsPreflight::Check), ("allow", CorsPreflight::Allow)];
    let slow_after = optional(fields.get("slow_after"), |node| {
        reader.duration(node, super::server::SLOW_AFTER)
    });
    let cors_preflight = optional(fields.get("cors_preflight"), |node| {
        reader.choice(node, &preflight)
    });
    let access = access(reader, &fields, shown, declared);
    let place = name_node.map_or(&node.place, |node| &node.place);
    let route = Route {
        name: name?,
        methods: methods?,
        path: path?,
        host: host?,
        access: access?,
        cors_preflight: cors_preflight?.unwrap_or_default(),
        slow_after: slow_after?,
    };
    Some(Placed { route, place })
}

fn path(reader: &mut Reader, node: &Node) -> Option<PathPattern> {
    let text = reader.text(node)?;
    match text.parse::<PathPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.mistake(
                &node.place,
                format!("no request can have the path {}: {error}", quoted(text)),
            );
            None
        }
    }
}

fn methods(reader: &mut Reader, node: &Node) -> Option<Vec<Box<str>>> {
    let items = reader.list(node, "methods", 32)?;
    if items.is_empty() {
        reader.mistake(
            &node.place,
            "no method, so no request; leave `methods` out for any method",
        );
        return None;
    }
    let mut methods: Vec<Box<str>> = Vec::new();
    let mut is_good = true;
    for item in items {
        match method(reader, item) {
            Some(method) if methods.contains(&method) => {
                reader.mistake(&item.place, format!("method {method} is listed twice"));
                is_good = false;
            }
            Some(method) => methods.push(method),
            None => is_good = false,
        }
    }
    is_good.then_some(methods)
}

fn method(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let text = reader.text(node)?;
    let good = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    if (1..=32).contains(&text.len()) && text.bytes().all(good) {
        return Some(text.into());
    }
    let hint = did_you_mean(text, USUAL);
    reader.mistake(
        &node.place,
        format!("a method is a word in upper case, found {}{hint}", quoted(text)),
    );
    None
}

/// One host name or address, as requests name it: without a port, in lower case.
fn host(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    let text = reader.text(node)?;
    let refuse = |reader: &mut Reader, why: &str| {
        reader.mistake(&node.place, format!("{why}, found {}", quoted(text)));
        None
    };
    if let Some(address) = text.strip_prefix('[') {
        let address = address
            .strip_suffix(']')
            .and_then(|address| address.parse::<std::net::Ipv6Addr>().ok());
        return match address {
            Some(address) => Some(format!("[{address}]").into()),
            None => refuse(reader, "expected an IPv6 address in brackets and no port"),
        };
    }
    if text.contains('*') {
        return refuse(
            reader,
            "a host is one name, without `*`; leave it out for any host",
        );
    }
    if text.contains(':') {
        return refuse(reader, "a host has no port");
    }
    if text.ends_with('.') {
        return refuse(reader, "a host has no final dot");
    }
    if !is_host_name(text) {
        return refuse(reader, "expected a host name such as api.example.com");
    }
    Some(text.to_ascii_lowercase().into())
}

/// A name as in RFC 1123 §2.1, with underscores. One whose last label is a number is an IPv4 address or nothing.
fn is_host_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.len() <= 253
        && name.split('.').all(is_label)
        && (!is_number || name.parse::<std::net::Ipv4Addr>().is_ok())
}

fn access(reader: &mut Reader, fields: &Fields<'_>, route: &str, declared: &Declared<'_>) -> Option<Access> {
    let is_public = optional(fields.get("public"), |node| reader.boolean(node));
    if is_public == Some(Some(true)) {
        let mut is_good = true;
        for name in ["auth", "api", "scopes", "rate_limit", "guard"] {
            if let Some(node) = fields.get(name) {
                let route = quoted(route);
                reader.mistake(
                    &node.place,
                    format!("route {route} is public, so `{name}` has no effect; remove one of the two"),
                );
                is_good = false;
            }
        }
        return is_good.then_some(Access::Public);
    }
    let auth = optional(fields.get("auth"), |node| {
        reader.choice(node, &[("required", false), ("optional", true)])
    });
    let api = match fields.get("api") {
        Some(node) => api(reader, node, route, declared),
        None => {
            // A mistake in `public` is one already.
            if is_public.is_some() {
                let message = format!(
                    "missing field `api` in route {}; a route without keys says public: true",
                    quoted(route)
                );
                reader.mistake(fields.place(), message);
            }
            None
        }
    };
    let rule = fields
        .get("scopes")
        .map_or(Some(ScopeRule::All(Vec::new())), |node| {
            scopes(
                reader,
                node,
                &Needed {
                    route,
                    api: api.as_deref(),
                    declared,
                },
            )
        });
    let rate_limit = optional(fields.get("rate_limit"), |node| {
        limit_name(reader, node, route, declared)
    });
    let guard = optional(fields.get("guard"), |node| {
        named(reader, node, "guard", route, &declared.guards)
    });
    is_public?;
    Some(Access::Key(KeyAccess {
        optional: auth?.unwrap_or(false),
        api: api?,
        scopes: rule?,
        rate_limit: rate_limit?,
        guard: guard?,
    }))
}

/// A name that another section declares.
fn named(reader: &mut Reader, node: &Node, what: &str, route: &str, known: &[&str]) -> Option<Box<str>> {
    let text = reader.text(node)?;
    if known.contains(&text) {
        return Some(text.into());
    }
    let hint = did_you_mean(text, known.iter().copied());
    reader.mistake(
        &node.place,
        format!("unknown {what} {} in route {}{hint}", quoted(text), quoted(route)),
    );
    None
}

fn api(reader: &mut Reader, node: &Node, route: &str, declared: &Declared<'_>) -> Option<Box<str>> {
    let known: Vec<&str> = declared.apis.keys().copied().collect();
    named(reader, node, "API", route, &known)
}

fn limit_name(reader: &mut Reader, node: &Node, route: &str, declared: &Declared<'_>) -> Option<Box<str>> {
    if reader.text(node)? == UNAUTHENTICATED_LIMIT {
        reader.mistake(
            &node.place,
            format!("`{UNAUTHENTICATED_LIMIT}` counts failed authentications only; route {} needs a limit of its own", quoted(route)),
        );
        return None;
    }
    let known: Vec<&str> = declared
        .limits
        .iter()
        .copied()
        .filter(|name| *name != UNAUTHENTICATED_LIMIT)
        .collect();
    named(reader, node, "rate limit", route, &known)
}

/// What the scopes of a route are held against.
struct Needed<'n, 't> {
    route: &'n str,
    api: Option<&'n str>,
    declared: &'n Declared<'t>,
}

fn scopes(reader: &mut Reader, node: &Node, needed: &Needed<'_, '_>) -> Option<ScopeRule> {
    if matches!(node.value, Value::List(_)) {
        return known_scopes(reader, node, needed).map(ScopeRule::All);
    }
    if !matches!(node.value, Value::Map(_)) {
        let message = format!(
            "expected a list of scopes, {{all: […]}} or {{any: […]}}, found {}",
            node.value.kind()
        );
        reader.mistake(&node.place, message);
        return None;
    }
    let fields = reader.fields(node, "scopes", &["all", "any"])?;
    match (fields.get("all"), fields.get("any")) {
        (Some(all), None) => known_scopes(reader, all, needed).map(ScopeRule::All),
        (None, Some(any)) => {
            let scopes = known_scopes(reader, any, needed)?;
            if scopes.is_empty() {
                reader.mistake(&any.place, "one of no scopes is never there; name at least one");
                return None;
            }
            Some(ScopeRule::Any(scopes))
        }
        _ => {
            reader.mistake(&node.place, "give one of `all` and `any`");
            None
        }
    }
}

fn known_scopes(reader: &mut Reader, node: &Node, needed: &Needed<'_, '_>) -> Option<Vec<Scope>> {
    let scopes = scope_list(reader, node);
    // Each is held against the API also when another one is no scope.
    let Value::List(items) = &node.value else {
        return None;
    };
    let mut is_good = true;
    for item in items {
        if let Some(text) = plain(item).filter(|text| text.parse::<Scope>().is_ok()) {
            is_good &= check_scope(reader, &item.place, text, needed);
        }
    }
    scopes.filter(|_| is_good)
}

fn check_scope(reader: &mut Reader, place: &Place, scope: &str, needed: &Needed<'_, '_>) -> bool {
    // Without a good API, or with one whose scopes are wrong, there is nothing to hold it against.
    let Some(api) = needed.api else { return true };
    let Some(Some(own)) = needed.declared.apis.get(api) else {
        return true;
    };
    if own.contains(&scope) {
        return true;
    }
    let has_it = |scopes: &Option<Vec<&str>>| scopes.as_ref().is_some_and(|scopes| scopes.contains(&scope));
    let other = needed.declared.apis.iter().find(|(_, scopes)| has_it(scopes));
    let (shown, route) = (quoted(scope), quoted(needed.route));
    let message = match other {
        Some((other, _)) => {
            format!(
                "scope {shown} in route {route} belongs to API {}, and the route to API {}",
                quoted(other),
                quoted(api)
            )
        }
        None => format!(
            "unknown scope {shown} in route {route}{}",
            did_you_mean(scope, own.iter().copied())
        ),
    };
    reader.mistake(place, message);
    false
}
