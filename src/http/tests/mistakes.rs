//! What is wrong with a request is said with the name of its field, and nothing is half done.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{ALL, TestApi};

const KEYS: &str = "/api/v1/api_keys";

fn request(body: impl Into<Body>, content_type: Option<&str>) -> Request<Body> {
    let mut request = Request::post(KEYS).header("authorization", format!("Bearer {ALL}"));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn a_wrong_body_names_what_is_wrong_and_makes_no_key() {
    let api = TestApi::start().await;
    let good = || json!({"name": "n", "api_id": "api_ai", "org_code": "o"});
    let with = |name: &str, value: Value| {
        let mut body = good();
        body[name] = value;
        body
    };
    let without = |name: &str| {
        let mut body = good();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    for (body, code, named) in [
        (json!([]), "INVALID_REQUEST", "object"),
        (json!("text"), "INVALID_REQUEST", "object"),
        (without("name"), "INVALID_REQUEST", "name"),
        (with("name", json!(5)), "INVALID_REQUEST", "name"),
        (with("name", json!(null)), "INVALID_REQUEST", "name"),
        (with("name", json!("")), "INVALID_REQUEST", "name"),
        (with("name", json!("  ")), "INVALID_REQUEST", "name"),
        (with("name", json!("a\u{0}b")), "INVALID_REQUEST", "name"),
        (with("name", json!("n".repeat(256))), "INVALID_REQUEST", "name"),
        (without("api_id"), "INVALID_REQUEST", "api_id"),
        (with("api_id", json!("api_aj")), "INVALID_API", "\"api_ai\"?"),
        (
            with("scope_ids", json!("read:ai_chats")),
            "INVALID_REQUEST",
            "scope_ids",
        ),
        (with("scope_ids", json!([1])), "INVALID_REQUEST", "scope_ids"),
        (
            with("scope_ids", json!(["read:ai_chat"])),
            "INVALID_SCOPE",
            "Scope not found: \"read:ai_chat\"",
        ),
        (with("scope_ids", json!(["read:b"])), "INVALID_SCOPE", "scope_ids"),
        (without("org_code"), "INVALID_REQUEST", "org_code"),
        (with("org_code", json!("")), "INVALID_REQUEST", "org_code"),
        (with("org_code", json!(["o"])), "INVALID_REQUEST", "org_code"),
        (
            with("org_code", json!("o".repeat(257))),
            "INVALID_REQUEST",
            "org_code",
        ),
        (with("type", json!("user")), "INVALID_REQUEST", "user_id"),
        (with("type", json!("machine")), "INVALID_REQUEST", "type"),
        (with("type", json!(true)), "INVALID_REQUEST", "type"),
        (
            with("expires_on", json!("tomorrow")),
            "INVALID_REQUEST",
            "expires_on",
        ),
        (
            with("expires_on", json!("2001-01-01T00:00:00Z")),
            "INVALID_REQUEST",
            "expires_on",
        ),
        (with("expires_on", json!(1)), "INVALID_REQUEST", "expires_on"),
        (
            with("allowed_networks", json!(["192.0.2.0/33"])),
            "INVALID_REQUEST",
            "allowed_networks",
        ),
        (
            with("allowed_networks", json!({})),
            "INVALID_REQUEST",
            "allowed_networks",
        ),
        (with("rate_limit", json!(5)), "INVALID_REQUEST", "rate_limit"),
        (
            with("rate_limit", json!({"limit": 0, "window": "1m"})),
            "INVALID_REQUEST",
            "rate_limit.limit",
        ),
        (
            with("rate_limit", json!({"limit": 1, "window": "1ms"})),
            "INVALID_REQUEST",
            "rate_limit.window",
        ),
        (
            with("rate_limit", json!({"limit": 1})),
            "INVALID_REQUEST",
            "rate_limit.window",
        ),
        (with("metadata", json!([])), "INVALID_REQUEST", "metadata"),
        (
            with("metadata", json!({"long": "x".repeat(5000)})),
            "INVALID_REQUEST",
            "metadata",
        ),
    ] {
        let answer = api.post(KEYS, body.clone()).await;
        let (told, message) = answer.failure(400);
        assert_eq!(told, code, "{body}: {message}");
        assert!(message.contains(named), "{body}: {message}");
    }
    assert_eq!(api.ask("GET", KEYS).await.body["api_keys"], json!([]));
}

#[tokio::test]
async fn what_is_no_json_is_no_body() {
    let api = TestApi::start().await;
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
    ] {
        let answer = api.send(request("{}", content_type)).await;
        assert_eq!(
            answer.failure(415).0,
            "UNSUPPORTED_MEDIA_TYPE",
            "{content_type:?}"
        );
    }
    for body in ["", "{", "{\"name\": }", "{} {}", "\u{feff}{}"] {
        let answer = api.send(request(body, Some("application/json"))).await;
        assert!(answer.failure(400).1.contains("not JSON"), "{body}");
    }
    let deep = "[".repeat(100_000);
    api.send(request(deep, Some("application/json")))
        .await
        .failure(400);
    let not_utf8 = vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'];
    api.send(request(not_utf8, Some("application/json")))
        .await
        .failure(400);
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(10 * 1024 * 1024));
    assert_eq!(
        api.send(request(long, Some("application/json")))
            .await
            .failure(413)
            .0,
        "BODY_TOO_LONG"
    );
    assert_eq!(api.ask("GET", KEYS).await.body["api_keys"], json!([]));
}

#[tokio::test]
async fn a_wrong_query_names_its_parameter() {
    let api = TestApi::start().await;
    let (id, _) = api.make().await;
    for (method, target, named) in [
        ("GET", format!("{KEYS}?page_size=0"), "page_size"),
        ("GET", format!("{KEYS}?page_size=-1"), "page_size"),
        ("GET", format!("{KEYS}?page_size=ten"), "page_size"),
        ("GET", format!("{KEYS}?starting_after=missing"), "starting_after"),
        ("GET", format!("{KEYS}?key_type=machine"), "key_type"),
        ("GET", format!("{KEYS}?status=gone"), "status"),
        ("GET", format!("{KEYS}?user_id=%00"), "user_id"),
        ("PUT", format!("{KEYS}/{id}?grace_period=soon"), "grace_period"),
        ("PUT", format!("{KEYS}/{id}?grace_period=91d"), "grace_period"),
        ("GET", "/api/v1/audit_events?from=yesterday".into(), "from"),
        ("GET", "/api/v1/audit_events?result=maybe".into(), "result"),
        (
            "GET",
            "/api/v1/audit_events?starting_after=a".into(),
            "starting_after",
        ),
    ] {
        let answer = api.ask(method, &target).await;
        assert!(answer.failure(400).1.contains(named), "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_fixed_of_a_key_cannot_be_changed() {
    let api = TestApi::start().await;
    let (id, _) = api.make().await;
    for (body, named) in [
        (json!({"scope_ids": ["write:ai_chat"]}), "scope_ids"),
        (json!({"org_code": "other"}), "org_code"),
        (json!({"status": "active"}), "status"),
        (json!({"name": null}), "name"),
        (json!({"name": "fine", "expires_on": "never"}), "expires_on"),
    ] {
        let answer = api
            .put_in(Some(ALL), "PATCH", &format!("{KEYS}/{id}"), &body)
            .await;
        assert!(answer.failure(400).1.contains(named), "{body}");
    }
    assert_eq!(
        api.ask("GET", &format!("{KEYS}/{id}")).await.body["api_key"]["name"],
        "a"
    );
    for method in ["GET", "PUT", "DELETE"] {
        let answer = api.ask(method, &format!("{KEYS}/missing")).await;
        assert_eq!(answer.failure(404).0, "API_KEY_NOT_FOUND", "{method}");
    }
}

#[tokio::test]
async fn a_store_that_is_gone_is_503_and_says_nothing_of_itself() {
    let api = TestApi::start().await;
    api.make().await;
    let path = api.folder.path().join("keys.db");
    let url = format!("sqlite://{}", path.display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::raw_sql("ALTER TABLE keys RENAME TO away")
        .execute(&mut connection)
        .await
        .unwrap();
    for (method, target) in [
        ("GET", KEYS),
        ("GET", "/api/v1/api_keys/x"),
        ("DELETE", "/api/v1/api_keys/x"),
    ] {
        let answer = api.ask(method, target).await;
        assert_eq!(
            answer.failure(503),
            ("UNAVAILABLE", "Temporarily unavailable"),
            "{method} {target}"
        );
        assert!(!answer.headers["retry-after"].is_empty());
    }
}
