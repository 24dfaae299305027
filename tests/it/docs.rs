//! What README and docs tell people to type is typed here, and where they point to is looked at.
//!
//! Every `sh` block of a page runs in one folder, in order, beside a running server. What cannot run is named below, with why.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::support::{Home, Latchkey, run};

/// Beginnings of commands that are not run here, and where they are run or why nowhere.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "make ",
        "builds and tests everything, this test among it; CI runs it",
    ),
    (
        "cargo ",
        "builds everything anew; this test runs what cargo has built",
    ),
    (
        "latchkey serve",
        "the test starts this server itself, on ports that are free",
    ),
    (
        "grpcurl ",
        "is not there; e2e_serve makes the same calls with buf",
    ),
    ("curl https://", "names a server of the reader's own"),
];

/// Fences of blocks that hold commands.
const SHELL: [&str; 3] = ["sh", "bash", "shell"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and everything in `docs/`.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("docs is there");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The blocks of a page in one of these languages.
fn blocks(text: &str, languages: &[&str]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim_start() != "```")
            .collect();
        if languages.contains(&language.trim()) {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// The commands of a block: a line, with those that it goes on in.
fn commands(block: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in block.lines() {
        command.push_str(line);
        command.push('\n');
        let is_open = |quote| command.matches(quote).count() % 2 == 1;
        if !line.ends_with('\\') && !is_open('\'') && !is_open('"') {
            commands.push(std::mem::take(&mut command));
        }
    }
    commands.push(command);
    commands
}

/// The commands of a page that are run, and those of [`ELSEWHERE`] that it has.
fn script(text: &str) -> (String, BTreeSet<&'static str>) {
    let (mut script, mut elsewhere) = (String::new(), BTreeSet::new());
    for command in blocks(text, &SHELL).iter().flat_map(|block| commands(block)) {
        match ELSEWHERE
            .iter()
            .find(|(begin, _)| command.trim_start().starts_with(begin))
        {
            Some((begin, _)) => drop(elsewhere.insert(*begin)),
            None => script.push_str(&command),
        }
    }
    (script, elsewhere)
}

/// Where a reader would stand: a configuration, a server, a key, and the examples.
struct Desk {
    home: Home,
    server: Latchkey,
}

impl Desk {
    fn new() -> Self {
        let home = Home::new();
        let at = |name: &str| home.path().join(name);
        let mut config = run(&mut latchkey(&["config", "example"])).output();
        for port in ["9191", "9192", "9193"] {
            config = config.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
        }
        fs::write(home.config(), config).expect("the configuration can be written");
        symlink(root().join("examples"), at("examples")).expect("a link can be made");
        fs::create_dir(at("bin")).expect("a folder can be made");
        symlink(env!("CARGO_BIN_EXE_latchkey"), at("bin/latchkey")).expect("a link can be made");
        // What the pages take for granted: a key in a file, and a key that signs tokens.
        fs::create_dir(at("signing-keys")).expect("a folder can be made");
        fs::write(at("signing-keys/0001.pem"), "").expect("a file can be written");
        fs::write(at("key.txt"), format!("{}\n", home.chat_key().key)).expect("the key can be written");
        let server = home.start("server");
        Self { home, server }
    }

    /// The script with the addresses of this server, and secrets in a folder that is there.
    fn here(&self, script: &str) -> String {
        let mut script = script
            .replace("/run/secrets/", "./")
            .replace("127.0.0.1:9191", &self.server.grpc.to_string());
        script = script.replace("127.0.0.1:9193", &self.server.ops.to_string());
        let addresses = fs::read_to_string(self.home.path().join("server.addresses")).expect("addresses");
        let addresses: serde_json::Value = serde_json::from_str(&addresses).expect("JSON");
        script.replace(
            "127.0.0.1:9192",
            addresses["http"].as_str().expect("an HTTP address"),
        )
    }
}

fn latchkey(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.env_clear().args(args);
    command
}

#[test]
fn every_command_of_the_pages_runs() {
    let mut elsewhere = BTreeSet::new();
    let mut ran = 0;
    for page in pages() {
        let (script, not_here) = script(&read(&page));
        elsewhere.extend(not_here);
        if script.trim().is_empty() {
            continue;
        }
        let desk = Desk::new();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash");
        bash.args(["-euxo", "pipefail", "-c", &desk.here(&script)])
            .current_dir(desk.home.path())
            .env_clear()
            .env(
                "PATH",
                format!("{}:{path}", desk.home.path().join("bin").display()),
            )
            .env("HOME", desk.home.path());
        let finished = run(&mut bash);
        assert_eq!(
            finished.code,
            Some(0),
            "{}:\n{}\n{}",
            page.display(),
            finished.stdout,
            finished.stderr
        );
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} pages have commands");
    let unused: Vec<&str> = ELSEWHERE
        .iter()
        .map(|(begin, _)| *begin)
        .filter(|begin| !elsewhere.contains(begin))
        .collect();
    assert!(unused.is_empty(), "no page has these any more: {unused:?}");
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else {
            continue;
        };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor = heading
            .chars()
            .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
            .map(|char| if char == ' ' { '-' } else { char });
        anchors.insert(anchor.collect());
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("an expression");
    let code = Regex::new(r"(?s)```.*?```|`[^`\n]*`").expect("an expression");
    let mut all = pages();
    all.extend(["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root().join(page)));
    let (mut looked_at, mut broken) = (0, Vec::new());
    for page in all {
        let text = read(&page);
        // What a page shows as code is no link; the text of a link may be code.
        let prose = code.replace_all(&text, "code");
        for found in link.captures_iter(&prose) {
            let target = &found[1];
            looked_at += 1;
            if target.starts_with("https://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a page is in a folder").join(path)
            };
            let leads = file.exists() && (anchor.is_empty() || anchors(&read(&file)).contains(anchor));
            if !leads {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} links");
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}
