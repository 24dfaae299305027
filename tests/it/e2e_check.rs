//! Each answer that a caller can get, through the real Envoy in each of its shapes, for a key of an organization and for a key of
//! a user.

use serde_json::Value;

use crate::support::{Client, Home, Key, Response, Shape, Stack, in_each_shape};

const TENANT_HEADERS: [&str; 5] = [
    "x-auth-key-id",
    "x-auth-org-code",
    "x-auth-user-id",
    "x-auth-scopes",
    "x-auth-context-owner",
];

in_each_shape!(
    a_key_of_an_organization_gets_each_answer,
    a_key_of_a_user_gets_each_answer,
    a_key_of_a_user_inside_an_organization_gets_each_answer,
    forged_tenant_headers_never_reach_the_backend,
    a_public_route_needs_no_key_and_passes_no_identity_on,
    without_an_authorizer_nothing_is_allowed,
    names_with_underscores_are_refused_or_removed,
);

/// Whose key it is, and what the backend must be told.
struct Owner {
    args: &'static [&'static str],
    headers: &'static [(&'static str, &'static str)],
}

const ORGANIZATION: Owner = Owner {
    args: &["--org", "org_acme"],
    headers: &[
        ("x-auth-org-code", "org_acme"),
        ("x-auth-context-owner", "org:org_acme"),
    ],
};

const USER: Owner = Owner {
    args: &["--user", "user_42"],
    headers: &[
        ("x-auth-user-id", "user_42"),
        ("x-auth-context-owner", "user:user_42"),
    ],
};

const MEMBER: Owner = Owner {
    args: &["--org", "org_acme", "--user", "user_42"],
    headers: &[
        ("x-auth-org-code", "org_acme"),
        ("x-auth-user-id", "user_42"),
        ("x-auth-context-owner", "org:org_acme"),
    ],
};

impl Owner {
    fn key(&self, stack: &Stack, scopes: &[&str]) -> Key {
        stack.home.ai_key(scopes, self.args)
    }
}

fn a_key_of_an_organization_gets_each_answer(shape: Shape) {
    each_answer(shape, &ORGANIZATION);
}

fn a_key_of_a_user_gets_each_answer(shape: Shape) {
    each_answer(shape, &USER);
}

fn a_key_of_a_user_inside_an_organization_gets_each_answer(shape: Shape) {
    each_answer(shape, &MEMBER);
}

fn each_answer(shape: Shape, owner: &Owner) {
    let stack = Stack::in_shape(shape);
    let mut client = stack.client();
    let key = owner.key(&stack, &["read:ai_chats", "write:ai_chat"]);
    allowed(&mut client, owner, &key);
    let passed = stack.backend.requests();
    bad_requests(shape, &mut client, &key);
    unauthorized(&stack, &mut client, owner, &key);
    forbidden(&stack, &mut client, owner, &key);
    assert_eq!(
        stack.backend.requests(),
        passed,
        "the backend saw a refused request"
    );
    rate_limited(&stack, &mut client, owner);
}

fn allowed(client: &mut Client, owner: &Owner, key: &Key) {
    let bearer = key.bearer();
    for (place, value) in [
        ("authorization", bearer.as_str()),
        ("authorization", &format!("bEARER {}", key.key)),
        ("x-api-key", &key.key),
    ] {
        let answer = client.post("/ai/support?q=1", &[(place, value), ("x-kept", "yes")]);
        let told = |name: &str| {
            let told = owner.headers.iter().find(|(other, _)| *other == name);
            told.map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(answer.seen("x-auth-key-id"), [key.id.as_str()], "{place}");
        for name in ["x-auth-org-code", "x-auth-user-id", "x-auth-context-owner"] {
            assert_eq!(answer.seen(name), Vec::from_iter(told(name)), "{place}: {name}");
        }
        let scopes = answer.seen("x-auth-scopes").join(",");
        let mut scopes: Vec<&str> = scopes.split(' ').collect();
        scopes.sort_unstable();
        assert_eq!(scopes, ["read:ai_chats", "write:ai_chat"], "{place}");

        assert!(
            !answer.body.contains(&key.key),
            "the backend saw the key in {place}"
        );
        assert_eq!(answer.seen(place), [""; 0], "{place}");
        assert_eq!(answer.seen("x-kept"), ["yes"]);
        let seen = answer.json();
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path"], "/ai/support?q=1");
        assert_eq!(seen["body"], r#"{"message":"hello"}"#);
    }
}

fn bad_requests(shape: Shape, client: &mut Client, key: &Key) {
    let bearer = key.bearer();
    let authorization = ("authorization", bearer.as_str());
    for target in [
        "/ai/%252e%252e/support", // escaped twice
        "/ai/support;x=1",
        "/ai/%2e%2e;/support", // Envoy makes `/ai/..;/support` of it
        "/ai/support%252f",
    ] {
        let answer = client.post(target, &[authorization]);
        refused(&answer, 400, "INVALID_PATH", "Invalid request path", target);
    }
    // An address that is refused must not depend on a key.
    let answer = client.post("/ai/support;x=1", &[]);
    refused(
        &answer,
        400,
        "INVALID_PATH",
        "Invalid request path",
        "without a key",
    );
    let answer = client.post("/ai%2fsupport", &[authorization]);
    match shape {
        // Envoy refuses escaped slashes itself.
        Shape::Full => assert_eq!((answer.status, answer.code().as_str()), (400, "")),
        Shape::Istio => refused(&answer, 400, "INVALID_PATH", "Invalid request path", "%2f"),
        // It sends the caller to where it will be judged.
        Shape::EnvoyGateway => {
            assert_eq!(answer.status, 307);
            assert!(answer.header("location").ends_with("/ai/support"), "{answer:?}");
        }
    }

    let hosts = [
        ("host", "api.example.com"),
        ("host", "b.example.com"),
        authorization,
    ];
    let answer = client.post("/ai/support", &hosts);
    assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_HOST"));
}

fn unauthorized(stack: &Stack, client: &mut Client, owner: &Owner, key: &Key) {
    let answer = client.post("/ai/support", &[]);
    refused(
        &answer,
        401,
        "MISSING_API_KEY",
        "Missing API key",
        "without a key",
    );
    assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="latchkey""#);

    let revoked = owner.key(stack, &["read:ai_chats"]);
    stack.home.revoke(&revoked);
    let (good, other) = (&key.key, owner.key(stack, &["read:ai_chats"]).key);
    let (bearer, bearer_other) = (key.bearer(), format!("Bearer {other}"));
    let mut changed = good.clone();
    let last = changed.pop();
    changed.push(if last == Some('0') { '1' } else { '0' });
    let unknown = crate::e2e_abuse::well_formed_key(1);
    let cases: [(&str, &[(&str, &str)]); 12] = [
        ("revoked", &[("authorization", &revoked.bearer())]),
        (
            "unknown, of the right form",
            &[("authorization", &format!("Bearer {unknown}"))],
        ),
        (
            "a wrong checksum",
            &[("authorization", &format!("Bearer {changed}"))],
        ),
        ("malformed", &[("authorization", "Bearer not-a-key")]),
        ("malformed in the other place", &[("x-api-key", "nothing")]),
        (
            "two keys in one header",
            &[("authorization", &format!("Bearer {good} {other}"))],
        ),
        (
            "joined with a comma",
            &[("authorization", &format!("{bearer},{bearer_other}"))],
        ),
        (
            "the same one twice",
            &[("authorization", &format!("{bearer}, {bearer}"))],
        ),
        (
            "in two headers of one name",
            &[("authorization", &bearer), ("authorization", &bearer_other)],
        ),
        (
            "in two headers of another name",
            &[("x-api-key", good), ("x-api-key", &other)],
        ),
        (
            "in two places",
            &[("authorization", &bearer), ("x-api-key", &other)],
        ),
        (
            "a good one beside a bad one",
            &[("x-api-key", good), ("authorization", "Bearer nothing")],
        ),
    ];
    for (case, headers) in cases {
        let answer = client.post("/ai/support", headers);
        refused(&answer, 401, "INVALID_API_KEY", "Invalid API key", case);
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with(r#"Bearer realm="latchkey""#),
            "{case}: {challenge}"
        );
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{case}: {challenge}"
        );
    }
}

fn forbidden(stack: &Stack, client: &mut Client, owner: &Owner, key: &Key) {
    let bearer = key.bearer();
    let authorization = [("authorization", bearer.as_str())];
    for (method, target) in [
        ("GET", "/nowhere"),
        ("GET", "/"),
        ("GET", "/ai/support"),
        ("DELETE", "/ai/chat"),
        ("POST", "/AI/support"),
        ("POST", "/ai/support/"),
        ("GET", "/other"), // another API
    ] {
        let answer = client.request(method, target, &authorization);
        refused(
            &answer,
            403,
            "ROUTE_NOT_ALLOWED",
            "Access denied",
            &format!("{method} {target}"),
        );
    }

    let answer = client.get("/ai/analytics", &authorization);
    let error = "Insufficient scope: read:ai_analytics";
    refused(&answer, 403, "INSUFFICIENT_SCOPE", error, "scope");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="read:ai_analytics""#), "{challenge}");

    let mut args = vec!["--api", "api_other", "--scope", "read:other"];
    args.extend(owner.args);
    let other = stack.home.create_key(&args).bearer();
    let answer = client.post("/ai/support", &[("authorization", &other)]);
    refused(
        &answer,
        403,
        "ROUTE_NOT_ALLOWED",
        "Access denied",
        "a key of another API",
    );
}

fn rate_limited(stack: &Stack, client: &mut Client, owner: &Owner) {
    let bearer = owner.key(stack, &["write:ai_chat"]).bearer();
    let authorization = [("authorization", bearer.as_str())];
    for left in (0..crate::support::CHATS).rev() {
        let answer = client.post("/ai/chat", &authorization);
        assert_eq!(answer.status, 200, "{answer:?}");
        let limit = answer.header("ratelimit");
        assert!(limit.contains(&format!("r={left}")), "{left} left: {limit}");
        assert!(
            answer.header("ratelimit-policy").contains("q=5;w=900"),
            "{answer:?}"
        );
    }
    let passed = stack.backend.requests();
    let answer = client.post("/ai/chat", &authorization);
    refused(&answer, 429, "CHATS_LIMITED", "Too many chats", "over the limit");
    let seconds: u64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!((1..=1800).contains(&seconds), "{seconds}");
    assert!(answer.header("ratelimit").contains("r=0"), "{answer:?}");
    assert!(
        answer.header("ratelimit-policy").contains("q=5;w=900"),
        "{answer:?}"
    );
    assert_eq!(stack.backend.requests(), passed);

    let another = owner.key(stack, &["write:ai_chat"]).bearer();
    let answer = client.post("/ai/chat", &[("authorization", &another)]);
    assert_eq!(answer.status, 200, "the limit is the key's own: {answer:?}");
}

/// What every refusal of Latchkey has.
fn refused(answer: &Response, status: u16, code: &str, error: &str, case: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{case}: {answer:?}"
    );
    let body = answer.json();
    assert_eq!(body["error"], error, "{case}");
    let request_id = body["request_id"].as_str().unwrap_or_default();
    assert!(!request_id.is_empty(), "{case}: {body}");
    assert_eq!(answer.header("content-type"), "application/json", "{case}");
    assert_eq!(answer.header("cache-control"), "no-store", "{case}");
    assert!(!answer.header("x-latchkey-decision").is_empty(), "{case}");
}

fn forged_tenant_headers_never_reach_the_backend(shape: Shape) {
    let stack = Stack::with(Home::new(), shape, shape.letting_underscores_in());
    let mut client = stack.client();
    for owner in [ORGANIZATION, USER] {
        let bearer = owner.key(&stack, &["read:ai_chats"]).bearer();
        for forged in forgeries() {
            let headers = [("authorization", bearer.as_str()), (&forged, "forged")];
            let seen = client.post("/ai/support", &headers);
            assert!(!seen.body.contains("forged"), "{forged}: {}", seen.body);
            assert_eq!(seen.seen("x-auth-key-id").len(), 1, "{forged}");
        }
        // All of them at once, and each twice.
        let forged = forgeries();
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(forged.iter().chain(&forged).map(|name| (name.as_str(), "forged")));
        let seen = client.post("/ai/support", &headers);
        assert!(!seen.body.contains("forged"), "{}", seen.body);
    }
}

fn a_public_route_needs_no_key_and_passes_no_identity_on(shape: Shape) {
    let stack = Stack::with(Home::new(), shape, shape.letting_underscores_in());
    let mut client = stack.client();
    assert_eq!(client.get("/healthz", &[]).status, 200);
    for forged in forgeries() {
        let seen = client.get("/healthz", &[(&forged, "forged")]);
        assert!(!seen.body.contains("forged"), "{forged}: {}", seen.body);
    }
    let key = stack.home.chat_key();
    let seen = client.get("/healthz", &[("authorization", &key.bearer())]);
    assert!(
        !seen.body.contains(&key.key),
        "a key of our own shape is not the backend's"
    );
    for name in TENANT_HEADERS {
        assert_eq!(seen.seen(name), [""; 0], "{name}");
    }
}

/// Each tenant header in each spelling that an upstream may take for it, and what else must not pass.
fn forgeries() -> Vec<String> {
    let mut names = vec![
        "X_Auth_Org_Code".to_owned(),
        "x.auth.org.code".to_owned(),
        "X-Auth_Org.Code".to_owned(),
        "x-original-url".to_owned(),
        "x-rewrite-url".to_owned(),
        "x-envoy-auth-failure-mode-allowed".to_owned(),
    ];
    for name in TENANT_HEADERS {
        names.extend([
            name.to_owned(),
            name.to_ascii_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
        ]);
    }
    names
}

fn names_with_underscores_are_refused_or_removed(shape: Shape) {
    let stack = Stack::in_shape(shape);
    let bearer = stack.home.chat_key().bearer();
    let headers = [("authorization", bearer.as_str()), ("X_Auth_Org_Code", "forged")];
    let answer = stack.client().post("/ai/support", &headers);
    match shape {
        Shape::Full | Shape::EnvoyGateway => {
            assert_eq!(answer.status, 400);
            assert_eq!(stack.backend.requests(), 0);
        }
        Shape::Istio => assert!(!answer.body.contains("forged"), "{}", answer.body),
    }
}

fn without_an_authorizer_nothing_is_allowed(shape: Shape) {
    let Stack {
        envoy,
        latchkey,
        backend,
        home,
    } = Stack::in_shape(shape);
    let bearer = home.chat_key().bearer();
    let mut client = Client::new(envoy.listener);
    let mut ask = || client.post("/ai/support", &[("authorization", &bearer)]);
    assert_eq!(ask().status, 200);
    drop(latchkey);
    for _ in 0..20 {
        let answer = ask();
        // Envoy Gateway cannot choose the status.
        let status = if shape == Shape::EnvoyGateway { 403 } else { 503 };
        assert_eq!(answer.status, status, "{answer:?}");
        if shape == Shape::Full {
            let body: Value = answer.json();
            assert!(body["error"].is_string() && body["code"].is_string(), "{body}");
        }
    }
    assert_eq!(backend.requests(), 1);
}
