//! Who may use the management API.

use super::super::settings::ALL_PERMISSIONS;
use super::{HTTPS_URL, Kind, Map, NAME, Need, PATH, Rule, field, printable};

const PERMISSIONS: Kind = Kind::List {
    item: &Kind::Words(&ALL_PERMISSIONS),
    least: 0,
    most: 100,
    shown: "list of permissions",
};

pub(super) static MANAGEMENT: Map = Map {
    fields: &[
        field(
            "tokens",
            Kind::List {
                item: &Kind::Map(&TOKEN),
                least: 0,
                most: 1000,
                shown: "list of up to 1000",
            },
            Need::Absent("none"),
            "static tokens",
        ),
        field(
            "jwt",
            Kind::Map(&JWT),
            Need::Absent("absent"),
            "tokens of an identity provider",
        ),
        field(
            "clients",
            Kind::List {
                item: &Kind::Map(&CLIENT),
                least: 0,
                most: 1000,
                shown: "list of up to 1000",
            },
            Need::Absent("none"),
            "machine clients of `POST /oauth2/token`",
        ),
        field(
            "signing_keys",
            Kind::Map(&SIGNING_KEYS),
            Need::Absent("absent"),
            "what signs the tokens of `clients`",
        ),
        field(
            "verify",
            Kind::Words(&["open", "strict"]),
            Need::Value("open"),
            "whether verify asks for a bearer with `read:api_keys`",
        ),
        field(
            "environment_keys",
            Kind::Boolean,
            Need::Value("false"),
            "whether environment keys may be made, and used as bearers of the management API",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

static TOKEN: Map = Map {
    fields: &[
        field(
            "name",
            NAME,
            Need::Required,
            "for the audit log: `token:NAME`; no two alike",
        ),
        field(
            "token_file",
            PATH,
            Need::Required,
            "one line of 16 to 512 visible ASCII characters",
        ),
        field(
            "permissions",
            PERMISSIONS,
            Need::Required,
            "what its holder may do",
        ),
    ],
    rule: Rule::None,
    example: "{name: t, token_file: t.token, permissions: []}",
};

static JWT: Map = Map {
    fields: &[
        field(
            "issuer",
            HTTPS_URL,
            Need::Required,
            "must be equal to the token's `iss`, to the letter",
        ),
        field(
            "audience",
            printable!("1", "1024"),
            Need::Required,
            "must be one of the token's `aud`",
        ),
        field(
            "jwks_url",
            HTTPS_URL,
            Need::Required,
            "where its keys are fetched. `https://`; `http://` for loopback only. No redirects",
        ),
    ],
    rule: Rule::None,
    example: "{issuer: https://idp.example.com, audience: a, jwks_url: https://idp.example.com/jwks}",
};

static CLIENT: Map = Map {
    fields: &[
        field("id", NAME, Need::Required, "its `client_id`; no two alike"),
        field(
            "secret_file",
            PATH,
            Need::Absent("this or the next"),
            "one line of 16 to 512 visible ASCII characters",
        ),
        field(
            "secret_sha256",
            Kind::Text {
                pattern: "^[0-9A-Fa-f]{64}$",
                shown: "64 hex digits",
            },
            Need::Absent("this or the one before"),
            "SHA-256 of the secret: `printf %s \"$SECRET\" | sha256sum`",
        ),
        field(
            "permissions",
            PERMISSIONS,
            Need::Required,
            "what its tokens may say at most",
        ),
    ],
    rule: Rule::OneOf(&[&["secret_file"], &["secret_sha256"]]),
    example: "{id: c, secret_file: c.secret, permissions: []}",
};

static SIGNING_KEYS: Map = Map {
    fields: &[field(
        "dir",
        PATH,
        Need::Absent("beside the SQLite store: `latchkey.db.signing-keys`"),
        "folder of the keys that sign the tokens of `clients`; the same on every replica",
    )],
    rule: Rule::Schema(r#"{"required": ["dir"]}"#),
    example: "{dir: signing-keys}",
};
