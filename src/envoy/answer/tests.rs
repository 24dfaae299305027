//! Every answer as bytes, read back with the generated messages.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use prost_types::value::Kind;

use super::{percent_encode, write};
use crate::authorizer::{Arrival, Outcome};
use crate::config::{Access, KeyAccess, ScopeRule};
use crate::decision::testing::{FakeRequest, key_record, policy_with, public, route, route_with};
use crate::decision::{Decision, Denial, InvalidKey, Next, NotAllowed, Policy, Reading, read};
use crate::envoy::messages::envoy::config::core::v3::HeaderValueOption;
use crate::envoy::messages::envoy::service::auth::v3::check_response::HttpResponse;
use crate::envoy::messages::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::keys::{KeyRecord, Owner};
use crate::limits::{NamedLimit, Verdict};
use crate::usage::Replica;

const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;

fn policy() -> Policy {
    policy_with(|settings| {
        settings.routes.push(route("empty", "POST", "/ai/empty", ""));
        settings.routes.push(public("open", "/open"));
    })
}

/// Decides as the authorizer does, with `record` as what the source knows.
fn decide<'r>(policy: &Policy, request: &'r FakeRequest, record: Option<KeyRecord>) -> Outcome<'r> {
    let Reading { facts, next } = read(policy, request);
    let record = record.map(Arc::new);
    let arrival = Arrival {
        unix_ms: 1_764_000_000_123,
        ..Arrival::now()
    };
    let (decision, route, limit) = match next {
        Next::Decided { decision, route } => (decision, route, None),
        Next::Unverified { denial, route } => (Decision::Deny(denial), route.ok(), None),
        Next::Verify(candidate) => {
            let route = candidate.route().cloned();
            let admitted = candidate
                .identify(record.clone(), 0)
                .expect("tests give keys that are admitted");
            let limit = admitted.limit().map(|limit| (limit.clone(), verdict(true)));
            (admitted.decide(), route, limit)
        }
    };
    Outcome {
        decision,
        facts,
        identity: record,
        route,
        limit,
        ..Outcome::fault(Replica::new(), arrival)
    }
}

fn verdict(allowed: bool) -> Verdict {
    Verdict {
        allowed,
        remaining: if allowed { 49 } else { 0 },
        reset_after: Duration::from_millis(29_001),
        retry_after: if allowed {
            Duration::ZERO
        } else {
            Duration::from_millis(17_200)
        },
    }
}

fn limit(name: &str) -> Arc<NamedLimit> {
    let mut rule = policy().settings.rate_limits["ai"].clone();
    rule.limit = NonZeroU32::new(50).unwrap();
    Arc::new(NamedLimit {
        name: name.into(),
        rule,
    })
}

/// Checks what holds of every answer, and takes it apart.
#[track_caller]
fn answer(policy: &Policy, outcome: &Outcome<'_>) -> CheckResponse {
    let bytes = write(policy, outcome, b"kept".to_vec());
    let encoded = bytes.strip_prefix(b"kept").expect("the buffer is continued");
    assert!(!encoded.is_empty());
    let response = CheckResponse::decode(encoded).expect("the answer decodes");
    let code = response.status.as_ref().expect("there is a status").code;
    let is_ok = matches!(response.http_response, Some(HttpResponse::OkResponse(_)));
    let is_denied = matches!(response.http_response, Some(HttpResponse::DeniedResponse(_)));
    assert!(is_ok || is_denied);
    assert_eq!(code == 0, is_ok);
    if is_ok {
        assert!(
            matches!(outcome.decision, Decision::Allow(_)),
            "only an allow is one"
        );
    }
    // Written as prost would write it: shortest lengths, nothing doubled.
    assert_eq!(response.encoded_len(), encoded.len());
    response
}

#[track_caller]
fn ok(response: CheckResponse) -> OkHttpResponse {
    match response.http_response {
        Some(HttpResponse::OkResponse(ok)) => ok,
        other => panic!("no allow: {other:?}"),
    }
}

#[track_caller]
fn denied(response: CheckResponse) -> DeniedHttpResponse {
    match response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied,
        other => panic!("no denial: {other:?}"),
    }
}

/// `name: value` of each; all of them overwrite.
#[track_caller]
#[expect(deprecated, reason = "ext_authz heeds `append` of request headers")]
fn lines(headers: &[HeaderValueOption]) -> Vec<String> {
    let line = |option: &HeaderValueOption| {
        assert_eq!(option.append, Some(false));
        assert_eq!(option.append_action, OVERWRITE_IF_EXISTS_OR_ADD);
        let header = option.header.as_ref().expect("there is a header");
        assert_eq!(header.raw_value, b"", "Envoy ignores it");
        format!("{}: {}", header.key, header.value)
    };
    headers.iter().map(line).collect()
}

fn metadata(response: &CheckResponse) -> Vec<String> {
    let fields = &response
        .dynamic_metadata
        .as_ref()
        .expect("there is metadata")
        .fields;
    let show = |(name, value): (&String, &prost_types::Value)| match value.kind.as_ref() {
        Some(Kind::StringValue(text)) => format!("{name}={text}"),
        Some(Kind::NumberValue(number)) => format!("{name}={number}"),
        other => panic!("{name} is {other:?}"),
    };
    fields.iter().map(show).collect()
}

fn with_owner(org_code: Option<&str>, user_id: Option<&str>) -> KeyRecord {
    KeyRecord {
        owner: Owner::from_parts(org_code, user_id),
        ..key_record()
    }
}

#[test]
fn an_allow_sets_the_tenant_headers_that_have_a_value_and_removes_the_others() {
    for (org_code, user_id, set, removed) in [
        (
            Some("acme"),
            None,
            &["x-auth-org-code: acme", "x-auth-context-owner: org:acme"][..],
            &["x-auth-user-id"][..],
        ),
        (
            None,
            Some("kp_1"),
            &["x-auth-user-id: kp_1", "x-auth-context-owner: user:kp_1"],
            &["x-auth-org-code"],
        ),
        (
            Some("acme"),
            Some("kp_1"),
            &[
                "x-auth-org-code: acme",
                "x-auth-user-id: kp_1",
                "x-auth-context-owner: org:acme",
            ],
            &[],
        ),
    ] {
        let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
        let policy = policy();
        let outcome = decide(&policy, &request, Some(with_owner(org_code, user_id)));
        let ok = ok(answer(&policy, &outcome));
        let mut expected = vec!["x-auth-key-id: api_key_1", "x-auth-scopes: write:ai_chat"];
        expected.extend(set);
        expected.sort_unstable();
        let mut lines = lines(&ok.headers);
        lines.sort_unstable();
        assert_eq!(lines, expected, "{org_code:?} {user_id:?}");
        let mut gone = ok.headers_to_remove;
        gone.retain(|name| name != "authorization");
        assert_eq!(gone, removed, "{org_code:?} {user_id:?}");
    }
}

#[test]
fn an_allow_without_a_key_removes_every_tenant_header() {
    let policy = policy();
    let request = FakeRequest::new("GET", "/open").header("x-auth-org-code", "forged");
    let ok = ok(answer(&policy, &decide(&policy, &request, None)));
    assert_eq!(lines(&ok.headers), Vec::<String>::new());
    for name in policy.settings.tenant_headers.all() {
        assert!(
            ok.headers_to_remove
                .iter()
                .any(|removed| removed == name.as_str()),
            "{name}"
        );
    }
}

#[test]
fn a_key_without_scopes_has_its_scopes_header_removed() {
    let policy = policy();
    let request = FakeRequest::new("POST", "/ai/empty").bearer("lk_key");
    let record = KeyRecord {
        scopes: Vec::new(),
        ..key_record()
    };
    let ok = ok(answer(&policy, &decide(&policy, &request, Some(record))));
    assert!(ok.headers_to_remove.iter().any(|name| name == "x-auth-scopes"));
    assert!(
        !lines(&ok.headers)
            .iter()
            .any(|line| line.starts_with("x-auth-scopes"))
    );
}

#[test]
fn no_name_is_both_set_and_removed() {
    let mut policy = policy();
    policy.blind_removals = vec![
        "X-Auth-Key-Id".into(),
        "x_auth_key_id".into(),
        "authorization".into(),
    ];
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let mut outcome = decide(&policy, &request, Some(key_record()));
    outcome.facts.shows_chosen_headers_only = true;
    outcome.facts.remove = vec![b"authorization", b"X-AUTH-ORG-CODE", b"x.auth.org.code"];
    let ok = ok(answer(&policy, &outcome));
    assert_eq!(
        ok.headers_to_remove,
        [
            "x-auth-user-id",
            "authorization",
            "x.auth.org.code",
            "x_auth_key_id"
        ]
    );
}

#[test]
fn names_to_remove_unseen_are_removed_only_where_headers_are_hidden() {
    let mut policy = policy();
    policy.blind_removals = vec!["x_auth_key_id".into()];
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let mut outcome = decide(&policy, &request, Some(key_record()));
    for (hidden, removed) in [(false, false), (true, true)] {
        outcome.facts.shows_chosen_headers_only = hidden;
        let ok = ok(answer(&policy, &outcome));
        assert_eq!(
            ok.headers_to_remove.contains(&"x_auth_key_id".to_owned()),
            removed,
            "hidden: {hidden}"
        );
    }
}

#[test]
fn a_target_without_its_credential_takes_the_place_of_the_old_one() {
    let policy = policy();
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let mut outcome = decide(&policy, &request, Some(key_record()));
    outcome.facts.new_target = Some(b"/ai/chat?b=2&a=1".to_vec());
    let ok = ok(answer(&policy, &outcome));
    assert!(lines(&ok.headers).contains(&":path: /ai/chat?b=2&a=1".to_owned()));
    assert!(ok.query_parameters_to_remove.is_empty() && ok.query_parameters_to_set.is_empty());
}

#[test]
fn what_no_header_can_carry_makes_a_denial_of_an_allow() {
    let policy = policy();
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    for (target, remove) in [
        (Some(&b"/\xff"[..]), &b"authorization"[..]),
        (Some(b"/a\r\nb"), b"authorization"),
        (Some(b""), b"authorization"),
        (None, b"x\xff"),
        (None, b""),
    ] {
        let mut outcome = decide(&policy, &request, Some(key_record()));
        outcome.facts.new_target = target.map(Into::into);
        outcome.facts.remove = vec![remove];
        let response = answer(&policy, &outcome);
        assert_eq!(response.status.unwrap().code, 13, "{target:?} {remove:?}");
    }
}

#[test]
fn values_are_percent_encoded_so_that_no_two_owners_share_one() {
    for (org_code, encoded) in [
        ("acme", "acme"),
        ("a cme", "a%20cme"),
        ("a%20cme", "a%2520cme"),
        ("a\r\nx: y", "a%0D%0Ax:%20y"),
        ("zoë", "zo%C3%AB"),
        ("a,b\"\\", "a,b\"\\"),
        ("\u{7f}", "%7F"),
    ] {
        let policy = policy();
        let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
        let outcome = decide(&policy, &request, Some(with_owner(Some(org_code), None)));
        let response = answer(&policy, &outcome);
        assert!(
            metadata(&response).contains(&format!("org_code={org_code}")),
            "metadata is not encoded"
        );
        let lines = lines(&ok(response).headers);
        assert!(
            lines.contains(&format!("x-auth-org-code: {encoded}")),
            "{org_code:?}: {lines:?}"
        );
        assert!(
            lines.contains(&format!("x-auth-context-owner: org:{encoded}")),
            "{org_code:?}: {lines:?}"
        );
    }
}

proptest! {
    #[test]
    fn encoded_values_are_visible_ascii_and_can_be_decoded(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
        let mut encoded = Vec::new();
        percent_encode(&mut encoded, &text);
        prop_assert!(encoded.iter().all(u8::is_ascii_graphic));
        let mut decoded = Vec::new();
        let mut bytes = encoded.iter();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let digits = [*bytes.next().unwrap(), *bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => *byte,
            });
        }
        prop_assert_eq!(decoded, text.into_bytes());
    }

    #[test]
    fn every_allow_decodes_whatever_its_owner_is_called(
        org_code in "\\PC{0,256}", user_id in "\\PC{0,256}", name in "\\PC{0,255}",
    ) {
        let policy = policy();
        let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
        let owner = Owner::from_parts(Some(&org_code), Some(&user_id));
        prop_assume!(owner.is_some());
        let record = KeyRecord { owner, name: name.into(), ..key_record() };
        let ok = ok(answer(&policy, &decide(&policy, &request, Some(record))));
        prop_assert!(lines(&ok.headers).len() >= 4);
    }
}

#[test]
fn limit_headers_go_to_the_response_of_an_allow() {
    let policy = policy();
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let mut outcome = decide(&policy, &request, Some(key_record()));
    for (name, limits, policies) in [
        ("ai", "\"ai\";r=49;t=30", "\"ai\";q=50;w=900"),
        (
            "a\"b\\c d",
            "\"a\\\"b\\\\c%20d\";r=49;t=30",
            "\"a\\\"b\\\\c%20d\";q=50;w=900",
        ),
        ("é", "\"%C3%A9\";r=49;t=30", "\"%C3%A9\";q=50;w=900"),
    ] {
        outcome.limit = Some((limit(name), verdict(true)));
        let ok = ok(answer(&policy, &outcome));
        assert_eq!(
            lines(&ok.response_headers_to_add),
            [
                format!("ratelimit: {limits}"),
                format!("ratelimit-policy: {policies}")
            ]
        );
    }
    outcome.limit = None;
    assert!(ok(answer(&policy, &outcome)).response_headers_to_add.is_empty());
}

#[test]
fn metadata_of_an_allow_says_who_where_and_why() {
    let policy = policy_with(|settings| {
        settings.routes = vec![route_with(
            route("chat", "POST", "/ai/chat", "write:ai_chat"),
            |access| {
                access.guard = Some("ai".into());
            },
        )];
    });
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let mut record = with_owner(Some("acme"), Some("kp_1"));
    record.scopes.push("read:ai_chats".parse().unwrap());
    let outcome = decide(&policy, &request, Some(record));
    let expected = [
        "api_id=api_ai".to_owned(),
        "context_owner=org:acme".to_owned(),
        format!("decision_id={}", outcome.decision_id),
        "guard=ai".to_owned(),
        "key_id=api_key_1".to_owned(),
        "key_name=Test".to_owned(),
        "org_code=acme".to_owned(),
        "outcome=allow".to_owned(),
        "reason=key".to_owned(),
        "request_started_ms=1764000000123".to_owned(),
        "route=chat".to_owned(),
        "scopes=write:ai_chat read:ai_chats".to_owned(),
        "user_id=kp_1".to_owned(),
    ];
    assert_eq!(metadata(&answer(&policy, &outcome)), expected);
}

#[test]
fn a_key_whose_source_names_no_api_is_taken_for_the_one_of_the_route() {
    let policy = policy();
    let request = FakeRequest::new("POST", "/ai/chat").bearer("lk_key");
    let record = KeyRecord {
        api_id: None,
        ..key_record()
    };
    let response = answer(&policy, &decide(&policy, &request, Some(record)));
    assert!(metadata(&response).contains(&"api_id=api_ai".to_owned()));
}

/// A denial of a request for `/ai/chat`, whose route needs `write:ai_chat`.
fn refused(denial: Denial) -> Outcome<'static> {
    Outcome {
        decision: Decision::Deny(denial),
        ..Outcome::fault(Replica::new(), Arrival::now())
    }
}

#[test]
fn each_denial_says_what_its_row_of_the_table_says() {
    const REALM: &str = r#"www-authenticate: Bearer realm="latchkey""#;
    let invalid_token = format!(r#"{REALM}, error="invalid_token""#);
    let scope = format!(r#"{REALM}, error="insufficient_scope", scope="read:ai_chats""#);
    let over = Denial::RateLimited {
        limit: limit("ai"),
        retry_after: Duration::from_millis(17_200),
    };
    let missing = Denial::InsufficientScope {
        missing: "read:ai_chats".parse().unwrap(),
    };
    let invalid_key = r#"{"error":"Invalid API key","code":"INVALID_API_KEY","request_id":"r-1"}"#;
    let not_allowed = r#"{"error":"Access denied","code":"ROUTE_NOT_ALLOWED","request_id":"r-1"}"#;
    let mut rows = vec![
        (
            Denial::InvalidPath,
            400,
            3,
            r#"{"error":"Invalid request path","code":"INVALID_PATH","request_id":"r-1"}"#,
            vec![],
        ),
        (
            Denial::InvalidHost,
            400,
            3,
            r#"{"error":"Invalid request host","code":"INVALID_HOST","request_id":"r-1"}"#,
            vec![],
        ),
        (
            Denial::MissingKey,
            401,
            16,
            r#"{"error":"Missing API key","code":"MISSING_API_KEY","request_id":"r-1"}"#,
            vec![REALM],
        ),
        (
            Denial::NoTrustedOwner,
            403,
            7,
            r#"{"error":"Trusted context required (user-level or org-level API key)","code":"TRUSTED_CONTEXT_REQUIRED","request_id":"r-1"}"#,
            vec![],
        ),
        (
            Denial::UpgradeNotAllowed,
            403,
            7,
            r#"{"error":"Upgrade not allowed","code":"UPGRADE_NOT_ALLOWED","request_id":"r-1"}"#,
            vec![],
        ),
        (
            missing,
            403,
            7,
            r#"{"error":"Insufficient scope: read:ai_chats","code":"INSUFFICIENT_SCOPE","request_id":"r-1"}"#,
            vec![scope.as_str()],
        ),
        (
            over,
            429,
            8,
            r#"{"error":"AI rate limit exceeded","code":"AI_RATE_LIMITED","request_id":"r-1"}"#,
            vec!["retry-after: 18"],
        ),
        (
            Denial::SourceUnavailable,
            503,
            14,
            r#"{"error":"Authorization temporarily unavailable","code":"KEY_SOURCE_UNAVAILABLE","request_id":"r-1"}"#,
            vec!["retry-after: 1"],
        ),
        (
            Denial::Internal,
            500,
            13,
            r#"{"error":"Internal server error","code":"INTERNAL","request_id":"r-1"}"#,
            vec![],
        ),
    ];
    for kind in [
        InvalidKey::Malformed,
        InvalidKey::Ambiguous,
        InvalidKey::Unknown,
        InvalidKey::Revoked,
        InvalidKey::Inactive,
        InvalidKey::Expired,
    ] {
        rows.push((
            Denial::InvalidKey(kind),
            401,
            16,
            invalid_key,
            vec![invalid_token.as_str()],
        ));
    }
    for kind in [
        NotAllowed::NoRoute,
        NotAllowed::Method,
        NotAllowed::Twin,
        NotAllowed::Api,
        NotAllowed::Network,
    ] {
        rows.push((Denial::NotAllowed(kind), 403, 7, not_allowed, vec![]));
    }

    let policy = policy();
    for (denial, status, code, body, headers) in rows {
        let mut outcome = refused(denial.clone());
        outcome.facts.request_id = Some("r-1");
        let response = answer(&policy, &outcome);
        assert_eq!(response.status.as_ref().unwrap().code, code, "{denial:?}");
        let shown = metadata(&response);
        assert!(
            shown.contains(&format!("reason={}", denial.reason())),
            "{denial:?}: {shown:?}"
        );
        assert!(
            shown.contains(&"outcome=deny".to_owned()),
            "{denial:?}: {shown:?}"
        );
        let denied = denied(response);
        assert_eq!(denied.status.unwrap().code, status, "{denial:?}");
        assert_eq!(denied.body, body, "{denial:?}");
        let decision = format!("x-latchkey-decision: {}", outcome.decision_id);
        let mut expected = vec![
            "content-type: application/json",
            "cache-control: no-store",
            &decision,
        ];
        expected.extend(headers);
        assert_eq!(lines(&denied.headers), expected, "{denial:?}");
    }
}

#[test]
fn a_denial_without_a_request_id_shows_the_decision_id() {
    let outcome = refused(Denial::MissingKey);
    let body = denied(answer(&policy(), &outcome)).body;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["request_id"], outcome.decision_id.to_string());
}

#[test]
fn a_counted_limit_is_told_with_a_denial_too() {
    let over = Denial::RateLimited {
        limit: limit("ai"),
        retry_after: Duration::from_millis(17_200),
    };
    let missing = Denial::InsufficientScope {
        missing: "read:ai_chats".parse().unwrap(),
    };
    for (denial, allowed, remaining) in [(over, false, 0), (missing, true, 49)] {
        let mut outcome = refused(denial.clone());
        outcome.limit = Some((limit("ai"), verdict(allowed)));
        let lines = lines(&denied(answer(&policy(), &outcome)).headers);
        assert!(
            lines.contains(&format!("ratelimit: \"ai\";r={remaining};t=30")),
            "{denial:?}: {lines:?}"
        );
        assert!(
            lines.contains(&"ratelimit-policy: \"ai\";q=50;w=900".to_owned()),
            "{denial:?}: {lines:?}"
        );
    }
}

#[test]
fn retry_after_is_whole_seconds_rounded_up_and_at_least_one() {
    for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (899_999, 900)] {
        let retry_after = Duration::from_millis(milliseconds);
        let outcome = refused(Denial::RateLimited {
            limit: limit("ai"),
            retry_after,
        });
        let lines = lines(&denied(answer(&policy(), &outcome)).headers);
        assert!(
            lines.contains(&format!("retry-after: {seconds}")),
            "{milliseconds}: {lines:?}"
        );
    }
}

#[test]
fn a_grpc_caller_gets_the_code_as_a_header() {
    let over = Denial::RateLimited {
        limit: limit("ai"),
        retry_after: Duration::from_secs(1),
    };
    for (denial, code, message) in [
        (over, 8, "AI%20rate%20limit%20exceeded"),
        (Denial::MissingKey, 16, "Missing%20API%20key"),
        (
            Denial::SourceUnavailable,
            14,
            "Authorization%20temporarily%20unavailable",
        ),
    ] {
        let mut outcome = refused(denial.clone());
        outcome.facts.is_grpc = true;
        let lines = lines(&denied(answer(&policy(), &outcome)).headers);
        assert!(
            lines.contains(&format!("grpc-status: {code}")),
            "{denial:?}: {lines:?}"
        );
        assert!(
            lines.contains(&format!("grpc-message: {message}")),
            "{denial:?}: {lines:?}"
        );
    }
}

#[test]
fn a_challenge_names_every_scope_of_a_route_that_needs_them_all() {
    let any = |access: &mut KeyAccess| {
        access.scopes = ScopeRule::Any(vec![
            "read:ai_chats".parse().unwrap(),
            "write:ai_chat".parse().unwrap(),
        ]);
    };
    for (route, scope) in [
        (
            route("all", "POST", "/ai/x", "read:ai_chats write:ai_chat"),
            "read:ai_chats write:ai_chat",
        ),
        (
            route_with(route("any", "POST", "/ai/x", ""), any),
            "read:ai_chats",
        ),
    ] {
        assert!(matches!(route.access, Access::Key(_)));
        let policy = policy_with(|settings| settings.routes = vec![route.clone()]);
        let request = FakeRequest::new("POST", "/ai/x").bearer("lk_key");
        let record = KeyRecord {
            scopes: Vec::new(),
            ..key_record()
        };
        let outcome = decide(&policy, &request, Some(record));
        let lines = lines(&denied(answer(&policy, &outcome)).headers);
        let challenge = format!("error=\"insufficient_scope\", scope=\"{scope}\"");
        assert!(
            lines.iter().any(|line| line.ends_with(&challenge)),
            "{}: {lines:?}",
            route.name
        );
    }
}

#[test]
fn error_texts_of_limits_are_escaped_in_the_body() {
    let mut named = NamedLimit::clone(&limit("ai"));
    named.rule.error = "say \"no\"\u{1}".into();
    let limit = Arc::new(named);
    let outcome = refused(Denial::RateLimited {
        limit,
        retry_after: Duration::ZERO,
    });
    let body = denied(answer(&policy(), &outcome)).body;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"], "say \"no\"\u{1}");
}

#[test]
fn a_denied_caller_learns_nothing_of_the_key() {
    let mut outcome = refused(Denial::InvalidKey(InvalidKey::Revoked));
    outcome.identity = Some(Arc::new(with_owner(Some("acme"), None)));
    outcome.facts.client_address = Some(Ipv4Addr::LOCALHOST.into());
    let response = answer(&policy(), &outcome);
    assert!(
        metadata(&response).contains(&"key_id=api_key_1".to_owned()),
        "operators learn it"
    );
    let denied = denied(response);
    let told = format!("{:?} {}", lines(&denied.headers), denied.body);
    for secret in ["acme", "api_key_1", "revoked", "127.0.0.1"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
