//! Lays one tree over another: the user's file over the embedded defaults, and the environment over both.
//!
//! `LATCHKEY__KEYS__CACHE__TTL=5s` sets `keys.cache.ttl`. A name that no setting has becomes a field that the reader
//! refuses, so a misspelt variable is as much a mistake as a misspelt field.

use std::collections::BTreeMap;

use super::reader::Reader;
use super::tree::{self, Entry, Node, Place, Value};

const PREFIX: &str = "LATCHKEY__";

/// Sections of the defaults that a file replaces as a whole, since they say what is protected and how: a route of the
/// embedded file must not appear beside the routes of the user's.
const OF_THE_FILE_ALONE: [&str; 4] = ["apis", "routes", "rate_limits", "guards"];

/// The defaults that hold beside a file.
pub(super) fn beside_a_file(defaults: Node) -> Node {
    let Value::Map(entries) = defaults.value else {
        return defaults;
    };
    let entries = entries.into_iter().filter_map(|mut entry| {
        // The limit on failed authentications protects every route, so it stays unless the file changes it.
        if entry.name == "rate_limits"
            && let Value::Map(limits) = &mut entry.node.value
        {
            limits.retain(|limit| limit.name == super::UNAUTHENTICATED_LIMIT);
            return Some(entry);
        }
        (!OF_THE_FILE_ALONE.contains(&entry.name.as_str())).then_some(entry)
    });
    Node {
        value: Value::Map(entries.collect()),
        place: defaults.place,
    }
}

/// Lays `above` over `below`: maps are joined, everything else is replaced.
pub(super) fn lay(below: &mut Node, above: Node) {
    below.place = above.place;
    match (&mut below.value, above.value) {
        // A heading with nothing below it says nothing.
        (Value::Map(_), Value::Null) => {}
        (Value::Map(below), Value::Map(above)) => {
            for entry in above {
                match below.iter_mut().find(|known| known.name == entry.name) {
                    // Taken whole: half a limit with half a default is neither. `null` turns it off.
                    Some(known) if known.name == super::UNAUTHENTICATED_LIMIT => *known = entry,
                    Some(known) => {
                        known.place = entry.place;
                        lay(&mut known.node, entry.node);
                    }
                    None => below.push(entry),
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// Lays the environment over the settings.
pub(super) fn lay_environment(tree: &mut Node, environment: &BTreeMap<String, String>, reader: &mut Reader) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (variable, text) in environment {
        let upper = variable.to_ascii_uppercase();
        let Some(path) = upper.strip_prefix(PREFIX) else {
            continue;
        };
        let place = Place::Variable(shown(variable).into());
        if seen.contains_key(path) {
            reader.mistake(&place, "set twice, in different case");
            continue;
        }
        let names: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        if names.iter().any(String::is_empty) {
            reader.mistake(
                &place,
                "expected the names of a setting with `__` between them, as in LATCHKEY__KEYS__PREFIX",
            );
            continue;
        }
        seen.insert(path.to_owned(), variable);
        if let Some(value) = read(text, &place, reader) {
            set(tree, &names, value, &place, reader);
        }
    }
}

fn shown(variable: &str) -> String {
    variable.chars().take(200).flat_map(char::escape_debug).collect()
}

/// A list, a map or a quoted text is YAML; everything else is the value itself, so that nothing needs quotes.
fn read(text: &str, place: &Place, reader: &mut Reader) -> Option<Node> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed == "null" || trimmed == "~" {
        return Some(Node {
            place: place.clone(),
            value: Value::Null,
        });
    }
    if !trimmed.starts_with(['[', '{', '"', '\'']) {
        return Some(Node {
            place: place.clone(),
            value: Value::Untyped(trimmed.into()),
        });
    }
    match tree::parse(trimmed) {
        Ok(mut node) => {
            node.relocate(&|_| place.clone());
            Some(node)
        }
        Err(error) => {
            reader.mistake(place, error.message);
            None
        }
    }
}

fn set(tree: &mut Node, names: &[String], value: Node, place: &Place, reader: &mut Reader) {
    let Some((name, deeper)) = names.split_first() else {
        lay(tree, value);
        return;
    };
    if matches!(tree.value, Value::Null) {
        *tree = Node {
            place: place.clone(),
            value: Value::Map(Vec::new()),
        };
    }
    let Value::Map(entries) = &mut tree.value else {
        let message = format!(
            "there is nothing below {}, so `{name}` cannot be set",
            tree.value.kind()
        );
        reader.mistake(place, message);
        return;
    };
    let at = entries
        .iter()
        .position(|entry| entry.name.eq_ignore_ascii_case(name))
        .unwrap_or_else(|| {
            let node = Node {
                place: place.clone(),
                value: Value::Null,
            };
            entries.push(Entry {
                name: name.clone(),
                place: place.clone(),
                node,
            });
            entries.len() - 1
        });
    entries[at].place = place.clone();
    set(&mut entries[at].node, deeper, value, place, reader);
}
