//! Kinde's management SDK for JavaScript, unmodified, against a running Latchkey over TLS.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Authority, Home, node, npm_folder, run};

const SECRET: &str = "a-client-secret-of-a-test";
const MANAGEMENT: &str = "management:
  clients:
    - id: sdk
      secret_file: secret
      permissions: ['read:apis', 'read:api_scopes', 'create:api_keys', 'read:api_keys', 'update:api_keys', 'delete:api_keys']
  verify: strict
routes:
";

/// A Latchkey that speaks TLS for HTTP, and the authority that its clients must trust, as a file.
fn home() -> Home {
    let listen = "listen: {http_tls: {cert_file: server.crt, key_file: server.key}, ";
    let home = Home::with(&[("listen: {", listen), ("routes:\n", MANAGEMENT)]);
    let authority = Authority::new();
    authority.server(4000).write(home.path(), "server");
    fs::write(home.path().join("authority.crt"), authority.pem()).expect("a file");
    fs::write(home.path().join("secret"), format!("{SECRET}\n")).expect("a file");
    home
}

#[test]
fn the_management_sdk_of_kinde_works_with_another_domain_and_client() {
    let home = home();
    let latchkey = home.start("latchkey");
    let story = |secret: &str, address: SocketAddr| {
        let mut command = node("tests/sdk/story.mjs");
        command
            .env("SDK_FOLDER", npm_folder())
            .env("NODE_EXTRA_CA_CERTS", home.path().join("authority.crt"))
            .env("KINDE_DOMAIN", format!("https://localhost:{}", address.port()))
            .env("KINDE_MANAGEMENT_CLIENT_ID", "sdk")
            .env("KINDE_MANAGEMENT_CLIENT_SECRET", secret)
            .current_dir(home.path());
        run(&mut command)
    };
    let told: Value = serde_json::from_str(&story(SECRET, latchkey.http).output()).expect("one line of JSON");
    assert_eq!((&told["apis"], &told["created"]), (&2.into(), &2.into()));

    // With a wrong secret it gets nowhere.
    let refused = story("another-secret-of-a-test", latchkey.http);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let log = fs::read_to_string(home.path().join("latchkey.log")).expect("a log");
    assert!(!log.contains(SECRET) && !log.contains("another-secret-of-a-test"));
}
