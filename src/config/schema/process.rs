//! The process: listeners, store, time, logs.

use super::{Field, Kind, Map, Need, PATH, Rule, field};

const ADDRESS: Kind = Kind::Text {
    pattern: "^(unix:/.*|.+:[0-9]{1,5})$",
    shown: "address",
};

pub(super) static LISTEN: Map = Map {
    fields: &[
        field(
            "grpc",
            ADDRESS,
            Need::Default,
            "Check and health for Envoy. `host:port` with an IP address, or `unix:/path`. Port 0 lets the system choose",
        ),
        field("http", ADDRESS, Need::Default, "the key API"),
        field(
            "ops",
            ADDRESS,
            Need::Default,
            "always plaintext: `/livez`, `/readyz`, `/metrics`, gRPC health",
        ),
        field(
            "grpc_tls",
            Kind::Map(&TLS),
            Need::Absent("absent"),
            "[TLS](tls.md) for `grpc`. Its files are read again when they change",
        ),
        field(
            "http_tls",
            Kind::Map(&TLS),
            Need::Absent("absent"),
            "the same for the key API. Without it `config check` and the start warn of an `http` off loopback",
        ),
        field(
            "allow_plaintext",
            Kind::Boolean,
            Need::Default,
            "lets `grpc` listen off loopback without TLS, and `http` without a warning. Keys travel there: only where the network itself is trusted",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

static TLS: Map = Map {
    fields: &[
        field(
            "cert_file",
            PATH,
            Need::Required,
            "the chain of certificates, in PEM",
        ),
        field("key_file", PATH, Need::Required, "its private key"),
        field(
            "client_ca_file",
            PATH,
            Need::Absent("absent"),
            "mutual TLS: authorities, one of which must have signed the certificate of a client",
        ),
    ],
    rule: Rule::None,
    example: "{cert_file: tls.crt, key_file: tls.key}",
};

pub(super) const STORE: Field = field(
    "store",
    Kind::Text {
        pattern: "^(sqlite://(?!:memory:$)[^?#\\u0000]+|postgres(ql)?://[^/\\s].*)$",
        shown: "URL",
    },
    Need::Default,
    "where keys are stored: `sqlite://PATH` or `postgres://…`",
);
pub(super) const STORE_FILE: Field = field(
    "store_file",
    PATH,
    Need::Absent("absent"),
    "file with that URL, for one with a password",
);
pub(super) const REDIS: Field = field(
    "redis",
    Kind::Text {
        pattern: "^rediss?://[^/\\s].*$",
        shown: "URL",
    },
    Need::Absent("`null`"),
    "`redis://` or `rediss://`; shares rate limits between replicas",
);
pub(super) const REDIS_FILE: Field = field("redis_file", PATH, Need::Absent("absent"), "file with that URL");

pub(super) static DRAIN: Map = Map {
    fields: &[
        field(
            "settle",
            Kind::Duration {
                least: "0s",
                most: "1h",
            },
            Need::Default,
            "time from NOT_SERVING to GOAWAY, for Envoy to send elsewhere",
        ),
        field(
            "grace",
            Kind::Duration {
                least: "0s",
                most: "1h",
            },
            Need::Default,
            "longest time that open calls get after that",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

pub(super) const CLIENT_ADDRESS: Field = field(
    "client_address",
    Kind::Either(&ADDRESS_PLACES),
    Need::Default,
    "where the address of a caller is read: `peer` (Envoy's direct peer), `envoy` (`x-envoy-external-address`; only with Envoy's `use_remote_address: true`), or `{x_forwarded_for: N}`, the N-th entry from the right, 1–64",
);

static ADDRESS_PLACES: [Kind; 2] = [Kind::Words(&["peer", "envoy"]), Kind::Map(&FORWARDED_FOR)];

static FORWARDED_FOR: Map = Map {
    fields: &[field(
        "x_forwarded_for",
        Kind::Whole { least: 1, most: 64 },
        Need::Required,
        "which entry of `x-forwarded-for`, counted from the right",
    )],
    rule: Rule::None,
    example: "{x_forwarded_for: 1}",
};

pub(super) const CHECK_DEADLINE: Field = field(
    "check_deadline",
    Kind::Duration {
        least: "1ms",
        most: "60s",
    },
    Need::Default,
    "the longest that one check may take",
);

pub(super) static USAGE: Map = Map {
    fields: &[
        field(
            "retention",
            Kind::Duration {
                least: "1h",
                most: "3660d",
            },
            Need::Default,
            "how long single requests are kept",
        ),
        field(
            "sums_retention",
            Kind::Duration {
                least: "1h",
                most: "36600d",
            },
            Need::Default,
            "how long sums by hour are kept; not shorter than `retention`",
        ),
        field(
            "slow_after",
            Kind::Duration {
                least: "1ms",
                most: "1d",
            },
            Need::Default,
            "requests that take longer are reported with a warning; a route may say otherwise",
        ),
        field(
            "missing_after",
            Kind::Duration {
                least: "1m",
                most: "1d",
            },
            Need::Default,
            "a decision without an access log entry counts as missing then; longer than any stream of an answer",
        ),
        field(
            "spool_dir",
            PATH,
            Need::Default,
            "folder where requests wait while the store is away",
        ),
        field(
            "spool_max_mib",
            Kind::Whole {
                least: 1,
                most: 1 << 20,
            },
            Need::Default,
            "most of them there, in MiB; what comes beyond is lost, and counted",
        ),
        field(
            "stdout",
            Kind::Boolean,
            Need::Default,
            "each request also as a line of JSON on standard output",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

pub(super) static TELEMETRY: Map = Map {
    fields: &[
        field("log", Kind::Map(&LOG), Need::Default, "log lines"),
        field(
            "otlp_endpoint",
            Kind::Text {
                pattern: "^http://[^/@\\s][^@\\s]*$",
                shown: "URL",
            },
            Need::Absent("`null`"),
            "the OpenTelemetry collector that spans go to, over gRPC (OTLP), such as `http://127.0.0.1:4317`",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};

static LOG: Map = Map {
    fields: &[
        field(
            "format",
            Kind::Words(&["json", "text"]),
            Need::Default,
            "the lines on standard error",
        ),
        field(
            "level",
            Kind::Text {
                pattern: "^((off|error|warn|info|debug|trace)|[^,]*=[^,]*)(,((off|error|warn|info|debug|trace)|[^,]*=[^,]*))*$",
                shown: "text",
            },
            Need::Default,
            "`off`, `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,latchkey=debug`",
        ),
    ],
    rule: Rule::None,
    example: "{}",
};
