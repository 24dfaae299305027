//! What the request itself brings about: preflights, upgrades, keys in the query, credentials of somebody else.

use std::time::Duration;

use super::*;
use crate::config::CredentialPlace;
use crate::decision::testing::policy_with;

#[test]
fn a_preflight_passes_where_the_route_of_the_asked_method_says_so() {
    let preflight = |target: &str, asked: &str| {
        FakeRequest::new("OPTIONS", target)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", asked)
    };
    for (request, expected) in [
        (preflight("/ai/browser", "POST"), "cors_preflight"),
        (preflight("/ai/browser", "POST").bearer("lk_a"), "cors_preflight"),
        (preflight("/ai/browser", "DELETE"), "missing_key"),
        (preflight("/ai/browser", "PUT"), "missing_key"),
        (preflight("/ai/browser", "POST, DELETE"), "missing_key"),
        (
            preflight("/ai/browser", "POST").header("access-control-request-method", "POST"),
            "missing_key",
        ),
        (preflight("/ai/browser/", "POST"), "missing_key"),
        (preflight("/ai/chat", "POST"), "missing_key"),
        (preflight("/nowhere", "POST"), "missing_key"),
        (
            FakeRequest::new("OPTIONS", "/ai/browser").header("access-control-request-method", "POST"),
            "missing_key",
        ),
        (
            FakeRequest::new("OPTIONS", "/ai/browser").header("origin", "https://a.example"),
            "missing_key",
        ),
        (
            post("/ai/browser")
                .header("origin", "https://a")
                .header("access-control-request-method", "POST"),
            "missing_key",
        ),
    ] {
        assert_eq!(reason(&request, good()), expected, "{request:?}");
    }
}

#[test]
fn a_byte_that_envoy_has_replaced_is_no_exclamation_mark() {
    for (request, expected) in [
        (get("/public/a!"), "public"),
        (get("/public/a!").inexact(), "invalid_path"),
        (get("/public/a%21").inexact(), "public"),
        (get("/public/a?!").inexact(), "public"),
    ] {
        assert_eq!(reason(&request, good()), expected, "{request:?}");
    }
}

#[test]
fn a_public_route_keeps_a_foreign_credential_and_strips_ours() {
    let with_query = |settings: &mut crate::config::Settings| {
        settings.routes = routes();
        settings.credentials.push(CredentialPlace::Query {
            name: "api_key".into(),
        });
    };
    let policy = policy_with(with_query);
    for (request, removed, new_target) in [
        (get("/healthz?api_key=theirs").bearer("theirs"), vec![], None),
        (get("/healthz?api_key=lk_a&x=1"), vec![], Some("/healthz?x=1")),
        (get("/healthz?x").bearer("lk_a"), vec!["authorization"], None),
        (
            get("/healthz").header("x-api-key", "theirs,lk_a"),
            vec!["x-api-key"],
            None,
        ),
        (get("/ai/free?api_key=theirs&x=1"), vec![], Some("/ai/free?x=1")),
        (get("/ai/free").bearer("theirs"), vec!["authorization"], None),
    ] {
        let facts = read(&policy, &request).facts;
        assert_eq!(
            facts.remove,
            removed.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(),
            "{request:?}"
        );
        assert_eq!(
            facts.new_target.as_deref(),
            new_target.map(str::as_bytes),
            "{request:?}"
        );
    }
}

#[test]
fn a_key_in_the_query_counts_like_any_other() {
    let policy = policy_with(|settings| {
        settings.routes = routes();
        settings.credentials.push(CredentialPlace::Query {
            name: "api_key".into(),
        });
    });
    let reason = |request: FakeRequest| judge(&policy, &request, good()).0.reason();
    assert_eq!(reason(post("/ai/chat?api%5Fkey=lk%5Fa")), "key");
    assert_eq!(
        reason(post("/ai/chat?api_key=lk_a&api_key=lk_a")),
        "key_ambiguous"
    );
    assert_eq!(
        reason(post("/ai/chat?api_key=lk_a").bearer("lk_a")),
        "key_ambiguous"
    );
    assert_eq!(
        reason(post("/ai/chat?api_key=lk_a").header("x-api-key", "")),
        "key_ambiguous"
    );
    assert_eq!(reason(post("/ai/chat?api_key")), "key_malformed");
    assert_eq!(reason(get("/ai/optional?api_key=")), "key_malformed");
    let request = post("/ai/chat?api_key=lk%5Fa");
    let Next::Verify(candidate) = read(&policy, &request).next else {
        panic!("a key to verify")
    };
    assert_eq!(candidate.key(), "lk_a");
    let off = judge(&super::policy(), &post("/ai/chat?api_key=lk_a"), good()).0;
    assert_eq!(
        off.reason(),
        "missing_key",
        "the query is no place for keys unless asked for"
    );
}

#[test]
fn the_limits_are_resolved_by_name() {
    let policy = policy();
    let unauthenticated = policy.unauthenticated.as_ref().unwrap();
    assert_eq!(&*unauthenticated.name, "unauthenticated");
    let request = post("/ai/chat").bearer("lk_a");
    let Next::Verify(candidate) = read(&policy, &request).next else {
        panic!("a key to verify")
    };
    let admitted = candidate.identify(good().map(Arc::new), NOW_MS).unwrap();
    let limit = admitted.limit().unwrap();
    assert_eq!(
        (&*limit.name, limit.rule.window),
        ("ai", Duration::from_secs(900))
    );
    assert_eq!(&*admitted.route().settings.name, "chat");
    assert_eq!(&*admitted.record().id, "api_key_1");
}

#[test]
fn the_route_is_told_wherever_it_was_found() {
    let policy = policy();
    let found = |request: &FakeRequest| match read(&policy, request).next {
        Next::Decided { route, .. } => route,
        Next::Unverified { route, .. } => route.ok(),
        Next::Verify(candidate) => candidate.route().cloned(),
    };
    for (request, expected) in [
        (get("/healthz"), Some("health")),
        (post("/ai/chat"), Some("chat")),
        (post("/ai/chat").bearer("lk_a"), Some("chat")),
        (get("/ai/chat").bearer("lk_a"), None),
        (post("//"), None),
    ] {
        assert_eq!(
            found(&request)
                .map(|route| route.settings.name.to_string())
                .as_deref(),
            expected
        );
    }
}

#[test]
fn an_extended_connect_is_an_upgrade() {
    let policy = policy_of(vec![route_with(route("any", "", "/ai/any", ""), |access| {
        access.guard = Some("ai".into());
    })]);
    let request = FakeRequest::new("CONNECT", "/ai/any")
        .header(":protocol", "websocket")
        .bearer("lk_a");
    assert_eq!(judge(&policy, &request, good()).0.reason(), "upgrade_not_allowed");
}

#[test]
fn an_upgrade_passes_no_guard_without_a_key_either() {
    let mut open = route_with(route("open", "", "/ai/open", ""), |access| {
        access.guard = Some("ai".into());
        access.optional = true;
    });
    open.cors_preflight = CorsPreflight::Allow;
    let policy = policy_of(vec![open]);
    let preflight = FakeRequest::new("OPTIONS", "/ai/open")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST");
    for (request, reason) in [(post("/ai/open"), "anonymous"), (preflight, "cors_preflight")] {
        let reason_of = |request: &FakeRequest| judge(&policy, request, good()).0.reason();
        assert_eq!(reason_of(&request), reason);
        let upgrade = request
            .header("upgrade", "websocket")
            .header("connection", "upgrade");
        assert_eq!(reason_of(&upgrade), "upgrade_not_allowed");
    }
}

#[test]
fn a_reading_prints_nothing_of_the_key() {
    let policy = policy_with(|settings| {
        settings.credentials.push(CredentialPlace::Query {
            name: "api_key".into(),
        });
    });
    for request in [
        post("/ai/chat").bearer("lk_topsecret"),
        post("/ai/chat?api_key=lk_%74opsecret"),
    ] {
        let reading = format!("{:?}", read(&policy, &request));
        assert!(
            !reading.contains("topsecret") && reading.contains("Verify"),
            "{reading}"
        );
    }
}
