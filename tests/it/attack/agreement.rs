//! `latchkey check` says of every case of the corpus what the server has said when Envoy asked about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use latchkey::decision::RequestView;
use latchkey::envoy::CheckView;
use latchkey::explain::Answer;
use serde_json::{Value, json};

use super::corpus::{targets, tricks};
use super::run::{Attack, RAW_WITHOUT_GUARD, Setting};
use crate::support::check_proxy::{self, Between};
use crate::support::run;

/// Requests in one file: a command has 20 seconds.
const AT_ONCE: usize = 300;

/// Keeps each question, as a line of `latchkey check --requests`, with its answer.
#[derive(Default)]
struct Recorder(Mutex<BTreeMap<String, Bytes>>);

impl Between for Recorder {
    fn answer(&self, question: &Bytes, answer: &Bytes) {
        let view = CheckView::read(question.clone()).expect("Envoy sends a CheckRequest");
        // With a key and without one is enough.
        let sender = view.headers().find(|(name, _)| *name == b"x-sender");
        if !sender.is_some_and(|(_, sender)| matches!(sender, b"organization" | b"nobody")) {
            return;
        }
        self.0
            .lock()
            .expect("no recorder panics")
            .insert(described(&view), answer.clone());
    }
}

/// The question to the byte. Ids that differ each time are one and the same.
fn described(view: &CheckView) -> String {
    let hex = |bytes: &[u8]| {
        let mut text = String::new();
        for byte in bytes {
            write!(text, "{byte:02x}").expect("a String takes every text");
        }
        json!({ "hex": text })
    };
    let headers: Vec<Value> = view
        .headers()
        .map(|(name, value)| match name {
            b"x-request-id" => json!([hex(name), hex(b"request-1")]),
            b"x-row" => json!([hex(name), hex(b"")]),
            _ => json!([hex(name), hex(value)]),
        })
        .collect();
    json!({
        "method": hex(view.method()),
        "path": hex(view.target()),
        "host": hex(view.host()),
        "headers": headers,
        "peer": view.peer_address().map_or("unknown".to_owned(), |peer| peer.to_string()),
        "bare": true,
    })
    .to_string()
}

#[test]
fn latchkey_check_agrees_with_the_server_on_every_case() {
    let (targets, tricks) = (targets(), tricks());
    let setting = Setting::new();
    let latchkey = setting.home.start("latchkey");
    let recorder = Arc::new(Recorder::default());
    let proxy = check_proxy::start(latchkey.grpc, recorder.clone());
    let attack = Attack::new(&setting, &targets, &tricks);
    let report = attack.run(&RAW_WITHOUT_GUARD, proxy, &super::usual_pairs(&targets, &tricks));
    assert!(report.bypasses.is_empty(), "{report}");

    let recorded = recorder.0.lock().expect("no recorder panics").clone();
    let file = setting.home.path().join("requests.jsonl");
    let lines: Vec<&str> = recorded.keys().map(String::as_str).collect();
    let mut said: Vec<Value> = Vec::new();
    for some in lines.chunks(AT_ONCE) {
        fs::write(&file, some.join("\n")).expect("the requests can be written");
        let mut command = setting.home.command("check");
        command.args(["--output", "json", "--server", &latchkey.grpc.to_string()]);
        let told = run(command.arg("--requests").arg(&file)).output();
        said.extend(
            told.lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON")),
        );
    }
    println!("{} cases", said.len());
    assert_eq!(said.len(), recorded.len());
    assert!(said.len() > targets.len(), "each case was asked about");
    for (said, (question, answer)) in said.iter().zip(&recorded) {
        assert_eq!(said["agree"], true, "{question}: {said}");
        let answered = Answer::read(answer).expect("the server answers");
        let answered = serde_json::to_value(answered).expect("an answer is JSON");
        for field in ["decision", "status", "reason", "route", "set", "remove"] {
            assert_eq!(said["server"][field], answered[field], "{question}: {said}");
        }
    }
}
