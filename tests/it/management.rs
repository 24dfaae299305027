//! Who gets into the management API of a running server, and who does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Client, Home};

const APIS: &str = "/api/v1/apis";

fn bearer(token: &str) -> String {
    format!("Bearer {}", token.trim())
}

#[test]
fn a_first_start_leaves_a_token_that_opens_the_api_and_is_never_logged() {
    let home = Home::new();
    let latchkey = home.start("latchkey");
    let path = home.path().join("latchkey.db.management-token");
    let mode = fs::metadata(&path)
        .expect("the token's file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = fs::read_to_string(&path).expect("the token");
    let mut client = Client::new(latchkey.http);
    let answer = client.get(APIS, &[("authorization", &bearer(&token))]);
    assert_eq!(answer.status, 200, "{answer:?}");

    // Keys of callers are no management tokens.
    let key = home.chat_key();
    for (headers, status, code) in [
        (vec![], 401, "UNAUTHORIZED"),
        (vec![("authorization", key.bearer())], 401, "UNAUTHORIZED"),
        (vec![("x-api-key", key.key.clone())], 401, "UNAUTHORIZED"),
        (
            vec![("authorization", format!("Basic {}", token.trim()))],
            401,
            "UNAUTHORIZED",
        ),
        (
            vec![
                ("authorization", bearer(&token)),
                ("authorization", bearer(&token)),
            ],
            401,
            "UNAUTHORIZED",
        ),
    ] {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = client.get(APIS, &headers);
        assert_eq!(
            (answer.status, answer.json()["errors"][0]["code"].as_str()),
            (status, Some(code)),
            "{answer:?}"
        );
        assert!(
            answer.header("www-authenticate").starts_with("Bearer realm="),
            "{answer:?}"
        );
    }

    let log = fs::read_to_string(home.path().join("latchkey.log")).expect("a log");
    assert!(log.contains("latchkey.db.management-token"), "{log}");
    assert!(!log.contains(token.trim()) && !log.contains(&key.key));

    // The next start finds it again.
    drop(latchkey);
    let latchkey = home.start("again");
    assert_eq!(fs::read_to_string(&path).expect("the token"), token);
    let answer = Client::new(latchkey.http).get(APIS, &[("authorization", &bearer(&token))]);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_machine_client_gets_a_token_here_and_may_do_what_it_says() {
    const SECRET: &str = "a-client-secret-of-a-test";
    let clients =
        "management: {clients: [{id: ci, secret_file: secret, permissions: ['read:apis']}]}\nroutes:\n";
    let home = Home::with(&[("routes:\n", clients)]);
    fs::write(home.path().join("secret"), SECRET).expect("a file");
    let latchkey = home.start("latchkey");
    let mut client = Client::new(latchkey.http);
    let form = format!("grant_type=client_credentials&client_id=ci&client_secret={SECRET}&scope=");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = client.send("POST", "/oauth2/token", &headers, form.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(
        (&body["scope"], &body["expires_in"]),
        (&"read:apis".into(), &900.into())
    );

    let token = bearer(body["access_token"].as_str().expect("a token"));
    let answer = client.get(APIS, &[("authorization", &token)]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let scopes = client.get("/api/v1/apis/api_ai/scopes", &[("authorization", &token)]);
    assert_eq!(scopes.status, 403, "{scopes:?}");
    assert!(
        scopes.header("www-authenticate").contains("insufficient_scope"),
        "{scopes:?}"
    );
    let error = &scopes.json()["errors"][0];
    assert!(
        error["message"]
            .as_str()
            .expect("a text")
            .contains("read:api_scopes"),
        "{error}"
    );

    let wrong = client.send(
        "POST",
        "/oauth2/token",
        &headers,
        form.replace("secret-of", "secret-off").as_bytes(),
    );
    assert_eq!(
        (wrong.status, &wrong.json()["error"]),
        (401, &"invalid_client".into()),
        "{wrong:?}"
    );
    assert!(
        wrong.header("www-authenticate").starts_with("Basic "),
        "{wrong:?}"
    );
    let wrong_method = client.get("/oauth2/token", &[]);
    assert_eq!(wrong_method.status, 405, "{wrong_method:?}");

    // Somebody is named in the settings, so there is no first token.
    assert!(!home.path().join("latchkey.db.management-token").exists());
    let log = fs::read_to_string(home.path().join("latchkey.log")).expect("a log");
    assert!(!log.contains(SECRET) && !log.contains(token.trim_start_matches("Bearer ")));
}

#[test]
fn a_management_file_that_cannot_be_used_stops_the_start() {
    let tokens =
        "management: {tokens: [{name: ci, token_file: token, permissions: ['read:apis']}]}\nroutes:\n";
    let home = Home::with(&[("routes:\n", tokens)]);
    for content in [
        None,
        Some(""),
        Some("short"),
        Some("two\nlines-of-a-secret-token"),
    ] {
        if let Some(content) = content {
            fs::write(home.path().join("token"), content).expect("a file");
        }
        let ended = home.serve_in_vain();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains("management token \\\"ci\\\"")
                || ended.stderr.contains("management token \"ci\""),
            "{ended:?}"
        );
        assert!(!ended.stderr.contains("lines-of-a-secret"), "{ended:?}");
    }
}
