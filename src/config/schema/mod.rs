//! Every setting described once: its name, its type, what holds without it, and what it means.
//!
//! The reader (`read`) says what is wrong with a file; this says what a file can hold, as data. From it come the JSON Schema for
//! editors and `docs/configuration.md`. The two are held against each other by tests: each map has the same fields in both, each
//! mistake of structure is refused by both, and what is said to hold without a setting does.

mod docs;
mod json;
mod keys;
mod management;
mod policy;
mod process;

pub use self::docs::documentation;
pub use self::json::json_schema;

/// A map with fields that are known.
struct Map {
    fields: &'static [Field],
    /// What its fields must be together.
    rule: Rule,
    /// One that holds, in YAML: the required fields and no others.
    example: &'static str,
}

/// What the fields of a map must be together.
enum Rule {
    /// Nothing.
    None,
    /// At least one of these is there.
    AnyOf(&'static [&'static str]),
    /// Exactly one of these lists of fields is there, as a whole, and nothing of the others.
    OneOf(&'static [&'static [&'static str]]),
    /// Written as JSON Schema: keywords beside `properties`.
    Schema(&'static str),
}

/// A setting.
struct Field {
    name: &'static str,
    kind: Kind,
    need: Need,
    /// For people, in Markdown.
    meaning: &'static str,
}

/// What holds where a setting is not given.
enum Need {
    /// A mistake.
    Required,
    /// What the embedded defaults say.
    Default,
    /// This value, in YAML.
    Value(&'static str),
    /// In words.
    Absent(&'static str),
}

/// What a setting can be.
enum Kind {
    /// A text that matches this regular expression (ECMA 262, as JSON Schema wants it).
    Text {
        pattern: &'static str,
        /// For people.
        shown: &'static str,
    },
    /// A whole number.
    Whole { least: u32, most: u32 },
    /// A number above 0 and at most 1.
    Part,
    /// `true` or `false`.
    Boolean,
    /// A duration with its unit, between these two.
    Duration { least: &'static str, most: &'static str },
    /// One of these words.
    Words(&'static [&'static str]),
    /// A map.
    Map(&'static Map),
    /// A list.
    List {
        item: &'static Kind,
        least: u32,
        most: u32,
        /// For people.
        shown: &'static str,
    },
    /// A map of names, up to 1000.
    Named {
        item: &'static Map,
        /// A name with rules of its own: keywords of JSON Schema.
        special: Option<(&'static str, &'static str)>,
        shown: &'static str,
    },
    /// One of these.
    Either(&'static [Kind]),
}

const fn field(name: &'static str, kind: Kind, need: Need, meaning: &'static str) -> Field {
    Field {
        name,
        kind,
        need,
        meaning,
    }
}

/// A name: of a route, an API, a limit, a guard, a token.
const NAME: Kind = Kind::Text {
    pattern: "^[A-Za-z0-9._-]{1,64}$",
    shown: "name",
};

/// A path of a file.
const PATH: Kind = Kind::Text {
    pattern: "^[^\\u0000]+$",
    shown: "path",
};

/// A URL that Latchkey calls.
const HTTPS_URL: Kind = Kind::Text {
    pattern: "^(https://|http://(localhost|127\\.|\\[::1\\]))[^@#\\\\\\s]*$",
    shown: "URL",
};

const SCOPE: Kind = Kind::Text {
    pattern: "^[!#-+\\--\\[\\]-~]{1,64}$",
    shown: "scope",
};

/// A printable text of a length.
macro_rules! printable {
    ($least:literal, $most:literal) => {
        Kind::Text {
            pattern: concat!("^[^\\u0000-\\u001f\\u007f-\\u009f]{", $least, ",", $most, "}$"),
            shown: concat!("text, ", $least, "–", $most),
        }
    };
}
use printable;

/// The whole file.
static ROOT: Map = Map {
    fields: &[
        field(
            "listen",
            Kind::Map(&process::LISTEN),
            Need::Default,
            "where the server listens",
        ),
        process::STORE,
        process::STORE_FILE,
        process::REDIS,
        process::REDIS_FILE,
        field(
            "drain",
            Kind::Map(&process::DRAIN),
            Need::Default,
            "how a stop is spread over time",
        ),
        process::CLIENT_ADDRESS,
        process::CHECK_DEADLINE,
        field(
            "usage",
            Kind::Map(&process::USAGE),
            Need::Default,
            "how usage is kept",
        ),
        field(
            "telemetry",
            Kind::Map(&process::TELEMETRY),
            Need::Default,
            "logs and traces",
        ),
        policy::APIS,
        policy::ROUTES,
        policy::RATE_LIMITS,
        policy::CREDENTIALS,
        field(
            "keys",
            Kind::Map(&keys::KEYS),
            Need::Default,
            "how keys are verified and remembered",
        ),
        policy::STRIP_HEADERS,
        field(
            "tenant_headers",
            Kind::Map(&policy::TENANT_HEADERS),
            Need::Default,
            "the headers that tell the backend whose request it is",
        ),
        policy::GUARDS,
        field(
            "management",
            Kind::Map(&management::MANAGEMENT),
            Need::Absent("nothing of it"),
            "who may use the management API",
        ),
    ],
    rule: Rule::None,
    example: "{routes: []}",
};

#[cfg(test)]
mod tests;
