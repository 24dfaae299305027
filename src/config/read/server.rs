//! The settings of the process: listeners, store, time, logs.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::super::reader::{Fields, Reader, did_you_mean, quoted};
use super::super::settings::{
    ClientAddress, Drain, Listen, ListenAddress, LogFormat, StoreUrl, Telemetry, TlsFiles, Usage,
};
use super::super::tree::{Node, Value};
use super::optional;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn listen(reader: &mut Reader, node: &Node) -> Option<Listen> {
    let known = ["grpc", "http", "ops", "grpc_tls", "http_tls", "allow_plaintext"];
    let fields = reader.fields(node, "listen", &known)?;
    let mut address = |name| {
        fields
            .require(reader, name)
            .and_then(|node| listen_address(reader, node))
    };
    let [grpc, http, ops] = ["grpc", "http", "ops"].map(&mut address);
    let grpc_tls = optional(fields.get("grpc_tls"), |node| tls_files(reader, node));
    let http_tls = optional(fields.get("http_tls"), |node| tls_files(reader, node));
    let allow_plaintext = optional(fields.get("allow_plaintext"), |node| reader.boolean(node));

    let listen = Listen {
        grpc: grpc?,
        http: http?,
        ops: ops?,
        grpc_tls: grpc_tls?,
        http_tls: http_tls?,
        allow_plaintext: allow_plaintext?.unwrap_or(false),
    };
    check_plaintext(reader, &fields, &listen);
    check_distinct(reader, &fields, &listen);
    Some(listen)
}

/// Keys and answers travel on this connection.
fn check_plaintext(reader: &mut Reader, fields: &Fields<'_>, listen: &Listen) {
    if let ListenAddress::Tcp(address) = listen.grpc
        && !address.ip().is_loopback()
        && listen.grpc_tls.is_none()
        && !listen.allow_plaintext
    {
        let place = fields.get("grpc").map_or(fields.place(), |node| &node.place);
        reader.mistake(
            place,
            format!("grpc listens on {address}, off loopback, without TLS; give grpc_tls, or allow_plaintext: true where the network itself is trusted"),
        );
    }
}

fn check_distinct(reader: &mut Reader, fields: &Fields<'_>, listen: &Listen) {
    let addresses = [
        ("grpc", &listen.grpc),
        ("http", &listen.http),
        ("ops", &listen.ops),
    ];
    for (place, (name, address)) in addresses.iter().enumerate() {
        let same = addresses[..place].iter().find(|(_, other)| other == address);
        let is_any_port = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
        if let Some((other, _)) = same
            && !is_any_port
        {
            let place = fields.get(name).map_or(fields.place(), |node| &node.place);
            reader.mistake(place, format!("{name} listens where {other} does"));
        }
    }
}

fn listen_address(reader: &mut Reader, node: &Node) -> Option<ListenAddress> {
    let text = reader.text(node)?;
    if let Some(path) = text.strip_prefix("unix:") {
        // 107 bytes and a NUL fit into `sockaddr_un`.
        if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') {
            return Some(ListenAddress::Unix(path.into()));
        }
        reader.mistake(
            &node.place,
            "a Unix socket is `unix:` and an absolute path of at most 107 bytes",
        );
        return None;
    }
    if let Ok(address) = text.parse() {
        return Some(ListenAddress::Tcp(address));
    }
    reader.mistake(
        &node.place,
        format!(
            "expected an address and a port, such as 127.0.0.1:9191 or [::1]:9191, or unix:/path; found {}",
            quoted(text)
        ),
    );
    None
}

fn tls_files(reader: &mut Reader, node: &Node) -> Option<TlsFiles> {
    let fields = reader.fields(node, "TLS files", &["cert_file", "key_file", "client_ca_file"])?;
    let cert_file = fields
        .require(reader, "cert_file")
        .and_then(|node| reader.path(node));
    let key_file = fields
        .require(reader, "key_file")
        .and_then(|node| reader.path(node));
    let client_ca_file = optional(fields.get("client_ca_file"), |node| reader.path(node));
    Some(TlsFiles {
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file: client_ca_file?,
    })
}

pub(super) fn store(reader: &mut Reader, top: &Fields<'_>) -> Option<StoreUrl> {
    let (node, url) = url_or_file(reader, top, "store", "store_file")?;
    let Some(url) = url else {
        reader.mistake(top.place(), "missing field `store` in the settings");
        return None;
    };
    let refuse = |reader: &mut Reader, why: &str| {
        // Never what was found: it may hold a password.
        reader.mistake(&node.place, why);
        None
    };
    if let Some(path) = url.strip_prefix("sqlite://") {
        if path.is_empty() || path.contains(['?', '#', '\0']) {
            return refuse(
                reader,
                "a SQLite store is `sqlite://` and the path of its file, without `?` or `#`",
            );
        }
        if path == ":memory:" {
            return refuse(
                reader,
                "a store in memory would forget every key; give the path of a file",
            );
        }
        return Some(StoreUrl::Sqlite(path.into()));
    }
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"));
    match rest {
        Some(rest) if is_authority_and_more(rest) => Some(StoreUrl::Postgres(SecretString::from(url))),
        Some(_) => refuse(
            reader,
            "a PostgreSQL store is `postgres://`, a host, and a database",
        ),
        None => refuse(reader, "a store begins with `sqlite://` or `postgres://`"),
    }
}

pub(super) fn redis(reader: &mut Reader, top: &Fields<'_>) -> Option<Option<SecretString>> {
    if top.get("redis").is_none() && top.get("redis_file").is_none() {
        return Some(None);
    }
    let (node, url) = url_or_file(reader, top, "redis", "redis_file")?;
    let Some(url) = url else { return Some(None) };
    let rest = url
        .strip_prefix("redis://")
        .or_else(|| url.strip_prefix("rediss://"));
    if rest.is_some_and(is_authority_and_more) {
        return Some(Some(SecretString::from(url)));
    }
    reader.mistake(
        &node.place,
        "a Redis URL begins with `redis://` or `rediss://` and names a host",
    );
    None
}

fn is_authority_and_more(rest: &str) -> bool {
    !rest.is_empty()
        && !rest.starts_with('/')
        && !rest.contains(|char: char| char.is_whitespace() || char.is_control())
}

/// A URL that is given as it is, or by a file that holds it.
fn url_or_file<'t>(
    reader: &mut Reader,
    top: &Fields<'t>,
    name: &str,
    file_name: &str,
) -> Option<(&'t Node, Option<String>)> {
    let given = top.get(name);
    match top.get(file_name) {
        Some(file) => {
            if given.is_some_and(|given| given.place.is_of_user()) {
                reader.mistake(
                    &file.place,
                    format!("`{name}` and `{file_name}` are both given; keep one"),
                );
                return None;
            }
            let path = reader.path(file)?;
            match read_secret(&path) {
                Ok(text) => Some((file, Some(text))),
                Err(why) => {
                    reader.mistake(
                        &file.place,
                        format!("cannot read {}: {why}", quoted(&path.to_string_lossy())),
                    );
                    None
                }
            }
        }
        None => match given {
            Some(node) => reader.text(node).map(|text| (node, Some(text.to_owned()))),
            None => {
                reader.mistake(top.place(), format!("missing field `{name}` in the settings"));
                None
            }
        },
    }
}

/// The first line's worth of a small file, without the line end.
fn read_secret(path: &Path) -> Result<String, String> {
    const MOST: u64 = 64 * 1024;
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MOST + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.len() as u64 > MOST || text.is_empty() || text.contains(char::is_control) {
        return Err("it is not one line of at most 64 KiB".into());
    }
    Ok(text.to_owned())
}

pub(super) fn drain(reader: &mut Reader, node: &Node) -> Option<Drain> {
    let fields = reader.fields(node, "drain", &["settle", "grace"])?;
    let mut time = |name| {
        fields
            .require(reader, name)
            .and_then(|node| reader.duration(node, Duration::ZERO..=HOUR))
    };
    let [settle, grace] = ["settle", "grace"].map(&mut time);
    Some(Drain {
        settle: settle?,
        grace: grace?,
    })
}

pub(super) fn client_address(reader: &mut Reader, node: &Node) -> Option<ClientAddress> {
    if !matches!(node.value, Value::Map(_)) {
        let choices = [
            ("peer", ClientAddress::Peer),
            ("envoy", ClientAddress::EnvoyExternal),
        ];
        if matches!(&node.value, Value::Text(text) | Value::Untyped(text) if text == "x_forwarded_for") {
            reader.mistake(
                &node.place,
                "say which entry, counted from the right: {x_forwarded_for: 1}",
            );
            return None;
        }
        return reader.choice(node, &choices);
    }
    let fields = reader.fields(node, "client_address", &["x_forwarded_for"])?;
    let nth = fields.require(reader, "x_forwarded_for")?;
    let nth = usize::try_from(reader.whole(nth, 1..=64)?).ok()?;
    NonZeroUsize::new(nth).map(ClientAddress::XForwardedFor)
}

pub(super) fn check_deadline(reader: &mut Reader, node: &Node) -> Option<Duration> {
    reader.duration(node, Duration::from_millis(1)..=Duration::from_secs(60))
}

/// What `slow_after` may be.
pub(super) const SLOW_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

pub(super) fn usage(reader: &mut Reader, node: &Node) -> Option<Usage> {
    let known = [
        "retention",
        "sums_retention",
        "slow_after",
        "missing_after",
        "spool_dir",
        "spool_max_mib",
        "stdout",
    ];
    let fields = reader.fields(node, "usage", &known)?;
    let mut time = |name, allowed| {
        fields
            .require(reader, name)
            .and_then(|node| reader.duration(node, allowed))
    };
    let retention = time("retention", HOUR..=DAY * 3660);
    let sums_retention = time("sums_retention", HOUR..=DAY * 36600);
    let slow_after = time("slow_after", SLOW_AFTER);
    let missing_after = time("missing_after", Duration::from_secs(60)..=DAY);
    let spool_dir = fields
        .require(reader, "spool_dir")
        .and_then(|node| reader.path(node));
    let spool_max_mib = fields
        .require(reader, "spool_max_mib")
        .and_then(|node| reader.whole(node, 1..=1 << 20));
    let stdout = fields
        .require(reader, "stdout")
        .and_then(|node| reader.boolean(node));
    if let (Some(events), Some(sums), Some(node)) = (retention, sums_retention, fields.get("sums_retention"))
        && sums < events
    {
        reader.mistake(&node.place, "sums_retention is shorter than retention");
    }
    Some(Usage {
        retention: retention?,
        sums_retention: sums_retention?,
        slow_after: slow_after?,
        missing_after: missing_after?,
        spool_dir: spool_dir?,
        spool_max_bytes: u64::from(spool_max_mib?) << 20,
        stdout: stdout?,
    })
}

pub(super) fn telemetry(reader: &mut Reader, node: &Node) -> Option<Telemetry> {
    let fields = reader.fields(node, "telemetry", &["log", "otlp_endpoint"])?;
    let log = fields.require(reader, "log").and_then(|node| log(reader, node));
    let otlp_endpoint = optional(fields.get("otlp_endpoint"), |node| {
        let text = reader.text(node)?;
        let rest = text.strip_prefix("http://");
        if rest.is_some_and(|rest| is_authority_and_more(rest) && !rest.contains('@')) {
            return Some(text.into());
        }
        reader.mistake(
            &node.place,
            "expected a URL with http://, without a password: spans go to a collector nearby, which may send them on over TLS",
        );
        None
    });
    let (log_format, log_level) = log?;
    Some(Telemetry {
        log_format,
        log_level,
        otlp_endpoint: otlp_endpoint?,
    })
}

fn log(reader: &mut Reader, node: &Node) -> Option<(LogFormat, Box<str>)> {
    let fields = reader.fields(node, "telemetry.log", &["format", "level"])?;
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = fields
        .require(reader, "format")
        .and_then(|node| reader.choice(node, &formats));
    let level = fields
        .require(reader, "level")
        .and_then(|node| log_level(reader, node));
    Some((format?, level?))
}

/// A level, or a filter with levels for parts of the program. A word that is no level would be taken for a part, and then
/// for all of it: a typo in `info` must not turn the log on in full.
fn log_level(reader: &mut Reader, node: &Node) -> Option<Box<str>> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = reader.text(node)?;
    let is_filter = text.len() <= 1024
        && text
            .split(',')
            .all(|directive| directive.contains('=') || LEVELS.contains(&directive))
        && text.parse::<tracing_subscriber::EnvFilter>().is_ok();
    if is_filter {
        return Some(text.into());
    }
    let hint = did_you_mean(text, LEVELS);
    reader.mistake(
        &node.place,
        format!(
            "expected a level ({}) or a filter such as info,latchkey=debug; found {}{hint}",
            LEVELS.join(", "),
            quoted(text)
        ),
    );
    None
}
