//! What one pass over the headers finds: credentials, twins, addresses.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::decision::testing::{FakeRequest, settings, settings_with};

fn request() -> FakeRequest {
    FakeRequest::new("POST", "/ai/chat")
}

/// What is removed of a request with these headers.
fn removed(headers: &[(&str, &str)]) -> Vec<String> {
    let request = headers
        .iter()
        .fold(request(), |request, (name, value)| request.header(name, value));
    let index = HeaderIndex::compile(&settings());
    let read = index.read(&request);
    read.facts
        .remove
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn presented(request: &FakeRequest) -> Result<Option<String>, InvalidKey> {
    let index = HeaderIndex::compile(&settings());
    match index.read(request).presented {
        Presented::Nothing => Ok(None),
        Presented::Key(key) => Ok(Some(key.as_str().into())),
        Presented::Invalid(invalid) => Err(invalid),
    }
}

#[test]
fn what_must_not_reach_the_backend_is_removed() {
    for (headers, expected) in [
        (vec![], vec![]),
        (
            vec![("accept", "*/*"), ("host", "h"), ("content-length", "3")],
            vec![],
        ),
        (vec![("authorization", "Bearer lk_a")], vec!["authorization"]),
        (vec![("authorization", "Bearer")], vec!["authorization"]),
        (vec![("authorization", "Basic dXNlcg==")], vec![]),
        (vec![("authorization", "lk_a")], vec!["authorization"]),
        (vec![("authorization", "Token lk_a")], vec!["authorization"]),
        (vec![("x-api-key", "anything")], vec!["x-api-key"]),
        (
            vec![("x-api-key", "lk_a"), ("x-api-key", "lk_b")],
            vec!["x-api-key"],
        ),
        (
            vec![("x-api-key", "a"), ("authorization", "Bearer b")],
            vec!["authorization", "x-api-key"],
        ),
        // A tenant header's own spelling is for the answer to set or to remove; every other goes.
        (vec![("x-auth-org-code", "evil")], vec![]),
        (vec![("x_auth_org_code", "evil")], vec!["x_auth_org_code"]),
        (vec![("x.auth.org.code", "evil")], vec!["x.auth.org.code"]),
        (vec![("x-auth_org.code", "evil")], vec!["x-auth_org.code"]),
        (
            vec![("x-auth-org_code", "a"), ("x-auth-org_code", "b")],
            vec!["x-auth-org_code"],
        ),
        (
            vec![("x_auth_key_id", "1"), ("x_auth_user_id", "2")],
            vec!["x_auth_key_id", "x_auth_user_id"],
        ),
        (
            vec![("x_auth_scopes", "1"), ("x_auth_context.owner", "2")],
            vec!["x_auth_context.owner", "x_auth_scopes"],
        ),
        (
            vec![
                ("x-auth-org-codes", "1"),
                ("x-auth-org", "1"),
                ("xauth-org-code", "1"),
            ],
            vec![],
        ),
        (vec![("x!auth!org!code", "evil")], vec!["x!auth!org!code"]),
        (
            vec![("x-auth+org~code", "evil"), ("x|auth|scopes", "x")],
            vec!["x-auth+org~code", "x|auth|scopes"],
        ),
        // A key is not the backend's under a twin of its place either.
        (
            vec![("x_api_key", "lk_a"), ("x.api.key", "theirs")],
            vec!["x_api_key"],
        ),
        // Strip headers go in every spelling.
        (vec![("x-original-url", "/admin")], vec!["x-original-url"]),
        (
            vec![("x_original_url", "/admin"), ("x*original*url", "/")],
            vec!["x*original*url", "x_original_url"],
        ),
        (
            vec![("x-http-method-override", "PUT")],
            vec!["x-http-method-override"],
        ),
        (
            vec![("x-envoy-auth-failure-mode-allowed", "true")],
            vec!["x-envoy-auth-failure-mode-allowed"],
        ),
        (
            vec![("x_envoy_auth_failure_mode_allowed", "true")],
            vec!["x_envoy_auth_failure_mode_allowed"],
        ),
        (vec![("", "x"), (":path", "/"), (":authority", "h")], vec![]),
    ] {
        assert_eq!(removed(&headers), expected, "{headers:?}");
    }
}

#[test]
fn what_http_needs_is_never_removed() {
    let settings = settings_with(|settings| {
        settings.tenant_headers.key_id = "content.length".parse().unwrap();
        settings.tenant_headers.org_code = "x_request_id".parse().unwrap();
        settings.strip_headers = vec![
            "transfer_encoding".parse().unwrap(),
            "x-envoy-foo".parse().unwrap(),
        ];
    });
    let request = request()
        .header("content-length", "1")
        .header("transfer-encoding", "chunked")
        .header("x-envoy-foo", "1");
    assert!(
        HeaderIndex::compile(&settings)
            .read(&request)
            .facts
            .remove
            .is_empty()
    );
    let blind = blind_removals(&settings);
    assert!(!blind.iter().any(|name| NEEDED.contains(&&**name)), "{blind:?}");
}

#[test]
fn a_foreign_credential_can_be_kept() {
    for (headers, expected) in [
        (vec![("authorization", "Bearer theirs")], vec![]),
        (vec![("authorization", "Bearer lk_ours")], vec!["authorization"]),
        (
            vec![("x-api-key", "theirs"), ("authorization", "Bearer lk_ours")],
            vec!["authorization"],
        ),
        (
            vec![("x-api-key", "theirs"), ("x-api-key", "lk_ours")],
            vec!["x-api-key"],
        ),
        (
            vec![("x-api-key", "lk_ours"), ("x-api-key", "theirs")],
            vec!["x-api-key"],
        ),
        (vec![("x-api-key", "theirs,lk_ours")], vec!["x-api-key"]),
        (
            vec![("x-api-key", "theirs"), ("x_auth_org_code", "evil")],
            vec!["x_auth_org_code"],
        ),
    ] {
        let request = headers
            .iter()
            .fold(request(), |request, (name, value)| request.header(name, value));
        let index = HeaderIndex::compile(&settings());
        let mut read = index.read(&request);
        read.keep_foreign_credentials();
        let names: Vec<_> = read
            .facts
            .remove
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        assert_eq!(names, expected, "{headers:?}");
    }
}

#[test]
fn two_credentials_are_never_one() {
    let ambiguous = Err(InvalidKey::Ambiguous);
    for (headers, expected) in [
        (vec![], Ok(None)),
        (vec![("authorization", "Bearer a")], Ok(Some("a"))),
        (vec![("x-api-key", "a")], Ok(Some("a"))),
        (
            vec![("authorization", "Basic x"), ("x-api-key", "a")],
            Ok(Some("a")),
        ),
        (
            vec![("authorization", "Basic x"), ("authorization", "Basic y")],
            Ok(None),
        ),
        (vec![("x_api_key", "a")], Ok(None)),
        (vec![("x-api-key", "")], Err(InvalidKey::Malformed)),
        (vec![("authorization", "Bearer a"), ("x-api-key", "a")], ambiguous),
        (vec![("authorization", "Bearer a"), ("x-api-key", "")], ambiguous),
        (
            vec![("authorization", "Bearer a"), ("authorization", "Bearer a")],
            ambiguous,
        ),
        (
            vec![("authorization", "Basic x"), ("authorization", "Bearer a")],
            ambiguous,
        ),
        (
            vec![("authorization", "Bearer a"), ("authorization", "Basic x")],
            ambiguous,
        ),
        (
            vec![
                ("authorization", "Basic x"),
                ("authorization", ""),
                ("authorization", "Bearer a"),
            ],
            ambiguous,
        ),
        (
            vec![("authorization", "Bearer a"), ("authorization", "")],
            ambiguous,
        ),
        (vec![("authorization", "Basic x, Bearer a")], ambiguous),
        (vec![("x-api-key", "a"), ("x-api-key", "a")], ambiguous),
        (
            vec![("x-api-key", "a"), ("x-api-key", "b"), ("x-api-key", "c")],
            ambiguous,
        ),
        (vec![("x-api-key", "a,b")], ambiguous),
    ] {
        let request = headers
            .iter()
            .fold(request(), |request, (name, value)| request.header(name, value));
        let expected = expected.map(|key: Option<&str>| key.map(str::to_owned));
        assert_eq!(presented(&request), expected, "{headers:?}");
    }
}

#[test]
fn blind_removals_are_all_that_might_have_been_seen() {
    let settings = settings();
    let names = blind_removals(&settings);
    for name in [
        "authorization",
        "x-api-key",
        "x-envoy-auth-failure-mode-allowed",
        "x-original-url",
        "x_auth_org_code",
        "x.auth.org.code",
        "x-auth_org.code",
        "x_auth.scopes",
    ] {
        assert!(names.iter().any(|known| **known == *name), "{name} is missing");
    }
    for name in settings.tenant_headers.all() {
        assert!(
            !names.iter().any(|known| **known == *name.as_str()),
            "{name} is set by the answer"
        );
    }
    let index = HeaderIndex::compile(&settings);
    for name in &names {
        let request = request().header(&**name, "lk_a");
        assert_eq!(
            index.read(&request).facts.remove,
            [name.as_bytes()],
            "{name} would not be removed when seen"
        );
    }
    assert!(names.is_sorted_by(|one, next| one < next));
    assert_eq!(spellings("a-b_c").len(), 9);
    assert_eq!(spellings("a-b-c-d-e-f-g-h").len(), MAX_SPELLINGS);
}

#[test]
fn envoys_own_headers_tell_whether_all_are_shown() {
    let index = HeaderIndex::compile(&settings());
    let blind = |request: &FakeRequest| index.read(request).facts.shows_chosen_headers_only;
    let bare = request().without_headers();
    assert!(!blind(&request()));
    assert!(blind(&bare));
    assert!(blind(&bare.clone().header("x-request-id", "1")));
    assert!(blind(&bare.clone().header("x-forwarded-proto", "http")));
    let listed = bare
        .header("x-request-id", "")
        .header("x-forwarded-proto", "http");
    assert!(blind(&listed), "both can be in a list of an operator");
    assert!(!blind(&listed.header(":path", "/")));
}

#[test]
fn a_request_id_is_echoed_only_if_it_can_be() {
    let index = HeaderIndex::compile(&settings());
    let longest = "a".repeat(64);
    let too_long = "a".repeat(65);
    for (ids, expected) in [
        (vec![], None),
        (vec!["7b0c-4.x_Y"], Some("7b0c-4.x_Y")),
        (vec![&*longest], Some(&*longest)),
        (vec![&*too_long], None),
        (vec![""], None),
        (vec!["a b"], None),
        (vec!["a\"b"], None),
        (vec!["a\nb"], None),
        (vec!["a", "b"], None),
    ] {
        let request = ids.iter().fold(request().without_headers(), |request, id| {
            request.header("x-request-id", id)
        });
        assert_eq!(index.read(&request).facts.request_id, expected, "{ids:?}");
    }
}

#[test]
fn grpc_requests_and_upgrades_are_seen() {
    let index = HeaderIndex::compile(&settings());
    for (value, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("Application/gRPC; charset=utf-8", true),
        ("application/grpc-web", false),
        ("application/json", false),
        ("", false),
    ] {
        assert_eq!(
            index.read(&request().header("content-type", value)).facts.is_grpc,
            expected,
            "{value:?}"
        );
    }
    for (headers, expected) in [
        (vec![], false),
        (vec![("upgrade", "websocket"), ("connection", "Upgrade")], true),
        (
            vec![("connection", "keep-alive, upgrade"), ("upgrade", "websocket")],
            true,
        ),
        (
            vec![
                ("connection", "keep-alive"),
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
            ],
            true,
        ),
        (
            vec![
                ("connection", "upgrade"),
                ("connection", "close"),
                ("upgrade", "websocket"),
            ],
            true,
        ),
        (vec![("upgrade", "websocket")], true),
        (
            vec![("upgrade", "websocket"), ("connection", "keep-alive")],
            false,
        ),
        (vec![("connection", "upgrade")], false),
        (vec![(":protocol", "websocket")], true),
    ] {
        let request = headers
            .iter()
            .fold(request(), |request, (name, value)| request.header(name, value));
        assert_eq!(index.read(&request).facts.upgrade, expected, "{headers:?}");
    }
}

#[test]
fn the_client_address_is_where_the_settings_say() {
    use ClientAddress::{EnvoyExternal, Peer};
    const XFF: &str = "x-forwarded-for";
    const EXTERNAL: &str = "x-envoy-external-address";
    const PEER: &str = "192.0.2.1";
    let forwarded = |place| ClientAddress::XForwardedFor(NonZeroUsize::new(place).unwrap());
    for (setting, headers, expected) in [
        (Peer, vec![(XFF, "203.0.113.9"), (EXTERNAL, "203.0.113.9")], PEER),
        (EnvoyExternal, vec![(EXTERNAL, "203.0.113.9")], "203.0.113.9"),
        (
            EnvoyExternal,
            vec![(EXTERNAL, "::ffff:203.0.113.9")],
            "203.0.113.9",
        ),
        (EnvoyExternal, vec![(EXTERNAL, "2001:db8::1")], "2001:db8::1"),
        (EnvoyExternal, vec![], PEER),
        (EnvoyExternal, vec![(EXTERNAL, "")], PEER),
        (EnvoyExternal, vec![(EXTERNAL, "unknown")], PEER),
        (EnvoyExternal, vec![(EXTERNAL, "203.0.113.9,203.0.113.8")], PEER),
        (
            EnvoyExternal,
            vec![(EXTERNAL, "203.0.113.9"), (EXTERNAL, "203.0.113.9")],
            PEER,
        ),
        (
            EnvoyExternal,
            vec![("x_envoy_external_address", "203.0.113.9")],
            PEER,
        ),
        (forwarded(1), vec![(XFF, "203.0.113.9")], "203.0.113.9"),
        (
            forwarded(1),
            vec![(XFF, "198.51.100.7, 203.0.113.9 ")],
            "203.0.113.9",
        ),
        (
            forwarded(2),
            vec![(XFF, "198.51.100.7, 203.0.113.9")],
            "198.51.100.7",
        ),
        (
            forwarded(2),
            vec![(XFF, "198.51.100.7"), (XFF, "203.0.113.9")],
            "198.51.100.7",
        ),
        (
            forwarded(3),
            vec![(XFF, "1.1.1.1,2.2.2.2"), (XFF, "3.3.3.3"), (XFF, "4.4.4.4")],
            "2.2.2.2",
        ),
        (
            forwarded(4),
            vec![(XFF, "1.1.1.1,2.2.2.2"), (XFF, "3.3.3.3,4.4.4.4")],
            "1.1.1.1",
        ),
        (forwarded(3), vec![(XFF, "198.51.100.7, 203.0.113.9")], PEER),
        (forwarded(1), vec![(XFF, "203.0.113.9,")], PEER),
        (forwarded(1), vec![(XFF, "203.0.113.9, evil")], PEER),
        (forwarded(1), vec![(XFF, "203.0.113.9:80")], PEER),
        (forwarded(1), vec![], PEER),
    ] {
        let index = HeaderIndex::compile(&settings_with(|settings| settings.client_address = setting));
        let request = headers
            .iter()
            .fold(request(), |request, (name, value)| request.header(name, value));
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(
            index.read(&request).facts.client_address,
            Some(expected),
            "{setting:?} {headers:?}"
        );
    }
    let index = HeaderIndex::compile(&settings());
    assert_eq!(index.read(&request().peer(None)).facts.client_address, None);
    let mapped = request().peer("::ffff:192.0.2.1".parse().ok());
    assert_eq!(index.read(&mapped).facts.client_address, PEER.parse().ok());
}

#[test]
fn an_ordinary_request_costs_one_allocation_at_most() {
    let request = request().bearer("lk_a").header("x-forwarded-for", "192.0.2.1");
    let index = HeaderIndex::compile(&settings());
    let read = index.read(&request);
    assert_eq!(read.facts.remove, [b"authorization"]);
    assert_eq!(read.foreign.capacity(), 0);
}

proptest! {
    #[test]
    fn every_other_spelling_of_a_tenant_header_is_removed(marks in proptest::collection::vec("[-_.]", 3)) {
        let name = format!("x{}auth{}org{}code", marks[0], marks[1], marks[2]);
        let expected: Vec<String> = if name == "x-auth-org-code" { vec![] } else { vec![name.clone()] };
        prop_assert_eq!(removed(&[(&name, "evil")]), expected);
    }

    #[test]
    fn any_headers_are_read_without_panic(
        headers in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..70), any::<Vec<u8>>()), 0..8)
    ) {
        let request = headers.iter().fold(request(), |request, (name, value)| request.header(name, value));
        let _ = HeaderIndex::compile(&settings()).read(&request);
    }
}
