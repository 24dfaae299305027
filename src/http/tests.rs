//! The router as a whole, in this process, on a store of its own.

mod apis;
mod keys;
mod mistakes;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::auth::Authenticator;
use super::{App, AuditLog, AuditWriter, Peer, Shared, VerifiedEnvironmentKeys, router};
use crate::authorizer::Authorizer;
use crate::config;
use crate::decision::Policy;
use crate::keys::{KeyCache, KeyStore, SqliteStore, StoreSource};
use crate::limits::LocalLimits;
use crate::outbound::RemoteMetrics;
use crate::telemetry::CheckMetrics;

/// A token that may do everything.
const ALL: &str = "token-of-one-who-may-do-everything-0123456789";
/// A token that may change keys, and has nothing to do with those for the management.
const UPDATER: &str = "token-of-one-who-may-change-keys-0123456789";
/// A token that may do nothing.
const NONE: &str = "token-of-one-who-may-do-nothing-0123456789";

const CONFIG: &str = r"
store: sqlite://FOLDER/keys.db
apis:
  - {id: api_ai, name: The AI, audience: https://ai.example.com, scopes: [read:ai_chats, write:ai_chat]}
  - {id: api_b, name: Another, audience: https://b.example.com, scopes: [read:b]}
routes: []
management:
  tokens:
    - name: all
      token_file: FOLDER/all
      permissions: [create:api_keys, read:api_keys, update:api_keys, delete:api_keys, create:management_keys, read:apis, create:apis, read:api_scopes, create:api_scopes, read:audit_events]
    - {name: none, token_file: FOLDER/none, permissions: []}
    - {name: updater, token_file: FOLDER/updater, permissions: [update:api_keys, create:api_keys]}
";

/// The HTTP API without a socket.
struct TestApi {
    router: Router,
    store: Arc<dyn KeyStore>,
    keys: Arc<KeyCache>,
    writer: tokio::sync::Mutex<Option<AuditWriter>>,
    folder: TempDir,
}

/// What it answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl TestApi {
    async fn start() -> Self {
        Self::with("").await
    }

    /// With more in the section `management` of the settings.
    async fn with(management: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, token) in [("all", ALL), ("none", NONE), ("updater", UPDATER)] {
            fs::write(path(name), token).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = path("latchkey.yaml");
        fs::write(
            &file,
            format!("{CONFIG}{management}").replace("FOLDER", folder.path().to_str().unwrap()),
        )
        .unwrap();
        let settings = Arc::new(config::load(Some(&file), &BTreeMap::new()).unwrap().settings);
        let store = SqliteStore::open(&path("keys.db")).await.unwrap();
        let usage = Arc::new(crate::usage::SqliteUsage::new(&store));
        let source = Arc::new(StoreSource::new(store.clone(), &settings.keys.prefix));
        let keys = KeyCache::new(source, &settings.keys, Handle::current());
        let authenticator = Authenticator::open(
            &settings,
            Some(Arc::new(VerifiedEnvironmentKeys(Arc::clone(&keys)))),
            &RemoteMetrics::default(),
        )
        .unwrap();
        let policy = Policy::compile(settings);
        let authorizer = Authorizer::new(
            policy,
            Arc::clone(&keys),
            LocalLimits::new(1000),
            CheckMetrics::default(),
        );
        let (audit, writer) = AuditLog::new();
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let app = App::new(Shared {
            authorizer: Arc::new(authorizer),
            store: Arc::clone(&store),
            keys: Arc::clone(&keys),
            authenticator: Some(authenticator),
            audit,
            usage,
        });
        Self {
            router: router(app),
            store,
            keys,
            writer: tokio::sync::Mutex::new(Some(writer)),
            folder,
        }
    }

    /// Ends the writer: everything that waits is written.
    async fn write_down(&self) {
        let stopped = CancellationToken::new();
        stopped.cancel();
        let writer = self.writer.lock().await.take().expect("it is written down once");
        writer
            .run(Arc::clone(&self.store), Arc::clone(&self.keys), stopped)
            .await;
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(parts.headers["content-type"], "application/json", "{bytes:?}");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap(),
        }
    }

    /// A request of the one who may do everything.
    async fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_as(Some(ALL), method, target).await
    }

    async fn ask_as(&self, token: Option<&str>, method: &str, target: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

impl TestApi {
    /// The same with a JSON body.
    async fn put_in(&self, token: Option<&str>, method: &str, target: &str, body: &Value) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("content-type", "application/json; charset=utf-8")
            .extension(Peer("192.0.2.7".parse().ok()));
        if let Some(token) = token {
            request = request.header("authorization", format!("bearer {token}"));
        }
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// A POST of the one who may do everything.
    async fn post(&self, target: &str, body: Value) -> Answer {
        self.put_in(Some(ALL), "POST", target, &body).await
    }

    /// Makes a key of an organization; its id and its secret.
    async fn make(&self) -> (String, String) {
        self.make_like(json!({"name": "a", "api_id": "api_ai", "org_code": "org_acme"}))
            .await
    }

    async fn make_like(&self, body: Value) -> (String, String) {
        let answer = self.post("/api/v1/api_keys", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.body["api_key"][name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// What verify says of a secret to one without a token.
    async fn verify(&self, key: &str) -> Value {
        let answer = self
            .put_in(None, "POST", "/api/v1/api_keys/verify", &json!({"api_key": key}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

impl Answer {
    /// The one failure that the body tells of.
    #[track_caller]
    fn failure(&self, status: u16) -> (&str, &str) {
        assert_eq!(self.status, status, "{self:?}");
        let errors = &self.body["errors"];
        let one = if status == 404 { errors } else { &errors[0] };
        assert!(one.is_object(), "{self:?}");
        let text = |name: &str| one[name].as_str().expect("a text");
        (text("code"), text("message"))
    }
}

#[tokio::test]
async fn who_shows_nothing_or_nothing_good_is_401_and_who_may_not_is_403() {
    let api = TestApi::start().await;
    let answer = api.ask_as(None, "GET", "/api/v1/apis").await;
    assert_eq!(answer.failure(401).0, "UNAUTHORIZED");
    assert_eq!(answer.headers["www-authenticate"], r#"Bearer realm="latchkey""#);
    let answer = api.ask_as(Some("wrong"), "GET", "/api/v1/apis").await;
    assert_eq!(answer.failure(401).0, "UNAUTHORIZED");
    assert_eq!(
        answer.headers["www-authenticate"],
        r#"Bearer realm="latchkey", error="invalid_token""#
    );
    let answer = api.ask_as(Some(NONE), "GET", "/api/v1/apis").await;
    assert_eq!(answer.failure(403), ("SCOPE_MISSING", "Scope missing: read:apis"));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_same_shape() {
    let api = TestApi::start().await;
    for target in ["/", "/api/v1", "/api/v1/apis/api_ai/x", "//", "/api//v1/apis"] {
        assert_eq!(
            api.ask("GET", target).await.failure(404).0,
            "ROUTE_NOT_FOUND",
            "{target}"
        );
    }
    assert_eq!(
        api.ask("PATCH", "/api/v1/apis").await.failure(405).0,
        "METHOD_NOT_ALLOWED"
    );
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused() {
    let api = TestApi::start().await;
    let request = Request::get("/api/v1/apis").header("x-long", "x".repeat(17_000));
    let answer = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.failure(431).0, "HEADERS_TOO_LONG");
}

#[tokio::test]
async fn the_document_is_served_and_describes_every_path() {
    let api = TestApi::start().await;
    let answer = api.ask_as(None, "GET", "/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body["openapi"].as_str().unwrap().starts_with("3."),
        "{answer:?}"
    );
    for path in ["/api/v1/apis", "/api/v1/apis/{api_id}/scopes/{scope_id}"] {
        assert!(answer.body["paths"][path].is_object(), "{path}");
    }
}
