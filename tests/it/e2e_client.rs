//! The client of `examples/client`, with a real Envoy between it and its backend.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Finished, Stack, node, run};

fn send(key: &str, verify: SocketAddr, stack: &Stack) -> Finished {
    let mut command = node("examples/client/main.mjs");
    command
        .arg(format!("http://{verify}/api/v1/api_keys/verify"))
        .arg(format!("http://{}/ai/chat", stack.envoy.listener))
        .env("API_KEY", key);
    run(&mut command)
}

#[test]
fn the_example_client_authenticates_once_and_processes_with_its_context() {
    let stack = Stack::start();
    let http = stack.latchkey.http;
    for (owner, organization, user_id) in [
        (["--org", "org_acme"], Value::from("org_acme"), Value::Null),
        (["--user", "kp_ada"], Value::Null, Value::from("kp_ada")),
    ] {
        let key = stack.home.ai_key(&["write:ai_chat"], &owner);
        let told: Value = serde_json::from_str(&send(&key.key, http, &stack).output()).expect("JSON");
        assert_eq!(told["organization"], organization, "{told}");
        assert_eq!(told["user_id"], user_id, "{told}");
        assert_eq!(told["context"]["channel"], "example", "{told}");
        // What the backend saw is what the client was told.
        let headers = told["response"]["headers"].to_string();
        let owner = if organization.is_null() {
            "user:kp_ada"
        } else {
            "org:org_acme"
        };
        assert!(
            headers.contains(owner) && !headers.contains(&key.key),
            "{headers}"
        );
    }

    let revoked = stack.home.chat_key();
    stack.home.revoke(&revoked);
    for key in ["lk_unknown", &revoked.key] {
        let refused = send(key, http, &stack);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert_eq!(refused.stderr.trim(), "AI application not authenticated");
    }
    // Something that answers, and is no verify endpoint.
    let good = stack.home.chat_key();
    let refused = send(&good.key, stack.latchkey.ops, &stack);
    assert_eq!(refused.stderr.trim(), "API key verification failed");
}
