//! What the pieces work on: a request as Envoy sends it, tables of any size, an allow of real size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey::authorizer::{Arrival, Outcome};
use latchkey::config;
use latchkey::decision::{Next, Policy, Reading, read};
use latchkey::envoy::CheckView;
use latchkey::envoy::messages::envoy::config::core::v3::{Address, SocketAddress, address};
use latchkey::envoy::messages::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use latchkey::envoy::messages::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use latchkey::keys::{KeyRecord, KeyStatus, KeyType, Owner};
use latchkey::limits::Verdict;
use latchkey::usage::Replica;
use prost::Message;

const CONFIG: &str = "
apis: [{id: ai, name: AI, audience: https://api.example.com, scopes: [read:ai_chats, write:ai_chat]}]
routes: [{name: chat, methods: [POST], path: /ai/chat, api: ai, scopes: [write:ai_chat], rate_limit: many}]
rate_limits: {many: {limit: 1000000000, window: 15m, per: key}}
";
const KEY: &str = "lk_0a1b2c3d4e5f6g7h8i9j0A1B2C3D4E5F6G7H8I9J0kL000000";

/// The encoded request.
pub(super) fn request() -> Bytes {
    let headers = [
        (":authority", "api.example.com"),
        (":method", "POST"),
        (":path", "/ai/chat"),
        (":scheme", "https"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("authorization", &format!("Bearer {KEY}")),
        ("content-length", "52"),
        ("content-type", "application/json"),
        ("user-agent", "bench/1.0"),
        ("x-envoy-external-address", "192.0.2.7"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "0b1c1a52-6d38-4f38-8e26-1a3a3a3e4f51"),
    ];
    let http = HttpRequest {
        id: "17".into(),
        method: "POST".into(),
        headers: headers
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter()
            .collect(),
        path: "/ai/chat".into(),
        host: "api.example.com".into(),
        scheme: "https".into(),
        protocol: "HTTP/1.1".into(),
        ..Default::default()
    };
    let socket = SocketAddress {
        address: "192.0.2.7".into(),
        ..Default::default()
    };
    let peer = Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(socket)),
        }),
        ..Default::default()
    };
    let message = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer),
            request: Some(Request {
                http: Some(http),
                ..Default::default()
            }),
            ..Default::default()
        }),
    };
    message.encode_to_vec().into()
}

/// The route of the request, and `count` exact ones and `count` patterns.
pub(super) fn policy(count: usize) -> Policy {
    let loaded = config::load_text("bench.yaml", Some(CONFIG), &BTreeMap::new());
    let mut settings = loaded.unwrap_or_else(|error| panic!("{error}")).settings;
    let first = settings.routes[0].clone();
    // Made here and not read: a file holds at most 1 MiB.
    for number in 0..count {
        let pattern = format!("/v1/teams{number}/{{team}}/members/{{member}}");
        for (kind, path) in [("exact", exact_path(number)), ("pattern", pattern)] {
            let mut route = first.clone();
            route.name = format!("{kind}-{number}").into();
            route.path = path.parse().expect("a good pattern");
            settings.routes.push(route);
        }
    }
    Policy::compile(Arc::new(settings))
}

pub(super) fn exact_path(number: usize) -> String {
    format!("/v1/things{number}/list")
}

/// A path that the pattern of this number takes.
pub(super) fn path_of_a_pattern(number: usize) -> String {
    format!("/v1/teams{number}/some-team/members/7")
}

/// A key that may use every route.
pub(super) fn record() -> KeyRecord {
    KeyRecord {
        id: "api_key_fa7438e9ceeca14d59f910d7decdccd0".into(),
        name: "Acme, production".into(),
        key_type: KeyType::User,
        owner: Owner::from_parts(Some("org_acme"), Some("user_42")),
        api_id: Some("ai".into()),
        scopes: ["read:ai_chats", "write:ai_chat"]
            .map(|scope| scope.parse().expect("a scope"))
            .into(),
        status: KeyStatus::Active,
        expires_at_ms: None,
        allowed_networks: Vec::new(),
        rate_limit: None,
        retiring: false,
    }
}

/// What the request comes to.
pub(super) fn allow<'r>(policy: &Policy, view: &'r CheckView) -> Outcome<'r> {
    let record = Arc::new(record());
    let Reading { facts, next } = read(policy, view);
    let Next::Verify(candidate) = next else {
        panic!("the request has a key");
    };
    let route = candidate.route().cloned();
    let admitted = candidate
        .identify(Some(Arc::clone(&record)), 1)
        .expect("a good key");
    let verdict = Verdict {
        allowed: true,
        remaining: 49,
        reset_after: Duration::from_secs(29),
        retry_after: Duration::ZERO,
    };
    Outcome {
        facts,
        identity: Some(record),
        route,
        limit: admitted.limit().map(|limit| (Arc::clone(limit), verdict)),
        decision: admitted.decide(),
        ..Outcome::fault(Replica::new(), Arrival::now())
    }
}
