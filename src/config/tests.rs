//! Whole files in, settings or mistakes out.

pub(super) mod mistakes;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::load::load_text;
use super::*;

/// A small file that holds; tests add to it.
pub(super) const BASE: &str = "apis: [{id: a, name: A, audience: aud, scopes: [x, y]}]
routes: [{name: r, path: /r, api: a}]
";

fn variables(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[track_caller]
fn loaded_with(text: Option<&str>, environment: &[(&str, &str)]) -> Loaded {
    load_text("f.yaml", text, &variables(environment)).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn loaded(text: &str) -> Loaded {
    loaded_with(Some(text), &[])
}

#[track_caller]
fn mistakes_with(text: Option<&str>, environment: &[(&str, &str)]) -> Vec<String> {
    load_text("f.yaml", text, &variables(environment))
        .expect_err("a mistake")
        .mistakes
}

#[test]
fn the_embedded_defaults_are_the_routes_of_the_guide() {
    let Loaded { settings, notices } = loaded_with(None, &[]);
    let routes: Vec<_> = settings
        .routes
        .iter()
        .map(|route| (&*route.name, route.path.as_str()))
        .collect();
    assert_eq!(
        routes,
        [
            ("health", "/healthz"),
            ("support", "/ai/support"),
            ("chat", "/ai/chat"),
            ("analytics", "/ai/analytics"),
            ("workflow", "/ai/workflow"),
            ("process", "/ai/process"),
        ]
    );
    assert_eq!(settings.routes[0].access, Access::Public);
    assert_eq!(settings.apis.len(), 3);
    let limit = &settings.rate_limits["ai"];
    assert_eq!(
        (limit.limit.get(), limit.window, limit.per),
        (50, Duration::from_secs(900), Per::Key)
    );
    assert_eq!(settings.rate_limits[UNAUTHENTICATED_LIMIT].per, Per::Address);
    assert_eq!(settings.listen.grpc.to_string(), "127.0.0.1:9191");
    assert!(matches!(&settings.store, StoreUrl::Sqlite(path) if path.as_os_str() == "latchkey.db"));
    assert_eq!(settings.keys.cache.refresh_ahead, 0.8);
    assert_eq!(
        settings.tenant_headers.all().map(HeaderName::as_str)[1],
        "x-auth-org-code"
    );
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn the_embedded_file_is_also_a_good_file() {
    let settings = loaded(DEFAULT_FILE).settings;
    assert_eq!(settings.routes.len(), 6);
}

#[test]
fn a_file_says_alone_what_is_protected_and_the_rest_is_the_default() {
    let Loaded { settings, notices } = loaded(BASE);
    assert_eq!(settings.routes.len(), 1);
    assert_eq!(settings.apis.len(), 1);
    assert!(settings.guards.is_empty());
    assert_eq!(
        settings
            .rate_limits
            .keys()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["unauthenticated"]
    );
    assert_eq!(settings.keys.cache.ttl, Duration::from_secs(60));
    assert_eq!(settings.credentials.len(), 2);
    assert!(notices.is_empty(), "{notices:?}");
}

#[test]
fn the_unauthenticated_limit_is_off_only_when_the_file_says_so() {
    for (more, is_there) in [
        ("", true),
        ("rate_limits:\n", true),
        ("rate_limits: {l: {limit: 1, window: 1s, per: key}}\n", true),
        ("rate_limits: {unauthenticated: null}\n", false),
    ] {
        let settings = loaded(&format!("{BASE}{more}")).settings;
        assert_eq!(
            settings.rate_limits.contains_key(UNAUTHENTICATED_LIMIT),
            is_there,
            "{more}"
        );
    }
}

#[test]
fn a_file_with_everything_is_read() {
    let settings = loaded(
        "listen: {grpc: 'unix:/run/latchkey/grpc.sock', ops: '[::1]:0'}
store: sqlite:///var/lib/latchkey/keys.db
client_address: {x_forwarded_for: 2}
credentials: [{query: api_key}, {header: X-Key, scheme: ApiKey}]
keys:
  source: store_then_remote
  prefix: acme
  remote:
    verify_url: https://example.com/verify
    auth: {client_id: c, client_secret_file: s, token_url: https://example.com/token, audience: aud}
apis: [{id: a, name: A, audience: aud, scopes: [x, y]}]
routes:
  - {name: one, methods: [GET], host: API.example.com, path: '/c/{id}', api: a, scopes: {any: [x, y]}, auth: optional}
  - {name: two, methods: [POST, PUT], path: '/c/{other}', api: a, scopes: {all: [x]}, cors_preflight: allow, rate_limit: l}
rate_limits: {l: {limit: 5, window: 1s, per: owner}}
management: {tokens: [{name: t, token_file: f, permissions: ['create:api_keys']}], verify: strict}
",
    )
    .settings;
    assert_eq!(
        settings.listen.grpc,
        ListenAddress::Unix("/run/latchkey/grpc.sock".into())
    );
    assert_eq!(
        settings.client_address,
        ClientAddress::XForwardedFor(NonZeroUsize::new(2).expect("2"))
    );
    assert_eq!(settings.keys.source, SourceKind::StoreThenRemote);
    let remote = settings.keys.remote.expect("given");
    assert_eq!(remote.timeout, Duration::from_secs(1));
    assert!(matches!(remote.auth, Some(RemoteAuth::Client { .. })));
    assert!(matches!(&settings.credentials[0], CredentialPlace::Query { name } if &**name == "api_key"));
    assert!(
        matches!(&settings.credentials[1], CredentialPlace::Header { name, .. } if name.as_str() == "x-key")
    );
    assert_eq!(settings.routes[0].host.as_deref(), Some("api.example.com"));
    let Access::Key(access) = &settings.routes[0].access else {
        panic!("takes keys")
    };
    assert!(access.optional && matches!(&access.scopes, ScopeRule::Any(scopes) if scopes.len() == 2));
    assert_eq!(settings.routes[1].cors_preflight, CorsPreflight::Allow);
    assert_eq!(settings.rate_limits["l"].limit, NonZeroU32::new(5).expect("5"));
    assert_eq!(settings.management.verify, VerifyAccess::Strict);
}

#[test]
fn answers_of_a_remote_are_kept_longer_unless_the_file_says_otherwise() {
    let ttl = |cache: &str| {
        let keys = format!(
            "keys: {{source: remote, remote: {{verify_url: 'https://e.com/'}}, cache: {{{cache}}}}}\n"
        );
        loaded(&format!("{BASE}{keys}")).settings.keys.cache.ttl
    };
    assert_eq!(ttl(""), Duration::from_secs(300));
    assert_eq!(ttl("ttl: 60s"), Duration::from_secs(60));
}

#[test]
fn the_environment_overrides_the_file() {
    let Loaded { settings, .. } = loaded_with(
        Some(&format!(
            "{BASE}rate_limits: {{l: {{limit: 5, window: 1m, per: key}}}}\n"
        )),
        &[
            ("LATCHKEY__STORE", "sqlite://other.db"),
            ("latchkey__keys__cache__TTL", "5s"),
            ("LATCHKEY__KEYS__CACHE__REFRESH_AHEAD", "1"),
            ("LATCHKEY__KEYS__PREFIX", "acme"),
            ("LATCHKEY__RATE_LIMITS__L__LIMIT", "60"),
            ("LATCHKEY__LISTEN__ALLOW_PLAINTEXT", "true"),
            ("LATCHKEY__LISTEN__GRPC", "0.0.0.0:9191"),
            ("LATCHKEY__STRIP_HEADERS", "[x-one, x-two]"),
            ("LATCHKEY__CLIENT_ADDRESS", "{x_forwarded_for: 1}"),
            ("LATCHKEY__DRAIN", "{settle: 0s}"),
            ("LATCHKEY__REDIS", ""),
            ("LATCHKEY_CONFIG", "not an override"),
            ("LATCHKEY_KEY", "not an override"),
            ("PATH", "/bin"),
        ],
    );
    assert!(matches!(&settings.store, StoreUrl::Sqlite(path) if path.as_os_str() == "other.db"));
    assert_eq!(settings.keys.cache.ttl, Duration::from_secs(5));
    assert_eq!(settings.keys.cache.refresh_ahead, 1.0);
    assert_eq!(&*settings.keys.prefix, "acme");
    assert_eq!(settings.rate_limits["l"].limit.get(), 60);
    assert!(settings.listen.allow_plaintext);
    assert_eq!(settings.strip_headers.len(), 2);
    assert_eq!(
        settings.client_address,
        ClientAddress::XForwardedFor(NonZeroUsize::MIN)
    );
    assert_eq!(
        (settings.drain.settle, settings.drain.grace),
        (Duration::ZERO, Duration::from_secs(10))
    );
    assert!(settings.redis.is_none());
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    for (name, value, expected) in [
        (
            "LATCHKEY__STOER",
            "x",
            "LATCHKEY__STOER: unknown field `stoer` in the settings; did you mean \"store\"?",
        ),
        (
            "LATCHKEY__KEYS__CACHE__TLL",
            "5s",
            "LATCHKEY__KEYS__CACHE__TLL: unknown field `tll` in keys.cache; did you mean \"ttl\"?",
        ),
        (
            "LATCHKEY__KEYS__CACHE__TTL",
            "5",
            "LATCHKEY__KEYS__CACHE__TTL: expected a duration with its unit, such as 400ms, 15m or 90d, found \"5\"",
        ),
        (
            "LATCHKEY__STORE__X",
            "5",
            "LATCHKEY__STORE__X: there is nothing below a text, so `x` cannot be set",
        ),
        (
            "LATCHKEY__KEYS____TTL",
            "5",
            "LATCHKEY__KEYS____TTL: expected the names of a setting with `__` between them, as in LATCHKEY__KEYS__PREFIX",
        ),
        (
            "LATCHKEY__KEYS__MAX_IN_FLIGHT",
            "none",
            "LATCHKEY__KEYS__MAX_IN_FLIGHT: expected a whole number from 1 to 10000, found a text",
        ),
        (
            "LATCHKEY__LISTEN__ALLOW_PLAINTEXT",
            "yes",
            "LATCHKEY__LISTEN__ALLOW_PLAINTEXT: expected true or false, found a text",
        ),
        (
            "LATCHKEY__CREDENTIALS",
            "[]",
            "LATCHKEY__CREDENTIALS: no place for a key; give at least one, such as {header: authorization, scheme: Bearer}",
        ),
    ] {
        assert_eq!(mistakes_with(None, &[(name, value)]), [expected], "{name}");
    }
    let yaml = mistakes_with(None, &[("LATCHKEY__STRIP_HEADERS", "[x-a")]);
    assert!(
        yaml.len() == 1 && yaml[0].starts_with("LATCHKEY__STRIP_HEADERS: "),
        "{yaml:?}"
    );
    let twice = mistakes_with(None, &[("LATCHKEY__REDIS", ""), ("latchkey__redis", "")]);
    assert_eq!(twice, ["latchkey__redis: set twice, in different case"]);
}

#[test]
fn what_is_not_served_yet_is_told_with_its_place() {
    let notice = |more: &str| {
        let notices = loaded(&format!("{BASE}{more}")).notices;
        assert_eq!(notices.len(), 1, "{more}: {notices:?}");
        (notices[0].text.clone(), notices[0].stops_start)
    };
    for (more, place, part, stops) in [
        (
            "listen: {http: '0.0.0.0:80'}",
            "3:16",
            "off loopback without TLS",
            false,
        ),
        ("store: postgres://u:p@h/db", "3:8", "PostgreSQL", true),
        (
            "redis: redis://:secret@h",
            "3:8",
            "rate limits would not be shared",
            true,
        ),
    ] {
        let (text, stops_start) = notice(more);
        assert!(
            text.starts_with(&format!("f.yaml:{place}: ")) && text.contains(part),
            "{more}: {text}"
        );
        assert_eq!(stops_start, stops, "{more}");
    }
    assert!(
        loaded(&format!("{BASE}keys: {{source: store}}\n"))
            .notices
            .is_empty()
    );
    let variable = loaded_with(None, &[("LATCHKEY__REDIS", "redis://h")]).notices;
    assert!(variable[0].text.starts_with("LATCHKEY__REDIS: "), "{variable:?}");
}

#[test]
fn a_url_may_be_in_a_file_and_is_never_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    std::fs::write(&path, "postgres://user:hunter2@host/db\n").expect("written");
    let text = format!("{BASE}store_file: {}\n", path.display());
    let Loaded { settings, notices } = loaded(&text);
    assert!(!format!("{settings:?}{notices:?}").contains("hunter2"));
    let StoreUrl::Postgres(url) = settings.store else {
        panic!("PostgreSQL")
    };
    assert_eq!(url.expose_secret(), "postgres://user:hunter2@host/db");

    for (text, part) in [
        (
            format!("{BASE}store_file: {}\n", folder.path().display()),
            "it is not a regular file",
        ),
        (format!("{BASE}store_file: /nowhere/at/all\n"), "No such file"),
        (
            format!("{BASE}store: sqlite://a\nstore_file: {}\n", path.display()),
            "keep one",
        ),
    ] {
        let mistakes = mistakes_with(Some(&text), &[]);
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{mistakes:?}");
    }
    std::fs::write(&path, "mysql://user:hunter2@host/db").expect("written");
    let mistakes = mistakes_with(Some(&text), &[]);
    assert_eq!(
        mistakes,
        ["f.yaml:3:13: a store begins with `sqlite://` or `postgres://`"]
    );
}

#[test]
fn every_setting_of_the_defaults_is_in_the_reference() {
    fn names(node: &tree::Node, found: &mut Vec<String>) {
        match &node.value {
            tree::Value::Map(entries) => {
                for entry in entries {
                    found.push(entry.name.clone());
                    names(&entry.node, found);
                }
            }
            tree::Value::List(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let reference = include_str!("../../docs/configuration.md");
    let mut found = Vec::new();
    let Ok(defaults) = tree::parse(DEFAULT_FILE) else {
        panic!("the defaults are YAML")
    };
    names(&defaults, &mut found);
    for name in found.iter().filter(|name| *name != "ai") {
        let is_there = [format!("{name}`"), format!("`{name}."), format!(".{name}.")]
            .iter()
            .any(|text| reference.contains(text));
        assert!(is_there, "docs/configuration.md says nothing of {name}");
    }
}

#[test]
fn only_a_readable_file_of_a_sane_size_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    for (path, part) in [
        (folder.path().to_owned(), ": is a directory"),
        (folder.path().join("none.yaml"), ": cannot be read: No such file"),
        ("/dev/null".into(), ": is not a regular file"),
        (
            file("large.yaml", &vec![b'#'; 1024 * 1024 + 1]),
            ": is larger than 1 MiB",
        ),
        (
            file("latin.yaml", b"apis: []\n# caf\xe9\n"),
            "latin.yaml:2: not UTF-8",
        ),
        (
            file("syntax.yaml", b"apis: []\nroutes: [\n"),
            "syntax.yaml:2:9: unclosed",
        ),
    ] {
        let error = load(Some(&path), &BTreeMap::new())
            .expect_err("not readable")
            .to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let good = file("good.yaml", BASE.as_bytes());
    assert!(load(Some(&good), &BTreeMap::new()).is_ok());
}

proptest! {
    // Every case reads whole files.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>(), text in "[a-z:{}\\[\\],\n &*<'\"|>-]{0,80}") {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("any.yaml");
        std::fs::write(&path, &bytes).expect("written");
        let _ = load(Some(&path), &BTreeMap::new());
        let _ = load_text("f.yaml", Some(&text), &BTreeMap::new());
        let _ = load_text("f.yaml", Some(&format!("{BASE}{text}")), &BTreeMap::new());
    }

    #[test]
    fn a_cut_or_changed_file_is_read_without_a_panic(at in 0..DEFAULT_FILE.len(), with in "[ -~\n]{0,4}") {
        let before = DEFAULT_FILE.get(..at).unwrap_or_default();
        let after = DEFAULT_FILE.get(at + with.len()..).unwrap_or_default();
        let _ = load_text("f.yaml", Some(before), &BTreeMap::new());
        let _ = load_text("f.yaml", Some(&format!("{before}{with}{after}")), &BTreeMap::new());
    }

    #[test]
    fn any_variable_is_read_without_a_panic(name in "[A-Z_]{0,24}", value in any::<String>()) {
        let environment = BTreeMap::from([(format!("LATCHKEY__{name}"), value)]);
        let _ = load_text("f.yaml", None, &environment);
    }
}
