//! Latchkey in front of Latchkey: the keys of one are verified by another, over TLS, as an OAuth client.

use std::fs;

use crate::support::{Authority, Backend, Chaos, Client, Envoy, Home, START, wait_for};

const SECRET: &str = "the-secret-of-the-front-latchkey";

/// The one that has the keys.
fn back(authority: &Authority) -> Home {
    let management = format!(
        "management: {{verify: strict, signing_keys: {{dir: signing}}, clients: [{{id: front, secret_file: secret, permissions: ['read:api_keys']}}]}}\n{}",
        "routes:\n"
    );
    let home = Home::with(&[
        (
            "listen: {",
            "listen: {http_tls: {cert_file: server.crt, key_file: server.key}, ",
        ),
        ("routes:\n", &management),
    ]);
    authority.server(4000).write(home.path(), "server");
    fs::write(home.path().join("secret"), SECRET).expect("a file");
    home
}

/// The one that Envoy asks.
fn front(authority: &Authority, back: &str) -> Home {
    let keys = format!(
        "
keys:
  source: remote
  remote:
    verify_url: https://{back}/api/v1/api_keys/verify
    timeout: 5s
    ca_file: authority.crt
    auth: {{client_id: front, client_secret_file: secret, token_url: 'https://{back}/oauth2/token'}}
  cache: {{ttl: 300ms, negative_ttl: 100ms}}
drain: {{"
    );
    let home = Home::with(&[("drain: {", &keys)]);
    fs::write(home.path().join("authority.crt"), authority.pem()).expect("a file");
    fs::write(home.path().join("secret"), SECRET).expect("a file");
    home
}

#[test]
fn one_latchkey_verifies_the_keys_of_another_over_tls() {
    let authority = Authority::new();
    let back = back(&authority);
    let behind = back.start("latchkey");
    let line = Chaos::before(behind.http);
    let front = front(&authority, &format!("localhost:{}", line.address.port()));
    let (latchkey, backend) = (front.start("latchkey"), Backend::start());
    let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[]);
    let mut client = Client::new(envoy.listener);
    let mut until = |what: &str, key: &str, status: u16| {
        wait_for(what, START, || {
            let answer = client.post("/ai/support", &[("authorization", &format!("Bearer {key}"))]);
            (answer.status == status).then_some(answer)
        })
    };

    let organization = back.ai_key(&["read:ai_chats"], &["--org", "org_acme"]);
    let user = back.ai_key(&["read:ai_chats"], &["--user", "user_42"]);
    let lacking = back.ai_key(&["read:ai_analytics"], &["--org", "org_acme"]);
    for (key, owner) in [(&organization, "org:org_acme"), (&user, "user:user_42")] {
        let answer = until("a key of the other Latchkey", &key.key, 200);
        assert_eq!(answer.seen("x-auth-context-owner"), [owner]);
        assert_eq!(answer.seen("x-auth-key-id"), [key.id.as_str()]);
    }
    assert_eq!(
        until("a key that lacks the scope", &lacking.key, 403).code(),
        "INSUFFICIENT_SCOPE"
    );
    let elsewhere = back.create_key(&[
        "--api",
        "api_ai",
        "--scope",
        "read:ai_chats",
        "--org",
        "org_acme",
        "--allow-network",
        "198.51.100.0/24",
    ]);
    assert_eq!(
        until("a key for another network", &elsewhere.key, 403).code(),
        "ROUTE_NOT_ALLOWED"
    );
    let stranger = crate::e2e_abuse::well_formed_key(11);
    assert_eq!(
        until("a key that nobody knows", &stranger, 401).code(),
        "INVALID_API_KEY"
    );

    line.cut();
    until("a known key while the line is cut", &user.key, 200);
    let unseen = back.ai_key(&["read:ai_chats"], &["--org", "org_new"]);
    let answer = until("an unknown key while the line is cut", &unseen.key, 503);
    assert_eq!(answer.code(), "KEY_SOURCE_UNAVAILABLE");
    line.heal();
    until("the unknown key after the line has healed", &unseen.key, 200);

    back.revoke(&organization);
    assert_eq!(
        until("the revocation", &organization.key, 401).code(),
        "INVALID_API_KEY"
    );
    until("the other key", &user.key, 200);
    let log = fs::read_to_string(front.path().join("latchkey.log")).expect("a log");
    for secret in [SECRET, organization.key.as_str(), stranger.as_str(), "eyJ"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_remote_whose_certificate_is_of_another_authority_is_never_asked() {
    let authority = Authority::new();
    let back = back(&authority);
    let behind = back.start("latchkey");
    let front = front(&Authority::new(), &format!("localhost:{}", behind.http.port()));
    let (latchkey, backend) = (front.start("latchkey"), Backend::start());
    let envoy = Envoy::start(&[latchkey.grpc], backend.address, &[]);
    let bearer = back.chat_key().bearer();
    let answer = Client::new(envoy.listener).post("/ai/support", &[("authorization", &bearer)]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "KEY_SOURCE_UNAVAILABLE"),
        "{answer:?}"
    );
    assert_eq!(backend.requests(), 0);
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    let calls = r#"latchkey_remote_calls_total{endpoint="token",result="connect"}"#;
    assert!(metrics.contains(calls), "{metrics}");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_ends_the_start() {
    let front = front(&Authority::new(), "localhost:1");
    fs::write(front.path().join("authority.crt"), "none").expect("a file");
    let ended = front.serve_in_vain();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = "keys.remote: authority.crt holds no certificate in PEM form";
    assert!(ended.stderr.contains(told), "{ended:?}");
}
