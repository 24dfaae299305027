//! How keys are verified and remembered.

use super::{HTTPS_URL, Kind, Map, Need, PATH, Rule, field, printable};

pub(super) static KEYS: Map = Map {
    fields: &[
        field(
            "source",
            Kind::Words(&["store", "remote", "store_then_remote"]),
            Need::Default,
            "where an unknown key is verified: in the store, at [another server](remote-source.md), or in the store for keys that begin with `prefix` and at the other server for the rest",
        ),
        field(
            "prefix",
            Kind::Text {
                pattern: "^[a-z][a-z0-9]{0,15}$",
                shown: "`[a-z][a-z0-9]{0,15}`",
            },
            Need::Default,
            "what keys of our own begin with",
        ),
        field(
            "max_in_flight",
            Kind::Whole {
                least: 1,
                most: 10_000,
            },
            Need::Default,
            "look-ups of unknown keys at once; one address holds at most a quarter",
        ),
        field(
            "cache",
            Kind::Map(&CACHE),
            Need::Default,
            "what is remembered of keys",
        ),
        field(
            "remote",
            Kind::Map(&REMOTE),
            Need::Absent("absent"),
            "the other server; must be there where `source` names it",
        ),
    ],
    rule: Rule::Schema(
        r#"{"if": {"properties": {"source": {"enum": ["remote", "store_then_remote"]}}, "required": ["source"]},
            "then": {"required": ["remote"]}}"#,
    ),
    example: "{}",
};

const KEPT: Kind = Kind::Whole {
    least: 1,
    most: 100_000_000,
};

static CACHE: Map = Map {
    fields: &[
        field(
            "ttl",
            Kind::Duration {
                least: "0s",
                most: "1d",
            },
            Need::Default,
            "how long a verified key is used before its source is asked again; without it and with `source: remote`, `5m`",
        ),
        field(
            "negative_ttl",
            Kind::Duration {
                least: "0s",
                most: "1d",
            },
            Need::Default,
            "the same for a key that its source does not know",
        ),
        field(
            "stale_if_error",
            Kind::Duration {
                least: "0s",
                most: "7d",
            },
            Need::Default,
            "how long past `ttl` a key is used while its source does not answer",
        ),
        field(
            "refresh_ahead",
            Kind::Part,
            Need::Default,
            "the part of `ttl` after which a used key is asked for again in the background; 1 turns it off",
        ),
        field("max_keys", KEPT, Need::Default, "verified keys kept"),
        field(
            "max_unknown_keys",
            KEPT,
            Need::Default,
            "unknown keys kept, in a budget of their own",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

static REMOTE: Map = Map {
    fields: &[
        field(
            "verify_url",
            HTTPS_URL,
            Need::Required,
            "the verify endpoint. `https://`; `http://` for loopback only. No user, password or fragment",
        ),
        field(
            "timeout",
            Kind::Duration {
                least: "1ms",
                most: "60s",
            },
            Need::Value("1s"),
            "for one call",
        ),
        field(
            "ca_file",
            PATH,
            Need::Absent("the system's authorities"),
            "PEM authorities, read at the start: the servers of `verify_url` and `token_url` must show a certificate that one of them has signed",
        ),
        field(
            "auth",
            Kind::Map(&AUTH),
            Need::Absent("absent"),
            "`bearer_file`, or a client. The files are read anew each time they are needed",
        ),
    ],
    rule: Rule::None,
    example: "{verify_url: https://idp.example.com/verify}",
};

static AUTH: Map = Map {
    fields: &[
        field(
            "bearer_file",
            PATH,
            Need::Absent("this or a client"),
            "file with a bearer token",
        ),
        field(
            "client_id",
            printable!("1", "256"),
            Need::Absent("this or `bearer_file`"),
            "a client of OAuth 2.0 client credentials (RFC 6749 §4.4)",
        ),
        field(
            "client_secret_file",
            PATH,
            Need::Absent("with `client_id`"),
            "file with its secret",
        ),
        field(
            "token_url",
            HTTPS_URL,
            Need::Absent("with `client_id`"),
            "where it gets a token",
        ),
        field(
            "audience",
            printable!("1", "1024"),
            Need::Absent("absent"),
            "the audience that it asks for",
        ),
    ],
    rule: Rule::OneOf(&[
        &["bearer_file"],
        &["client_id", "client_secret_file", "token_url"],
    ]),
    example: "{bearer_file: token}",
};
