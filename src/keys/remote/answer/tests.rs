//! Answers by the book, and answers that are not.

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.as_bytes().to_vec()),
    }
}

fn read_text(status: u16, body: &str) -> Result<Verdict, CallError> {
    read(&answer(status, body), &ApiKey::presented("k_live_abc").unwrap())
}

/// What a valid answer with these fields more is read as.
fn record(fields: Value) -> Result<KeyRecord, CallError> {
    let mut body = json!({"is_valid": true});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    match read_text(200, &body.to_string())? {
        Verdict::Valid(record) => Ok(*record),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_documented_answer_is_read_and_more_fields_are_ignored() {
    let body = r#"{"code":"API_KEY_VERIFIED","message":"API key verified","is_valid":true,"key_id":"api_key_01aa","status":"active",
        "scopes":["read:invoices","write:invoices","read:invoices"],"org_code":"org_7f3a","user_id":null,
        "last_verified_on":"2026-01-05T09:00:00+11","verification_count":7,"new":{"a":[1]}}"#;
    let Ok(Verdict::Valid(record)) = read_text(200, body) else {
        panic!("it is valid")
    };
    assert_eq!(&*record.id, "api_key_01aa");
    assert_eq!(record.owner, Owner::from_parts(Some("org_7f3a"), None));
    assert_eq!(record.key_type, KeyType::Organization);
    let scopes: Vec<_> = record.scopes.iter().map(Scope::as_str).collect();
    assert_eq!(scopes, ["read:invoices", "write:invoices"]);
    assert_eq!((record.api_id, record.status), (None, KeyStatus::Active));
}

#[test]
fn only_valid_and_active_or_silent_is_good() {
    for (body, is_good) in [
        (json!({"is_valid": true}), true),
        (json!({"is_valid": true, "status": null}), true),
        (json!({"is_valid": true, "status": "active"}), true),
        (json!({"is_valid": true, "status": "Active"}), false),
        (json!({"is_valid": true, "status": "inactive"}), false),
        (json!({"is_valid": true, "status": "revoked"}), false),
        (json!({"is_valid": true, "status": ""}), false),
        (
            json!({"is_valid": false, "status": "active", "org_code": "org", "key_id": "k"}),
            false,
        ),
        (json!({"is_valid": false, "scopes": 7}), false),
    ] {
        let verdict = read_text(200, &body.to_string()).unwrap();
        assert_eq!(matches!(verdict, Verdict::Valid(_)), is_good, "{body}");
        assert_eq!(verdict == Verdict::Invalid, !is_good, "{body}");
    }
}

#[test]
fn what_is_no_verification_says_nothing_of_the_key() {
    for body in [
        "",
        "<html>login</html>",
        "null",
        "[]",
        "[true]",
        "true",
        "{}",
        r#"{"valid": true}"#,
        r#"{"IS_VALID": true}"#,
        r#"{"is_valid": "true"}"#,
        r#"{"is_valid": 1}"#,
        r#"{"is_valid": null}"#,
        r#"{"is_valid": true, "is_valid": false}"#,
        r#"{"is_valid": true, "is_valid": true}"#,
        r#"{"is_valid": true"#,
        r#"{"is_valid": true} {}"#,
        r#"{"data": {"is_valid": true}}"#,
    ] {
        assert!(
            matches!(read_text(200, body), Err(CallError::Malformed(_))),
            "{body}"
        );
    }
}

#[test]
fn a_field_of_another_type_makes_a_valid_answer_unusable() {
    for fields in [
        json!({"org_code": 7}),
        json!({"user_id": ["u"]}),
        json!({"key_id": false}),
        json!({"status": 1}),
        json!({"scopes": "read:a"}),
        json!({"scopes": [1]}),
        json!({"allowed_networks": "10.0.0.0/8"}),
        json!({"allowed_networks": ["10.0.0.0/40"]}),
        json!({"allowed_networks": ["everywhere"]}),
        json!({"allowed_networks": vec!["10.0.0.0/8"; 257]}),
        json!({"scopes": ["read:a", null]}),
    ] {
        assert!(
            matches!(record(fields.clone()), Err(CallError::Unusable(_))),
            "{fields}"
        );
    }
    let twice = r#"{"is_valid": true, "org_code": "org_a", "org_code": "org_b"}"#;
    assert!(matches!(read_text(200, twice), Err(CallError::Unusable(_))));
}

#[test]
fn owners_may_be_absent_null_empty_one_or_both() {
    for (fields, owner) in [
        (json!({}), None),
        (json!({"org_code": null, "user_id": null}), None),
        (json!({"org_code": "", "user_id": ""}), None),
        (json!({"org_code": "o"}), Owner::from_parts(Some("o"), None)),
        (
            json!({"user_id": "u", "org_code": null}),
            Owner::from_parts(None, Some("u")),
        ),
        (
            json!({"org_code": "o", "user_id": "u"}),
            Owner::from_parts(Some("o"), Some("u")),
        ),
    ] {
        assert_eq!(record(fields.clone()).unwrap().owner, owner, "{fields}");
    }
}

#[test]
fn ids_are_bounded_and_have_no_control_characters() {
    for name in ["key_id", "org_code", "user_id"] {
        for (id, is_good) in [
            ("i".repeat(256), true),
            ("i".repeat(257), false),
            ("\u{e9}".repeat(128), true),
            ("\u{e9}".repeat(129), false),
            ("a\nb".into(), false),
            ("a\0".into(), false),
            ("a\u{7f}".into(), false),
            ("a\u{85}".into(), false),
            ("with space, and % and \u{fc}".into(), true),
        ] {
            assert_eq!(record(json!({name: id})).is_ok(), is_good, "{name} {id:?}");
        }
    }
}

#[test]
fn an_id_is_made_up_where_none_is_told_and_stays_the_same() {
    let [one, again] = [json!({}), json!({"key_id": ""})].map(|fields| record(fields).unwrap().id);
    assert_eq!(one, again);
    assert!(one.starts_with("remote_key_") && one.len() == 43, "{one}");
    let other = read(
        &answer(200, r#"{"is_valid": true}"#),
        &ApiKey::presented("other").unwrap(),
    );
    let Ok(Verdict::Valid(other)) = other else {
        panic!()
    };
    assert_ne!(one, other.id);
    let digest = KeyDigest::of("k_live_abc");
    let hex: String = digest
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!hex.contains(&one["remote_key_".len()..]));
}

#[test]
fn scopes_that_are_none_of_ours_are_left_out_and_too_many_refused() {
    let scopes = |written: Value| {
        record(json!({"scopes": written})).map(|record| {
            let scopes = record.scopes.iter().map(|scope| scope.as_str().to_owned());
            scopes.collect::<Vec<_>>()
        })
    };
    assert_eq!(scopes(json!(null)).unwrap(), Vec::<String>::new());
    assert_eq!(
        scopes(json!([
            "read:a",
            "",
            "a b",
            "a,b",
            "\"",
            "a\nread:b",
            "x".repeat(65),
            "read:c"
        ]))
        .unwrap(),
        ["read:a", "read:c"]
    );
    let many = |count: usize| {
        json!(
            (0..count)
                .map(|number| format!("{number:063}"))
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(scopes(many(64)).unwrap().len(), 64, "4095 bytes");
    assert!(matches!(scopes(many(65)), Err(CallError::Unusable(_))));
}

#[test]
fn networks_that_are_told_hold() {
    for (fields, networks) in [
        (json!({}), vec![]),
        (json!({"allowed_networks": null}), vec![]),
        (
            json!({"allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]}),
            vec!["10.0.0.0/8", "2001:db8::/32"],
        ),
    ] {
        let told = record(fields).unwrap().allowed_networks;
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, networks);
    }
}

#[test]
fn statuses_are_told_apart() {
    let errors = r#"{"errors":[{"code":"X","message":"y"}]}"#;
    for (status, body, verdict) in [
        (
            404,
            r#"{"errors":{"code":"ROUTE_NOT_FOUND","message":"y"}}"#,
            Some(Verdict::NotFound),
        ),
        (401, errors, Some(Verdict::Refused(401))),
        (400, errors, Some(Verdict::Refused(400))),
        (422, errors, Some(Verdict::Refused(422))),
        (401, "<html>", None),
        (404, "<html>", None),
        (404, "", None),
        (403, errors, None),
        (301, errors, None),
        (405, errors, None),
        (410, errors, None),
    ] {
        let read = read_text(status, body);
        match verdict {
            Some(verdict) => assert_eq!(read, Ok(verdict), "{status} {body}"),
            None => {
                let retry_after = None;
                assert_eq!(
                    read,
                    Err(CallError::TryLater { status, retry_after }),
                    "{status} {body}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_and_none_but_a_valid_one_is_valid(status in 200_u16..500, body in ".{0,200}") {
        let read = read_text(status, &body);
        prop_assert!(!matches!(read, Ok(Verdict::Valid(_))), "{:?}", read);
    }
}
