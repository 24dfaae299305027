//! A check as part of its request's trace: `check`, and in it `cache` and, where the key had to be looked up, `source`.

use std::sync::Arc;
use std::time::Instant;

use crate::authorizer::Outcome;
use crate::decision::{Decision, Denial, RequestView};
use crate::telemetry::{Ended, Trace, Traces};

/// A check whose request is traced.
pub(super) struct Traced {
    traces: Arc<Traces>,
    trace: Trace,
    missed: Option<Instant>,
}

impl Traced {
    /// `of_call` is the trace of the call itself; without one, that of the request which it asks about.
    pub(super) fn begin(
        traces: &Arc<Traces>,
        of_call: Option<&Trace>,
        request: &impl RequestView,
    ) -> Option<Self> {
        let header = |name: &str| {
            let mut found = request
                .headers()
                .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
            let (_, value) = found.next()?;
            // Two of them are nobody's.
            found.next().is_none().then(|| std::str::from_utf8(value).ok())?
        };
        let trace = of_call.cloned().or_else(|| Traces::continued(header))?;
        Some(Self {
            traces: Arc::clone(traces),
            trace,
            missed: None,
        })
    }

    /// From now on the source is asked.
    pub(super) fn cache_missed(&mut self) {
        self.missed = Some(Instant::now());
    }

    /// Records it.
    pub(super) fn end(&self, outcome: &Outcome<'_>) {
        let (began, ended) = (outcome.arrival.instant, Instant::now());
        let id = outcome.decision_id.to_string();
        let record = outcome.identity.as_deref();
        let owner = record
            .and_then(|record| record.owner.as_ref())
            .map(ToString::to_string);
        let route = outcome.route.as_deref();
        let mut attributes = vec![
            ("latchkey.decision_id", &*id),
            ("latchkey.outcome", outcome.verb()),
            ("latchkey.reason", outcome.decision.reason()),
        ];
        attributes.extend(route.map(|route| ("latchkey.route", &*route.settings.name)));
        attributes.extend(record.map(|record| ("latchkey.key_id", &*record.id)));
        attributes.extend(owner.as_deref().map(|owner| ("latchkey.context_owner", owner)));
        let part = |name, began, ended, attributes| Ended {
            name,
            began,
            ended,
            attributes,
            failed: false,
        };
        let mut parts = Vec::new();
        match self.missed {
            Some(missed) => {
                parts.push(part("cache", began, missed, &[("latchkey.cache", "miss")]));
                parts.push(part("source", missed, ended, &[][..]));
            }
            None if record.is_some() => parts.push(part("cache", began, ended, &[("latchkey.cache", "hit")])),
            None => {}
        }
        let failed = matches!(
            outcome.decision,
            Decision::Deny(Denial::Internal | Denial::SourceUnavailable)
        );
        let whole = Ended {
            name: "check",
            began,
            ended,
            attributes: &attributes,
            failed,
        };
        self.traces.record(&self.trace, &whole, &parts);
    }
}
