//! The guard's promises, held against data files and against another regex engine.

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use latchkey::config::{GuardResponse, Handlers, OnMatch, OnUnscanned};
use latchkey::guard::{Refusal, ResponseGuard, Rules};
use serde::Deserialize;

/// One way to write something so that a scanner may not see it.
#[derive(Deserialize)]
struct Obfuscation {
    description: String,
    text: Option<String>,
    /// The data of server-sent events, instead of a text.
    events: Option<Vec<String>>,
    expect: Expectation,
    /// Why it is out of reach, or harmless.
    why: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
enum Expectation {
    Caught,
    OutOfReach,
    Harmless,
}

fn obfuscations() -> Vec<Obfuscation> {
    let file = fs::read_to_string("tests/data/guard/obfuscations.json").expect("the data file is there");
    serde_json::from_str(&file).expect("the data file holds obfuscations")
}

fn response_guard() -> ResponseGuard {
    ResponseGuard::compile(&GuardResponse {
        fields: vec!["*".into()],
        on_match: OnMatch::Reject,
        on_unscanned: OnUnscanned::Reject,
        max_chars: NonZeroUsize::new(50_000).expect("it is not zero"),
        handlers: Handlers::Known,
    })
}

/// Whether a stream of these events is cut, whatever the pieces are that it comes in.
fn is_cut(events: &[String]) -> bool {
    let stream: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    let cut = [1, 7, stream.len()].map(|size| {
        let mut scanner = response_guard().stream(Some("text/event-stream"));
        let cuts: Vec<_> = stream
            .as_bytes()
            .chunks(size)
            .filter_map(|piece| scanner.push(piece).cut)
            .collect();
        let cut = cuts.into_iter().next().or(scanner.finish().cut);
        assert!(
            cut.as_ref()
                .is_none_or(|cut| cut.refusal == Refusal::HarmfulOutput)
        );
        cut.is_some()
    });
    assert!(cut[0] == cut[1] && cut[1] == cut[2], "{stream}");
    cut[0]
}

#[test]
fn obfuscations_are_caught_or_listed_as_out_of_reach_with_why() {
    let rules = Rules::new(Handlers::Known);
    let documentation = fs::read_to_string("docs/guard.md").unwrap();
    let obfuscations = obfuscations();
    let count = |expect| obfuscations.iter().filter(|one| one.expect == expect).count();
    assert!(count(Expectation::Caught) >= 80, "{}", count(Expectation::Caught));
    for one in &obfuscations {
        let is_caught = match (&one.text, &one.events) {
            (Some(text), None) => {
                let sanitized = rules.sanitize(text);
                assert!(rules.validate(&sanitized.text).is_empty(), "{}", one.description);
                assert_eq!(
                    rules.validate(text).is_empty(),
                    sanitized.matches.is_empty(),
                    "{}",
                    one.description
                );
                // A model may say it as well: in an answer, a letter an event.
                let pieces: Vec<_> = text.chars().map(|char| openai(&char.to_string())).collect();
                assert_eq!(
                    is_cut(&pieces),
                    !sanitized.matches.is_empty(),
                    "{}",
                    one.description
                );
                !sanitized.matches.is_empty()
            }
            (None, Some(events)) => is_cut(events),
            _ => panic!("{}: text or events", one.description),
        };
        assert_eq!(
            is_caught,
            one.expect == Expectation::Caught,
            "{}",
            one.description
        );
        assert_eq!(one.why.is_none(), is_caught, "{}", one.description);
        if let (Expectation::OutOfReach, Some(why)) = (&one.expect, &one.why) {
            let row = format!("| {} | {why} |", one.description);
            assert!(documentation.contains(&row), "docs/guard.md lacks the row\n{row}");
        }
    }
}

fn openai(piece: &str) -> String {
    serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece}}]}).to_string()
}

#[test]
fn ordinary_source_code_passes_the_default_rules_unharmed() {
    let rules = Rules::new(Handlers::Known);
    let mut languages = Vec::new();
    for entry in fs::read_dir("tests/data/guard/code").unwrap() {
        let path = entry.unwrap().path();
        let code = fs::read_to_string(&path).unwrap();
        let sanitized = rules.sanitize(&code);
        assert_eq!(sanitized.text, code, "{}", path.display());
        assert!(
            code.lines().count() > 10,
            "{} is a sample of code",
            path.display()
        );
        languages.push(path.extension().unwrap().to_owned());
    }
    languages.sort();
    languages.dedup();
    assert!(languages.len() >= 12, "{languages:?}");
}

/// Prints the number of each text in which one of the guide's patterns matches. Python's engine backtracks, as JavaScript's does;
/// its flags and classes are set to what JavaScript means without the flag `u`.
const PATTERNS: &str = r"
import json, re, sys
SPACE = '[\\s\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]'
patterns = [re.compile(pattern, re.IGNORECASE | re.ASCII) for pattern in (
    r'<script\b[^<]*(?:(?!<\/script>)<[^<]*)*<\/script>', r'javascript:', r'on\w+' + SPACE + '*=')]
for number, line in enumerate(sys.stdin):
    text = json.loads(line)
    if any(pattern.search(text) for pattern in patterns):
        print(number)
";

/// The numbers of the texts in which one of the guide's patterns matches.
fn matching(texts: &[String]) -> Vec<usize> {
    let mut python = Command::new("python3")
        .args(["-c", PATTERNS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let lines: String = texts
        .iter()
        .map(|text| serde_json::to_string(text).expect("a text is JSON") + "\n")
        .collect();
    let mut stdin = python.stdin.take().expect("it was asked for");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).expect("python3 reads all"));
    let output = python.wait_with_output().expect("python3 ends");
    writer.join().expect("python3 reads all");
    assert!(output.status.success(), "python3 failed");
    let printed = String::from_utf8(output.stdout).expect("numbers are UTF-8");
    printed
        .lines()
        .map(|number| number.parse().expect("a line is a number"))
        .collect()
}

/// Texts made of what the patterns care for; the same ones each time.
fn generated(count: usize) -> Vec<String> {
    const PARTS: [&str; 40] = [
        "<script",
        "</script>",
        "<scr",
        "ipt",
        ">",
        "<",
        "/",
        "script",
        "<script>",
        "</script",
        " ",
        "java",
        "javascript",
        ":",
        "javascript:",
        "j",
        "on",
        "o",
        "n",
        "onclick",
        "click",
        "=",
        " =",
        "\t",
        "\n",
        "x",
        "1",
        "_",
        "é",
        "&#106;",
        "&#58",
        ";",
        "&colon;",
        "&",
        "\u{200B}",
        "\0",
        "\u{FEFF}",
        "\u{A0}",
        "\u{17F}",
        "ONLOAD=",
    ];
    // A linear congruential generator (Knuth's constants): nothing here needs more.
    let mut state: u64 = 20_240_229;
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut text = || (0..next(14)).map(|_| PARTS[next(PARTS.len())]).collect();
    (0..count).map(|_| text()).collect()
}

#[test]
fn what_was_sanitized_matches_none_of_the_guides_patterns() {
    let mut texts = generated(60_000);
    texts.extend(obfuscations().into_iter().filter_map(|one| one.text));
    let matching_before = matching(&texts);
    assert!(
        matching_before.len() > 10_000,
        "most of this would prove nothing: {}",
        matching_before.len()
    );

    let rules = Rules::new(Handlers::Any);
    for &number in &matching_before {
        assert!(
            !rules.validate(&texts[number]).is_empty(),
            "not found: {:?}",
            texts[number]
        );
    }
    let sanitized: Vec<_> = texts
        .iter()
        .map(|text| rules.sanitize(text).text.into_owned())
        .collect();
    let matching_after = matching(&sanitized);
    let left: Vec<_> = matching_after
        .iter()
        .map(|&number| (&texts[number], &sanitized[number]))
        .take(5)
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for text in &sanitized {
        assert_eq!(
            rules.sanitize(text).text,
            *text,
            "sanitizing twice is sanitizing once"
        );
    }
}
