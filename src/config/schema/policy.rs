//! The policy: APIs, routes, limits, credentials, headers, guards.

use super::{Field, Kind, Map, NAME, Need, Rule, SCOPE, field, printable};

const SCOPES: Kind = Kind::List {
    item: &SCOPE,
    least: 0,
    most: 1000,
    shown: "list of scopes",
};

pub(super) const APIS: Field = field(
    "apis",
    Kind::List {
        item: &ONE_API,
        least: 0,
        most: 1000,
        shown: "list",
    },
    Need::Absent("none"),
    "the APIs; each key belongs to exactly one of them",
);

static ONE_API: Kind = Kind::Map(&API);

static API: Map = Map {
    fields: &[
        field("id", NAME, Need::Required, "what keys and routes are bound to"),
        field("name", printable!("1", "255"), Need::Required, "for people"),
        field(
            "audience",
            printable!("1", "1024"),
            Need::Required,
            "usually its URL",
        ),
        field("scopes", SCOPES, Need::Required, "what its keys may carry"),
    ],
    rule: Rule::None,
    example: "{id: api, name: API, audience: https://api.example.com, scopes: []}",
};

pub(super) const ROUTES: Field = field(
    "routes",
    Kind::List {
        item: &ONE_ROUTE,
        least: 0,
        most: 10_000,
        shown: "list",
    },
    Need::Required,
    "which requests may pass, and what they need; what no route takes is denied",
);

/// A public route needs no API and has nothing that is about keys; any other has an API.
const PUBLIC: &str = r#"{
    "if": {"properties": {"public": {"const": true}}, "required": ["public"]},
    "then": {"properties": {"auth": {"type": "null"}, "api": {"type": "null"}, "scopes": {"type": "null"},
        "rate_limit": {"type": "null"}, "guard": {"type": "null"}}},
    "else": {"properties": {"api": {"type": "string"}}, "required": ["api"]}
}"#;

static ONE_ROUTE: Kind = Kind::Map(&ROUTE);

static ROUTE: Map = Map {
    fields: &[
        field(
            "name",
            NAME,
            Need::Required,
            "in metrics, logs and metadata; every route has its own",
        ),
        field(
            "path",
            Kind::Text {
                pattern: "^(?!.*//)(?!.*/\\.\\.?(/|$))(/([A-Za-z0-9._~:@!$&'()*+,=-]|%[0-9A-Fa-f]{2})*|/\\{[A-Za-z0-9_]+\\})*(/\\{\\*[A-Za-z0-9_]+\\})?$",
                shown: "pattern",
            },
            Need::Required,
            "`/ai/chat`; `{name}` is one segment, `{*name}` at the end the rest. A literal must be what a request path can have: no `//`, `.` or `..` segments, backslash, `;`, `?`, `#`, or characters that must be percent-encoded, and no escape that must not be there",
        ),
        field(
            "methods",
            Kind::List {
                item: &Kind::Text {
                    pattern: "^[A-Z_-]{1,32}$",
                    shown: "method",
                },
                least: 1,
                most: 32,
                shown: "list of methods",
            },
            Need::Absent("any method"),
            "in upper case. `GET` includes `HEAD`",
        ),
        field(
            "host",
            Kind::Text {
                pattern: "^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*)$",
                shown: "host name",
            },
            Need::Absent("any host"),
            "one name or address, without a port",
        ),
        field(
            "public",
            Kind::Boolean,
            Need::Value("false"),
            "no key is needed; then nothing of what follows but `cors_preflight`",
        ),
        field(
            "api",
            NAME,
            Need::Absent("required unless public"),
            "the API that the key must belong to",
        ),
        field(
            "scopes",
            Kind::Either(&[SCOPES, Kind::Map(&SCOPE_RULE)]),
            Need::Absent("none"),
            "scopes of that API that the key must carry: a list and `{all: […]}` mean every one, `{any: […]}` at least one",
        ),
        field(
            "auth",
            Kind::Words(&["required", "optional"]),
            Need::Value("required"),
            "`optional`: no key at all passes without identity; a key that is there must be good",
        ),
        field(
            "rate_limit",
            NAME,
            Need::Absent("none"),
            "one of `rate_limits`, not `unauthenticated`",
        ),
        field(
            "guard",
            NAME,
            Need::Absent("none"),
            "one of `guards`; needs Envoy's ext_proc, see [guard.md](guard.md)",
        ),
        field(
            "cors_preflight",
            Kind::Words(&["check", "allow"]),
            Need::Value("check"),
            "whether CORS preflights pass without a key",
        ),
        field(
            "slow_after",
            Kind::Duration {
                least: "1ms",
                most: "1d",
            },
            Need::Absent("`usage.slow_after`"),
            "from which duration on its requests are reported as slow",
        ),
    ],
    rule: Rule::Schema(PUBLIC),
    example: "{name: r, path: /r, api: a}",
};

static SCOPE_RULE: Map = Map {
    fields: &[
        field(
            "all",
            SCOPES,
            Need::Absent("absent"),
            "the key must carry every one",
        ),
        field(
            "any",
            Kind::List {
                item: &SCOPE,
                least: 1,
                most: 1000,
                shown: "list of scopes",
            },
            Need::Absent("absent"),
            "the key must carry at least one",
        ),
    ],
    rule: Rule::OneOf(&[&["all"], &["any"]]),
    example: "{all: [x]}",
};

pub(super) const RATE_LIMITS: Field = field(
    "rate_limits",
    Kind::Named {
        item: &RATE_LIMIT,
        special: Some((
            super::super::UNAUTHENTICATED_LIMIT,
            r#"{"properties": {"per": {"const": "address"}}}"#,
        )),
        shown: "map of names",
    },
    Need::Absent("none but `unauthenticated`"),
    "limits by name",
);

static RATE_LIMIT: Map = Map {
    fields: &[
        field(
            "limit",
            Kind::Whole {
                least: 1,
                most: 1_000_000_000,
            },
            Need::Required,
            "requests in a window",
        ),
        field(
            "window",
            Kind::Duration {
                least: "1s",
                most: "366d",
            },
            Need::Required,
            "the sliding window",
        ),
        field(
            "per",
            Kind::Words(&["key", "owner", "address", "route"]),
            Need::Required,
            "whose requests are counted together; an IPv6 address counts by its /64",
        ),
        field(
            "error",
            printable!("1", "256"),
            Need::Value("Rate limit exceeded"),
            "`error` in the body of a 429",
        ),
        field(
            "code",
            Kind::Text {
                pattern: "^[A-Z0-9_]{1,64}$",
                shown: "`[A-Z0-9_]{1,64}`",
            },
            Need::Value("RATE_LIMITED"),
            "`code` in the body of a 429",
        ),
    ],
    rule: Rule::None,
    example: "{limit: 1, window: 1s, per: address}",
};

pub(super) const CREDENTIALS: Field = field(
    "credentials",
    Kind::List {
        item: &ONE_CREDENTIAL,
        least: 1,
        most: 16,
        shown: "list",
    },
    Need::Default,
    "places that are looked at for a key",
);

static ONE_CREDENTIAL: Kind = Kind::Map(&CREDENTIAL);

static CREDENTIAL: Map = Map {
    fields: &[
        field(
            "header",
            FREE_HEADER,
            Need::Absent("this or `query`"),
            "the header that holds the key",
        ),
        field(
            "scheme",
            Kind::Text {
                pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$",
                shown: "word",
            },
            Need::Absent("none"),
            "the scheme before it, whatever its case; only with `header`",
        ),
        field(
            "query",
            Kind::Text {
                pattern: "^[A-Za-z0-9._~-]{1,64}$",
                shown: "1–64 letters, digits, `.`, `_`, `~`, `-`",
            },
            Need::Absent("this or `header`"),
            "the parameter that holds the key, instead of a header",
        ),
    ],
    rule: Rule::Schema(
        r#"{"oneOf": [{"required": ["header"], "properties": {"query": {"type": "null"}}},
            {"required": ["query"], "properties": {"header": {"type": "null"}, "scheme": {"type": "null"}}}]}"#,
    ),
    example: "{header: x-key}",
};

pub(super) const STRIP_HEADERS: Field = field(
    "strip_headers",
    Kind::List {
        item: &FREE_HEADER,
        least: 0,
        most: 64,
        shown: "list of header names",
    },
    Need::Default,
    "request headers that never reach the backend",
);

/// A header that neither HTTP nor Envoy needs; the spellings that are read as one of those are left to the reader.
const FREE_HEADER: Kind = Kind::Text {
    pattern: "^(?!(host|content-(length|type|encoding)|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|expect|http2-settings|date|x-request-id|x-forwarded-for|x-forwarded-proto|grpc-timeout|x-envoy-.*)$)[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$",
    shown: "header name",
};

pub(super) static TENANT_HEADERS: Map = Map {
    fields: &[
        field("key_id", FREE_HEADER, Need::Default, "the id of the key"),
        field("org_code", FREE_HEADER, Need::Default, "the organization"),
        field("user_id", FREE_HEADER, Need::Default, "the user"),
        field(
            "scopes",
            FREE_HEADER,
            Need::Default,
            "the scopes, with spaces between them",
        ),
        field("context_owner", FREE_HEADER, Need::Default, "`org:…` or `user:…`"),
    ],
    rule: Rule::None,
    example: "{}",
};

pub(super) const GUARDS: Field = field(
    "guards",
    Kind::Named {
        item: &GUARD,
        special: None,
        shown: "map of names",
    },
    Need::Absent("none"),
    "guards by name",
);

static GUARD: Map = Map {
    fields: &[
        field(
            "request",
            Kind::Map(&GUARD_REQUEST),
            Need::Absent("requests are not looked into"),
            "what goes in",
        ),
        field(
            "response",
            Kind::Map(&GUARD_RESPONSE),
            Need::Absent("responses are not looked into"),
            "what comes out",
        ),
    ],
    rule: Rule::AnyOf(&["request", "response"]),
    example: "{request: {fields: ['*']}}",
};

const SCANNED: Kind = Kind::List {
    item: &Kind::Text {
        pattern: "^(\\*|[^\\[\\]*\" .\\u0000-\\u001f]+(\\[\\*\\])*(\\.[^\\[\\]*\" .\\u0000-\\u001f]+(\\[\\*\\])*)*)$",
        shown: "JSON field",
    },
    least: 1,
    most: 100,
    shown: "list of JSON fields",
};

const SCANNED_MEANING: &str =
    "JSON fields whose text is scanned: `input`, `messages[*].content`, or `*` for every text";
const UNSCANNED: Kind = Kind::Words(&["reject", "pass"]);
const UNSCANNED_MEANING: &str = "what to do with a body that cannot be scanned";
const CHARS: Kind = Kind::Whole {
    least: 1,
    most: 100_000_000,
};
const HANDLERS: Kind = Kind::Words(&["known", "any"]);
const HANDLERS_MEANING: &str =
    "event handlers: `known` to the HTML standard, or `any` word that begins with `on`";

static GUARD_REQUEST: Map = Map {
    fields: &[
        field("fields", SCANNED, Need::Required, SCANNED_MEANING),
        field(
            "on_match",
            Kind::Words(&["sanitize", "reject", "report"]),
            Need::Value("sanitize"),
            "what a match does: it is removed, the request is refused, or it is only counted",
        ),
        field(
            "on_unscanned",
            UNSCANNED,
            Need::Value("reject"),
            UNSCANNED_MEANING,
        ),
        field(
            "max_chars",
            CHARS,
            Need::Value("10000"),
            "most characters (Unicode scalar values) of the scanned texts together, after sanitizing",
        ),
        field("handlers", HANDLERS, Need::Value("known"), HANDLERS_MEANING),
        field(
            "context",
            Kind::Words(&["header", "prompt", "none"]),
            Need::Value("header"),
            "how the backend learns the context owner",
        ),
        field(
            "context_template",
            Kind::Text {
                pattern: "^(?=[\\s\\S]*\\{context_owner\\})(?![\\s\\S]*\\{(?!(context_owner|org_code|user_id|key_id|scopes|route|input)\\})[a-z_]+\\})[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]{1,8192}$",
                shown: "text of at most 8192 bytes",
            },
            Need::Absent("three lines"),
            "template of the prompt context, with `{context_owner}` and perhaps `{org_code}`, `{user_id}`, `{key_id}`, `{scopes}`, `{route}`, `{input}`; see [guard.md](guard.md)",
        ),
    ],
    rule: Rule::None,
    example: "{fields: ['*']}",
};

static GUARD_RESPONSE: Map = Map {
    fields: &[
        field("fields", SCANNED, Need::Required, SCANNED_MEANING),
        field(
            "on_match",
            Kind::Words(&["reject", "report"]),
            Need::Value("reject"),
            "what a match does: the response is refused, or it is only counted",
        ),
        field(
            "on_unscanned",
            UNSCANNED,
            Need::Value("reject"),
            UNSCANNED_MEANING,
        ),
        field(
            "max_chars",
            CHARS,
            Need::Value("50000"),
            "most characters (Unicode scalar values) of each scanned text",
        ),
        field("handlers", HANDLERS, Need::Value("known"), HANDLERS_MEANING),
    ],
    rule: Rule::None,
    example: "{fields: ['*']}",
};
