//! Configurations with something in them, and what is found.

use super::*;
use crate::config::load_text_placed;

#[track_caller]
fn findings(text: &str) -> Vec<String> {
    let placed =
        load_text_placed("f.yaml", Some(text), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    look_through(&placed)
        .into_iter()
        .map(|finding| format!("{} {}: {}", finding.place, finding.kind.as_str(), finding.message))
        .collect()
}

const HEAD: &str = "apis: [{id: a, name: A, audience: aud, scopes: [x, y]}]\nroutes:\n";

/// Findings in routes, each of which stands in a line of its own from line 3 on.
#[track_caller]
fn in_routes(routes: &[&str]) -> Vec<String> {
    let routes: String = routes.iter().map(|route| format!("  - {{{route}}}\n")).collect();
    findings(&format!("{HEAD}{routes}"))
}

#[test]
fn an_empty_policy_is_said_plainly() {
    assert_eq!(
        findings("routes: []\n"),
        ["f.yaml:1:9 empty_policy: there is no route, so every request is refused"]
    );
}

#[test]
fn what_no_route_names_is_found_where_it_was_written() {
    let text = "apis:
  - {id: a, name: A, audience: aud, scopes: [x, y, z]}
  - {id: b, name: B, audience: aud, scopes: [x]}
routes:
  - {name: r, path: /r, api: a, scopes: [x], rate_limit: l}
  - {name: s, path: /s, api: a, scopes: {any: [x, z]}}
rate_limits:
  l: {limit: 1, window: 1m, per: key, error: E, code: C}
  m: {limit: 1, window: 1m, per: key, error: E, code: C}
guards:
  g: {request: {fields: [a]}}
";
    assert_eq!(
        findings(text),
        [
            "f.yaml:2:49 unused_scope: no route asks for scope `y` of API `a`",
            "f.yaml:3:10 unused_api: no route takes keys of API `b`",
            "f.yaml:9:3 unused_limit: no route names rate limit `m`",
            "f.yaml:11:3 unused_guard: no route names guard `g`",
        ]
    );
}

#[test]
fn a_route_without_scopes_is_found_and_a_public_one_is_not() {
    assert_eq!(
        in_routes(&[
            "name: r, path: /r, api: a, scopes: [x, y]",
            "name: s, path: /s, api: a",
            "name: t, path: /t, api: a, scopes: []",
            "name: p, path: /p, public: true",
        ]),
        [
            "f.yaml:4:12 no_scopes: route `s` asks for no scope: every key of API `a` may use it",
            "f.yaml:5:12 no_scopes: route `t` asks for no scope: every key of API `a` may use it",
        ]
    );
}

#[test]
fn twins_are_found_in_every_spelling() {
    for (one, other) in [
        ("/a", "/a/"),
        ("/a/b", "/a/B"),
        ("/a/{id}", "/A/{name}/"),
        ("/a:b", "/a%3Ab"),
        ("/f/{*rest}", "/F/{*rest}"),
    ] {
        let found = in_routes(&[
            &format!("name: r, path: '{one}', api: a, scopes: [x, y]"),
            &format!("name: s, path: '{other}', api: a, scopes: [x]"),
        ]);
        assert_eq!(
            found,
            [format!(
                "f.yaml:4:12 path_twins: many upstreams take `{other}` for `{one}` of route `r`, and the two routes do not ask for the same"
            )],
        );
    }
    let same = in_routes(&[
        "name: r, path: /a, api: a, scopes: [x, y]",
        "name: s, path: /a/, api: a, scopes: [x, y]",
    ]);
    assert!(
        same.len() == 1 && same[0].ends_with("the two routes ask for the same"),
        "{same:?}"
    );
}

#[test]
fn what_a_more_specific_path_takes_away_is_found() {
    assert_eq!(
        in_routes(&[
            "name: rest, path: '/ai/{*rest}', methods: [GET], api: a, scopes: [x]",
            "name: chat, path: /ai/chat, methods: [POST], api: a, scopes: [y]",
            "name: one, path: '/ai/{id}', methods: [GET, PUT], api: a, scopes: [x]",
        ]),
        [
            "f.yaml:3:12 shadowed: route `rest` does not get GET /ai/chat, whose path is that of route `chat` (POST)",
            "f.yaml:5:12 shadowed: route `one` does not get GET /ai/chat, whose path is that of route `chat` (POST)",
        ]
    );
    assert_eq!(
        in_routes(&[
            "name: any, path: '/{*rest}', api: a, scopes: [x]",
            "name: a, path: /a, methods: [POST], api: a, scopes: [y]",
            "name: b, path: /b, methods: [POST], api: a, scopes: [y]",
            "name: c, path: /c, methods: [POST], api: a, scopes: [y]",
            "name: d, path: /d, methods: [POST], api: a, scopes: [y]",
        ]),
        [
            "f.yaml:3:12 shadowed: route `any` does not get GET /a, whose path is that of route `a` (POST), GET /b, whose path is that of route `b` (POST), GET /c, whose path is that of route `c` (POST), and 1 more"
        ]
    );
}

#[test]
fn what_a_host_takes_away_is_found() {
    assert_eq!(
        in_routes(&[
            "name: any, path: /healthz, public: true",
            "name: host, path: '/{*rest}', host: e.com, api: a, scopes: [x, y]",
        ]),
        [
            "f.yaml:3:12 shadowed: route `any` does not get GET e.com/healthz, which route `host` of that host takes"
        ]
    );
}

#[test]
fn routes_that_share_nothing_are_clean() {
    assert_eq!(
        in_routes(&[
            "name: get, path: '/p/{id}', api: a, methods: [GET], scopes: [x]",
            "name: post, path: '/p/{id}', api: a, methods: [POST], scopes: [y]",
            "name: sub, path: '/p/{id}/q', api: a, methods: [POST], scopes: [y]",
            "name: host, path: '/h/{id}', api: a, methods: [GET], scopes: [y], host: e.com",
            "name: any, path: /p/q, api: a, scopes: [x]",
            "name: root, path: /, public: true",
        ]),
        [] as [String; 0]
    );
}

#[test]
fn a_variable_is_a_place_too() {
    let environment = BTreeMap::from([("LATCHKEY__ROUTES".into(), "[]".into())]);
    let placed = load_text_placed("f.yaml", Some("routes: []\n"), &environment).unwrap();
    assert_eq!(look_through(&placed)[0].place, "LATCHKEY__ROUTES");
}
