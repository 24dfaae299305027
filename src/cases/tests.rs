//! Files of cases in, verdicts or mistakes out.

use super::*;
use crate::config::{Settings, load_text_placed};

const POLICY: &str = include_str!("../../examples/latchkey.yaml");
const EXAMPLE: &str = include_str!("../../examples/cases.yaml");

fn settings() -> Arc<Settings> {
    let placed = load_text_placed("p.yaml", Some(POLICY), &BTreeMap::new());
    Arc::new(placed.unwrap_or_else(|error| panic!("{error}")).loaded.settings)
}

async fn verdicts(text: &str) -> Vec<Verdict> {
    let settings = settings();
    let cases = read("c.yaml", text, &settings).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    run(&cases, &settings).await.expect("the cases can be judged")
}

#[track_caller]
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = read("c.yaml", text, &settings()).err();
    mistakes.expect("a mistake")
}

#[tokio::test]
async fn the_example_holds() {
    for verdict in verdicts(EXAMPLE).await {
        assert_eq!(verdict.differences, [], "{}", verdict.name);
    }
}

#[tokio::test]
async fn a_case_that_does_not_hold_says_what_differs() {
    let text = "keys: {k: {org: o, api: api_ai, scopes: [read:ai_chats]}}
cases:
  - name: all wrong
    key: k
    path: /ai/files/x
    expect:
      decision: deny
      status: 403
      reason: path_twin
      code: X
      error: E
      route: chat
      set: {x-auth-org-code: p, X-Auth-User-Id: u, x-auth-key-id: null}
      remove: [x-api-key, Authorization]
      response_headers: {retry-after: '1'}
";
    let found: Vec<(String, Value, Value)> = verdicts(text).await[0]
        .differences
        .iter()
        .map(|difference| {
            (
                difference.what.clone(),
                difference.expected.clone(),
                difference.found.clone(),
            )
        })
        .collect();
    let expected = [
        ("decision", "deny".into(), "allow".into()),
        ("status", 403.into(), 200.into()),
        ("reason", "path_twin".into(), "key".into()),
        ("code", "X".into(), Value::Null),
        ("error", "E".into(), Value::Null),
        ("route", "chat".into(), "files".into()),
        ("set x-auth-key-id", Value::Null, "api_key_k".into()),
        ("set x-auth-org-code", "p".into(), "o".into()),
        ("set x-auth-user-id", "u".into(), Value::Null),
        ("remove x-api-key", true.into(), false.into()),
        ("response header retry-after", "1".into(), Value::Null),
    ];
    assert_eq!(
        found,
        expected.map(|(what, expected, found)| (what.to_owned(), expected, found))
    );
}

#[tokio::test]
async fn no_case_counts_against_another() {
    let case = |name: &str| {
        format!(
            "  - {{name: {name}, key: k, method: POST, path: /ai/chat, repeat: 3, expect: {{decision: allow}}}}\n"
        )
    };
    let text = format!(
        "keys: {{k: {{org: o, api: api_ai, scopes: [write:ai_chat]}}}}\ncases:\n{}{}",
        case("one"),
        case("two")
    );
    for verdict in verdicts(&text).await {
        assert_eq!(verdict.differences, [], "{}", verdict.name);
    }
}

#[test]
fn every_mistake_has_its_place() {
    let head = "keys: {k: {org: o, api: api_ai}}\ncases:\n";
    for (case, expected) in [
        (
            "{name: n, path: /, expects: {status: 200}}",
            &[
                "c.yaml:3:5: missing field `expect` in the case",
                "c.yaml:3:24: unknown field `expects` in the case; did you mean \"expect\"?",
            ][..],
        ),
        (
            "{name: n, path: /, expect: {stat: 200}}",
            &["c.yaml:3:33: unknown field `stat` in what is expected; did you mean \"status\"?"],
        ),
        (
            "{name: n, path: /, expect: {}}",
            &["c.yaml:3:32: nothing is expected, so the case could not fail"],
        ),
        (
            "{name: n, expect: {status: 200}}",
            &["c.yaml:3:5: missing field `path` in the case"],
        ),
        (
            "{name: n, path: /, expect: {status: 2000}}",
            &["c.yaml:3:41: expected a whole number from 100 to 599, found 2000"],
        ),
        (
            "{name: n, path: /, key: l, expect: {status: 200}}",
            &["c.yaml:3:29: unknown key \"l\""],
        ),
        (
            "{name: n, path: /, headers: {a: '${key:x}'}, expect: {status: 200}}",
            &["c.yaml:3:5: unknown key \"x\""],
        ),
        (
            "{name: n, path: '/${key:k', expect: {status: 200}}",
            &["c.yaml:3:5: `${key:` without `}`"],
        ),
        (
            "{name: n, path: /, repeat: 0, expect: {status: 200}}",
            &["c.yaml:3:32: expected a whole number from 1 to 100000, found 0"],
        ),
        (
            "{name: n, path: /, now: today, expect: {status: 200}}",
            &["c.yaml:3:29: expected a time such as 2030-01-31T12:00:00Z, found \"today\""],
        ),
        (
            "{name: n, path: /, every: 5, expect: {status: 200}}",
            &["c.yaml:3:31: expected a duration with its unit, such as 400ms, 15m or 90d, found a number"],
        ),
    ] {
        let found = mistakes(&format!("{head}  - {case}\n"));
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn every_mistake_in_a_key_has_its_place() {
    for (key, expected) in [
        ("k: {org: o}", "1:11: missing field `api` in the key"),
        ("k: {org: o, api: api}", "1:25: unknown API \"api\""),
        (
            "k: {api: api_ai, scopes: [read:ai_chat]}",
            "1:34: API \"api_ai\" has no scope \"read:ai_chat\"; did you mean \"read:ai_chats\"?",
        ),
        (
            "k: {api: api_ai, status: gone}",
            "1:33: expected one of active, inactive, revoked, found \"gone\"",
        ),
        (
            "k: {api: api_ai, networks: [x]}",
            "1:36: invalid IP address syntax, found \"x\"",
        ),
        (
            "k: {api: api_ai, secret: x}",
            "1:25: unknown field `secret` in the key",
        ),
        (
            "unknown: {api: api_ai}",
            "1:8: `unknown` is the key that nobody knows; choose another name",
        ),
    ] {
        let text = format!("keys: {{{key}}}\ncases: [{{name: n, path: /, expect: {{status: 200}}}}]\n");
        assert_eq!(mistakes(&text), [format!("c.yaml:{expected}")], "{key}");
    }
}

#[test]
fn a_file_without_cases_is_a_mistake() {
    assert_eq!(
        mistakes("cases: []\n"),
        ["c.yaml:1:8: no case; a file of cases has at least one"]
    );
    assert_eq!(
        mistakes(""),
        ["c.yaml:1:1: expected a map for the file of cases, found nothing"]
    );
    assert_eq!(
        mistakes("{}"),
        ["c.yaml:1:1: missing field `cases` in the file of cases"]
    );
    let twice = "cases:\n  - &c {name: n, path: /, expect: {status: 200}}\n  - {name: n, path: /, expect: {status: 200}}\n";
    assert_eq!(mistakes(twice), ["c.yaml:3:5: two cases are named \"n\""]);
}
