//! The explanation held against the check service itself, in this process.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU32;

use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use proptest::sample::select;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::config::{CredentialPlace, RateLimit};
use crate::decision::testing::{key_record, public, route, route_with, settings_with};
use crate::envoy::CheckLayer;
use crate::keys::{KeyRecord, KeyStatus, Owner};

/// Stands for tonic's router, which nobody asks here.
#[derive(Clone)]
struct Router;

impl Service<http::Request<Body>> for Router {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        ready(Ok(http::Response::new(Body::empty())))
    }
}

const NAMES: [&str; 8] = [
    "good",
    "scopeless",
    "ownerless",
    "other",
    "revoked",
    "expired",
    "inside",
    "unknown",
];

/// Keys by name: each has another fate.
struct Keys {
    keys: Vec<(&'static str, String)>,
    source: Arc<ListedKeys>,
}

impl Keys {
    fn new() -> Self {
        let mut source = ListedKeys::none("lk");
        let mut keys = Vec::new();
        for name in NAMES {
            let key = ApiKey::generate("lk").expect("random bytes");
            if let Some(record) = record(name) {
                source.add(&key, record);
            }
            keys.push((name, key.expose().to_owned()));
        }
        Self {
            keys,
            source: Arc::new(source),
        }
    }

    fn key<'a>(&'a self, wanted: &'a str) -> &'a str {
        let found = self.keys.iter().find(|(name, _)| *name == wanted);
        found.map_or(wanted, |(_, key)| key)
    }
}

fn record(name: &str) -> Option<KeyRecord> {
    let good = key_record();
    Some(match name {
        "good" => good,
        "scopeless" => KeyRecord {
            scopes: Vec::new(),
            owner: Owner::from_parts(None, Some("u%é")),
            ..good
        },
        "ownerless" => KeyRecord { owner: None, ..good },
        "other" => KeyRecord {
            api_id: Some("api_other".into()),
            ..good
        },
        "revoked" => KeyRecord {
            status: KeyStatus::Revoked,
            ..good
        },
        "expired" => KeyRecord {
            expires_at_ms: Some(1),
            ..good
        },
        "inside" => KeyRecord {
            allowed_networks: vec!["10.0.0.0/8".parse().expect("a network")],
            ..good
        },
        _ => return None,
    })
}

fn settings() -> Arc<Settings> {
    Arc::new(settings_with(|settings| {
        settings.check_deadline = Duration::from_secs(30);
        settings
            .rate_limits
            .values_mut()
            .for_each(|rule: &mut RateLimit| rule.limit = NonZeroU32::MAX);
        settings.credentials.push(CredentialPlace::Query {
            name: "api_key".into(),
        });
        settings.routes.push(public("open", "/open/{*rest}"));
        settings
            .routes
            .push(route("one", "GET", "/ai/chats/{id}", "write:ai_chat"));
        settings
            .routes
            .push(route_with(route("maybe", "", "/maybe", ""), |access| {
                access.optional = true
            }));
        settings
            .routes
            .push(route_with(route("guarded", "", "/guarded", ""), |access| {
                access.guard = Some("g".into())
            }));
    }))
}

struct Both {
    keys: Keys,
    layer: CheckLayer,
    judge: Judge,
}

impl Both {
    fn new() -> Self {
        let (keys, settings) = (Keys::new(), settings());
        let waiting = Handle::current();
        let source: Arc<dyn KeySource> = keys.source.clone();
        let cache = KeyCache::new(Arc::clone(&source), &settings.keys, waiting.clone());
        let authorizer = Authorizer::new(
            Policy::compile(Arc::clone(&settings)),
            cache,
            LocalLimits::new(100),
            CheckMetrics::default(),
        );
        Self {
            keys,
            layer: CheckLayer::new(Arc::new(authorizer)),
            judge: Judge::new(settings, source, Counting::Never, waiting),
        }
    }

    /// What the check service answers.
    async fn served(&self, message: &Bytes) -> Answer {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        framed.extend_from_slice(message);
        let request = http::Request::post("/envoy.service.auth.v3.Authorization/Check")
            .header("content-type", "application/grpc")
            .body(Body::new(Full::new(Bytes::from(framed))))
            .expect("a request");
        let response = self
            .layer
            .layer(Router)
            .oneshot(request)
            .await
            .expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer::read(&body[5..]).expect("a CheckResponse")
    }

    async fn explained(&self, request: &Request) -> Explanation {
        let judged = self.judge.judge(request.encode(), Arrival::now()).await;
        judged.expect("a request that can be asked about")
    }

    /// The result of each step and the reason, for a request with this key.
    async fn story(&self, method: &str, target: &str, key: &str) -> (String, String) {
        let mut request = Request::new(target);
        request.method = method.into();
        if !key.is_empty() {
            let value = format!("Bearer {}", self.keys.key(key));
            request.headers.push((b"authorization".into(), value.into()));
        }
        let explained = self.explained(&request).await;
        let mark = |step: &Step| match step.result {
            StepResult::Passed => '+',
            StepResult::Refused => 'x',
            StepResult::Held => '?',
            StepResult::Skipped => '-',
            StepResult::NotReached => '.',
        };
        (
            explained.steps.iter().map(mark).collect(),
            explained.answer.reason.unwrap_or_default(),
        )
    }
}

#[tokio::test]
async fn every_reason_has_its_step() {
    let both = Both::new();
    for (method, target, key, steps, reason) in [
        ("POST", "/ai//chat", "good", "x........", "invalid_path"),
        ("CONNECT", "example.com:443", "good", "x........", "invalid_path"),
        ("GET", "/healthz", "", "+++------", "public"),
        ("GET", "/maybe", "", "+++------", "anonymous"),
        ("POST", "/ai/chat", "", "+++x.....", "missing_key"),
        ("GET", "/nowhere", "", "++?x.....", "missing_key"),
        ("POST", "/ai/chat", "a,b", "+++x.....", "key_ambiguous"),
        ("POST", "/ai/chat", "é", "+++x.....", "key_malformed"),
        ("POST", "/ai/chat", "lk_short", "++++x....", "key_malformed"),
        ("POST", "/ai/chat", "unknown", "++++x....", "key_unknown"),
        ("POST", "/ai/chat", "revoked", "++++x....", "key_revoked"),
        ("POST", "/ai/chat", "expired", "++++x....", "key_expired"),
        ("POST", "/ai/chat", "ownerless", "+++++x...", "no_trusted_owner"),
        ("GET", "/nowhere", "ownerless", "++?++x...", "no_trusted_owner"),
        ("GET", "/nowhere", "good", "++?+++x..", "no_route"),
        ("GET", "/ai/chat", "good", "++?+++x..", "method_not_allowed"),
        ("POST", "/ai/CHAT", "good", "++?+++x..", "path_twin"),
        ("POST", "/ai/chat", "other", "++++++x..", "wrong_api"),
        ("POST", "/ai/chat", "inside", "++++++x..", "network_not_allowed"),
        ("POST", "/ai/chat", "scopeless", "++++++++x", "insufficient_scope"),
        ("POST", "/ai/chat", "good", "+++++++++", "key"),
        ("GET", "/ai/chats/1", "good", "+++++++-+", "key"),
    ] {
        let told = both.story(method, target, key).await;
        assert_eq!(told, (steps.into(), reason.into()), "{method} {target} {key}");
    }
}

#[tokio::test]
async fn limits_count_only_when_asked_to() {
    let keys = Keys::new();
    let settings = Arc::new(settings_with(|settings| {
        settings
            .rate_limits
            .values_mut()
            .for_each(|rule: &mut RateLimit| rule.limit = NonZeroU32::MIN);
    }));
    for (counting, second, bad) in [
        (Counting::Never, "key", "key_unknown"),
        (Counting::Yes, "rate_limited", "rate_limited"),
    ] {
        let judge = Judge::new(
            Arc::clone(&settings),
            keys.source.clone(),
            counting,
            Handle::current(),
        );
        let mut reasons = Vec::new();
        for key in ["good", "good", "unknown", "unknown"] {
            let mut request = Request::new("/ai/chat");
            request.method = b"POST".into();
            request.headers.push((b"x-api-key".into(), keys.key(key).into()));
            let explained = judge
                .judge(request.encode(), Arrival::now())
                .await
                .expect("judged");
            reasons.push(explained.answer.reason.expect("a reason"));
        }
        assert_eq!(reasons, ["key", second, "key_unknown", bad], "{counting:?}");
    }
}

#[tokio::test]
async fn a_debug_of_an_explanation_shows_no_key() {
    let both = Both::new();
    let mut request = Request::new("/ai/chat");
    request
        .headers
        .push((b"x-api-key".into(), both.keys.key("good").into()));
    let explained = both.explained(&request).await;
    assert!(explained.presented.is_some());
    let shown = format!(
        "{explained:?}{}",
        serde_json::to_string(&explained).expect("JSON")
    );
    assert!(!shown.contains(both.keys.key("good")), "{shown}");
}

/// Targets, most of them with something to trip over.
fn target() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/", "ai", "chat", "chats", "CHAT", "healthz", "open", "maybe", "guarded", "..", ".", "%2e", "%2F",
        "%252F", "%41", "\\", ";", "//", "?", "#", "api_key=", "&", "\0", "é", "%c3%a9", "%C3%A9", "*", ":",
        "@", " ", "%", "1",
    ]);
    let whole = select(vec![
        "/ai/chat",
        "/ai/chat/",
        "/AI/chat",
        "/ai/chats/1",
        "/healthz",
        "/open/a/b",
        "/maybe",
        "/guarded",
        "/ai/chat?api_key=KEY",
        "/healthz?api_key=KEY&b=c",
        "/ai/chat?a=b;api_key=KEY",
        "/ai/chat?api%5Fkey=KEY",
        "/ai%2Fchat",
        "http://e.com/ai/chat",
        "*",
    ])
    .prop_map(String::from);
    prop_oneof![
        3 => whole,
        2 => proptest::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat())),
    ]
}

fn header() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "authorization",
        "Authorization",
        "x-api-key",
        "X-Api-Key",
        "x_api_key",
        "x.api.key",
        "x-auth-org-code",
        "X_Auth_Org_Code",
        "x.auth.user.id",
        "x-original-url",
        "x-http-method-override",
        "x-forwarded-for",
        "connection",
        "upgrade",
        "content-type",
        "x-request-id",
        "origin",
        "access-control-request-method",
        ":path",
        "x-envoy-auth-failure-mode-allowed",
    ]);
    let value = prop_oneof![
        4 => Just("Bearer KEY"),
        3 => Just("KEY"),
        1 => select(vec![
            "", "bearer  KEY", "Basic eA==", "Bearer KEY,Bearer KEY", "Basic x,Bearer KEY", "KEY,KEY", "upgrade", "websocket",
            "application/grpc", "POST", "é\0", "10.1.2.3",
        ]),
    ];
    (name, value.prop_map(String::from)).prop_map(|(name, value)| (name.into(), value))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// One world for all cases, so that the server's cache is warm for most of them, as a server's is.
    #[test]
    fn check_says_what_the_server_does(
        method in select(vec!["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "get", ""]),
        target in target(),
        host in select(vec!["localhost", "api.example.com:8080", "a,b", "", "[::1]", "127.1", "E.com."]),
        headers in proptest::collection::vec(header(), 0..4),
        key in select(NAMES.to_vec()),
        peer in select(vec!["127.0.0.1", "10.1.2.3", "2001:db8::1"]),
        bare in any::<bool>(),
    ) {
        WORLD.with(|(runtime, both)| runtime.block_on(async {
            let with_key = |text: &str| text.replace("KEY", both.keys.key(key)).into_bytes();
            let request = Request {
                method: method.into(),
                target: with_key(&target),
                host: host.into(),
                headers: headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), with_key(value))).collect(),
                peer: peer.parse().ok(),
                bare,
            };
            let explained = both.explained(&request).await;
            let served = both.served(&request.encode()).await;
            prop_assert_eq!(explained.answer.lasting(), served.lasting());
            let refused = explained.steps.iter().filter(|step| step.result == StepResult::Refused).count();
            prop_assert_eq!(refused, usize::from(served.decision == Verb::Deny), "{:?}", explained.steps);
            Ok(())
        }))?;
    }
}

thread_local! {
    static WORLD: (tokio::runtime::Runtime, Both) = {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let both = runtime.block_on(async { Both::new() });
        (runtime, both)
    };
}
