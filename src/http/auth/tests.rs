//! Who is let in, and as whom.

use std::fs;
use std::path::Path;

use http::{HeaderMap, header};

use super::*;
use crate::config::{ALL_PERMISSIONS, load};

const TOKEN: &str = "a-static-token-0001";
const OTHER: &str = "a-static-token-0002";

const ROUTES: &str = "routes: [{name: health, path: /healthz, public: true}]\n";

/// Settings with a store in `folder`, and `management` as in YAML.
fn settings(folder: &Path, management: &str) -> Settings {
    let file = folder.join("latchkey.yaml");
    let folder = folder.display();
    let text = format!("store: 'sqlite://{folder}/latchkey.db'\n{ROUTES}{management}\n")
        .replace("FOLDER", &folder.to_string());
    fs::write(&file, text).unwrap();
    load(Some(&file), &Default::default()).unwrap().settings
}

fn bearer(token: &str) -> HeaderMap {
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
    let authenticator = Authenticator::open(&settings(folder.path(), TWO_TOKENS), None).unwrap();

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
    let authenticator = Authenticator::open(&settings, None).unwrap();
    let token = fs::read_to_string(folder.path().join("latchkey.db.management-token")).unwrap();
    let principal = authenticator
        .authenticate(&bearer(token.trim()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(principal.name(), "token:first");
    assert!(ALL_PERMISSIONS.iter().all(|permission| principal.has(permission)));

    // The next start finds it again.
    let again = Authenticator::open(&settings, None).unwrap();
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
    let error = Authenticator::open(&settings, None).unwrap_err();
    assert!(matches!(error, ManagementError::NobodyMayManage), "{error}");
}

#[test]
fn tokens_that_cannot_be_used_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), TWO_TOKENS);
    let mistake = || Authenticator::open(&settings, None).unwrap_err().to_string();
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
        let authenticator = Authenticator::open(&settings, Some(Arc::new(OneKey))).unwrap();
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
    let authenticator = Authenticator::open(&settings, Some(Arc::new(OneKey))).unwrap();
    let unlucky = authenticator.authenticate(&bearer("lk_unlucky")).await;
    assert!(matches!(unlucky, Err(AuthError::Unavailable { .. })));
}
