//! What the guard found out about one exchange, for the dynamic metadata: rules by name, numbers, and never any text of a body.

use std::collections::BTreeMap;

use prost_types::Value;
use prost_types::value::Kind;

use super::metrics::Direction;
use crate::guard::{Report, Scanned};

/// Whether the guard has seen what it has to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Everything up to here.
    Ok,
    /// The response is still to come. Envoy keeps what was said last, so a response that never comes here leaves this word
    /// in the access log; it is replaced once the response is seen.
    Missed,
    /// It put an answer of its own in place of the backend's.
    Refused,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

/// Grows with the exchange. Envoy merges what each answer says, by name.
#[derive(Debug, Default)]
pub(super) struct Findings {
    facts: BTreeMap<String, Value>,
    rules: Vec<&'static str>,
}

impl Findings {
    /// Adds what is known of one body.
    pub(super) fn add(&mut self, direction: Direction, report: &Report) {
        let (chars, scanned) = match direction {
            Direction::Request => ("input_chars", "scanned_request"),
            Direction::Response => ("response_chars", "scanned_response"),
        };
        self.number(chars, report.chars as u64);
        match report.scanned {
            Scanned::Full => {
                self.text(scanned, "full");
                // A part that was skipped is not made good by another.
                self.facts
                    .entry("scanned".to_owned())
                    .or_insert_with(|| text("full"));
            }
            Scanned::Skipped(why) => {
                self.text(scanned, "skipped");
                self.text("scanned", "skipped");
                self.text("skipped_why", why.name());
            }
        }
        for (rule, _) in report.matches.iter() {
            if !self.rules.contains(&rule.name()) {
                self.rules.push(rule.name());
            }
        }
        if !self.rules.is_empty() {
            let rules = self.rules.join(" ");
            self.text("rules", &rules);
        }
        if let Some(tokens) = &report.tokens {
            let counts = [
                ("input_tokens", tokens.input),
                ("output_tokens", tokens.output),
                ("total_tokens", tokens.total),
            ];
            for (name, count) in counts {
                if let Some(count) = count {
                    self.number(name, count);
                }
            }
            if let Some(model) = &tokens.model {
                self.text("model", model);
            }
        }
    }

    /// Everything so far, in this state.
    pub(super) fn told(&mut self, state: State) -> BTreeMap<String, Value> {
        self.text("guard", state.name());
        self.facts.clone()
    }

    /// Why it was refused: the code of the answer.
    pub(super) fn refused(&mut self, code: &str) -> BTreeMap<String, Value> {
        self.text("refused", code);
        self.told(State::Refused)
    }

    fn text(&mut self, name: &str, value: &str) {
        self.facts.insert(name.to_owned(), text(value));
    }

    fn number(&mut self, name: &str, value: u64) {
        let value = Value {
            kind: Some(Kind::NumberValue(value as f64)),
        };
        self.facts.insert(name.to_owned(), value);
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}
