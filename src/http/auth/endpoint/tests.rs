//! Who gets a token, and what for.

use std::net::IpAddr;
use std::path::Path;

use axum::body::{Body, to_bytes};
use http::Method;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::super::jws::{PublicKey, Unverified};
use super::super::tests::{bearer, settings};
use super::*;
use crate::outbound::RemoteMetrics;

const SECRET: &str = "a-client-secret-0001";
const CLIENTS: &str = "management: {clients: [
  {id: ci, secret_file: FOLDER/secret, permissions: ['create:api_keys', 'read:api_keys']},
  {id: dashboard, secret_sha256: '480ca26090fd5c0cb9a2e8413fa616043e9b42bf97d6ca03a67d9b76263d46b3', permissions: ['read:apis']}]}";
const HOST: &str = "keys.example.com:9192";

struct Server {
    authenticator: Authenticator,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let authenticator = open(folder.path(), CLIENTS);
        Self {
            authenticator,
            folder,
        }
    }

    async fn send(&self, request: http::Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.authenticator.routes().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (
            head.status,
            head.headers,
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    /// A form with these parameters.
    async fn form(&self, body: &str) -> (StatusCode, HeaderMap, Value) {
        self.send(request("application/x-www-form-urlencoded", body))
            .await
    }

    /// The token for these parameters.
    async fn token(&self, more: &str) -> String {
        let (status, _, body) = self.form(&format!("{GOOD}{more}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }
}

fn open(folder: &Path, management: &str) -> Authenticator {
    Authenticator::open(&settings(folder, management), None, &RemoteMetrics::default()).unwrap()
}

fn request(content_type: &str, body: &str) -> http::Request<Body> {
    http::Request::builder()
        .method(Method::POST)
        .uri(TOKEN)
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

const GOOD: &str = "grant_type=client_credentials&client_id=ci&client_secret=a-client-secret-0001";

#[tokio::test]
async fn a_client_gets_a_short_lived_token_that_opens_what_it_may() {
    let server = Server::start();
    let (status, headers, body) = server
        .form(&format!("{GOOD}&audience=https://{HOST}/api&scope="))
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "create:api_keys read:api_keys");
    let token = body["access_token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!(
        claims["aud"],
        json!([format!("https://{HOST}/api"), "latchkey:management"])
    );
    assert_eq!(claims["iss"], format!("http://{HOST}"));
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!("ci"), &json!("ci"))
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        900
    );

    let principal = server
        .authenticator
        .authenticate(&bearer(token))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(principal.name(), "client:ci");
    assert!(principal.has("create:api_keys") && !principal.has("read:apis"));

    // The published keys verify it.
    let get = http::Request::get(JWKS).body(Body::empty()).unwrap();
    let (_, _, set) = server.send(get).await;
    let keys = PublicKey::of_set(set.to_string().as_bytes()).unwrap();
    assert!(Unverified::of(token).unwrap().verify(&keys[0]).is_some());
}

#[tokio::test]
async fn a_scope_narrows_and_never_widens() {
    let server = Server::start();
    for (scope, expected) in [
        ("", Some("create:api_keys read:api_keys")),
        ("&scope=read%3Aapi_keys", Some("read:api_keys")),
        (
            "&scope=read:api_keys+create:api_keys",
            Some("read:api_keys create:api_keys"),
        ),
        ("&scope=+", Some("create:api_keys read:api_keys")),
        ("&scope=read:apis", None),
        ("&scope=read:api_keys+delete:api_keys", None),
        ("&scope=*", None),
    ] {
        let (status, _, body) = server.form(&format!("{GOOD}{scope}")).await;
        match expected {
            Some(expected) => assert_eq!(body["scope"], expected, "{scope}"),
            None => assert_eq!(
                (status, &body["error"]),
                (StatusCode::BAD_REQUEST, &json!("invalid_scope")),
                "{scope}"
            ),
        }
    }
    let token = server.token("&scope=read:api_keys").await;
    let principal = server
        .authenticator
        .authenticate(&bearer(&token))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(principal.permissions().collect::<Vec<_>>(), ["read:api_keys"]);
}

#[tokio::test]
async fn an_audience_is_this_server_or_refused() {
    let server = Server::start();
    for (audience, good) in [
        ("", true),
        ("https://keys.example.com:9192/api", true),
        ("http://keys.example.com:9192/api", true),
        ("https://KEYS.example.com:9192/api", true),
        ("https://keys.example.com:9192/api/", false),
        ("https://keys.example.com/api", false),
        ("https://keys.example.com:9192", false),
        ("https://api.example.com", false),
        ("https://keys.example.com:9192/api https://api.example.com", false),
        ("latchkey:management", false),
        ("https://evil@keys.example.com:9192/api", false),
    ] {
        let (status, _, body) = server.form(&format!("{GOOD}&audience={audience}")).await;
        let expected = if good {
            json!(null)
        } else {
            json!("invalid_target")
        };
        assert_eq!(
            (status.is_success(), &body["error"]),
            (good, &expected),
            "{audience}"
        );
    }
    // Not even by lying about the host.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let mut settings = settings(folder.path(), CLIENTS);
    settings.apis = vec![crate::config::Api {
        id: "api".into(),
        name: "API".into(),
        audience: "https://api.example.com/api".into(),
        scopes: Vec::new(),
    }];
    let server = Server {
        authenticator: Authenticator::open(&settings, None, &RemoteMetrics::default()).unwrap(),
        folder,
    };
    let mut lie = request(
        "application/x-www-form-urlencoded",
        &format!("{GOOD}&audience=https://api.example.com/api"),
    );
    lie.headers_mut()
        .insert(header::HOST, HeaderValue::from_static("api.example.com"));
    assert_eq!(server.send(lie).await.2["error"], "invalid_target");
}

#[tokio::test]
async fn a_client_shows_itself_in_one_of_three_ways() {
    let server = Server::start();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let good_json = json!({"grant_type": "client_credentials", "client_id": "ci", "client_secret": SECRET, "scope": null});
    let grant = "grant_type=client_credentials";
    let form = "application/x-www-form-urlencoded";
    let pair = format!("ci:{SECRET}");
    for (content_type, body, authorization, expected) in [
        (form, GOOD.to_owned(), None, 200),
        (
            "application/x-www-form-urlencoded; charset=UTF-8",
            GOOD.to_owned(),
            None,
            200,
        ),
        ("application/json", good_json.to_string(), None, 200),
        (
            "Application/JSON; charset=utf-8",
            good_json.to_string(),
            None,
            200,
        ),
        (form, grant.to_owned(), Some(basic(&pair)), 200),
        (
            form,
            grant.to_owned(),
            Some(basic("ci:a%2Dclient-secret-0001")),
            200,
        ),
        (form, format!("{grant}&client_id=ci"), Some(basic(&pair)), 200),
        (
            form,
            format!("{grant}&client_id=dashboard&client_secret=a-client-secret-0002"),
            None,
            200,
        ),
        (form, format!("{grant}&client_id=other"), Some(basic(&pair)), 400),
        (form, GOOD.to_owned(), Some(basic(&pair)), 400),
        (form, grant.to_owned(), Some(basic("ci:wrong")), 401),
        (form, grant.to_owned(), Some(basic("ci")), 401),
        (form, grant.to_owned(), Some("Basic !".to_owned()), 401),
        (form, grant.to_owned(), Some("Bearer abc".to_owned()), 401),
        (form, grant.to_owned(), None, 401),
        (form, format!("{grant}&client_id=ci"), None, 401),
        (form, format!("{grant}&client_id=&client_secret="), None, 401),
        (
            form,
            format!("{grant}&client_id=nobody&client_secret={SECRET}"),
            None,
            401,
        ),
        (
            form,
            format!("{grant}&client_id=dashboard&client_secret={SECRET}"),
            None,
            401,
        ),
        (form, format!("{GOOD}&client_id=ci"), None, 400),
        (form, "client_id=ci".to_owned(), None, 400),
        (
            form,
            format!("grant_type=password&client_id=ci&client_secret={SECRET}"),
            None,
            400,
        ),
        ("application/json", "{".to_owned(), None, 400),
        ("application/json", "[]".to_owned(), None, 400),
        (
            "application/json",
            json!({"grant_type": ["client_credentials"]}).to_string(),
            None,
            400,
        ),
        ("text/plain", GOOD.to_owned(), None, 400),
        (form, format!("{GOOD}&x={}", "a".repeat(LONGEST_BODY)), None, 400),
    ] {
        let mut request = request(content_type, &body);
        if let Some(authorization) = &authorization {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        let (status, headers, answer) = server.send(request).await;
        let case = format!(
            "{content_type} {} {authorization:?}: {answer}",
            &body[..body.len().min(90)]
        );
        assert_eq!(status.as_u16(), expected, "{case}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{case}");
        assert_eq!(
            headers.contains_key(header::WWW_AUTHENTICATE),
            expected == 401,
            "{case}"
        );
        if expected == 401 {
            assert_eq!(answer["error"], "invalid_client", "{case}");
        }
        assert!(!answer.to_string().contains(SECRET), "{case}");
    }
    let (_, _, answer) = server.form("grant_type=refresh_token").await;
    assert_eq!(answer["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn who_guesses_is_slowed_down_by_address() {
    let server = Server::start();
    let guess = |address: &str, body: &str| {
        let mut request = request("application/x-www-form-urlencoded", body);
        let address: IpAddr = address.parse().unwrap();
        request.extensions_mut().insert(Peer(Some(address)));
        request
    };
    let wrong = "grant_type=client_credentials&client_id=ci&client_secret=wrong";
    let mut refused = 0;
    for _ in 0..60 {
        let (status, headers, _) = server.send(guess("192.0.2.1", wrong)).await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert!(
                headers[header::RETRY_AFTER]
                    .to_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
                    <= 61
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 30);
    // Also with the right secret: else the answer would tell a guesser that it is right.
    assert_eq!(
        server.send(guess("192.0.2.1", GOOD)).await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(server.send(guess("192.0.2.2", GOOD)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_comes_of_bearers_and_of_requests_is_counted() {
    let server = Server::start();
    let token = server.token("").await;
    server
        .form("grant_type=client_credentials&client_id=ci&client_secret=wrong")
        .await;
    for shown in [token.as_str(), "nonsense", "a.b.c"] {
        let _ = server.authenticator.authenticate(&bearer(shown)).await;
    }
    let _ = server.authenticator.authenticate(&HeaderMap::new()).await;
    let mut registry = crate::telemetry::Registry::default();
    server.authenticator.register(&mut registry);
    let metrics = crate::telemetry::render(&registry).unwrap();
    for line in [
        "latchkey_management_bearers_total{result=\"client\"} 1",
        "latchkey_management_bearers_total{result=\"invalid\"} 2",
        "latchkey_token_requests_total{result=\"issued\"} 1",
        "latchkey_token_requests_total{result=\"invalid_client\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_token_dies_with_its_client_and_is_worth_nothing_elsewhere() {
    let server = Server::start();
    let token = server.token("").await;
    let folder = server.folder.path();
    for (management, expected) in [
        (CLIENTS.to_owned(), Some(2)),
        // A permission that was taken away.
        (CLIENTS.replace("'create:api_keys', ", ""), Some(1)),
        // The client is gone.
        (CLIENTS.replace("id: ci", "id: cd"), None),
        // Other keys.
        (
            CLIENTS.replace(
                "management: {",
                "management: {signing_keys: {dir: FOLDER/other}, ",
            ),
            None,
        ),
    ] {
        let authenticator = open(folder, &management);
        let found = authenticator.authenticate(&bearer(&token)).await;
        let count = found
            .as_ref()
            .ok()
            .map(|found| found.as_ref().unwrap().permissions().count());
        assert_eq!(count, expected, "{management}");
    }
}

#[tokio::test]
async fn our_keys_make_a_management_token_only_of_what_says_so() {
    let server = Server::start();
    let keys =
        super::super::signing::SigningKeys::open(&server.folder.path().join("latchkey.db.signing-keys"))
            .unwrap();
    let good = claims(&server.token("").await);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (typ, claims, expected) in [
        ("at+jwt", good.clone(), true),
        ("JWT", good.clone(), false),
        ("assertion+jwt", good.clone(), false),
        ("at+jwt", with("aud", json!(format!("https://{HOST}/api"))), false),
        ("at+jwt", with("exp", json!(1_000_000_000)), false),
        ("at+jwt", with("client_id", json!(null)), false),
        ("at+jwt", with("client_id", json!("nobody")), false),
    ] {
        let token = keys.sign(typ, &claims).unwrap();
        let found = server.authenticator.authenticate(&bearer(&token)).await;
        assert_eq!(found.is_ok(), expected, "{typ} {claims}");
    }
}

#[tokio::test]
async fn discovery_names_the_server_as_it_was_called() {
    let server = Server::start();
    let get = |host: &str, proto: Option<&str>| {
        let request = http::Request::get("/.well-known/openid-configuration").header(header::HOST, host);
        let request = match proto {
            Some(proto) => request.header("x-forwarded-proto", proto),
            None => request,
        };
        request.body(Body::empty()).unwrap()
    };
    let (status, _, body) = server.send(get(HOST, Some("https"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["issuer"], format!("https://{HOST}"));
    assert_eq!(body["token_endpoint"], format!("https://{HOST}/oauth2/token"));
    assert_eq!(body["jwks_uri"], format!("https://{HOST}/.well-known/jwks.json"));
    let (_, _, body) = server.send(get("[::1]:9192", None)).await;
    assert_eq!(body["issuer"], "http://[::1]:9192");
    for bad in ["a/b", "a b", "user@host", "<script>", ""] {
        let (status, _, body) = server.send(get(bad, None)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(body["issuer"].is_null() && !body.to_string().contains("<script"));
    }
}
