//! The source against an endpoint that is in the hands of the test.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use self::verifier::{Behaviour, CLIENT_SECRET, Guard, Verifier, valid};
use super::*;
use crate::config::{RemoteAuth, RemoteClient};

#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../../../tests/it/support/verifier.rs"]
mod verifier;

const TIMEOUT: Duration = Duration::from_secs(5);

struct Stand {
    verifier: Verifier,
    folder: TempDir,
}

impl Stand {
    fn new() -> Self {
        let verifier = Verifier::start();
        verifier.add("good", valid("api_key_1", Some("org_acme"), &["read:a"]));
        Self {
            verifier,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn source(&self, auth: Option<RemoteAuth>, timeout: Duration) -> RemoteSource {
        let settings = Remote {
            verify_url: format!("http://{}/verify", self.verifier.address).into(),
            timeout,
            ca_file: None,
            auth,
        };
        RemoteSource::new(&settings, &RemoteMetrics::default()).unwrap()
    }

    fn client(&self, secret: &str) -> Option<RemoteAuth> {
        let client_secret_file = self.folder.path().join("secret");
        fs::write(&client_secret_file, format!("{secret}\n")).unwrap();
        Some(RemoteAuth::Client(RemoteClient {
            client_id: "client".into(),
            client_secret_file,
            token_url: format!("http://{}/token", self.verifier.address).into(),
            audience: Some("https://keys.example.com".into()),
        }))
    }

    fn bearer(&self, bearer: &str) -> Option<RemoteAuth> {
        let bearer_file = self.folder.path().join("bearer");
        fs::write(&bearer_file, bearer).unwrap();
        Some(RemoteAuth::Bearer { bearer_file })
    }
}

/// `Some(true)`: valid. `Some(false)`: invalid. `None`: no answer.
async fn ask(source: &RemoteSource, key: &str) -> Option<bool> {
    let key = ApiKey::presented(key).unwrap();
    source.verify(&key).await.ok().map(|record| record.is_some())
}

#[tokio::test]
async fn a_key_is_verified_and_an_unknown_one_is_invalid() {
    let stand = Stand::new();
    let source = stand.source(None, TIMEOUT);
    let key = ApiKey::presented("good").unwrap();
    let record = source.verify(&key).await.unwrap().unwrap();
    assert_eq!(
        (&*record.id, record.owner.as_ref().unwrap().org_code()),
        ("api_key_1", Some("org_acme"))
    );
    assert_eq!(ask(&source, "bad").await, Some(false));
    stand
        .verifier
        .answer_unknown(404, json!({"errors": {"code": "NOT_FOUND"}}));
    assert_eq!(ask(&source, "bad").await, Some(false));
}

#[tokio::test]
async fn trouble_says_nothing_of_a_key() {
    let stand = Stand::new();
    let says = |status, headers: &[(&'static str, &'static str)], body: &str| {
        Behaviour::Says(status, headers.to_vec(), body.into())
    };
    for behaviour in [
        Behaviour::Silent,
        says(500, &[], "{}"),
        says(503, &[("retry-after", "1")], r#"{"is_valid": false}"#),
        says(429, &[("ratelimit-reset", "1")], r#"{"is_valid": false}"#),
        says(403, &[], r#"{"errors": []}"#),
        says(401, &[], "<html>"),
        says(200, &[], "<html>"),
        says(200, &[], r#"{"is_valid": "yes"}"#),
        says(302, &[("location", "/token")], "{}"),
    ] {
        stand.verifier.behave(behaviour.clone());
        let source = stand.source(None, Duration::from_millis(300));
        for key in ["good", "bad"] {
            assert_eq!(ask(&source, key).await, None, "{behaviour:?}");
        }
    }
    stand.verifier.behave(Behaviour::Well);
    assert_eq!(ask(&stand.source(None, TIMEOUT), "good").await, Some(true));
}

#[tokio::test]
async fn a_refusal_is_the_keys_only_when_we_were_proven_good_just_now() {
    for status in [400, 401, 422] {
        let stand = Stand::new();
        stand
            .verifier
            .answer_unknown(status, json!({"errors": [{"code": "INVALID"}]}));
        let source = stand.source(stand.bearer("sesame"), TIMEOUT);
        assert_eq!(ask(&source, "bad").await, None, "{status}: nothing is proven yet");
        assert_eq!(ask(&source, "good").await, Some(true));
        assert_eq!(ask(&source, "bad").await, Some(false), "{status}");
        // Another bearer has to prove itself anew.
        stand.bearer("simsim");
        assert_eq!(ask(&source, "bad").await, None, "{status}");
    }
}

#[tokio::test]
async fn many_refusals_do_not_shut_the_good_keys_out() {
    let stand = Stand::new();
    stand.verifier.answer_unknown(401, json!({"errors": []}));
    let source = stand.source(None, TIMEOUT);
    for number in 0..20 {
        assert_eq!(ask(&source, &format!("bad-{number}")).await, None);
    }
    assert_eq!(ask(&source, "good").await, Some(true));
}

#[tokio::test]
async fn a_bearer_file_is_read_anew() {
    let stand = Stand::new();
    stand.verifier.guard(Guard::Bearer("first".into()));
    let source = stand.source(stand.bearer("first\n"), TIMEOUT);
    assert_eq!(ask(&source, "good").await, Some(true));
    stand.verifier.guard(Guard::Bearer("second".into()));
    stand.bearer("second");
    assert_eq!(ask(&source, "good").await, Some(true));
    for bad in ["", "two\nlines", "caf\u{e9}"] {
        stand.bearer(bad);
        assert_eq!(ask(&source, "good").await, None, "{bad:?}");
    }
}

#[tokio::test]
async fn one_token_serves_many_and_is_renewed_before_it_ends() {
    let stand = Stand::new();
    stand.verifier.guard(Guard::Tokens(1.0));
    let source = Arc::new(stand.source(stand.client(CLIENT_SECRET), TIMEOUT));
    let herd = || async {
        let asking: Vec<_> = (0..30)
            .map(|_| {
                let source = Arc::clone(&source);
                tokio::spawn(async move { ask(&source, "good").await })
            })
            .collect();
        for one in asking {
            assert_eq!(one.await.unwrap(), Some(true));
        }
    };
    herd().await;
    assert_eq!(stand.verifier.granted(), 1);
    let end = Instant::now() + TIMEOUT;
    while stand.verifier.granted() == 1 {
        assert_eq!(ask(&source, "good").await, Some(true));
        assert!(Instant::now() < end, "it is never renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    herd().await;
}

#[tokio::test]
async fn a_token_that_ended_early_is_fetched_anew_once_it_is_not_young() {
    let stand = Stand::new();
    stand.verifier.guard(Guard::Tokens(3600.0));
    let source = stand.source(stand.client(CLIENT_SECRET), TIMEOUT);
    assert_eq!(ask(&source, "good").await, Some(true));
    let Credentials::Client(tokens) = &source.credentials else {
        panic!("a client")
    };
    tokens.age(Duration::from_secs(40));
    stand.verifier.end_tokens();
    assert_eq!(
        ask(&source, "good").await,
        Some(true),
        "asked again with a new token"
    );
    assert_eq!((stand.verifier.granted(), stand.verifier.calls()), (2, 3));
    // Whoever shows bad keys makes no tokens.
    stand.verifier.answer_unknown(401, json!({"errors": []}));
    for number in 0..10 {
        assert_eq!(ask(&source, &format!("bad-{number}")).await, Some(false));
    }
    assert_eq!(stand.verifier.granted(), 2);
}

#[tokio::test]
async fn a_client_that_is_refused_asks_for_no_token_again_and_again() {
    let stand = Stand::new();
    stand.verifier.guard(Guard::Tokens(3600.0));
    let source = Arc::new(stand.source(stand.client("wrong"), TIMEOUT));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.verify(&ApiKey::presented("good").unwrap()).await })
        })
        .collect();
    for one in asking {
        let error = one.await.unwrap().unwrap_err().to_string();
        assert_eq!(
            error,
            "key source failed: the token endpoint: it answers with status 401"
        );
    }
    assert_eq!(stand.verifier.calls(), 0);
    // Mended without a restart.
    stand.client(CLIENT_SECRET);
    let end = Instant::now() + TIMEOUT;
    while ask(&source, "good").await.is_none() {
        assert!(Instant::now() < end, "it is never tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let stand = Stand::new();
    let source = stand.source(stand.client(CLIENT_SECRET), TIMEOUT);
    assert_eq!(ask(&source, "good").await, Some(true));
    let shown = format!("{source:?}");
    for secret in ["token-0", CLIENT_SECRET, "good"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
