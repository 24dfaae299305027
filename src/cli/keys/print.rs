//! How keys are printed: tables for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _, stdout};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::args::Output;
use crate::cli::{Environment, table};
use crate::http::time;
use crate::keys::now_ms;

const DAY_MS: u64 = 86_400_000;

/// Whether to print in bold: on a terminal that has not been asked for none (no-color.org).
#[derive(Clone, Copy)]
pub(super) struct Style {
    bold: bool,
}

impl Style {
    pub(super) fn of(environment: &Environment) -> Self {
        let plain = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            bold: stdout().is_terminal() && !plain,
        }
    }

    fn strong(self, text: &str) -> String {
        if self.bold {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A text without characters that could speak to the terminal.
pub(super) fn safe(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

/// A secret that was just made.
pub(super) fn secret(answer: &Value, output: Output, style: Style) -> anyhow::Result<()> {
    let made = &answer["api_key"];
    let (id, key) = (text(&made["id"]), text(&made["key"]));
    if output == Output::Json {
        let mut shown = json!({"id": id, "key": key});
        if let Some(until) = made["old_key_valid_until"].as_str() {
            shown["old_key_valid_until"] = until.into();
        }
        return print(&shown.to_string());
    }
    let mut lines = format!("id   {id}\nkey  {}\n", style.strong(&key));
    if let Some(until) = made["old_key_valid_until"].as_str() {
        lines += &format!("\nThe old secret works until {until}.");
    }
    print(&format!("{lines}\nThis is the only time that the key is shown."))
}

/// A page of keys.
pub(super) fn list(answer: &Value, output: Output, style: Style) -> anyhow::Result<()> {
    let keys = answer["api_keys"].as_array().map_or(&[][..], Vec::as_slice);
    if output == Output::Json {
        return print(&answer["api_keys"].to_string());
    }
    let head = [
        "ID", "NAME", "OWNER", "API", "SCOPES", "STATUS", "KEY", "CREATED", "EXPIRES",
    ];
    let mut rows = vec![head.map(String::from)];
    rows.extend(keys.iter().map(row));
    let mut out = stdout().lock();
    for (number, line) in table::lines(&rows).into_iter().enumerate() {
        let line = if number == 0 { style.strong(&line) } else { line };
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// One key.
pub(super) fn key(answer: &Value, output: Output) -> anyhow::Result<()> {
    let key = &answer["api_key"];
    if output == Output::Json {
        return print(&key.to_string());
    }
    let [id, name, owner, api, scopes, status, secret, created, expires] = row(key);
    let mut lines = vec![
        ("id", id),
        ("name", name),
        ("type", text(&key["type"])),
        ("owner", owner),
        ("api", api),
        ("scopes", scopes),
        ("status", status),
        ("key", secret),
        ("created", created),
        ("created by", text(&key["created_by"])),
        ("expires", expires),
        ("networks", texts(&key["allowed_networks"])),
        ("limit", limit(&key["rate_limit"])),
        ("verified", verified(key)),
    ];
    if let Some(metadata) = key.get("metadata") {
        lines.push(("metadata", metadata.to_string()));
    }
    let old = &key["old_key"];
    if old.is_object() {
        let used = match old["last_used_on"].as_str() {
            Some(on) => format!(
                "last used {on} from {}",
                or(&old["last_used_ip"], "an unknown address")
            ),
            None => "not used since the rotation".to_owned(),
        };
        let (suffix, until) = (text(&old["key_suffix"]), text(&old["valid_until"]));
        lines.push(("old key", format!("…{suffix}, works until {until}, {used}")));
    }
    let lines: Vec<String> = lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:11}{value}"))
        .collect();
    print(&lines.join("\n"))
}

/// What is known of a presented key.
pub(super) fn verification(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print(&answer.to_string());
    }
    let valid = answer["is_valid"].as_bool() == Some(true);
    let mut lines = vec![("valid", if valid { "yes" } else { "no" }.to_owned())];
    for (name, field) in [
        ("id", "key_id"),
        ("status", "status"),
        ("org_code", "org_code"),
        ("user_id", "user_id"),
    ] {
        lines.push((name, text(&answer[field])));
    }
    lines.push(("scopes", texts(&answer["scopes"])));
    let lines: Vec<String> = lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:11}{value}"))
        .collect();
    print(&lines.join("\n"))
}

fn row(key: &Value) -> [String; 9] {
    [
        text(&key["id"]),
        text(&key["name"]),
        owner(key),
        texts(&key["api_ids"]),
        texts(&key["scopes"]),
        text(&key["status"]),
        format!("{}…{}", text(&key["key_prefix"]), text(&key["key_suffix"])),
        day(&text(&key["created_on"])),
        expires(key),
    ]
}

/// The context owner, and the user inside of an organization.
fn owner(key: &Value) -> String {
    match (key["organization_id"].as_str(), key["user_id"].as_str()) {
        (Some(org), Some(user)) => format!("org:{} user:{}", safe(org), safe(user)),
        (Some(org), None) => format!("org:{}", safe(org)),
        (None, Some(user)) => format!("user:{}", safe(user)),
        (None, None) => String::new(),
    }
}

fn expires(key: &Value) -> String {
    let Some(on) = key["expires_on"].as_str() else {
        return "never".to_owned();
    };
    match time::read(on) {
        Some(at) if at <= now_ms() => "expired".to_owned(),
        Some(at) => format!("{} ({}d left)", day(on), (at - now_ms()) / DAY_MS),
        None => safe(on),
    }
}

fn verified(key: &Value) -> String {
    match key["last_verified_on"].as_str() {
        None => String::new(),
        Some(on) => {
            let count = match key["verification_count"].as_u64().unwrap_or(0) {
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            format!(
                "{count}, last {} from {}",
                safe(on),
                or(&key["last_verified_ip"], "an unknown address")
            )
        }
    }
}

fn limit(limit: &Value) -> String {
    match (limit["limit"].as_u64(), limit["window"].as_str()) {
        (Some(limit), Some(window)) => format!("{limit}/{}", safe(window)),
        _ => String::new(),
    }
}

fn day(time: &str) -> String {
    safe(time.split('T').next().unwrap_or_default())
}

fn text(value: &Value) -> String {
    safe(value.as_str().unwrap_or_default())
}

fn or(value: &Value, otherwise: &str) -> String {
    value.as_str().map_or_else(|| otherwise.to_owned(), safe)
}

fn texts(values: &Value) -> String {
    let values = values.as_array().map_or(&[][..], Vec::as_slice);
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn print(lines: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{lines}")
        .and_then(|()| out.flush())
        .context("writing to standard output")
}
