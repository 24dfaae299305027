//! The JSON Schema (draft 2020-12), for editors.
//!
//! It is stricter than nothing and laxer than the reader: names that have to resolve, bounds of durations, and what two settings
//! must be together are said in words only.

use serde_json::{Map as Object, Value, json};

use super::super::notices;
use super::super::tree::{self, Node};
use super::{Field, Kind, Map, Need, ROOT, Rule};
use crate::config::DEFAULT_FILE;

/// A number and a unit, once or more: what the crate `humantime` reads.
const DURATION: &str = "^(\\s*[0-9]+\\s*(nsec|ns|usec|us|msec|ms|millis|seconds|second|secs|sec|s|minutes|minute|mins|min|m|hours|hour|hrs|hr|h|days|day|d|weeks|week|w|months|month|M|years|year|y))+\\s*$";

const NAME_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

/// The schema of the whole file.
pub fn json_schema() -> Value {
    let mut schema = of_map(&ROOT, "");
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Latchkey",
        "description": "The settings of Latchkey. `latchkey config check` says more than this schema can.",
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    schema
}

fn of_map(map: &Map, path: &str) -> Value {
    let properties: Object<String, Value> = map
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), of_field(field, &join(path, field.name))))
        .collect();
    let required: Vec<&str> = map
        .fields
        .iter()
        .filter(|field| matches!(field.need, Need::Required))
        .map(|field| field.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "examples": [yaml(map.example)],
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let rule = match map.rule {
        Rule::None => return schema,
        Rule::AnyOf(names) => {
            let one = |name: &&str| json!({"required": [name], "properties": {*name: {"type": "object"}}});
            json!({"anyOf": names.iter().map(one).collect::<Vec<_>>()})
        }
        Rule::OneOf(lists) => {
            json!({"oneOf": lists.iter().map(|list| alone(list, lists)).collect::<Vec<_>>()})
        }
        Rule::Schema(text) => yaml(text),
    };
    if let (Value::Object(schema), Value::Object(rule)) = (&mut schema, rule) {
        for (keyword, value) in rule {
            let known = schema.entry(keyword).or_insert_with(|| value.clone());
            if let (Value::Array(known), Value::Array(more)) = (known, &value) {
                known.extend(
                    more.iter()
                        .filter(|item| !known.contains(item))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
        }
    }
    schema
}

/// These fields are all there, and those of the other lists are not.
fn alone(list: &[&str], lists: &[&[&str]]) -> Value {
    let others: Object<String, Value> = lists
        .iter()
        .flat_map(|other| other.iter())
        .filter(|name| !list.contains(name))
        .map(|name| ((*name).to_owned(), json!({"type": "null"})))
        .collect();
    json!({"required": list, "properties": others})
}

fn of_field(field: &Field, path: &str) -> Value {
    let mut schema = of_kind(&field.kind, path);
    let may_be_null = match field.need {
        Need::Required => false,
        // A heading with nothing below it says nothing.
        Need::Default => matches!(field.kind, Kind::Map(_)),
        Need::Value(_) | Need::Absent(_) => true,
    };
    if may_be_null {
        schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
    let remark = notices::remark(path)
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    schema["description"] = format!("{}{remark}", field.meaning).into();
    let default = match field.need {
        Need::Value(value) => Some(yaml(value)),
        Need::Default => defaults().at(&path.split('.').collect::<Vec<_>>()).map(as_json),
        Need::Required | Need::Absent(_) => None,
    };
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

fn of_kind(kind: &Kind, path: &str) -> Value {
    match kind {
        Kind::Text { pattern, .. } => json!({"type": "string", "pattern": pattern}),
        Kind::Whole { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Part => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Duration { least, most } => json!({
            "type": "string",
            "pattern": DURATION,
            "$comment": format!("{least} to {most}"),
        }),
        Kind::Words(words) => json!({"enum": words}),
        Kind::Map(map) => of_map(map, path),
        Kind::List {
            item, least, most, ..
        } => json!({
            "type": "array",
            "items": of_kind(item, &format!("{path}[]")),
            "minItems": least,
            "maxItems": most,
            "uniqueItems": true,
        }),
        Kind::Named { item, special, .. } => {
            let of_item = of_map(item, &format!("{path}{{}}"));
            let mut properties = Object::new();
            if let Some((name, keywords)) = special {
                let own = json!({"allOf": [of_item.clone(), yaml(keywords)]});
                properties.insert((*name).to_owned(), json!({"anyOf": [own, {"type": "null"}]}));
            }
            json!({
                "type": "object",
                "propertyNames": {"pattern": NAME_PATTERN},
                "maxProperties": 1000,
                "properties": properties,
                "additionalProperties": of_item,
            })
        }
        Kind::Either(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(|kind| of_kind(kind, path)).collect();
            json!({"anyOf": kinds})
        }
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The embedded defaults.
pub(super) fn defaults() -> Node {
    parsed(DEFAULT_FILE)
}

/// A value that stands in this room as YAML.
pub(super) fn yaml(text: &str) -> Value {
    as_json(&parsed(text))
}

fn parsed(text: &str) -> Node {
    match tree::parse(text) {
        Ok(node) => node,
        Err(error) => panic!(
            "the description of the settings holds good YAML: {}",
            error.message
        ),
    }
}

/// A tree without its places.
pub(super) fn as_json(node: &Node) -> Value {
    use super::super::tree::Value as Yaml;
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => (*value).into(),
        Yaml::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        Yaml::Float(number) => json!(number),
        Yaml::Text(text) | Yaml::Untyped(text) => text.as_str().into(),
        Yaml::List(items) => items.iter().map(as_json).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .map(|entry| (entry.name.clone(), as_json(&entry.node)))
            .collect(),
    }
}
