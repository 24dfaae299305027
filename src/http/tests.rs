//! The router as a whole, in this process, on a store of its own.

mod apis;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tower::ServiceExt as _;

use super::auth::Authenticator;
use super::{App, Shared, router};
use crate::authorizer::Authorizer;
use crate::config;
use crate::decision::Policy;
use crate::keys::{KeyCache, SqliteStore, StoreSource};
use crate::limits::LocalLimits;
use crate::outbound::RemoteMetrics;
use crate::telemetry::CheckMetrics;

/// A token that may do everything.
const ALL: &str = "token-of-one-who-may-do-everything-0123456789";
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
      permissions: [create:apis, read:apis, create:api_scopes, read:api_scopes]
    - {name: none, token_file: FOLDER/none, permissions: []}
";

/// The HTTP API without a socket.
struct TestApi {
    router: Router,
    _folder: TempDir,
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
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, token) in [("all", ALL), ("none", NONE)] {
            fs::write(path(name), token).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = path("latchkey.yaml");
        fs::write(&file, CONFIG.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        let settings = Arc::new(config::load(Some(&file), &BTreeMap::new()).unwrap().settings);
        let store = SqliteStore::open(&path("keys.db")).await.unwrap();
        let usage = Arc::new(crate::usage::SqliteUsage::new(&store));
        let source = Arc::new(StoreSource::new(store, &settings.keys.prefix));
        let keys = KeyCache::new(source, &settings.keys, Handle::current());
        let authenticator = Authenticator::open(&settings, None, &RemoteMetrics::default()).unwrap();
        let policy = Policy::compile(settings);
        let authorizer = Authorizer::new(policy, keys, LocalLimits::new(1000), CheckMetrics::default());
        let app = App::new(Shared {
            authorizer: Arc::new(authorizer),
            authenticator,
            usage,
        });
        Self {
            router: router(app),
            _folder: folder,
        }
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
