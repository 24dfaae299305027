//! Puts cases to the judge.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Case, Cases, Difference, Expected, Verdict};
use crate::authorizer::Arrival;
use crate::config::Settings;
use crate::explain::{Answer, Counting, Explanation, Judge, Verb};
use crate::keys::KeySource;

/// Judges every case by itself: none counts against the limits of another.
pub async fn run(cases: &Cases, settings: &Arc<Settings>) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(cases.list.len());
    for case in &cases.list {
        let source: Arc<dyn KeySource> = cases.keys.clone();
        let judge = Judge::new(Arc::clone(settings), source, Counting::Yes, Handle::current());
        let found = ask(&judge, case)
            .await
            .with_context(|| format!("{}: the request cannot be asked about", case.place))?;
        verdicts.push(Verdict {
            name: case.name.clone(),
            place: case.place.clone(),
            differences: case.expected.differences(&found.answer),
            found,
        });
    }
    Ok(verdicts)
}

/// The last answer.
async fn ask(judge: &Judge, case: &Case) -> anyhow::Result<Explanation> {
    let message = case.request.encode();
    let every_ms = u64::try_from(case.every.as_millis()).unwrap_or(u64::MAX);
    let mut unix_ms = case.now_ms;
    let mut left = case.repeat;
    loop {
        let arrival = Arrival {
            instant: Instant::now(),
            unix_ms,
        };
        let found = judge.judge(message.clone(), arrival).await?;
        left -= 1;
        if left == 0 {
            return Ok(found);
        }
        unix_ms = unix_ms.saturating_add(every_ms);
    }
}

impl Expected {
    fn differences(&self, found: &Answer) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |what: String, expected: Option<Value>, found: Value| {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                differences.push(Difference {
                    what,
                    expected,
                    found,
                });
            }
        };
        let text = |text: &Option<Box<str>>| text.as_deref().map(Value::from);
        let verb = |verb: Verb| {
            Value::from(match verb {
                Verb::Allow => "allow",
                Verb::Deny => "deny",
            })
        };
        let in_body = |name: &str| {
            found
                .body
                .as_ref()
                .and_then(|body| body.get(name))
                .cloned()
                .unwrap_or_default()
        };

        compare("decision".into(), self.decision.map(verb), verb(found.decision));
        compare("status".into(), self.status.map(Value::from), found.status.into());
        compare("reason".into(), text(&self.reason), found.reason.clone().into());
        compare("code".into(), text(&self.code), in_body("code"));
        compare("error".into(), text(&self.error), in_body("error"));
        compare("route".into(), text(&self.route), found.route.clone().into());
        for (name, value) in &self.set {
            let expected = value.as_deref().into();
            compare(
                format!("set {name}"),
                Some(expected),
                found.set.get(&**name).cloned().into(),
            );
        }
        for name in &self.remove {
            let is_removed = found.remove.iter().any(|removed| **removed == **name);
            compare(format!("remove {name}"), Some(true.into()), is_removed.into());
        }
        for (name, value) in &self.response_headers {
            let found = found.response_headers.get(&**name).cloned().into();
            compare(
                format!("response header {name}"),
                Some(value.as_deref().into()),
                found,
            );
        }
        differences
    }
}
