//! Who is let in, and as whom.

use std::fs;
use std::path::Path;

use axum::Json;
use axum::routing::get;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::testing::{Pair, encoded, unsigned};
use super::*;
use crate::config::{ALL_PERMISSIONS, load};

const TOKEN: &str = "a-static-token-0001";
const OTHER: &str = "a-static-token-0002";

const ROUTES: &str = "routes: [{name: health, path: /healthz, public: true}]\n";

/// Settings with a store in `folder`, and `management` as in YAML.
pub(super) fn settings(folder: &Path, management: &str) -> Settings {
    let file = folder.join("latchkey.yaml");
    let folder = folder.display();
    let text = format!("store: 'sqlite://{folder}/latchkey.db'\n{ROUTES}{management}\n")
        .replace("FOLDER", &folder.to_string());
    fs::write(&file, text).unwrap();
    load(Some(&file), &Default::default()).unwrap().settings
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

const TWO_TOKENS: &str = "management: {tokens: [
  {name: reader, token_file: FOLDER/reader, permissions: ['read:api_keys', 'read:apis']},
  {name: writer, token_file: FOLDER/writer, permissions: ['create:api_keys']}]}";

#[tokio::test]
async fn a_static_token_gives_its_name_and_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("reader"), format!("{TOKEN}\n")).unwrap();
    fs::write(folder.path().join("writer"), OTHER).unwrap();
    let authenticator = Authenticator::open(
        &settings(folder.path(), TWO_TOKENS),
        None,
        &RemoteMetrics::default(),
    )
    .unwrap();

    let reader = authenticator.authenticate(&bearer(TOKEN)).await.unwrap().unwrap();
    assert_eq!(reader.name(), "token:reader");
    assert_eq!(
        reader.permissions().collect::<Vec<_>>(),
        ["read:api_keys", "read:apis"]
    );
    assert!(reader.has("read:apis") && !reader.has("create:api_keys"));
    let writer = authenticator.authenticate(&bearer(OTHER)).await.unwrap().unwrap();
    assert_eq!(writer.name(), "token:writer");

    assert_eq!(authenticator.authenticate(&HeaderMap::new()).await, Ok(None));
    for wrong in ["a-static-token-0003", "a-static-token-000", "x", "a.b.c"] {
        assert_eq!(
            authenticator.authenticate(&bearer(wrong)).await,
            Err(AuthError::Invalid),
            "{wrong}"
        );
    }
    let shown = format!("{authenticator:?} {:?} {:?}", authenticator.shared.tokens, reader);
    assert!(!shown.contains("static-token"), "{shown}");
    assert!(!folder.path().join("latchkey.db.management-token").exists());
}

#[tokio::test]
async fn without_anybody_in_the_settings_a_first_token_opens_everything() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), "management: {verify: strict}");
    let authenticator = Authenticator::open(&settings, None, &RemoteMetrics::default()).unwrap();
    let token = fs::read_to_string(folder.path().join("latchkey.db.management-token")).unwrap();
    let principal = authenticator
        .authenticate(&bearer(token.trim()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(principal.name(), "token:first");
    assert!(ALL_PERMISSIONS.iter().all(|permission| principal.has(permission)));

    // The next start finds it again.
    let again = Authenticator::open(&settings, None, &RemoteMetrics::default()).unwrap();
    assert_eq!(
        again.authenticate(&bearer(token.trim())).await,
        Ok(Some(principal))
    );
}

#[test]
fn with_postgres_somebody_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), "");
    settings.store = StoreUrl::Postgres("postgres://localhost/latchkey".into());
    let error = Authenticator::open(&settings, None, &RemoteMetrics::default()).unwrap_err();
    assert!(matches!(error, ManagementError::NobodyMayManage), "{error}");
}

#[tokio::test]
async fn a_token_file_that_changes_counts_soon_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = (folder.path().join("reader"), folder.path().join("writer"));
    fs::write(&reader, TOKEN).unwrap();
    fs::write(&writer, OTHER).unwrap();
    let authenticator = Authenticator::open(
        &settings(folder.path(), TWO_TOKENS),
        None,
        &RemoteMetrics::default(),
    )
    .unwrap();
    let stop = CancellationToken::new();
    let (bearers, until) = (authenticator.clone(), stop.clone());
    let watching = tokio::spawn(async move { bearers.keep_up(until).await });

    let new = "a-static-token-0009";
    fs::write(&reader, new).unwrap();
    let reads = async || authenticator.authenticate(&bearer(new)).await.is_ok();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !reads().await {
        assert!(
            std::time::Instant::now() < deadline,
            "the new token does not count"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        authenticator.authenticate(&bearer(TOKEN)).await,
        Err(AuthError::Invalid)
    );

    fs::write(&reader, "").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(reads().await);
    stop.cancel();
    watching.await.unwrap();
}

#[test]
fn tokens_that_cannot_be_used_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), TWO_TOKENS);
    let mistake = || {
        Authenticator::open(&settings, None, &RemoteMetrics::default())
            .unwrap_err()
            .to_string()
    };
    assert!(
        mistake().starts_with("management token \"reader\": "),
        "{}",
        mistake()
    );
    fs::write(folder.path().join("reader"), TOKEN).unwrap();
    fs::write(folder.path().join("writer"), "short").unwrap();
    assert!(
        mistake().contains("writer") && mistake().contains("too short"),
        "{}",
        mistake()
    );
    fs::write(folder.path().join("writer"), TOKEN).unwrap();
    assert_eq!(
        mistake(),
        "the management tokens \"reader\" and \"writer\" are the same"
    );
}

struct OneKey;

impl EnvironmentKeys for OneKey {
    fn verify<'a>(&'a self, key: &'a ApiKey) -> BoxFuture<'a, Result<Option<EnvironmentKey>, AuthError>> {
        let retry_after = Duration::from_secs(1);
        Box::pin(async move {
            match key.expose() {
                "lk_environment" => Ok(Some(EnvironmentKey {
                    id: "api_key_1".into(),
                    permissions: vec!["read:api_keys".into()],
                })),
                "lk_unlucky" => Err(AuthError::Unavailable { retry_after }),
                _ => Ok(None),
            }
        })
    }
}

#[tokio::test]
async fn environment_keys_are_asked_for_only_if_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for (management, expected) in [
        ("", Err(AuthError::Invalid)),
        (
            "management: {environment_keys: true}",
            Ok("key:api_key_1".to_owned()),
        ),
    ] {
        let settings = settings(folder.path(), management);
        let authenticator =
            Authenticator::open(&settings, Some(Arc::new(OneKey)), &RemoteMetrics::default()).unwrap();
        let found = authenticator.authenticate(&bearer("lk_environment")).await;
        assert_eq!(
            found.map(|found| found.unwrap().name().to_owned()),
            expected,
            "{management}"
        );
        assert_eq!(
            authenticator.authenticate(&bearer("lk_organization")).await,
            Err(AuthError::Invalid)
        );
    }
    let settings = settings(folder.path(), "management: {environment_keys: true}");
    let authenticator =
        Authenticator::open(&settings, Some(Arc::new(OneKey)), &RemoteMetrics::default()).unwrap();
    let unlucky = authenticator.authenticate(&bearer("lk_unlucky")).await;
    assert!(matches!(unlucky, Err(AuthError::Unavailable { .. })));
}

/// Serves a set of keys on loopback, and says where.
async fn jwks_server(set: Value) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/jwks", get(|| async { Json(set) }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/jwks")
}

fn with_provider(jwks_url: &str) -> (tempfile::TempDir, Authenticator) {
    let folder = tempfile::tempdir().unwrap();
    let management = format!(
        "management: {{jwt: {{issuer: 'https://idp.example', audience: 'https://keys.example/api', jwks_url: '{jwks_url}'}}}}"
    );
    let authenticator = Authenticator::open(
        &settings(folder.path(), &management),
        None,
        &RemoteMetrics::default(),
    )
    .unwrap();
    (folder, authenticator)
}

#[tokio::test]
async fn a_token_of_the_identity_provider_is_its_subject_with_its_scopes() {
    let (idp, stranger) = (Pair::rsa(), Pair::p256());
    let url = jwks_server(json!({"keys": [idp.jwk("k1")]})).await;
    let (_folder, authenticator) = with_provider(&url);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = |changes: Value| {
        let mut claims = json!({
            "iss": "https://idp.example", "aud": ["https://keys.example/api"], "sub": "m2m\n1", "exp": now + 60,
            "scope": "read:api_keys create:api_keys",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let header = json!({"alg": "RS256", "kid": "k1", "typ": "JWT"});
    let good = idp.jwt(&header, &claims(json!({})));
    let principal = authenticator.authenticate(&bearer(&good)).await.unwrap().unwrap();
    assert_eq!(principal.name(), "jwt:m2m\\n1");
    assert!(principal.has("create:api_keys") && !principal.has("delete:api_keys"));

    let none = json!({"alg": "none", "kid": "k1"});
    let hmac = json!({"alg": "HS256", "kid": "k1"});
    let n = idp.jwk("k1")["n"].as_str().unwrap().to_owned();
    let signed = unsigned(&hmac, &claims(json!({})));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, n.as_bytes());
    let confused = format!(
        "{signed}.{}",
        encoded(ring::hmac::sign(&secret, signed.as_bytes()).as_ref())
    );
    for (what, token) in [
        ("expired", idp.jwt(&header, &claims(json!({"exp": now - 60})))),
        ("not yet", idp.jwt(&header, &claims(json!({"nbf": now + 60})))),
        (
            "another audience",
            idp.jwt(&header, &claims(json!({"aud": "https://api.example.com"}))),
        ),
        (
            "another issuer",
            idp.jwt(&header, &claims(json!({"iss": "https://evil.example"}))),
        ),
        (
            "an ID token of a logout",
            idp.jwt(
                &json!({"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}),
                &claims(json!({})),
            ),
        ),
        (
            "an unknown key",
            stranger.jwt(&json!({"alg": "ES256", "kid": "k2"}), &claims(json!({}))),
        ),
        (
            "a stranger under a known id",
            stranger.jwt(&json!({"alg": "ES256", "kid": "k1"}), &claims(json!({}))),
        ),
        (
            "no signature",
            format!("{}.", unsigned(&none, &claims(json!({})))),
        ),
        (
            "alg none over a good signature",
            format!(
                "{}.{}",
                unsigned(&none, &claims(json!({}))),
                good.rsplit_once('.').unwrap().1
            ),
        ),
        ("an RSA key as a secret", confused),
        ("claims changed", {
            let parts: Vec<&str> = good.split('.').collect();
            format!(
                "{}.{}.{}",
                parts[0],
                encoded(claims(json!({"scope": "delete:api_keys"})).to_string().as_bytes()),
                parts[2]
            )
        }),
    ] {
        assert_eq!(
            authenticator.authenticate(&bearer(&token)).await,
            Err(AuthError::Invalid),
            "{what}"
        );
    }
}

#[tokio::test]
async fn while_the_identity_provider_is_down_its_tokens_are_neither_good_nor_bad() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_folder, authenticator) = with_provider(&format!("http://{address}/jwks"));
    let token = Pair::ed25519().jwt(&json!({"alg": "EdDSA", "kid": "k"}), &json!({}));
    let found = authenticator.authenticate(&bearer(&token)).await;
    assert!(matches!(found, Err(AuthError::Unavailable { .. })), "{found:?}");
    // What is no JWT at all needs nobody.
    assert_eq!(
        authenticator.authenticate(&bearer("abc")).await,
        Err(AuthError::Invalid)
    );
}
