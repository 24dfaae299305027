//! `docs/configuration.md`: prose with a table in each place that asks for one.
//!
//! In `configuration.md` beside this file, a line `{{settings a b}}` becomes a table of these settings with all that is below them,
//! by their full names, and `{{fields a[]}}` one of the fields of what is in `a`.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::notices;
use super::json::{as_json, defaults, join};
use super::{Field, Kind, Map, Need, ROOT};

const PROSE: &str = include_str!("configuration.md");

/// The whole page.
pub fn documentation() -> String {
    let mut page = String::new();
    for line in PROSE.lines() {
        match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
            Some(asked) => table(&mut page, asked),
            None => {
                page.push_str(line);
                page.push('\n');
            }
        }
    }
    page
}

fn table(page: &mut String, asked: &str) {
    let (kind, names) = asked
        .split_once(' ')
        .expect("a table is asked for as `{{settings …}}` or `{{fields …}}`");
    let mut rows = Vec::new();
    let is_of_fields = kind == "fields";
    for name in names.split(' ') {
        let field = ROOT
            .fields
            .iter()
            .find(|field| field.name == name.trim_end_matches("[]").trim_end_matches("{}"));
        let field = field.unwrap_or_else(|| panic!("the prose asks for {name}, which is no setting"));
        if is_of_fields {
            let map = inner(&field.kind).unwrap_or_else(|| panic!("{name} has no fields"));
            map_rows(&mut rows, map, name, "");
        } else {
            field_rows(&mut rows, field, field.name, field.name);
        }
    }
    let head = if is_of_fields { "field" } else { "setting" };
    page.push_str(&format!(
        "| {head} | type | default | meaning |\n|---|---|---|---|\n"
    ));
    for row in rows {
        page.push_str(&row);
    }
}

/// The map that a setting is or holds.
fn inner(kind: &Kind) -> Option<&'static Map> {
    match kind {
        Kind::Map(map) => Some(map),
        Kind::List { item, .. } => inner(item),
        Kind::Named { item, .. } => Some(item),
        _ => None,
    }
}

fn map_rows(rows: &mut Vec<String>, map: &Map, path: &str, shown: &str) {
    for field in map.fields {
        field_rows(rows, field, &join(path, field.name), &join(shown, field.name));
    }
}

/// `path` is the full name, `shown` what the table says.
fn field_rows(rows: &mut Vec<String>, field: &Field, path: &str, shown: &str) {
    if !is_group(field) {
        let remark = notices::remark(path)
            .map(|text| format!(". *{text}*"))
            .unwrap_or_default();
        let meaning = format!("{}{remark}", field.meaning).replace('|', "\\|");
        rows.push(format!(
            "| `{shown}` | {} | {} | {meaning} |\n",
            of_kind(&field.kind),
            default(field, path)
        ));
    }
    let suffix = match field.kind {
        Kind::Map(_) => "",
        Kind::List { .. } => "[]",
        Kind::Named { .. } => "{}",
        _ => return,
    };
    if let Some(map) = inner(&field.kind) {
        map_rows(rows, map, &format!("{path}{suffix}"), &format!("{shown}{suffix}"));
    }
}

/// Whether a setting only groups others, which have lines of their own: one that is there in any case.
fn is_group(field: &Field) -> bool {
    matches!((&field.kind, &field.need), (Kind::Map(_), Need::Default))
}

fn default(field: &Field, path: &str) -> String {
    match field.need {
        Need::Required => "required".into(),
        Need::Value(value) => format!("`{value}`"),
        Need::Absent(words) => words.into(),
        Need::Default => {
            let names: Vec<&str> = path.split('.').collect();
            let tree = defaults();
            let node = tree
                .at(&names)
                .unwrap_or_else(|| panic!("{path} is in the embedded defaults"));
            shown_value(&as_json(node))
        }
    }
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => items.iter().map(shown_value).collect::<Vec<_>>().join(", "),
        other => format!("`{other}`"),
    }
}

fn of_kind(kind: &Kind) -> String {
    match kind {
        Kind::Text { shown, .. } | Kind::List { shown, .. } | Kind::Named { shown, .. } => (*shown).into(),
        Kind::Whole { least, most } => format!("{least}–{most}"),
        Kind::Part => "above 0, at most 1".into(),
        Kind::Boolean => "boolean".into(),
        Kind::Duration { least, most } => format!("{least}–{most}"),
        Kind::Words(words) => {
            let mut text = String::new();
            for (at, word) in words.iter().enumerate() {
                let comma = if at > 0 { ", " } else { "" };
                let _ = write!(text, "{comma}`{word}`");
            }
            text
        }
        Kind::Map(_) => "map".into(),
        Kind::Either(kinds) => kinds.iter().map(of_kind).collect::<Vec<_>>().join(" or "),
    }
}
