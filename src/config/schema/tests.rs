//! The description held against what the reader does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::load::load_text;
use super::super::reader::Reader;
use super::super::tests::{BASE, mistakes};
use super::super::{overrides, read, tree};
use super::json::{as_json, defaults, yaml};
use super::*;
use crate::config::{DEFAULT_FILE, GUIDE_FILE};

/// Is shown a map, its path, and how a file is made that has a map there.
type Visit<'a> = dyn FnMut(&str, &'static Map, &dyn Fn(Value) -> Value) + 'a;

/// Visits each map of the description, with its path, and how a file is made that has a map there: from what the map is to hold.
fn each_map(visit: &mut Visit<'_>) {
    descend(&ROOT, "", &|file| file, visit);
}

fn descend(map: &'static Map, path: &str, in_file: &dyn Fn(Value) -> Value, visit: &mut Visit<'_>) {
    visit(path, map, in_file);
    for field in map.fields {
        let beside = |value: Value| {
            let mut whole = yaml(map.example);
            whole[field.name] = value;
            in_file(whole)
        };
        of_kind(&field.kind, &json::join(path, field.name), &beside, visit);
    }
}

fn of_kind(kind: &'static Kind, path: &str, in_file: &dyn Fn(Value) -> Value, visit: &mut Visit<'_>) {
    match kind {
        Kind::Map(map) => descend(map, path, in_file, visit),
        Kind::List { item, .. } => of_kind(item, &format!("{path}[]"), &|item| in_file(json!([item])), visit),
        Kind::Named { item, .. } => {
            let named = |item: Value| in_file(json!({"n": item}));
            descend(item, &format!("{path}{{}}"), &named, visit);
        }
        Kind::Either(kinds) => kinds.iter().for_each(|kind| of_kind(kind, path, in_file, visit)),
        Kind::Text { .. }
        | Kind::Whole { .. }
        | Kind::Part
        | Kind::Boolean
        | Kind::Duration { .. }
        | Kind::Words(_) => {}
    }
}

/// A file as the examples of this room expect it beside them: their API is there.
fn with_api(mut file: Value) -> String {
    if file.get("apis").is_none() {
        file["apis"] = json!([{"id": "a", "name": "A", "audience": "aud", "scopes": ["x"]}]);
    }
    file.to_string()
}

/// The maps that the reader met in a file: the names in each, and those that it knows.
fn maps_of(text: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let mut tree = overrides::beside_a_file(defaults());
    let user = tree::parse(text).unwrap_or_else(|error| panic!("{}", error.message));
    overrides::lay(&mut tree, user);
    let mut reader = Reader::default();
    let _ = read::settings(&mut reader, &tree);
    reader.maps
}

#[test]
fn each_map_has_the_fields_that_the_reader_knows() {
    const PROBE: &str = "a_field_that_no_map_has";
    let mut visited = 0;
    each_map(&mut |path, map, in_file| {
        visited += 1;
        let mut holding = yaml(map.example);
        holding[PROBE] = json!(1);
        let maps = maps_of(&with_api(in_file(holding)));
        let met = maps
            .iter()
            .find(|(names, _)| names.iter().any(|name| name == PROBE));
        let (_, known) = met.unwrap_or_else(|| panic!("the reader does not read {path:?}"));
        let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        let described: BTreeSet<&str> = map.fields.iter().map(|field| field.name).collect();
        assert_eq!(described, known, "fields of {path:?}");
    });
    assert!(visited > 20, "only {visited} maps");
}

#[test]
fn each_example_holds() {
    each_map(&mut |path, map, in_file| {
        let text = with_api(in_file(yaml(map.example)));
        if let Err(error) = load_text("f.yaml", Some(&text), &BTreeMap::new()) {
            panic!("{path:?}: {error}\n{text}");
        }
    });
}

#[test]
fn what_is_said_to_hold_without_a_setting_does() {
    let mut compared = 0;
    each_map(&mut |path, map, in_file| {
        for field in map.fields {
            match field.need {
                Need::Value(value) => {
                    let settings = |holding| {
                        let text = with_api(in_file(holding));
                        let loaded = load_text("f.yaml", Some(&text), &BTreeMap::new());
                        format!(
                            "{:?}",
                            loaded.unwrap_or_else(|error| panic!("{path}: {error}")).settings
                        )
                    };
                    let mut said = yaml(map.example);
                    said[field.name] = yaml(value);
                    assert_eq!(
                        settings(said),
                        settings(yaml(map.example)),
                        "{path}.{}",
                        field.name
                    );
                    compared += 1;
                }
                Need::Default => {
                    let path = json::join(path, field.name);
                    let names: Vec<&str> = path.split('.').collect();
                    assert!(
                        defaults().at(&names).is_some(),
                        "{path} is not in the embedded defaults"
                    );
                }
                Need::Required | Need::Absent(_) => {}
            }
        }
    });
    assert!(compared > 10, "only {compared} values");
}

#[test]
fn the_reference_is_what_the_description_makes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let committed = std::fs::read_to_string(file).expect("the reference is there");
    assert!(
        committed == documentation(),
        "docs/configuration.md is not up to date: edit src/config/schema/ and run `cargo run -- config docs > docs/configuration.md`"
    );
}

/// What a validator of JSON Schema says of each document: `ok`, or what is wrong.
fn validate(documents: &[Value]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".tools/jsonschema/bin/python");
    assert!(python.exists(), "jsonschema is not there: run scripts/install.sh");
    let mut lines = format!("{}\n", json_schema());
    documents
        .iter()
        .for_each(|document| lines.push_str(&format!("{document}\n")));
    let mut process = Command::new(python)
        .arg(root.join("scripts/validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the validator starts");
    let mut stdin = process.stdin.take().expect("it has a standard input");
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = process.wait_with_output().expect("the validator ends");
    writing
        .join()
        .expect("the writer ends")
        .expect("the validator reads everything");
    assert!(output.status.success(), "the schema is no schema");
    let said: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(said.len(), documents.len());
    said
}

fn parsed(text: &str) -> Value {
    as_json(&tree::parse(text).unwrap_or_else(|error| panic!("{}: {text}", error.message)))
}

#[test]
fn what_holds_passes_the_schema() {
    let mut named = vec![
        ("default.yaml".to_owned(), parsed(DEFAULT_FILE)),
        ("guide.yaml".to_owned(), parsed(GUIDE_FILE)),
        (
            "latchkey.yaml".to_owned(),
            parsed(include_str!("../../../examples/latchkey.yaml")),
        ),
        ("BASE".to_owned(), parsed(BASE)),
    ];
    each_map(&mut |path, map, in_file| {
        named.push((path.to_owned(), parsed(&with_api(in_file(yaml(map.example))))));
    });
    let (names, documents): (Vec<String>, Vec<Value>) = named.into_iter().unzip();
    for (name, said) in names.iter().zip(validate(&documents)) {
        assert_eq!(said, "ok", "{name}");
    }
}

/// Parts of messages about what no schema says: names that have to resolve, bounds of durations, spellings that are read as one,
/// and what settings of different maps must be together.
const BEYOND_A_SCHEMA: &[&str] = &[
    "expected a duration from",
    "off loopback, without TLS",
    "listens where",
    "many servers read it as",
    "header \"x-a\" is listed twice",
    "holds a credential",
    "are both told in header",
    "is in strip_headers too",
    "this place is listed twice",
    "unknown scope",
    "belongs to API",
    "unknown API",
    "unknown rate limit",
    "unknown guard",
    "`unauthenticated` counts failed authentications only",
    "two routes are named",
    "takes requests that route",
    "two of",
];

#[test]
fn each_mistake_of_structure_is_refused_by_the_schema() {
    let in_settings = mistakes::IN_SETTINGS
        .iter()
        .map(|(more, said)| (format!("{BASE}{more}\n"), *said));
    let in_routes = mistakes::IN_ROUTES
        .iter()
        .map(|(route, said)| (mistakes::with_route(route), *said));
    let (texts, told): (Vec<String>, Vec<&str>) = in_settings.chain(in_routes).unzip();
    let documents: Vec<Value> = texts.iter().map(|text| parsed(text)).collect();
    let (mut met, mut wrong) = (BTreeSet::<&str>::new(), Vec::new());
    for ((text, told), said) in texts.iter().zip(told).zip(validate(&documents)) {
        let part = BEYOND_A_SCHEMA.iter().find(|part| told.contains(*part));
        met.extend(part.copied());
        if part.is_some() != (said == "ok") {
            wrong.push(format!(
                "{told}\n  schema: {said}\n  {}",
                text.replace(BASE, "").trim_end()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unmet: Vec<&&str> = BEYOND_A_SCHEMA
        .iter()
        .filter(|part| !met.contains(**part))
        .collect();
    assert!(unmet.is_empty(), "no mistake is one of these: {unmet:?}");
}
