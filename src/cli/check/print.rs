//! What is shown of a decision. Every line passes [`Hidden`], which takes keys out.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::explain::{Answer, Explanation, Request, StepResult, Verb};
use crate::keys::ApiKey;

/// How to print.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// The answers to one request.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    found: Found,
    /// Whether a server and the explanation say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    agree: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Offline(Explanation),
    Server {
        server: Answer,
        #[serde(skip_serializing_if = "Option::is_none")]
        offline: Option<Explanation>,
    },
}

impl Report {
    /// `None` when nobody was asked.
    pub(super) fn new(offline: Option<Explanation>, server: Option<Answer>) -> Option<Self> {
        let agree = match (&offline, &server) {
            (Some(offline), Some(server)) => Some(offline.answer.lasting() == server.lasting()),
            _ => None,
        };
        let found = match (offline, server) {
            (offline, Some(server)) => Found::Server { server, offline },
            (Some(offline), None) => Found::Offline(offline),
            (None, None) => return None,
        };
        Some(Self { found, agree })
    }

    /// The decision: the server's, where one was asked.
    pub(super) fn decision(&self) -> Verb {
        self.answer().decision
    }

    pub(super) fn presented(&self) -> Option<&ApiKey> {
        self.explanation()?.presented.as_ref()
    }

    fn answer(&self) -> &Answer {
        match &self.found {
            Found::Offline(explanation) => &explanation.answer,
            Found::Server { server, .. } => server,
        }
    }

    fn explanation(&self) -> Option<&Explanation> {
        match &self.found {
            Found::Offline(explanation) => Some(explanation),
            Found::Server { offline, .. } => offline.as_ref(),
        }
    }
}

/// Takes keys out of what is shown: those that were given, and whatever looks like one of ours.
pub(super) struct Hidden<'a> {
    /// What keys of our own begin with.
    pub(super) prefix: &'a str,
    /// Keys that were given.
    pub(super) keys: Vec<&'a ApiKey>,
}

/// A shorter text is no secret, and hiding each place where it stands would garble what is shown.
const SHORTEST_SECRET: usize = 12;

/// Characters of a key of our own after its prefix.
const OWN_CHARACTERS: usize = 49;

impl Hidden<'_> {
    /// The text without keys.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for key in self.keys.iter().map(|key| key.expose()) {
            if key.len() >= SHORTEST_SECRET {
                text = text.replace(key, "[key]");
                // As JSON writes it, and as `escape_ascii` does.
                text = text.replace(&key.replace('\\', "\\\\").replace('"', "\\\""), "[key]");
                text = text.replace(&key.escape_default().to_string(), "[key]");
            }
        }
        self.without_own_shapes(&text)
    }

    fn without_own_shapes(&self, text: &str) -> String {
        let begin = format!("{}_", self.prefix);
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&begin) {
            let (before, found) = rest.split_at(at);
            let body = &found[begin.len()..];
            let length = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
            shown.push_str(before);
            if length >= OWN_CHARACTERS {
                shown.push_str("[key]");
                rest = &body[OWN_CHARACTERS..];
            } else {
                // What follows may begin with a key itself.
                shown.push_str(&begin);
                rest = body;
            }
        }
        shown.push_str(rest);
        shown
    }
}

/// Prints a report to standard output: in full, or as one line of many.
pub(super) fn print(
    report: &Report,
    request: &Request,
    output: Output,
    in_full: bool,
    hidden: &Hidden<'_>,
) -> anyhow::Result<()> {
    let text = match (output, in_full) {
        (Output::Json, true) => serde_json::to_string_pretty(report)? + "\n",
        (Output::Json, false) => serde_json::to_string(report)? + "\n",
        (Output::Text, true) => full_text(report)?,
        (Output::Text, false) => one_line(report, request),
    };
    std::io::stdout()
        .lock()
        .write_all(hidden.text(&text).as_bytes())?;
    Ok(())
}

fn full_text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if let Some(explanation) = report.explanation() {
        for step in &explanation.steps {
            let mark = match step.result {
                StepResult::Passed => "ok",
                StepResult::Refused => "DENY",
                StepResult::Held => "(no)",
                StepResult::Skipped if step.found.is_empty() => continue,
                StepResult::Skipped => "-",
                StepResult::NotReached => continue,
            };
            writeln!(text, "{:<11} {mark:<5} {}", step.step.as_str(), step.found)?;
        }
        text.push('\n');
    }
    match &report.found {
        Found::Offline(explanation) => answer(&mut text, &explanation.answer)?,
        Found::Server { server, offline } => {
            if let Some(offline) = offline {
                writeln!(text, "offline:")?;
                answer(&mut text, &offline.answer)?;
                writeln!(text, "\nthe server:")?;
            }
            answer(&mut text, server)?;
            if report.agree == Some(false) {
                writeln!(
                    text,
                    "\nThey differ: the server may have another configuration or store, or the caller is over a limit."
                )?;
            }
        }
    }
    Ok(text)
}

fn answer(text: &mut String, answer: &Answer) -> std::fmt::Result {
    let reason = answer.reason.as_deref().unwrap_or("no reason given");
    match answer.decision {
        Verb::Allow => writeln!(text, "allow: {reason}")?,
        Verb::Deny => writeln!(
            text,
            "deny: {} {}, {reason}",
            answer.status,
            answer.code().unwrap_or("-")
        )?,
    }
    for (name, value) in &answer.set {
        writeln!(text, "  sets     {name}: {value}")?;
    }
    for name in &answer.remove {
        writeln!(text, "  removes  {name}")?;
    }
    for (name, value) in &answer.response_headers {
        writeln!(text, "  answers  {name}: {value}")?;
    }
    if let Some(body) = &answer.body {
        writeln!(text, "  body     {body}")?;
    }
    Ok(())
}

fn one_line(report: &Report, request: &Request) -> String {
    let answer = report.answer();
    let verb = match answer.decision {
        Verb::Allow => "allow",
        Verb::Deny => "deny",
    };
    let path = request
        .target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let differs = if report.agree == Some(false) {
        "  DIFFERS"
    } else {
        ""
    };
    format!(
        "{verb:<5} {} {:<24} {} {}{differs}\n",
        answer.status,
        answer.reason.as_deref().unwrap_or("-"),
        request.method.escape_ascii(),
        path.escape_ascii()
    )
}
