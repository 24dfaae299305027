//! Reads a file of cases. Every mistake is told, with line and column.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::{Case, Cases, Expected};
use crate::config::reader::{Fields, Reader, did_you_mean, quoted};
use crate::config::tree::{self, Entry, Node, Value};
use crate::config::{Api, Scope, Settings};
use crate::explain::{ListedKeys, REQUEST_FIELDS, Request, Verb, request_fields};
use crate::keys::{ApiKey, KeyRecord, KeyStatus, KeyType, Owner};

/// The most keys, and the most cases.
const MAX_ITEMS: usize = 10_000;

/// The most often that a request is repeated.
const MAX_REPEAT: u32 = 100_000;

/// The longest time between two requests.
const MAX_EVERY: Duration = Duration::from_secs(366 * 24 * 3600);

/// The name of a key that is always there: well formed, and known to nobody.
const UNKNOWN: &str = "unknown";

/// What stands before and after the name of a key in a header or a path.
const INSERT: (&[u8], &[u8]) = (b"${key:", b"}");

/// Reads cases for these settings. Mistakes are lines that begin with `name`.
pub fn read(name: &str, text: &str, settings: &Settings) -> Result<Cases, Vec<String>> {
    let root = tree::parse(text)
        .map_err(|error| vec![format!("{}: {}", error.place.in_file(name), error.message)])?;
    let mut reader = Reader::default();
    let mut secrets = Secrets {
        settings,
        keys: BTreeMap::new(),
        records: ListedKeys::none(&settings.keys.prefix),
    };
    let list = cases(&mut reader, name, &root, &mut secrets);
    match list {
        Some(list) if reader.is_clean() => Ok(Cases {
            keys: Arc::new(secrets.records),
            list,
        }),
        _ => Err(reader.into_lines(name)),
    }
}

/// The keys of a file, by name.
struct Secrets<'s> {
    settings: &'s Settings,
    keys: BTreeMap<String, ApiKey>,
    records: ListedKeys,
}

impl Secrets<'_> {
    fn add(&mut self, name: &str, record: Option<KeyRecord>) -> Result<(), String> {
        let key = ApiKey::generate(&self.settings.keys.prefix).map_err(|error| error.to_string())?;
        if let Some(record) = record {
            self.records.add(&key, record);
        }
        self.keys.insert(name.into(), key);
        Ok(())
    }

    fn get(&self, reader: &mut Reader, node: &Node, name: &str) -> Option<&ApiKey> {
        let found = self.keys.get(name);
        if found.is_none() {
            let hint = did_you_mean(name, self.keys.keys().map(String::as_str));
            reader.mistake(&node.place, format!("unknown key {}{hint}", quoted(name)));
        }
        found
    }

    /// The text with keys in place of their names.
    fn inserted(&self, reader: &mut Reader, node: &Node, text: &[u8]) -> Option<Vec<u8>> {
        let (begin, end) = INSERT;
        let mut whole = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = find(rest, begin) {
            whole.extend_from_slice(&rest[..at]);
            let after = &rest[at + begin.len()..];
            let Some(length) = find(after, end) else {
                reader.mistake(&node.place, "`${key:` without `}`");
                return None;
            };
            let name = String::from_utf8_lossy(&after[..length]);
            whole.extend_from_slice(self.get(reader, node, &name)?.expose().as_bytes());
            rest = &after[length + end.len()..];
        }
        whole.extend_from_slice(rest);
        Some(whole)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn cases(reader: &mut Reader, name: &str, root: &Node, secrets: &mut Secrets<'_>) -> Option<Vec<Case>> {
    let fields = reader.fields(root, "the file of cases", &["now", "keys", "cases"])?;
    let now_ms = match fields.get("now") {
        Some(node) => time(reader, node)?,
        None => since_epoch(SystemTime::now()),
    };
    if let Err(error) = secrets.add(UNKNOWN, None) {
        reader.mistake(&root.place, error);
    }
    if let Some(node) = fields.get("keys") {
        for entry in reader.named(node, "keys", MAX_ITEMS)? {
            key(reader, entry, secrets);
        }
    }
    let node = fields.require(reader, "cases")?;
    let items = reader.list(node, "cases", MAX_ITEMS)?;
    if items.is_empty() {
        reader.mistake(&node.place, "no case; a file of cases has at least one");
    }
    let mut names: BTreeMap<Box<str>, ()> = BTreeMap::new();
    let mut list = Vec::new();
    for item in items {
        if let Some(case) = case(reader, name, item, now_ms, secrets) {
            if names.insert(case.name.clone(), ()).is_some() {
                reader.mistake(&item.place, format!("two cases are named {}", quoted(&case.name)));
            }
            list.push(case);
        }
    }
    Some(list)
}

fn key(reader: &mut Reader, entry: &Entry, secrets: &mut Secrets<'_>) {
    if !reader.is_name(&entry.name, &entry.place, "the name of a key") {
        return;
    }
    if entry.name == UNKNOWN {
        reader.mistake(
            &entry.place,
            "`unknown` is the key that nobody knows; choose another name",
        );
        return;
    }
    let record = record(reader, entry, secrets.settings);
    // Known by name also with a mistake in it, so that one mistake is told once.
    if let Err(error) = secrets.add(&entry.name, record) {
        reader.mistake(&entry.place, error);
    }
}

fn record(reader: &mut Reader, entry: &Entry, settings: &Settings) -> Option<KeyRecord> {
    let known = ["org", "user", "api", "scopes", "status", "expires", "networks"];
    let fields = reader.fields(&entry.node, "the key", &known)?;
    let owner = ["org", "user"].map(|name| match fields.get(name) {
        Some(node) => reader.printable(node, "an owner", 1..=256).map(Some),
        None => Some(None),
    });
    let api = fields
        .require(reader, "api")
        .and_then(|node| api(reader, node, settings));
    let scopes = match (fields.get("scopes"), api) {
        (Some(node), Some(api)) => scopes(reader, node, api),
        _ => Some(Vec::new()),
    };
    let statuses = [
        ("active", KeyStatus::Active),
        ("inactive", KeyStatus::Inactive),
        ("revoked", KeyStatus::Revoked),
    ];
    let status = match fields.get("status") {
        Some(node) => reader.choice(node, &statuses),
        None => Some(KeyStatus::Active),
    };
    let expires_at_ms = match fields.get("expires") {
        Some(node) => time(reader, node).map(Some),
        None => Some(None),
    };
    let networks = match fields.get("networks") {
        Some(node) => networks(reader, node),
        None => Some(Vec::new()),
    };
    let [org, user] = owner;
    let owner = Owner::from_parts(org?.as_deref(), user?.as_deref());
    Some(KeyRecord {
        id: format!("api_key_{}", entry.name).into(),
        name: entry.name.as_str().into(),
        key_type: KeyType::of(owner.as_ref()),
        owner,
        api_id: Some(api?.id.clone()),
        scopes: scopes?,
        status: status?,
        expires_at_ms: expires_at_ms?,
        allowed_networks: networks?,
        rate_limit: None,
        retiring: false,
    })
}

fn api<'s>(reader: &mut Reader, node: &Node, settings: &'s Settings) -> Option<&'s Api> {
    let text = reader.text(node)?;
    let found = settings.apis.iter().find(|api| &*api.id == text);
    if found.is_none() {
        let hint = did_you_mean(text, settings.apis.iter().map(|api| &*api.id));
        reader.mistake(&node.place, format!("unknown API {}{hint}", quoted(text)));
    }
    found
}

fn scopes(reader: &mut Reader, node: &Node, api: &Api) -> Option<Vec<Scope>> {
    let items = reader.list(node, "scopes", 1000)?;
    let mut scopes = Vec::new();
    for item in items {
        let text = reader.text(item)?;
        match api.scopes.iter().find(|scope| scope.as_str() == text) {
            Some(scope) => scopes.push(scope.clone()),
            None => {
                let hint = did_you_mean(text, api.scopes.iter().map(Scope::as_str));
                reader.mistake(
                    &item.place,
                    format!("API {} has no scope {}{hint}", quoted(&api.id), quoted(text)),
                );
            }
        }
    }
    Some(scopes)
}

fn networks(reader: &mut Reader, node: &Node) -> Option<Vec<IpNet>> {
    let items = reader.list(node, "networks", 1000)?;
    let read: Vec<Option<IpNet>> = items.iter().map(|item| reader.parsed(item)).collect();
    read.into_iter().collect()
}

fn case(reader: &mut Reader, file: &str, node: &Node, now_ms: u64, secrets: &Secrets<'_>) -> Option<Case> {
    let mut known = vec!["name", "key", "now", "repeat", "every", "expect"];
    known.extend(REQUEST_FIELDS);
    let fields = reader.fields(node, "the case", &known)?;
    let name = fields
        .require(reader, "name")
        .and_then(|node| reader.printable(node, "the name of a case", 1..=200));
    let request = request(reader, node, &fields, secrets);
    let now_ms = match fields.get("now") {
        Some(node) => time(reader, node),
        None => Some(now_ms),
    };
    let repeat = match fields.get("repeat") {
        Some(node) => reader.whole(node, 1..=MAX_REPEAT),
        None => Some(1),
    };
    let every = match fields.get("every") {
        Some(node) => reader.duration(node, Duration::ZERO..=MAX_EVERY),
        None => Some(Duration::ZERO),
    };
    let expected = fields
        .require(reader, "expect")
        .and_then(|node| expected(reader, node));
    Some(Case {
        name: name?,
        place: node.place.in_file(file).to_string(),
        request: request?,
        now_ms: now_ms?,
        repeat: repeat?,
        every: every?,
        expected: expected?,
    })
}

fn request(reader: &mut Reader, case: &Node, fields: &Fields<'_>, secrets: &Secrets<'_>) -> Option<Request> {
    let mut request = request_fields(reader, fields)?;
    request.target = secrets.inserted(reader, case, &request.target)?;
    for (_, value) in &mut request.headers {
        *value = secrets.inserted(reader, case, value)?;
    }
    if let Some(node) = fields.get("key") {
        let name = reader.text(node)?;
        let key = secrets.get(reader, node, name)?;
        request.carry(key.expose().as_bytes(), secrets.settings.credentials.first());
    }
    Some(request)
}

fn expected(reader: &mut Reader, node: &Node) -> Option<Expected> {
    let known = [
        "decision",
        "status",
        "reason",
        "code",
        "error",
        "route",
        "set",
        "remove",
        "response_headers",
    ];
    let fields = reader.fields(node, "what is expected", &known)?;
    let is_null = |entry: &Entry| matches!(entry.node.value, Value::Null);
    if matches!(&node.value, Value::Map(entries) if entries.iter().all(is_null)) {
        reader.mistake(&node.place, "nothing is expected, so the case could not fail");
        return None;
    }
    let mut text = |name: &str| match fields.get(name) {
        Some(node) => reader.text(node).map(|text| Some(text.into())),
        None => Some(None),
    };
    let (reason, code, error, route) = (text("reason"), text("code"), text("error"), text("route"));
    let decision = match fields.get("decision") {
        Some(node) => reader
            .choice(node, &[("allow", Verb::Allow), ("deny", Verb::Deny)])
            .map(Some),
        None => Some(None),
    };
    let status = match fields.get("status") {
        Some(node) => reader
            .whole(node, 100..=599)
            .map(|status| u16::try_from(status).ok()),
        None => Some(None),
    };
    let set = header_map(reader, fields.get("set"));
    let response_headers = header_map(reader, fields.get("response_headers"));
    let remove = match fields.get("remove") {
        Some(node) => header_list(reader, node),
        None => Some(Vec::new()),
    };
    Some(Expected {
        decision: decision?,
        status: status?,
        reason: reason?,
        code: code?,
        error: error?,
        route: route?,
        set: set?,
        remove: remove?,
        response_headers: response_headers?,
    })
}

type Headers = BTreeMap<Box<str>, Option<Box<str>>>;

/// Names, in lower case, and values; `null` is a header that must not be there.
fn header_map(reader: &mut Reader, node: Option<&Node>) -> Option<Headers> {
    let Some(node) = node else {
        return Some(Headers::new());
    };
    let entries = reader.named(node, "headers", 1000)?;
    let mut headers = Headers::new();
    for entry in entries {
        let value = match &entry.node.value {
            Value::Null => None,
            _ => Some(reader.text(&entry.node)?.into()),
        };
        headers.insert(entry.name.to_ascii_lowercase().into(), value);
    }
    Some(headers)
}

fn header_list(reader: &mut Reader, node: &Node) -> Option<Vec<Box<str>>> {
    let items = reader.list(node, "headers", 1000)?;
    let read: Vec<Option<Box<str>>> = items
        .iter()
        .map(|item| reader.text(item).map(|text| text.to_ascii_lowercase().into()))
        .collect();
    read.into_iter().collect()
}

/// A time as in RFC 3339, in milliseconds since the Unix epoch.
fn time(reader: &mut Reader, node: &Node) -> Option<u64> {
    let text = reader.text(node)?;
    match humantime::parse_rfc3339_weak(text) {
        Ok(time) => Some(since_epoch(time)),
        Err(_) => {
            reader.mistake(
                &node.place,
                format!(
                    "expected a time such as 2030-01-31T12:00:00Z, found {}",
                    quoted(text)
                ),
            );
            None
        }
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
