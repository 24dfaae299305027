//! What targets share: a policy with every kind of route, a request made of bytes, and readings that owe nothing to ours.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use latchkey::config;
use latchkey::decision::{Policy, RequestView};
use latchkey::keys::{KeyRecord, KeyStatus, KeyType, Owner};

const POLICY: &str = r#"
apis: [{id: ai, name: AI, audience: a, scopes: [read:x, write:x]}]
credentials: [{header: authorization, scheme: Bearer}, {header: x-api-key}, {query: api_key}]
rate_limits: {l: {limit: 5, window: 1m, per: key}}
routes:
  - {name: public, path: /public, public: true}
  - {name: optional, path: /optional, api: ai, scopes: [], auth: optional}
  - {name: chat, methods: [POST], path: /ai/chat, api: ai, scopes: [write:x], rate_limit: l}
  - {name: chat-get, methods: [GET], path: /ai/chat, api: ai, scopes: [read:x], cors_preflight: allow}
  - {name: one, path: "/ai/chats/{id}", api: ai, scopes: [read:x]}
  - {name: special, path: /ai/chats/special, api: ai, scopes: [read:x, write:x]}
  - {name: rest, path: "/files/{*rest}", api: ai, scopes: [read:x]}
  - {name: admin, path: /files/admin/Keys, api: ai, scopes: [write:x]}
  - {name: slash, path: /files/a:b/, api: ai, scopes: [write:x]}
  - {name: host, host: other.example.com, path: "/{*all}", api: ai, scopes: [read:x]}
"#;

/// Calls `use_it` with the policy, which is compiled once.
pub(crate) fn with_policy<T>(use_it: impl FnOnce(&Policy) -> T) -> T {
    static COMPILED: OnceLock<Policy> = OnceLock::new();
    use_it(COMPILED.get_or_init(|| {
        let loaded = config::load_text("fuzz.yaml", Some(POLICY), &BTreeMap::new());
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        Policy::compile(Arc::new(loaded.settings))
    }))
}

/// A key that may use every route.
pub(crate) fn record() -> KeyRecord {
    KeyRecord {
        id: "api_key_1".into(),
        name: "A \"key\"\u{e9}".into(),
        key_type: KeyType::User,
        owner: Owner::from_parts(Some("acme%"), Some("\u{e9} \"da")),
        api_id: Some("ai".into()),
        scopes: ["read:x", "write:x"]
            .map(|scope| scope.parse().expect("a scope"))
            .into(),
        status: KeyStatus::Active,
        expires_at_ms: None,
        allowed_networks: Vec::new(),
        rate_limit: None,
        retiring: false,
    }
}

/// A request made of bytes.
pub(crate) struct Request<'d> {
    /// Such as `POST`.
    pub(crate) method: &'d [u8],
    /// `:path`
    pub(crate) target: &'d [u8],
    /// Names and values.
    pub(crate) headers: Vec<(&'d [u8], &'d [u8])>,
}

impl RequestView for Request<'_> {
    fn method(&self) -> &[u8] {
        self.method
    }

    fn target(&self) -> &[u8] {
        self.target
    }

    fn is_target_exact(&self) -> bool {
        true
    }

    fn host(&self) -> &[u8] {
        b"api.example.com"
    }

    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().copied()
    }

    fn peer_address(&self) -> Option<IpAddr> {
        None
    }
}

/// Whether a backend that reads `_` and `.` as `-`, or ignores case, takes this name for a tenant header.
pub(crate) fn is_twin_of_a_tenant_header(policy: &Policy, name: &[u8]) -> bool {
    let folded: Vec<u8> = name
        .iter()
        .map(|byte| match byte {
            b'_' | b'.' => b'-',
            byte => byte.to_ascii_lowercase(),
        })
        .collect();
    let names = policy.settings.tenant_headers.all();
    names.iter().any(|known| known.as_str().as_bytes() == folded)
}

/// Every escape decoded, once; `+` is a space.
pub(crate) fn decoded(text: &[u8], plus_is_space: bool) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let escape = match text.get(at..at + 3) {
            Some([b'%', high, low]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match escape {
            Some(byte) => {
                decoded.push(u8::try_from(byte).expect("two hexadecimal digits"));
                at += 3;
            }
            None => {
                let is_space = plus_is_space && text[at] == b'+';
                decoded.push(if is_space { b' ' } else { text[at] });
                at += 1;
            }
        }
    }
    decoded
}
