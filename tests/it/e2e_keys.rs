//! Keys over HTTP, and what Envoy's callers see of it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Home, Latchkey, Response, Stack, run, run_for, wait_for};

const KEYS: &str = "/api/v1/api_keys";
const SCHEMATHESIS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/.tools/schemathesis/bin/schemathesis"
);

/// Asks the HTTP API with the first token; a body of null is none.
fn ask(home: &Home, latchkey: &Latchkey, method: &str, target: &str, body: &Value) -> Response {
    let bearer = format!("Bearer {}", home.token());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Client::new(latchkey.http).send(method, target, &headers, body.as_bytes())
}

fn make(stack: &Stack, more: &Value) -> (String, String) {
    let mut body = json!({"name": "k", "api_id": "api_ai", "scope_ids": ["read:ai_chats", "write:ai_chat"], "org_code": "org_acme"});
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    let made = ask(&stack.home, &stack.latchkey, "POST", KEYS, &body);
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| {
        made.json()["api_key"][name]
            .as_str()
            .expect("id and key")
            .to_owned()
    };
    (text("id"), text("key"))
}

fn status(client: &mut Client, key: &str) -> u16 {
    client
        .post("/ai/support", &[("authorization", &format!("Bearer {key}"))])
        .status
}

#[test]
fn keys_are_made_for_an_organization_and_for_a_user_and_verified_without_a_token() {
    let home = Home::new();
    let latchkey = home.start("latchkey");
    for (owner, org, user) in [
        (("org_code", "org_7f3a"), json!("org_7f3a"), json!(null)),
        (("user_id", "kp_91"), json!(null), json!("kp_91")),
    ] {
        let body =
            json!({"name": "AI key", "api_id": "api_ai", "scope_ids": ["read:ai_chats"], owner.0: owner.1});
        let made = ask(&home, &latchkey, "POST", KEYS, &body);
        assert_eq!(
            (made.status, &made.json()["code"]),
            (201, &json!("API_KEY_CREATED"))
        );
        let body = json!({"api_key": made.json()["api_key"]["key"]}).to_string();
        let json = [("content-type", "application/json")];
        let verified =
            Client::new(latchkey.http).send("POST", &format!("{KEYS}/verify"), &json, body.as_bytes());
        assert_eq!(verified.status, 200, "{verified:?}");
        let verified = verified.json();
        for (field, expected) in [
            ("code", json!("API_KEY_VERIFIED")),
            ("message", json!("API key verified")),
            ("is_valid", json!(true)),
            ("key_id", made.json()["api_key"]["id"].clone()),
            ("status", json!("active")),
            ("scopes", json!(["read:ai_chats"])),
            ("org_code", org),
            ("user_id", user),
            ("verification_count", json!(1)),
        ] {
            assert_eq!(verified[field], expected, "{field} in {verified}");
        }
        assert!(verified["last_verified_on"].is_string(), "{verified}");
    }
}

#[test]
fn a_key_that_was_revoked_over_http_is_denied_by_the_next_check() {
    let stack = Stack::start();
    let mut client = stack.client();
    for _ in 0..5 {
        let (id, key) = make(&stack, &json!({}));
        assert_eq!(status(&mut client, &key), 200);
        let revoked = ask(
            &stack.home,
            &stack.latchkey,
            "DELETE",
            &format!("{KEYS}/{id}"),
            &Value::Null,
        );
        assert_eq!(revoked.status, 200);
        assert_eq!(status(&mut client, &key), 401, "at once, and not some time later");
    }
}

#[test]
fn both_secrets_work_until_the_grace_ends_and_then_only_the_new_one() {
    let stack = Stack::start();
    let mut client = stack.client();
    let (id, old) = make(&stack, &json!({}));
    assert_eq!(status(&mut client, &old), 200);
    let target = format!("{KEYS}/{id}?grace_period=3s");
    let rotated = ask(&stack.home, &stack.latchkey, "PUT", &target, &Value::Null);
    assert_eq!(rotated.status, 201, "{rotated:?}");
    let new = rotated.json()["api_key"]["key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert_eq!((status(&mut client, &new), status(&mut client, &old)), (200, 200));
    let shown = ask(
        &stack.home,
        &stack.latchkey,
        "GET",
        &format!("{KEYS}/{id}"),
        &Value::Null,
    )
    .json();
    let old_key = &shown["api_key"]["old_key"];
    assert!(old_key["last_used_on"].is_string(), "who still uses it: {shown}");
    assert_eq!(old_key["last_used_ip"], "127.0.0.1");
    wait_for("the end of the grace", Duration::from_secs(20), || {
        (status(&mut client, &old) == 401).then_some(())
    });
    assert_eq!(status(&mut client, &new), 200);

    // Without a grace the old one ends with the answer.
    let rotated = ask(
        &stack.home,
        &stack.latchkey,
        "PUT",
        &format!("{KEYS}/{id}"),
        &Value::Null,
    );
    assert_eq!(status(&mut client, &new), 401);
    let newest = rotated.json()["api_key"]["key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert_eq!(status(&mut client, &newest), 200);
}

#[test]
fn a_limit_of_its_own_counts_on_all_routes_together() {
    let stack = Stack::start();
    let mut client = stack.client();
    // `/ai/chat` has a limit of 5, `/ai/support` none.
    let (_, key) = make(&stack, &json!({"rate_limit": {"limit": 7, "window": "15m"}}));
    let bearer = format!("Bearer {key}");
    for number in 0..7 {
        let path = if number % 3 == 0 {
            "/ai/support"
        } else {
            "/ai/chat"
        };
        assert_eq!(
            client.post(path, &[("authorization", &bearer)]).status,
            200,
            "{number}"
        );
    }
    for (path, code) in [("/ai/chat", "CHATS_LIMITED"), ("/ai/support", "RATE_LIMITED")] {
        let over = client.post(path, &[("authorization", &bearer)]);
        assert_eq!((over.status, over.code().as_str()), (429, code), "{path}");
    }
    let (_, tight) = make(&stack, &json!({"rate_limit": {"limit": 1, "window": "15m"}}));
    assert_eq!(
        (status(&mut client, &tight), status(&mut client, &tight)),
        (200, 429)
    );
}

#[test]
fn a_key_that_was_made_elsewhere_passes_once_it_is_imported() {
    let stack = Stack::start();
    let mut client = stack.client();
    let secret = "k_live_Zq8LmN4pR7sT1vW3xY5z";
    assert_eq!(status(&mut client, secret), 401);
    let file = stack.home.path().join("secret");
    std::fs::write(&file, secret).expect("a file");
    // On the store, beside the server, which hears of it from there.
    let mut import = stack.home.command("keys import");
    import.args([
        "--name",
        "old",
        "--api",
        "api_ai",
        "--scope",
        "read:ai_chats",
        "--user",
        "kp_1",
    ]);
    run(import
        .arg("--key-file")
        .arg(&file)
        .args(["--key-prefix", "k_live_"]))
    .output();
    wait_for("the import to be seen", Duration::from_secs(5), || {
        (status(&mut client, secret) == 200).then_some(())
    });
}

#[test]
fn the_command_line_does_over_http_what_it_does_on_the_store() {
    let home = Home::new();
    let latchkey = home.start("latchkey");
    let on_store = |words: &str| home.command(&format!("keys {words}"));
    let over_http = |words: &str| home.keys_over_http(&latchkey, words);
    type Keys<'a> = &'a dyn Fn(&str) -> Command;
    let places: [(&str, Keys<'_>); 2] = [("store", &on_store), ("HTTP", &over_http)];
    for (place, keys) in places {
        let done = |words: &str, more: &[&str]| run(keys(words).args(more)).output();
        let printed = |words: &str, more: &[&str]| -> Value {
            serde_json::from_str(&done(words, &[more, &["--output", "json"]].concat())).expect("JSON")
        };
        let owner = format!("org_of_{place}");
        let new = [
            "--name",
            "CI",
            "--api",
            "api_ai",
            "--scope",
            "read:ai_chats",
            "--org",
            &owner,
        ];
        let made = printed("create", &new);
        let id = made["id"].as_str().expect("an id");
        let verify = |secret: &Value| {
            run(keys("verify")
                .args(["--output", "json"])
                .env("LATCHKEY_KEY", secret.as_str().expect("a key")))
        };
        assert_eq!(verify(&made["key"]).code, Some(0), "{place}");
        assert_eq!(
            printed("list", &["--org", &owner])[0]["organization_id"],
            json!(owner),
            "{place}"
        );
        assert!(done("list", &["--status", "active"]).contains(id), "{place}");

        done(
            "update",
            &[
                id,
                "--name",
                "CD",
                "--rate-limit",
                "10/1m",
                "--expires",
                "90d",
                "--allow-network",
                "192.0.2.0/24",
            ],
        );
        let shown = printed("show", &[id]);
        assert_eq!(
            shown["rate_limit"],
            json!({"limit": 10, "window": "1m"}),
            "{place}"
        );
        assert_eq!(
            (&shown["name"], shown["expires_on"].is_string()),
            (&json!("CD"), true),
            "{place}"
        );
        done(
            "update",
            &[id, "--rate-limit", "none", "--expires", "never", "--any-network"],
        );
        assert!(printed("show", &[id])["rate_limit"].is_null(), "{place}");

        let rotated = printed("rotate", &[id, "--grace", "1h"]);
        for secret in [&made["key"], &rotated["key"]] {
            assert_eq!(verify(secret).code, Some(0), "{place}");
        }
        assert!(done("show", &[id]).contains("old key"), "{place}");
        assert!(done("revoke", &[id]).contains("revoked"), "{place}");
        let invalid = verify(&rotated["key"]);
        assert_eq!(invalid.code, Some(3), "{place}: {invalid:?}");

        let mistake = run(keys("create").args(["--name", "x", "--api", "api_aj", "--org", "o"]));
        assert_eq!(mistake.code, Some(2), "{place}: {mistake:?}");
        assert!(
            mistake.stderr.contains("did you mean \"api_ai\"?"),
            "{place}: {mistake:?}"
        );
        let missing = run(keys("show").arg("api_key_none"));
        assert_eq!(missing.code, Some(1), "{place}: {missing:?}");
    }
    let nobody = run(Command::new(env!("CARGO_BIN_EXE_latchkey")).env_clear().args([
        "keys",
        "list",
        "--url",
        &format!("http://{}", latchkey.http),
    ]));
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("access token"), "{nobody:?}");
    let elsewhere = run(Command::new(env!("CARGO_BIN_EXE_latchkey")).env_clear().args([
        "keys",
        "list",
        "--url",
        "http://192.0.2.1",
    ]));
    assert!(elsewhere.stderr.contains("https"), "{elsewhere:?}");
    let events = ask(
        &home,
        &latchkey,
        "GET",
        "/api/v1/audit_events?action=api_key.create&result=done",
        &Value::Null,
    );
    let actors: Vec<Value> = events.json()["audit_events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["actor"].clone())
        .collect();
    assert_eq!(actors, [json!("token:first"), json!("cli:unknown")]);
}

#[test]
fn what_the_document_says_of_the_api_holds_for_whatever_is_sent() {
    let home = Home::with(&[("telemetry:", "management: {environment_keys: true}\ntelemetry:")]);
    let latchkey = home.start("latchkey");
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "missing_required_header",
        "unsupported_method",
        "ignored_auth",
    ];
    let mut command = Command::new(SCHEMATHESIS);
    command
        .args(["run", &format!("http://{}/openapi.json", latchkey.http)])
        .args(["--header", &format!("Authorization: Bearer {}", home.token())])
        .args(["--checks", &checks.join(",")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "30",
            "--seed",
            "1",
        ])
        .args(["--request-timeout", "20", "--no-color", "--warnings", "off"])
        .current_dir(home.path());
    let finished = run_for(Duration::from_secs(180), &mut command);
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("Tested: "), "{}", finished.stdout);
}
