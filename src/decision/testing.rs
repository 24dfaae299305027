//! What tests of this and other rooms need: a request made by hand, settings without a file, a key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Policy, RequestView};
use crate::config::{
    Access, Api, CacheSettings, ClientAddress, CorsPreflight, CredentialPlace, Drain, KeyAccess, KeySettings,
    Listen, ListenAddress, LogFormat, Management, Per, RateLimit, Route, ScopeRule, Settings, SourceKind,
    StoreUrl, Telemetry, TenantHeaders, Usage,
};
use crate::keys::{KeyRecord, KeyStatus, KeyType, Owner};

/// A request made by hand. Without more ado it comes from 192.0.2.1 and shows what Envoy always sets.
#[derive(Clone, Debug)]
pub(crate) struct FakeRequest {
    method: Vec<u8>,
    target: Vec<u8>,
    is_target_exact: bool,
    host: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    peer: Option<IpAddr>,
}

impl FakeRequest {
    pub(crate) fn new(method: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let request = Self {
            method: method.as_ref().into(),
            target: target.as_ref().into(),
            is_target_exact: true,
            host: b"api.example.com".into(),
            headers: Vec::new(),
            peer: Some(IpAddr::from([192, 0, 2, 1])),
        };
        request
            .header(":path", "/")
            .header("x-forwarded-proto", "https")
            .header("x-request-id", "request-1")
    }

    pub(crate) fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    pub(crate) fn host(mut self, host: impl AsRef<[u8]>) -> Self {
        self.host = host.as_ref().into();
        self
    }

    /// Its target is not known to the byte.
    pub(crate) fn inexact(mut self) -> Self {
        self.is_target_exact = false;
        self
    }

    pub(crate) fn peer(mut self, peer: Option<IpAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// Shows nothing but what is added from here on.
    pub(crate) fn without_headers(mut self) -> Self {
        self.headers.clear();
        self
    }
}

impl RequestView for FakeRequest {
    fn method(&self) -> &[u8] {
        &self.method
    }

    fn target(&self) -> &[u8] {
        &self.target
    }

    fn is_target_exact(&self) -> bool {
        self.is_target_exact
    }

    fn host(&self) -> &[u8] {
        &self.host
    }

    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    fn peer_address(&self) -> Option<IpAddr> {
        self.peer
    }
}

/// A route that takes keys of `api_ai` with these scopes; an empty text is none. `methods` as in `GET POST`.
pub(crate) fn route(name: &str, methods: &str, path: &str, scopes: &str) -> Route {
    Route {
        name: name.into(),
        methods: methods.split_whitespace().map(Into::into).collect(),
        path: path.parse().expect("a test gives a good pattern"),
        host: None,
        access: Access::Key(KeyAccess {
            optional: false,
            api: "api_ai".into(),
            scopes: ScopeRule::All(
                scopes
                    .split_whitespace()
                    .map(|scope| scope.parse().expect("good scope"))
                    .collect(),
            ),
            rate_limit: None,
            guard: None,
        }),
        cors_preflight: CorsPreflight::Check,
        slow_after: None,
    }
}

/// The same with a change to what it asks of keys.
pub(crate) fn route_with(mut route: Route, change: impl FnOnce(&mut KeyAccess)) -> Route {
    if let Access::Key(access) = &mut route.access {
        change(access);
    }
    route
}

/// A public route.
pub(crate) fn public(name: &str, path: &str) -> Route {
    Route {
        access: Access::Public,
        ..route(name, "", path, "")
    }
}

/// Settings as the defaults of the embedded configuration, with a short list of routes: public `/healthz`, and
/// `POST /ai/chat`, which needs `write:ai_chat` and counts against the limit `ai`.
pub(crate) fn settings() -> Settings {
    let second = Duration::from_secs(1);
    let limit = |per| RateLimit {
        limit: NonZeroU32::new(50).expect("not zero"),
        window: 900 * second,
        per,
        error: "AI rate limit exceeded".into(),
        code: "AI_RATE_LIMITED".into(),
    };
    let tcp = |port| ListenAddress::Tcp(([127, 0, 0, 1], port).into());
    let scopes = [
        "read:ai_chats",
        "write:ai_chat",
        "read:ai_analytics",
        "write:ai_analytics",
    ];
    let name = |name: &str| name.parse().expect("good header name");
    Settings {
        listen: Listen {
            grpc: tcp(0),
            http: tcp(0),
            ops: tcp(0),
            grpc_tls: None,
            http_tls: None,
            allow_plaintext: false,
        },
        store: StoreUrl::Sqlite(PathBuf::from("latchkey.db")),
        redis: None,
        drain: Drain {
            settle: Duration::ZERO,
            grace: second,
        },
        apis: vec![Api {
            id: "api_ai".into(),
            name: "AI API".into(),
            audience: "https://api.example.com".into(),
            scopes: scopes.map(|scope| scope.parse().expect("good scope")).into(),
        }],
        client_address: ClientAddress::Peer,
        check_deadline: Duration::from_millis(400),
        strip_headers: ["x-original-url", "x-http-method-override"].map(name).into(),
        credentials: vec![
            CredentialPlace::Header {
                name: name("authorization"),
                scheme: Some("Bearer".into()),
            },
            CredentialPlace::Header {
                name: name("x-api-key"),
                scheme: None,
            },
        ],
        keys: KeySettings {
            source: SourceKind::Store,
            prefix: "lk".into(),
            max_in_flight: NonZeroUsize::new(32).expect("not zero"),
            remote: None,
            cache: CacheSettings {
                ttl: 60 * second,
                negative_ttl: 10 * second,
                stale_if_error: 300 * second,
                refresh_ahead: 0.8,
                max_keys: NonZeroUsize::new(1000).expect("not zero"),
                max_unknown_keys: NonZeroUsize::new(100).expect("not zero"),
            },
        },
        routes: vec![
            public("health", "/healthz"),
            route_with(route("chat", "POST", "/ai/chat", "write:ai_chat"), |access| {
                access.rate_limit = Some("ai".into());
            }),
        ],
        rate_limits: BTreeMap::from([
            ("ai".into(), limit(Per::Key)),
            ("unauthenticated".into(), limit(Per::Address)),
        ]),
        guards: BTreeMap::new(),
        tenant_headers: TenantHeaders {
            key_id: name("x-auth-key-id"),
            org_code: name("x-auth-org-code"),
            user_id: name("x-auth-user-id"),
            scopes: name("x-auth-scopes"),
            context_owner: name("x-auth-context-owner"),
        },
        management: Management::default(),
        usage: Usage {
            retention: 3600 * second,
            sums_retention: 3600 * second,
            slow_after: 5 * second,
            missing_after: 3600 * second,
            spool_dir: "usage".into(),
            spool_max_bytes: 1 << 20,
            stdout: false,
        },
        telemetry: Telemetry {
            log_format: LogFormat::Text,
            log_level: "info".into(),
            otlp_endpoint: None,
        },
    }
}

/// [`settings`] with a change.
pub(crate) fn settings_with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

/// A policy of [`settings`] with a change.
pub(crate) fn policy_with(change: impl FnOnce(&mut Settings)) -> Policy {
    Policy::compile(Arc::new(settings_with(change)))
}

/// A policy of these routes.
pub(crate) fn policy_of(routes: Vec<Route>) -> Policy {
    policy_with(|settings| settings.routes = routes)
}

/// An active key of the organization `acme` for `api_ai` with the scope `write:ai_chat`.
pub(crate) fn key_record() -> KeyRecord {
    KeyRecord {
        id: "api_key_1".into(),
        name: "Test".into(),
        owner: Owner::from_parts(Some("acme"), None),
        api_id: Some("api_ai".into()),
        scopes: vec!["write:ai_chat".parse().expect("good scope")],
        status: KeyStatus::Active,
        expires_at_ms: None,
        allowed_networks: Vec::new(),
        key_type: KeyType::Organization,
        rate_limit: None,
        retiring: false,
    }
}
