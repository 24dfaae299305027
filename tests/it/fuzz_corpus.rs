//! The corpus of every fuzz target, through the very functions that `make fuzz` calls. What a run has found stays found.

use std::fs;
use std::path::Path;

/// One line a target: its file in `fuzz/targets`, as a module here and by its name in the table.
#[path = "../../fuzz/targets"]
mod targets {
    pub(crate) mod codec;
    pub(crate) mod config;
    pub(crate) mod credential;
    pub(crate) mod guard_json;
    pub(crate) mod guard_rules;
    pub(crate) mod guard_stream;
    pub(crate) mod key_format;
    pub(crate) mod path;
    pub(crate) mod support;
}

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("codec", targets::codec::run),
    ("config", targets::config::run),
    ("credential", targets::credential::run),
    ("guard_json", targets::guard_json::run),
    ("guard_rules", targets::guard_rules::run),
    ("guard_stream", targets::guard_stream::run),
    ("key_format", targets::key_format::run),
    ("path", targets::path::run),
];

fn in_fuzz(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(in_fuzz(folder)).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_target_takes_its_corpus() {
    for (name, run) in TARGETS {
        let inputs = names(&format!("corpus/{name}"));
        assert!(inputs.len() >= 3, "{name}: a corpus has seeds");
        for input in inputs {
            let bytes = fs::read(in_fuzz(&format!("corpus/{name}/{input}"))).expect("an input");
            assert!(bytes.len() < 64 * 1024, "{name}/{input} is too large to be kept");
            // A panic says which input it was.
            println!("{name}/{input}");
            run(&bytes);
        }
    }
}

#[test]
fn every_target_is_built_and_replayed() {
    let replayed: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let files: Vec<String> = names("targets")
        .into_iter()
        .filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "support")
        .collect();
    assert_eq!(files, replayed, "each target has its line in TARGETS");
    let manifest = fs::read_to_string(in_fuzz("Cargo.toml")).expect("the manifest");
    for name in replayed {
        let is_built = manifest.contains(&format!("path = \"targets/{name}.rs\""));
        assert!(is_built, "{name} is in no [[bin]] of fuzz/Cargo.toml");
    }
}
