//! Every answer that the core decides, and the order of its checks.

use proptest::prelude::*;

use super::*;
use crate::config::{Access, Route};
use crate::decision::testing::{FakeRequest, key_record, policy_of, public, route, route_with};
use crate::keys::Owner;

mod requests;

const NOW_MS: u64 = 1_000_000;

/// Routes of every kind.
fn routes() -> Vec<Route> {
    let preflight = |route: Route| Route {
        cors_preflight: CorsPreflight::Allow,
        ..route
    };
    let any = |access: &mut KeyAccess| {
        let scopes = ["write:ai_chat", "write:ai_analytics"];
        access.scopes = ScopeRule::Any(scopes.map(|scope| scope.parse().unwrap()).into());
    };
    vec![
        public("health", "/healthz"),
        public("files", "/public/{*rest}"),
        route_with(route("chat", "POST", "/ai/chat", "write:ai_chat"), |access| {
            access.rate_limit = Some("ai".into());
        }),
        route(
            "support",
            "POST",
            "/ai/support",
            "read:ai_chats write:ai_analytics",
        ),
        route("free", "GET", "/ai/free", ""),
        route_with(route("process", "POST", "/ai/process", ""), any),
        route_with(
            route("guarded", "POST", "/ai/guarded", "write:ai_chat"),
            |access| {
                access.guard = Some("ai".into());
            },
        ),
        route_with(
            route("optional", "GET", "/ai/optional", "write:ai_chat"),
            |access| access.optional = true,
        ),
        preflight(route("browser", "POST", "/ai/browser", "write:ai_chat")),
        route("browser-delete", "DELETE", "/ai/browser", "write:ai_chat"),
        route("billing", "GET", "/public/billing", "write:ai_chat"),
        route_with(route("customers", "GET", "/customers", ""), |access| {
            access.api = "api_customers".into()
        }),
    ]
}

fn policy() -> Policy {
    policy_of(routes())
}

fn post(target: &str) -> FakeRequest {
    FakeRequest::new("POST", target)
}

fn get(target: &str) -> FakeRequest {
    FakeRequest::new("GET", target)
}

/// The decision on a request, with this record for whatever key it shows, as a reason and the status of a denial. Limits are
/// not counted here.
fn judge(policy: &Policy, request: &FakeRequest, record: Option<KeyRecord>) -> (Decision, bool) {
    match read(policy, request).next {
        Next::Decided { decision, .. } => (decision, false),
        Next::Unverified { denial, .. } => (Decision::Deny(denial), true),
        Next::Verify(candidate) => match candidate.identify(record.map(Arc::new), NOW_MS) {
            Ok(admitted) => (admitted.decide(), false),
            Err(Refused::Unverified(invalid)) => (Decision::Deny(Denial::InvalidKey(invalid)), true),
            Err(Refused::Denied(denial)) => (Decision::Deny(denial), false),
        },
    }
}

fn reason(request: &FakeRequest, record: Option<KeyRecord>) -> &'static str {
    judge(&policy(), request, record).0.reason()
}

fn with(change: impl FnOnce(&mut KeyRecord)) -> Option<KeyRecord> {
    let mut record = key_record();
    change(&mut record);
    Some(record)
}

fn good() -> Option<KeyRecord> {
    with(|_| {})
}

#[test]
fn each_case_has_its_reason_status_and_code() {
    let chat = || post("/ai/chat").bearer("lk_a");
    let network = |record: &mut KeyRecord| record.allowed_networks = vec!["10.0.0.0/8".parse().unwrap()];
    for (request, record, expected) in [
        (chat(), good(), ("key", 200, "")),
        (
            post("/ai/chat").header("x-api-key", "lk_a"),
            good(),
            ("key", 200, ""),
        ),
        (chat().host("API.example.com:443"), good(), ("key", 200, "")),
        (
            post("/ai//chat").bearer("lk_a"),
            good(),
            ("invalid_path", 400, "INVALID_PATH"),
        ),
        (
            FakeRequest::new("OPTIONS", "*"),
            good(),
            ("invalid_path", 400, "INVALID_PATH"),
        ),
        (
            FakeRequest::new("CONNECT", "/ai/chat").bearer("lk_a"),
            good(),
            ("invalid_path", 400, "INVALID_PATH"),
        ),
        (
            FakeRequest::new("CONNECT", "h:443").bearer("lk_a"),
            good(),
            ("invalid_path", 400, "INVALID_PATH"),
        ),
        (chat().host("a,b"), good(), ("invalid_host", 400, "INVALID_HOST")),
        (chat().host(""), good(), ("invalid_host", 400, "INVALID_HOST")),
        (post("/ai/chat"), good(), ("missing_key", 401, "MISSING_API_KEY")),
        (
            post("/ai/chat").header("authorization", "Basic x"),
            good(),
            ("missing_key", 401, "MISSING_API_KEY"),
        ),
        (chat(), None, ("key_unknown", 401, "INVALID_API_KEY")),
        (
            chat().header("x-api-key", "lk_a"),
            good(),
            ("key_ambiguous", 401, "INVALID_API_KEY"),
        ),
        (
            post("/ai/chat").bearer("lk a"),
            good(),
            ("key_malformed", 401, "INVALID_API_KEY"),
        ),
        (
            chat(),
            with(|key| key.status = KeyStatus::Revoked),
            ("key_revoked", 401, "INVALID_API_KEY"),
        ),
        (
            chat(),
            with(|key| key.status = KeyStatus::Inactive),
            ("key_inactive", 401, "INVALID_API_KEY"),
        ),
        (
            chat(),
            with(|key| key.expires_at_ms = Some(NOW_MS)),
            ("key_expired", 401, "INVALID_API_KEY"),
        ),
        (
            chat(),
            with(|key| key.expires_at_ms = Some(0)),
            ("key_expired", 401, "INVALID_API_KEY"),
        ),
        (
            chat(),
            with(|key| key.expires_at_ms = Some(NOW_MS + 1)),
            ("key", 200, ""),
        ),
        (
            chat(),
            with(|key| key.owner = None),
            ("no_trusted_owner", 403, "TRUSTED_CONTEXT_REQUIRED"),
        ),
        (
            post("/nowhere").bearer("lk_a"),
            good(),
            ("no_route", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            get("/ai/chat").bearer("lk_a"),
            good(),
            ("method_not_allowed", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            post("/ai/Chat").bearer("lk_a"),
            good(),
            ("path_twin", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            get("/public/Billing").bearer("lk_a"),
            good(),
            ("path_twin", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            get("/customers").bearer("lk_a"),
            good(),
            ("wrong_api", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            get("/customers").bearer("lk_a"),
            with(|key| key.api_id = None),
            ("key", 200, ""),
        ),
        (
            chat(),
            with(network),
            ("network_not_allowed", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            chat().peer(None),
            with(network),
            ("network_not_allowed", 403, "ROUTE_NOT_ALLOWED"),
        ),
        (
            chat().peer("10.9.9.9".parse().ok()),
            with(network),
            ("key", 200, ""),
        ),
        (
            chat().peer("::ffff:10.9.9.9".parse().ok()),
            with(network),
            ("key", 200, ""),
        ),
        (
            post("/ai/guarded")
                .bearer("lk_a")
                .header("upgrade", "websocket")
                .header("connection", "upgrade"),
            good(),
            ("upgrade_not_allowed", 403, "UPGRADE_NOT_ALLOWED"),
        ),
        (
            chat()
                .header("upgrade", "websocket")
                .header("connection", "upgrade"),
            good(),
            ("key", 200, ""),
        ),
        (post("/ai/guarded").bearer("lk_a"), good(), ("key", 200, "")),
        (
            post("/ai/support").bearer("lk_a"),
            good(),
            ("insufficient_scope", 403, "INSUFFICIENT_SCOPE"),
        ),
        (
            get("/ai/free").bearer("lk_a"),
            with(|key| key.scopes.clear()),
            ("key", 200, ""),
        ),
        (
            FakeRequest::new("HEAD", "/ai/free").bearer("lk_a"),
            good(),
            ("key", 200, ""),
        ),
        (get("/healthz"), None, ("public", 200, "")),
        (
            get("/public/billing"),
            None,
            ("missing_key", 401, "MISSING_API_KEY"),
        ),
        (
            get("/public/x").header("x-api-key", "a,b"),
            None,
            ("public", 200, ""),
        ),
        (get("/ai/optional"), None, ("anonymous", 200, "")),
        (get("/ai/optional").bearer("lk_a"), good(), ("key", 200, "")),
        (
            get("/ai/optional").bearer("lk_a"),
            None,
            ("key_unknown", 401, "INVALID_API_KEY"),
        ),
        (
            get("/ai/optional").header("x-api-key", ""),
            None,
            ("key_malformed", 401, "INVALID_API_KEY"),
        ),
        (
            get("/ai/optional/"),
            None,
            ("missing_key", 401, "MISSING_API_KEY"),
        ),
    ] {
        let (decision, _) = judge(&policy(), &request, record);
        let seen = match &decision {
            Decision::Allow(_) => (decision.reason(), 200, ""),
            Decision::Deny(denial) => (decision.reason(), denial.status(), denial.code()),
        };
        assert_eq!(seen, expected, "{request:?}");
    }
}

#[test]
fn of_two_faults_the_one_that_tells_less_wins() {
    let revoked_and_unowned = || {
        with(|key| {
            key.status = KeyStatus::Revoked;
            key.owner = None;
        })
    };
    let unowned = || with(|key| key.owner = None);
    let other_api = |key: &mut KeyRecord| key.api_id = Some("api_other".into());
    let elsewhere = |key: &mut KeyRecord| key.allowed_networks = vec!["10.0.0.0/8".parse().unwrap()];
    let upgrade = |request: FakeRequest| {
        request
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
    };
    for (what, request, record, expected) in [
        ("path and host", post("//").host(""), None, "invalid_path"),
        ("path and key", post("//"), None, "invalid_path"),
        ("host and key", post("/ai/chat").host("a,b"), None, "invalid_host"),
        (
            "host on a public route",
            get("/healthz").host("a,b"),
            None,
            "invalid_host",
        ),
        (
            "two keys on a public route",
            get("/healthz").bearer("a").bearer("b"),
            None,
            "public",
        ),
        ("no key and no route", post("/nowhere"), None, "missing_key"),
        ("no key and wrong method", get("/ai/chat"), None, "missing_key"),
        ("no key and a twin", get("/ai/chat/"), None, "missing_key"),
        (
            "two keys and no route",
            post("/nowhere").bearer("a").bearer("b"),
            good(),
            "key_ambiguous",
        ),
        (
            "unknown and no route",
            post("/nowhere").bearer("lk_a"),
            None,
            "key_unknown",
        ),
        (
            "revoked and no route",
            post("/nowhere").bearer("lk_a"),
            revoked_and_unowned(),
            "key_revoked",
        ),
        (
            "revoked and no owner",
            post("/ai/chat").bearer("lk_a"),
            revoked_and_unowned(),
            "key_revoked",
        ),
        (
            "revoked and expired",
            post("/ai/chat").bearer("lk_a"),
            with(|key| {
                key.status = KeyStatus::Revoked;
                key.expires_at_ms = Some(0);
            }),
            "key_revoked",
        ),
        (
            "expired and wrong API",
            post("/ai/chat").bearer("lk_a"),
            with(|key| {
                key.expires_at_ms = Some(0);
                other_api(key);
            }),
            "key_expired",
        ),
        (
            "no owner and no route",
            post("/nowhere").bearer("lk_a"),
            unowned(),
            "no_trusted_owner",
        ),
        (
            "no owner and wrong method",
            get("/ai/chat").bearer("lk_a"),
            unowned(),
            "no_trusted_owner",
        ),
        (
            "wrong method and wrong API",
            get("/ai/chat").bearer("lk_a"),
            with(other_api),
            "method_not_allowed",
        ),
        (
            "wrong API and network",
            post("/ai/chat").bearer("lk_a"),
            with(|key| {
                other_api(key);
                elsewhere(key);
            }),
            "wrong_api",
        ),
        (
            "network and upgrade",
            upgrade(post("/ai/guarded").bearer("lk_a")),
            with(elsewhere),
            "network_not_allowed",
        ),
        (
            "upgrade and scope",
            upgrade(post("/ai/guarded").bearer("lk_a")),
            with(|key| key.scopes.clear()),
            "upgrade_not_allowed",
        ),
        (
            "network and scope",
            post("/ai/support").bearer("lk_a"),
            with(elsewhere),
            "network_not_allowed",
        ),
    ] {
        assert_eq!(reason(&request, record), expected, "{what}");
    }
}

#[test]
fn what_is_not_verified_counts_and_what_is_refused_later_does_not() {
    let policy = policy();
    for (request, record, counts) in [
        (post("/ai/chat"), None, true),
        (post("/ai/chat").bearer("lk a"), None, true),
        (post("/ai/chat").bearer("lk_a"), None, true),
        (
            post("/ai/chat").bearer("lk_a"),
            with(|key| key.status = KeyStatus::Revoked),
            true,
        ),
        (
            post("/ai/chat").bearer("lk_a"),
            with(|key| key.owner = None),
            false,
        ),
        (post("/nowhere").bearer("lk_a"), good(), false),
        (post("/ai/support").bearer("lk_a"), good(), false),
        (post("//"), None, false),
        (get("/healthz"), None, false),
    ] {
        assert_eq!(judge(&policy, &request, record).1, counts, "{request:?}");
    }
}

#[test]
fn a_missing_scope_is_the_first_one_of_the_route() {
    let scopes = |text: &str| {
        text.split_whitespace()
            .map(|scope| scope.parse().unwrap())
            .collect::<Vec<Scope>>()
    };
    for (held, rule, missing) in [
        ("", ScopeRule::All(vec![]), None),
        ("a:b", ScopeRule::All(scopes("a:b")), None),
        ("c:d a:b", ScopeRule::All(scopes("a:b c:d")), None),
        ("a:b", ScopeRule::All(scopes("a:b c:d e:f")), Some("c:d")),
        ("c:d", ScopeRule::All(scopes("a:b c:d")), Some("a:b")),
        ("A:b", ScopeRule::All(scopes("a:b")), Some("a:b")),
        ("a:bc", ScopeRule::All(scopes("a:b")), Some("a:b")),
        ("c:d", ScopeRule::Any(scopes("a:b c:d")), None),
        ("e:f", ScopeRule::Any(scopes("a:b c:d")), Some("a:b")),
        ("", ScopeRule::Any(scopes("a:b c:d")), Some("a:b")),
    ] {
        let found = missing_scope(&rule, &scopes(held));
        assert_eq!(found.map(Scope::as_str), missing, "held {held:?}, rule {rule:?}");
    }
    let (decision, _) = judge(&policy(), &post("/ai/support").bearer("lk_a"), good());
    let missing = "read:ai_chats".parse().unwrap();
    assert_eq!(decision, Decision::Deny(Denial::InsufficientScope { missing }));
    assert_eq!(reason(&post("/ai/process").bearer("lk_a"), good()), "key");
    assert_eq!(
        reason(
            &post("/ai/process").bearer("lk_a"),
            with(|key| key.scopes.clear())
        ),
        "insufficient_scope"
    );
}

#[test]
fn a_grant_names_the_key_only_where_one_was_checked() {
    let identity = |request: FakeRequest| match judge(&policy(), &request, good()).0 {
        Decision::Allow(grant) => grant.identity().map(|record| record.id.clone()),
        Decision::Deny(denial) => panic!("{denial:?}"),
    };
    assert_eq!(
        identity(post("/ai/chat").bearer("lk_a")).as_deref(),
        Some("api_key_1")
    );
    assert_eq!(identity(get("/healthz").bearer("lk_a")), None);
    assert_eq!(identity(get("/ai/optional")), None);
}

#[test]
fn a_users_key_and_a_members_key_pass_too() {
    for (org, user) in [(None, Some("kp_1")), (Some("acme"), Some("kp_1"))] {
        let record = with(|key| key.owner = Owner::from_parts(org, user));
        assert_eq!(
            reason(&post("/ai/chat").bearer("lk_a"), record),
            "key",
            "{org:?} {user:?}"
        );
    }
}

proptest! {
    /// No bytes whatever get a protected route without a record.
    #[test]
    fn nothing_is_allowed_without_a_record_but_public_routes(
        method in "[A-Z]{1,7}|.{0,4}",
        target in "(/(ai|chat|public|healthz|%2e|\\.\\.|x|;|)){0,4}[?#]?.{0,8}",
        host in "[a-z.:,]{0,12}",
        headers in proptest::collection::vec(("authorization|x-api-key|origin|upgrade|.{0,6}", "(Bearer )?[lk_a, ]{0,8}"), 0..4),
    ) {
        let request = FakeRequest::new(&method, &target).host(&host);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let policy = policy();
        if let Decision::Allow(grant) = judge(&policy, &request, None).0 {
            prop_assert!(grant.identity().is_none());
            let Next::Decided { route: Some(route), .. } = read(&policy, &request).next else {
                panic!("an allow without a route")
            };
            prop_assert!(matches!(route.settings.access, Access::Public), "{}", route.settings.name);
        }
    }
}
