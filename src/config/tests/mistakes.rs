//! Every mistake with its place and its words.

use super::*;

/// What is added to [`BASE`], so that it begins on line 3, and what is said of it.
pub(in crate::config) const IN_SETTINGS: &[(&str, &str)] = &[
    (
        "stroe: x",
        "3:1: unknown field `stroe` in the settings; did you mean \"store\"?",
    ),
    (
        "drain: {settle: 5s, grase: 1s}",
        "3:21: unknown field `grase` in drain; did you mean \"grace\"?",
    ),
    ("drain: 5s", "3:8: expected a map for drain, found a text"),
    (
        "drain: {settle: 5}",
        "3:17: expected a duration with its unit, such as 400ms, 15m or 90d, found a number",
    ),
    (
        "drain: {settle: 2h}",
        "3:17: expected a duration from 0s to 1h, found \"2h\"",
    ),
    (
        "check_deadline: 0s",
        "3:17: expected a duration from 1ms to 1m, found \"0s\"",
    ),
    (
        "store: mysql://u:secret@h",
        "3:8: a store begins with `sqlite://` or `postgres://`",
    ),
    (
        "store: 'sqlite://'",
        "3:8: a SQLite store is `sqlite://` and the path of its file, without `?` or `#`",
    ),
    (
        "redis: http://h",
        "3:8: a Redis URL begins with `redis://` or `rediss://` and names a host",
    ),
    (
        "listen: {grpc: localhost}",
        "3:16: expected an address and a port, such as 127.0.0.1:9191 or [::1]:9191, or unix:/path; found \"localhost\"",
    ),
    (
        "listen: {grpc: 'unix:relative'}",
        "3:16: a Unix socket is `unix:` and an absolute path of at most 107 bytes",
    ),
    (
        "listen: {grpc: '0.0.0.0:9191'}",
        "3:16: grpc listens on 0.0.0.0:9191, off loopback, without TLS; give grpc_tls, or allow_plaintext: true where the network itself is trusted",
    ),
    (
        "listen: {ops: '127.0.0.1:9191'}",
        "3:15: ops listens where grpc does",
    ),
    (
        "listen: {grpc_tls: {cert_file: c}}",
        "3:20: missing field `key_file` in TLS files",
    ),
    (
        "client_address: pear",
        "3:17: expected one of peer, envoy, found \"pear\"; did you mean \"peer\"?",
    ),
    (
        "client_address: {x_forwarded_for: 0}",
        "3:35: expected a whole number from 1 to 64, found 0",
    ),
    (
        "client_address: x_forwarded_for",
        "3:17: say which entry, counted from the right: {x_forwarded_for: 1}",
    ),
    (
        "strip_headers: [host]",
        "3:17: HTTP or Envoy needs header \"host\"",
    ),
    (
        "strip_headers: [':path']",
        "3:17: \":path\" is a pseudo-header of HTTP/2, which cannot be used here",
    ),
    (
        "strip_headers: [X_Request.ID]",
        "3:17: HTTP or Envoy needs header \"x_request.id\" (many servers read it as \"x-request-id\")",
    ),
    (
        "strip_headers: [x-envoy-foo]",
        "3:17: HTTP or Envoy needs header \"x-envoy-foo\"",
    ),
    (
        "strip_headers: [x-a, X-A]",
        "3:22: header \"x-a\" is listed twice",
    ),
    (
        "strip_headers: [x_api_key]",
        "3:17: header \"x_api_key\" holds a credential, so it cannot be stripped",
    ),
    (
        "strip_headers: ['a b']",
        "3:17: a header name is 1 to 64 letters, digits or characters of !#$%&'*+-.^_`|~, found \"a b\"",
    ),
    (
        "strip_headers: x-a",
        "3:16: expected a list of header names, found a text",
    ),
    (
        "tenant_headers: {key_id: te}",
        "3:26: HTTP or Envoy needs header \"te\"",
    ),
    (
        "tenant_headers: {key_id: authorization}",
        "3:26: header \"authorization\" holds a credential, so it cannot be a tenant header",
    ),
    (
        "tenant_headers: {key_id: x_auth.org_code}",
        "3:26: key_id and org_code are both told in header \"x-auth-org-code\"",
    ),
    (
        "tenant_headers: {key_id: x_original_url}",
        "3:26: header \"x_original_url\" is a tenant header and is in strip_headers too",
    ),
    (
        "credentials: []",
        "3:14: no place for a key; give at least one, such as {header: authorization, scheme: Bearer}",
    ),
    (
        "credentials: [{header: a}, {header: A, scheme: B}]",
        "3:28: this place is listed twice: one value would count as two keys",
    ),
    (
        "credentials: [{query: a, scheme: B}]",
        "3:34: a query parameter has no scheme",
    ),
    (
        "credentials: [{header: a, query: b}]",
        "3:15: a credential is in a header or in the query: give one of `header` and `query`",
    ),
    (
        "credentials: [{header: content-length}]",
        "3:24: HTTP or Envoy needs header \"content-length\"",
    ),
    (
        "credentials: [x-key]",
        "3:15: expected {header: x-key} or {query: …}",
    ),
    (
        "keys: {prefix: Lk}",
        "3:16: a prefix is 1 to 16 lower-case letters and digits, a letter first, found \"Lk\"",
    ),
    (
        "keys: {prefix: 1}",
        "3:16: expected a text, found a number; put it in quotes",
    ),
    (
        "keys: {max_in_flight: 0}",
        "3:23: expected a whole number from 1 to 10000, found 0",
    ),
    (
        "keys: {source: remote}",
        "3:16: this source needs `keys.remote` with its `verify_url`",
    ),
    (
        "keys: {remote: {}}",
        "3:16: missing field `verify_url` in keys.remote",
    ),
    (
        "keys: {remote: {verify_url: 'http://example.com'}}",
        "3:29: expected https://; http:// is for loopback only",
    ),
    (
        "keys: {remote: {verify_url: 'https://e.com', auth: {bearer_file: b, client_id: c}}}",
        "3:66: `bearer_file` and a client are both given; keep one",
    ),
    (
        "keys: {cache: {refresh_ahead: 0}}",
        "3:31: expected a number above 0 and at most 1, the part of ttl; 1 turns it off",
    ),
    (
        "keys: {cache: {refresh_ahead: 1.5}}",
        "3:31: expected a number above 0 and at most 1, the part of ttl; 1 turns it off",
    ),
    (
        "keys: {cache: {max_keys: -1}}",
        "3:26: expected a whole number from 1 to 100000000, found -1",
    ),
    (
        "rate_limits: {l: {limit: 0, window: 1s, per: key}}",
        "3:26: expected a whole number from 1 to 1000000000, found 0",
    ),
    (
        "rate_limits: {l: {limit: 1, window: 0s, per: key}}",
        "3:37: expected a duration from 1s to 1year 18h, found \"0s\"",
    ),
    (
        "rate_limits: {l: {limit: 1, window: 900ms, per: key}}",
        "3:37: expected a duration from 1s to 1year 18h, found \"900ms\"",
    ),
    (
        "rate_limits: {l: {limit: 1, window: 1s, per: kye}}",
        "3:46: expected one of key, owner, address, route, found \"kye\"; did you mean \"key\"?",
    ),
    (
        "rate_limits: {l: {limit: 1, window: 1s, per: key, code: a}}",
        "3:57: a code is 1 to 64 upper-case letters, digits or `_`, such as AI_RATE_LIMITED; found \"a\"",
    ),
    (
        "rate_limits: {l: {limit: 1, window: 1s, per: key, error: ''}}",
        "3:58: the text of an error has 1 to 256 characters and no control characters",
    ),
    (
        "rate_limits: {'a b': {limit: 1, window: 1s, per: key}}",
        "3:15: the name of a rate limit is 1 to 64 letters, digits, `.`, `_` or `-`, found \"a b\"",
    ),
    (
        "rate_limits: {unauthenticated: {limit: 1, window: 1s, per: key}}",
        "3:60: `unauthenticated` counts callers that are not known yet, so it is per: address",
    ),
    (
        "guards: {g: {response: {fields: ['*'], on_match: sanitize}}}",
        "3:50: a response is not sanitized, only refused or reported: reject or report",
    ),
    (
        "guards: {g: {}}",
        "3:13: a guard has `request`, `response` or both",
    ),
    (
        "guards: {g: {request: {fields: []}}}",
        "3:32: no field would be scanned; give at least one, or [\"*\"] for every text",
    ),
    (
        "guards: {g: {request: {fields: [a], context_template: 'O: {context_owners}'}}}",
        "3:55: nothing is known as \"context_owners\"; did you mean \"context_owner\"?",
    ),
    (
        "guards: {g: {request: {fields: [a], context_template: 'O: {input} {}'}}}",
        "3:55: the template does not say whose data it is about: it needs {context_owner}",
    ),
    (
        "guards: {g: {request: {fields: [a], max_chars: 0}}}",
        "3:48: expected a whole number from 1 to 100000000, found 0",
    ),
    (
        "telemetry: {log: {level: inof}}",
        "3:26: expected a level (off, error, warn, info, debug, trace) or a filter such as info,latchkey=debug; found \"inof\"; did you mean \"info\"?",
    ),
    (
        "telemetry: {log: {format: xml}}",
        "3:27: expected one of json, text, found \"xml\"",
    ),
    (
        "management: {verify: always}",
        "3:22: expected one of open, strict, found \"always\"",
    ),
    (
        "management: {jwt: {issuer: 'https://e.com', audience: a}}",
        "3:19: missing field `jwks_url` in management.jwt",
    ),
    (
        "management: {jwt: {issuer: 'https://e.com', audience: a, jwks_url: 'http://e.com/jwks'}}",
        "3:68: expected https://; http:// is for loopback only",
    ),
    (
        "management: {tokens: [{name: t, token_file: f, permissions: ['read:api_key']}]}",
        "3:62: unknown permission \"read:api_key\"; did you mean \"read:api_keys\"?",
    ),
    (
        "management: {clients: [{id: c, secret_file: f, permissions: []}, {id: c, secret_file: g, permissions: []}]}",
        "3:71: two of client \"c\"",
    ),
    (
        "management: {clients: [{id: c, permissions: []}]}",
        "3:24: missing field `secret_file` (or `secret_sha256`) in client",
    ),
    (
        "management: {clients: [{id: c, secret_file: f, secret_sha256: 'aa', permissions: []}]}",
        "3:63: a client has `secret_file` or `secret_sha256`, not both",
    ),
    (
        "management: {clients: [{id: c, secret_sha256: 'my-secret', permissions: []}]}",
        "3:47: a SHA-256 digest is 64 hex digits",
    ),
];

#[test]
fn a_mistake_is_told_with_its_place_and_what_would_do() {
    for (more, expected) in IN_SETTINGS {
        assert_eq!(
            mistakes_with(Some(&format!("{BASE}{more}\n")), &[]),
            [format!("f.yaml:{expected}")],
            "{more}"
        );
    }
}

/// One route, at line 6 column 5, and what is said of it.
pub(in crate::config) const IN_ROUTES: &[(&str, &str)] = &[
    (
        "{name: s, path: /s, api: a, scopes: [z]}",
        "6:42: unknown scope \"z\" in route \"s\"",
    ),
    (
        "{name: s, path: /s, api: ai, scopes: [read:ai_chat]}",
        "6:43: unknown scope \"read:ai_chat\" in route \"s\"; did you mean \"read:ai_chats\"?",
    ),
    (
        "{name: s, path: /s, api: ai, scopes: {any: [x]}}",
        "6:49: scope \"x\" in route \"s\" belongs to API \"a\", and the route to API \"ai\"",
    ),
    (
        "{name: s, path: /s, api: a, scopes: {any: []}}",
        "6:47: one of no scopes is never there; name at least one",
    ),
    (
        "{name: s, path: /s, api: a, scopes: {any: [x], all: [x]}}",
        "6:41: give one of `all` and `any`",
    ),
    (
        "{name: s, path: /s, api: a, scopes: x}",
        "6:41: expected a list of scopes, {all: […]} or {any: […]}, found a text",
    ),
    (
        "{name: s, path: /s, api: a, scopes: [x, x]}",
        "6:45: scope \"x\" is listed twice",
    ),
    (
        "{name: s, path: /s, api: a, scopes: ['x y']}",
        "6:42: a scope is 1 to 64 visible ASCII characters without space, quote, backslash or comma, found \"x y\"",
    ),
    (
        "{name: s, path: /s, api: aii}",
        "6:30: unknown API \"aii\" in route \"s\"; did you mean \"ai\"?",
    ),
    (
        "{name: s, path: /s}",
        "6:5: missing field `api` in route \"s\"; a route without keys says public: true",
    ),
    (
        "{name: s, path: /s, public: true, api: a}",
        "6:44: route \"s\" is public, so `api` has no effect; remove one of the two",
    ),
    (
        "{name: s, path: /s, public: yes}",
        "6:33: expected true or false, found a text",
    ),
    (
        "{name: s, path: /s, api: a, rate_limt: l}",
        "6:33: unknown field `rate_limt` in route; did you mean \"rate_limit\"?",
    ),
    (
        "{name: s, path: /s, api: a, rate_limit: lim}",
        "6:45: unknown rate limit \"lim\" in route \"s\"",
    ),
    (
        "{name: s, path: /s, api: a, rate_limit: unauthenticated}",
        "6:45: `unauthenticated` counts failed authentications only; route \"s\" needs a limit of its own",
    ),
    (
        "{name: s, path: /s, api: a, guard: ia}",
        "6:40: unknown guard \"ia\" in route \"s\"",
    ),
    (
        "{name: s, path: s, api: a}",
        "6:21: no request can have the path \"s\": a path begins with a slash",
    ),
    (
        "{name: s, path: /s//t, api: a}",
        "6:21: no request can have the path \"/s//t\": no request path has `//`; write one slash",
    ),
    (
        "{name: s, path: '/a{b}c', api: a}",
        "6:21: no request can have the path \"/a{b}c\": a parameter is a whole segment, as in `/{name}`, not a part of `a{b}c`",
    ),
    ("{name: s, api: a}", "6:5: missing field `path` in route"),
    (
        "{name: s, path: /s, api: a, methods: [get]}",
        "6:43: a method is a word in upper case, found \"get\"; did you mean \"GET\"?",
    ),
    (
        "{name: s, path: /s, api: a, methods: []}",
        "6:42: no method, so no request; leave `methods` out for any method",
    ),
    (
        "{name: s, path: /s, api: a, methods: [GET, GET]}",
        "6:48: method GET is listed twice",
    ),
    (
        "{name: s, path: /s, api: a, host: 'e.com:80'}",
        "6:39: a host has no port, found \"e.com:80\"",
    ),
    (
        "{name: s, path: /s, api: a, host: '*.e.com'}",
        "6:39: a host is one name, without `*`; leave it out for any host, found \"*.e.com\"",
    ),
    (
        "{name: s, path: /s, api: a, auth: maybe}",
        "6:39: expected one of required, optional, found \"maybe\"",
    ),
    (
        "{name: 's t', path: /s, api: a}",
        "6:12: the name of a route is 1 to 64 letters, digits, `.`, `_` or `-`, found \"s t\"",
    ),
    ("{name: r, path: /s, api: a}", "6:12: two routes are named \"r\""),
    (
        "{name: s, path: '/p/{y}', api: a, methods: [HEAD]}",
        "6:12: route \"s\" takes requests that route \"r\" takes already: same host and path, and a method in common (GET includes HEAD)",
    ),
    (
        "{name: s, path: '/p/{x}', api: a}",
        "6:12: route \"s\" takes requests that route \"r\" takes already: same host and path, and a method in common (GET includes HEAD)",
    ),
];

/// A file with this route.
pub(in crate::config) fn with_route(route: &str) -> String {
    format!(
        "apis:
  - {{id: a, name: A, audience: aud, scopes: [x, y]}}
  - {{id: ai, name: AI, audience: aud, scopes: ['read:ai_chats']}}
routes:
  - {{name: r, path: '/p/{{id}}', api: a, methods: [GET]}}
  - {route}
"
    )
}

#[test]
fn a_mistake_in_a_route_names_the_route() {
    for (route, expected) in IN_ROUTES {
        let text = with_route(route);
        assert_eq!(
            mistakes_with(Some(&text), &[]),
            [format!("f.yaml:{expected}")],
            "{route}"
        );
    }
}

#[test]
fn routes_that_share_nothing_are_no_duplicates() {
    loaded(
        "apis: [{id: a, name: A, audience: aud, scopes: [x]}]
routes:
  - {name: get, path: '/p/{id}', api: a, methods: [GET]}
  - {name: post, path: '/p/{id}', api: a, methods: [POST]}
  - {name: rest, path: '/p/{*id}', api: a}
  - {name: host, path: '/p/{id}', api: a, host: e.com}
  - {name: slash, path: '/p/{id}/', api: a}
",
    );
}

#[test]
fn five_mistakes_give_five_messages_in_the_order_of_the_file() {
    let text = "drain: {settle: never}
apis: [{id: a, name: A, audience: aud, scopes: [read:ai_chats]}]
routes:
  - {name: s, path: /s, api: a, scopes: [read:ai_chat], rate_limt: l}
  - {name: t, path: /t//u, api: b}
";
    assert_eq!(
        mistakes_with(Some(text), &[]),
        [
            "f.yaml:1:17: expected a duration with its unit, such as 400ms, 15m or 90d, found \"never\"",
            "f.yaml:4:42: unknown scope \"read:ai_chat\" in route \"s\"; did you mean \"read:ai_chats\"?",
            "f.yaml:4:57: unknown field `rate_limt` in route; did you mean \"rate_limit\"?",
            "f.yaml:5:21: no request can have the path \"/t//u\": no request path has `//`; write one slash",
            "f.yaml:5:33: unknown API \"b\" in route \"t\"",
        ]
    );
}

#[test]
fn what_is_no_yaml_is_one_message_with_its_place() {
    for (text, place) in [
        ("apis: []\napis: []\nroutes: []\n", "2:1"),
        ("routes: []\na: *unknown\n", "2:4"),
        ("routes: [\n", "1:9"),
        ("routes: []\n\tx: 1\n", "2:2"),
    ] {
        let mistakes = mistakes_with(Some(text), &[]);
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with(&format!("f.yaml:{place}: ")),
            "{text}: {mistakes:?}"
        );
    }
}

#[test]
fn a_file_of_another_shape_is_refused() {
    assert_eq!(
        mistakes_with(Some("[]"), &[]),
        ["f.yaml:1:1: expected a map for the settings, found a list"]
    );
    assert_eq!(
        mistakes_with(Some(""), &[]),
        ["f.yaml:1:1: missing field `routes` in the settings"]
    );
    assert_eq!(
        mistakes_with(Some("apis: []\n"), &[]),
        ["f.yaml:1:1: missing field `routes` in the settings"]
    );
}

#[test]
fn aliases_cannot_grow_without_bound() {
    let mut text = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("b{level}: &a{level} [{aliases}]\n"));
    }
    let mistakes = mistakes_with(Some(&text), &[]);
    assert_eq!(mistakes.len(), 1, "{}", mistakes.len());
}

#[test]
fn a_file_of_mistakes_does_not_fill_the_screen() {
    let text: String = (0..1000).map(|at| format!("u{at}: 1\n")).collect();
    let mistakes = mistakes_with(Some(&text), &[]);
    assert_eq!(mistakes.len(), 201);
    assert_eq!(mistakes[200], "f.yaml: 801 more mistakes");
}
