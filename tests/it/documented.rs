//! What the documentation promises by name is there, and what is there is documented.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Client, Home};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn document(name: &str) -> String {
    fs::read_to_string(in_repository("docs").join(name)).expect("a document")
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every Rust file of the product and its tests, joined.
fn sources() -> String {
    let mut folders = vec![
        in_repository("src"),
        in_repository("tests"),
        in_repository("fuzz/targets"),
    ];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(entry).expect("a source");
            }
        }
    }
    text
}

/// The metrics of the table in `docs/operations.md`.
fn documented_metrics() -> BTreeSet<String> {
    let row = |line: &str| {
        line.strip_prefix("| `latchkey_")?
            .split('`')
            .next()
            .map(|rest| format!("latchkey_{rest}"))
    };
    document("operations.md").lines().filter_map(row).collect()
}

#[test]
fn every_metric_that_a_server_exposes_is_documented() {
    let latchkey = Home::new().start("latchkey");
    let metrics = Client::new(latchkey.ops).get("/metrics", &[]).body;
    let exposed: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|family| match family.split_once(' ') {
            Some((name, "counter")) => format!("{name}_total"),
            Some((name, "info")) => format!("{name}_info"),
            Some((name, _)) => name.to_owned(),
            None => panic!("{family}"),
        })
        .collect();
    assert!(exposed.len() > 20, "{exposed:?}");
    let documented = documented_metrics();
    let undocumented: Vec<&String> = exposed.difference(&documented).collect();
    assert!(
        undocumented.is_empty(),
        "not in docs/operations.md: {undocumented:?}"
    );
}

#[test]
fn every_documented_metric_exists() {
    let sources = sources();
    for metric in documented_metrics() {
        let family = metric
            .strip_suffix("_total")
            .or_else(|| metric.strip_suffix("_info"));
        let name = format!("\"{}\"", family.unwrap_or(metric.as_str()));
        assert!(sources.contains(&name), "{metric} is documented, and is nowhere");
    }
}

#[test]
fn every_test_and_fuzz_target_that_the_threat_model_names_exists() {
    let (document, sources) = (document("security.md"), sources());
    let is_test = |name: &&str| {
        name.matches('_').count() >= 3
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let tests: Vec<&str> = quoted(&document).filter(is_test).collect();
    assert!(tests.len() > 40, "{}", tests.len());
    for test in tests {
        assert!(sources.contains(&format!("fn {test}(")), "{test} is no test");
    }
    for target in document.split("fuzz target `").skip(1) {
        let name = target.split('`').next().unwrap_or_default();
        let file = in_repository("fuzz/targets").join(format!("{name}.rs"));
        assert!(file.exists(), "{name} is no fuzz target");
    }
}
