//! Keys, from their making to their end.

use serde_json::{Value, json};

use super::{ALL, NONE, TestApi, UPDATER};
use crate::keys::KeyDigest;

const KEYS: &str = "/api/v1/api_keys";

fn one(id: &str) -> String {
    format!("{KEYS}/{id}")
}

/// The names of an object, in alphabetical order.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_key_of_an_organization_and_one_of_a_user_are_made_and_verified_with_every_field() {
    let api = TestApi::start().await;
    for (owner, org, user) in [
        (json!({"org_code": "org_acme"}), json!("org_acme"), json!(null)),
        (json!({"user_id": "kp_1"}), json!(null), json!("kp_1")),
        (
            json!({"org_code": "org_acme", "user_id": "kp_1"}),
            json!("org_acme"),
            json!("kp_1"),
        ),
    ] {
        let mut body =
            json!({"name": "AI key", "api_id": "api_ai", "scope_ids": ["read:ai_chats"], "unknown": [1]});
        body.as_object_mut()
            .unwrap()
            .extend(owner.as_object().unwrap().clone());
        let made = api.post(KEYS, body).await;
        assert_eq!(made.status, 201);
        assert_eq!(names(&made.body), ["api_key", "code", "message"]);
        assert_eq!(names(&made.body["api_key"]), ["id", "key"]);
        assert_eq!(
            (&made.body["code"], &made.body["message"]),
            (&json!("API_KEY_CREATED"), &json!("API key created"))
        );
        let key = made.body["api_key"]["key"].as_str().unwrap();
        let verified = api.verify(key).await;
        let on = verified["last_verified_on"].as_str().unwrap();
        assert!(on.ends_with('Z'), "{on}");
        assert_eq!(
            verified,
            json!({
                "code": "API_KEY_VERIFIED", "message": "API key verified", "is_valid": true,
                "key_id": made.body["api_key"]["id"], "status": "active", "scopes": ["read:ai_chats"],
                "org_code": org, "user_id": user, "last_verified_on": on, "verification_count": 1,
            })
        );
        assert_eq!(api.verify(key).await["verification_count"], 2);
    }
}

#[tokio::test]
async fn scopes_are_taken_by_id_or_by_name_and_the_type_is_inferred() {
    let api = TestApi::start().await;
    let scopes = api.ask("GET", "/api/v1/apis/api_ai/scopes").await.body["scopes"].clone();
    let by_both = json!([scopes[0]["id"], "write:ai_chat", "read:ai_chats"]);
    let (id, _) = api
        .make_like(json!({"name": "k", "api_id": "api_ai", "scope_ids": by_both, "user_id": "u", "org_code": null, "type": null}))
        .await;
    let key = api.ask("GET", &one(&id)).await.body["api_key"].clone();
    assert_eq!(key["scopes"], json!(["read:ai_chats", "write:ai_chat"]));
    assert_eq!(key["type"], "user");
    let (id, _) = api.make().await;
    assert_eq!(
        api.ask("GET", &one(&id)).await.body["api_key"]["type"],
        "organization"
    );
}

#[tokio::test]
async fn one_key_and_the_list_have_every_documented_field_and_never_the_secret() {
    let api = TestApi::start().await;
    let (id, secret) = api.make().await;
    let answer = api.ask("GET", &one(&id)).await;
    let listed = [
        "api_ids",
        "created_by",
        "created_on",
        "id",
        "key_prefix",
        "key_suffix",
        "last_verified_ip",
        "last_verified_on",
        "name",
        "scopes",
        "status",
        "type",
    ];
    let more = [
        "last_used_on",
        "organization_id",
        "use_count",
        "user_id",
        "verification_count",
    ];
    let mut detailed = [&listed[..], &more[..]].concat();
    detailed.sort_unstable();
    assert_eq!(names(&answer.body["api_key"]), detailed);
    assert_eq!(answer.body["api_key"]["created_by"], "token:all");
    assert_eq!(answer.body["api_key"]["api_ids"], json!(["api_ai"]));
    let list = api.ask("GET", KEYS).await;
    assert_eq!(names(&list.body), ["api_keys", "code", "has_more", "message"]);
    assert_eq!(names(&list.body["api_keys"][0]), listed);
    for body in [answer.body, list.body] {
        assert!(!body.to_string().contains(&secret));
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_empty_values_are_none() {
    let api = TestApi::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(api.make().await.0);
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let target = format!(
            "{KEYS}/?page_size=2&starting_after={after}&status=&key_type=organization&user_id=&org_code=org_acme"
        );
        let page = api.ask("GET", &target).await.body;
        let ids = page["api_keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        if !page["has_more"].as_bool().unwrap() {
            break;
        }
        after.clone_from(seen.last().unwrap());
    }
    made.sort();
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(sorted, made);
    assert_eq!(seen.len(), 5);
    let all = api.ask("GET", &format!("{KEYS}?page_size=100000")).await.body;
    assert_eq!(all["api_keys"].as_array().unwrap().len(), 5);
    assert_eq!(all["has_more"], false);
}

#[tokio::test]
async fn a_revoked_key_says_so_from_the_next_verify_on() {
    let api = TestApi::start().await;
    let (id, key) = api.make().await;
    assert_eq!(api.verify(&key).await["is_valid"], true);
    for _ in 0..2 {
        let answer = api.ask("DELETE", &one(&id)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body),
            (200, json!({"message": "Success", "code": "OK"}))
        );
    }
    let verified = api.verify(&key).await;
    assert_eq!(
        verified,
        json!({
            "code": "API_KEY_INVALID", "message": "API key is not valid", "is_valid": false, "key_id": id,
            "status": "revoked", "scopes": [], "org_code": "org_acme", "user_id": null,
            "last_verified_on": verified["last_verified_on"], "verification_count": 1,
        })
    );
    let rotated = api.ask("PUT", &one(&id)).await;
    assert_eq!(rotated.failure(400).0, "API_KEY_REVOKED");
}

#[tokio::test]
async fn unknown_and_garbage_keys_are_invalid_without_more() {
    let api = TestApi::start().await;
    let unknown = crate::keys::ApiKey::generate("lk").unwrap();
    for key in ["", "garbage", "lk_x", unknown.expose(), &"x".repeat(5000)] {
        assert_eq!(
            api.verify(key).await,
            json!({
                "code": "API_KEY_INVALID", "message": "API key is not valid", "is_valid": false, "scopes": [],
                "org_code": null, "user_id": null, "last_verified_on": null,
            }),
            "{key:.20}"
        );
    }
}

#[tokio::test]
async fn rotation_ends_the_old_secret_at_once_or_after_its_grace() {
    let api = TestApi::start().await;
    let (id, first) = api.make().await;
    assert_eq!(api.verify(&first).await["is_valid"], true);
    let rotated = api
        .put_in(Some(ALL), "PUT", &one(&id), &json!({"ignored": true}))
        .await;
    assert_eq!(rotated.status, 201);
    assert_eq!(
        (&rotated.body["code"], &rotated.body["api_key"]["id"]),
        (&json!("API_KEY_ROTATED"), &json!(id))
    );
    assert_eq!(names(&rotated.body["api_key"]), ["id", "key"]);
    let second = rotated.body["api_key"]["key"].as_str().unwrap().to_owned();
    let old = api.verify(&first).await;
    assert_eq!((&old["is_valid"], old.get("key_id")), (&json!(false), None));
    assert_eq!(api.verify(&second).await["key_id"], json!(id));

    let rotated = api.ask("PUT", &format!("{}?grace_period=1h", one(&id))).await;
    let third = rotated.body["api_key"]["key"].as_str().unwrap().to_owned();
    assert!(rotated.body["api_key"]["old_key_valid_until"].is_string());
    let old_key = api.ask("GET", &one(&id)).await.body["api_key"]["old_key"].clone();
    assert_eq!(old_key["last_used_on"], json!(null));
    for key in [&second, &third] {
        assert_eq!(api.verify(key).await["is_valid"], true);
    }
    let old_key = api.ask("GET", &one(&id)).await.body["api_key"]["old_key"].clone();
    assert!(second.ends_with(old_key["key_suffix"].as_str().unwrap()));
    assert_eq!(old_key["last_used_ip"], "192.0.2.7");
    assert!(old_key["last_used_on"].is_string() && old_key["valid_until"].is_string());
}

#[tokio::test]
async fn verifications_are_written_and_add_up_across_the_write() {
    let api = TestApi::start().await;
    let (id, key) = api.make().await;
    api.verify(&key).await;
    api.write_down().await;
    assert_eq!(api.store.get(&id).await.unwrap().verification_count, 1);
    let stored = api.ask("GET", &one(&id)).await.body["api_key"].clone();
    assert_eq!(
        (&stored["verification_count"], &stored["last_verified_ip"]),
        (&json!(1), &json!("192.0.2.7"))
    );
    assert_eq!(api.verify(&key).await["verification_count"], 2);
    assert_eq!(
        api.ask("GET", &one(&id)).await.body["api_key"]["verification_count"],
        2
    );
}

#[tokio::test]
async fn what_is_ours_is_shown_only_where_it_is_used_and_can_be_changed() {
    let api = TestApi::start().await;
    let (id, key) = api
        .make_like(json!({
            "name": "k", "api_id": "api_ai", "org_code": "o", "expires_on": "2100-01-01T02:00:00+02:00",
            "allowed_networks": ["192.0.2.0/24", "2001:db8::1"], "rate_limit": {"limit": 10, "window": "15m"},
            "metadata": {"team": "billing"},
        }))
        .await;
    let shown = api.ask("GET", &one(&id)).await.body["api_key"].clone();
    assert_eq!(shown["expires_on"], "2100-01-01T00:00:00Z");
    assert_eq!(
        shown["allowed_networks"],
        json!(["192.0.2.0/24", "2001:db8::1/128"])
    );
    assert_eq!(shown["rate_limit"], json!({"limit": 10, "window": "15m"}));
    assert_eq!(shown["metadata"], json!({"team": "billing"}));
    let change = json!({"name": "other", "expires_on": null, "allowed_networks": null, "rate_limit": null, "metadata": {}});
    let answer = api.put_in(Some(ALL), "PATCH", &one(&id), &change).await;
    assert_eq!(
        answer.body,
        json!({"message": "Success", "code": "OK"}),
        "{answer:?}"
    );
    let shown = api.ask("GET", &one(&id)).await.body["api_key"].clone();
    assert_eq!(shown["name"], "other");
    for gone in ["expires_on", "allowed_networks", "rate_limit", "metadata"] {
        assert_eq!(shown.get(gone), None, "{gone}");
    }
    assert_eq!(api.verify(&key).await["is_valid"], true);
}

#[tokio::test]
async fn a_key_made_elsewhere_is_taken_in_by_its_digest() {
    let api = TestApi::start().await;
    let secret = "k_live_0123456789abcdefghij";
    assert_eq!(api.verify(secret).await["is_valid"], false);
    let digest: String = KeyDigest::of(secret)
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let body = json!({
        "name": "old one", "api_id": "api_ai", "scope_ids": ["read:ai_chats"], "user_id": "kp_1",
        "digest": digest, "key_prefix": "k_live_", "key_suffix": "ghij",
    });
    let answer = api.post(&format!("{KEYS}/import"), body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (201, &json!("API_KEY_IMPORTED"))
    );
    assert_eq!(names(&answer.body["api_key"]), ["id"]);
    let verified = api.verify(secret).await;
    assert_eq!(
        (&verified["is_valid"], &verified["user_id"]),
        (&json!(true), &json!("kp_1"))
    );
    assert_eq!(
        api.post(&format!("{KEYS}/import"), body).await.failure(400).0,
        "API_KEY_EXISTS"
    );
}

#[tokio::test]
async fn verify_is_open_or_strict_and_a_bad_token_never_passes() {
    let body = json!({"api_key": "x"});
    let target = format!("{KEYS}/verify");
    let open = TestApi::start().await;
    for token in [None, Some(ALL), Some(NONE)] {
        assert_eq!(
            open.put_in(token, "POST", &target, &body).await.status,
            200,
            "{token:?}"
        );
    }
    let bad = open
        .put_in(Some("not-a-token-that-anybody-has"), "POST", &target, &body)
        .await;
    assert_eq!(bad.failure(401).0, "UNAUTHORIZED");
    let strict = TestApi::with("  verify: strict\n").await;
    assert_eq!(strict.put_in(Some(ALL), "POST", &target, &body).await.status, 200);
    strict.put_in(None, "POST", &target, &body).await.failure(401);
    let scope = strict.put_in(Some(NONE), "POST", &target, &body).await;
    assert_eq!(
        scope.failure(403),
        ("SCOPE_MISSING", "Scope missing: read:api_keys")
    );
}

#[tokio::test]
async fn guessing_without_a_token_is_limited_by_address_and_a_good_key_never_is() {
    let api = TestApi::start().await;
    let (_, key) = api.make().await;
    let target = format!("{KEYS}/verify");
    let mut passed = 0;
    let limited = loop {
        let answer = api
            .put_in(None, "POST", &target, &json!({"api_key": "garbage"}))
            .await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed < 100, "nobody is limited");
    };
    assert_eq!(passed, 50, "the default of the limit `unauthenticated`");
    assert_eq!(limited.failure(429).0, "TOO_MANY_REQUESTS");
    for header in ["ratelimit-reset", "retry-after"] {
        assert!(limited.headers[header].to_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    assert_eq!(api.verify(&key).await["is_valid"], true);
}

#[tokio::test]
async fn environment_keys_are_off_until_they_are_turned_on_and_give_nobody_more_than_they_have() {
    let wanted = json!({"name": "ci", "type": "environment", "api_id": "latchkey:management", "scope_ids": ["read:api_keys"]});
    let off = TestApi::start().await;
    assert_eq!(
        off.post(KEYS, wanted.clone()).await.failure(403).0,
        "ENVIRONMENT_KEYS_OFF"
    );

    let api = TestApi::with("  environment_keys: true\n").await;
    let missing = api.put_in(Some(UPDATER), "POST", KEYS, &wanted).await;
    assert_eq!(
        missing.failure(403),
        ("SCOPE_MISSING", "Scope missing: create:management_keys")
    );
    let mut more = wanted.clone();
    more["scope_ids"] = json!(["read:usage"]);
    assert_eq!(api.post(KEYS, more).await.failure(403).0, "SCOPE_NOT_HELD");
    let mut elsewhere = wanted.clone();
    elsewhere["api_id"] = json!("api_ai");
    assert_eq!(api.post(KEYS, elsewhere).await.failure(400).0, "INVALID_REQUEST");

    let (id, key) = api.make_like(wanted).await;
    assert_eq!(api.ask_as(Some(&key), "GET", KEYS).await.status, 200);
    assert_eq!(
        api.ask_as(Some(&key), "DELETE", &one(&id)).await.failure(403).0,
        "SCOPE_MISSING"
    );
    let (_, ordinary) = api.make().await;
    api.ask_as(Some(&ordinary), "GET", KEYS).await.failure(401);
    // Who may change keys gets no hold of this one.
    for (method, body) in [("PUT", json!({})), ("PATCH", json!({"expires_on": null}))] {
        let answer = api.put_in(Some(UPDATER), method, &one(&id), &body).await;
        assert_eq!(
            answer.failure(403).1,
            "Scope missing: create:management_keys",
            "{method}"
        );
    }
    let apis = api.ask("GET", "/api/v1/apis").await.body["apis"].clone();
    assert_eq!(
        apis.as_array()
            .unwrap()
            .iter()
            .filter(|api| api["is_management_api"] == true)
            .count(),
        1
    );
    api.ask("DELETE", &one(&id)).await;
    api.ask_as(Some(&key), "GET", KEYS).await.failure(401);
}

#[tokio::test]
async fn every_action_is_in_the_audit_log_the_refused_ones_too() {
    let api = TestApi::start().await;
    let (id, _) = api.make().await;
    api.put_in(Some(ALL), "PATCH", &one(&id), &json!({"name": "b"}))
        .await;
    api.ask("PUT", &one(&id)).await;
    api.ask("DELETE", &one(&id)).await;
    api.ask("PUT", &one(&id)).await.failure(400);
    api.ask("DELETE", &one("missing")).await.failure(404);
    api.post(KEYS, json!({})).await.failure(400);
    api.ask_as(Some(NONE), "GET", KEYS).await.failure(403);
    for _ in 0..20 {
        api.ask_as(None, "GET", KEYS).await.failure(401);
    }
    api.ask_as(Some(NONE), "GET", "/api/v1/audit_events")
        .await
        .failure(403);
    api.write_down().await;
    let events = api.ask("GET", "/api/v1/audit_events?page_size=100").await.body["audit_events"].clone();
    let told: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["actor"] == "token:all")
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            (text("action"), text("target"), text("result"), text("error_code"))
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(a, t, r, c)| (&**a, &**t, &**r, &**c)).collect();
    for expected in [
        ("api_key.create", &*id, "done", "-"),
        ("api_key.update", &id, "done", "-"),
        ("api_key.rotate", &id, "done", "-"),
        ("api_key.revoke", &id, "done", "-"),
        ("api_key.rotate", &id, "refused", "API_KEY_REVOKED"),
        ("api_key.revoke", "missing", "refused", "API_KEY_NOT_FOUND"),
        ("api_key.create", "-", "refused", "INVALID_REQUEST"),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:#?}");
    }
    let unknown = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["actor"].is_null());
    assert_eq!(unknown.count(), 10, "strangers fill no log");
    let one_target = api
        .ask(
            "GET",
            &format!("/api/v1/audit_events?target={id}&result=done&page_size=2"),
        )
        .await
        .body;
    assert_eq!(one_target["has_more"], true);
    assert_eq!(one_target["audit_events"].as_array().unwrap().len(), 2);
    let last = one_target["audit_events"][1]["id"].as_str().unwrap();
    let next = api
        .ask(
            "GET",
            &format!("/api/v1/audit_events?target={id}&result=done&starting_after={last}"),
        )
        .await
        .body;
    assert_eq!(next["audit_events"].as_array().unwrap().len(), 2);
}
