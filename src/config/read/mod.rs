//! From the tree to [`Settings`]: one file a section.
//!
//! Each function reads all of its fields before it gives up, so that one look finds every mistake.

mod apis;
mod guards;
mod headers;
mod keys;
mod management;
mod routes;
mod server;

use std::collections::BTreeMap;

use super::reader::Reader;
use super::settings::Settings;
use super::tree::Node;

const SECTIONS: [&str; 19] = [
    "listen",
    "store",
    "store_file",
    "redis",
    "redis_file",
    "drain",
    "apis",
    "client_address",
    "check_deadline",
    "strip_headers",
    "credentials",
    "keys",
    "routes",
    "rate_limits",
    "guards",
    "tenant_headers",
    "management",
    "usage",
    "telemetry",
];

/// Reads everything. `None` only with a mistake noted in `reader`.
pub(super) fn settings(reader: &mut Reader, root: &Node) -> Option<Settings> {
    let top = reader.fields(root, "the settings", &SECTIONS)?;
    let section = |name: &str| top.get(name);

    let listen = top
        .require(reader, "listen")
        .and_then(|node| server::listen(reader, node));
    let store = server::store(reader, &top);
    let redis = server::redis(reader, &top);
    let drain = top
        .require(reader, "drain")
        .and_then(|node| server::drain(reader, node));
    let client_address = top
        .require(reader, "client_address")
        .and_then(|node| server::client_address(reader, node));
    let check_deadline = top
        .require(reader, "check_deadline")
        .and_then(|node| server::check_deadline(reader, node));
    let telemetry = top
        .require(reader, "telemetry")
        .and_then(|node| server::telemetry(reader, node));
    let usage = top
        .require(reader, "usage")
        .and_then(|node| server::usage(reader, node));

    let headers = headers::read(reader, &top);
    let keys = top
        .require(reader, "keys")
        .and_then(|node| keys::read(reader, node));

    let apis = section("apis").map_or(Some(Vec::new()), |node| apis::apis(reader, node));
    let rate_limits =
        section("rate_limits").map_or(Some(BTreeMap::new()), |node| apis::rate_limits(reader, node));
    let guards = section("guards").map_or(Some(BTreeMap::new()), |node| guards::read(reader, node));
    let routes = top
        .require(reader, "routes")
        .and_then(|node| routes::routes(reader, node, root));
    let management =
        section("management").map_or(Some(Default::default()), |node| management::read(reader, node));

    let headers = headers?;
    Some(Settings {
        listen: listen?,
        store: store?,
        redis: redis?,
        drain: drain?,
        apis: apis?,
        client_address: client_address?,
        check_deadline: check_deadline?,
        strip_headers: headers.strip,
        credentials: headers.credentials,
        keys: keys?,
        routes: routes?,
        rate_limits: rate_limits?,
        guards: guards?,
        tenant_headers: headers.tenant,
        management: management?,
        usage: usage?,
        telemetry: telemetry?,
    })
}

/// A field that may be absent: `Some(None)` when it is, `None` when it is wrong.
fn optional<'t, T>(node: Option<&'t Node>, read: impl FnOnce(&'t Node) -> Option<T>) -> Option<Option<T>> {
    node.map_or(Some(None), |node| read(node).map(Some))
}

/// All of them, or nothing if one is wrong. Every one is looked at.
fn all<T>(items: impl IntoIterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.into_iter().collect();
    items.into_iter().collect()
}
