//! One request to one outcome: joins decision, keys and limits.
//!
//! Used by Check, and by whatever else wants to know what Check would say. [`Authorizer::authorize_now`] answers on the
//! spot whenever nothing has to be looked up, which is nearly always; [`Authorizer::authorize`] waits for the key source,
//! within the deadline, and does the rest in the same way.

mod outcome;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tracing::debug;

pub use self::outcome::{Arrival, Outcome};
use crate::config::{Per, RateLimit};
use crate::decision::{
    self, Candidate, CompiledRoute, Decision, Denial, Facts, InvalidKey, Next, Policy, Reading, Refused,
    RequestView,
};
use crate::guard::CompiledGuard;
use crate::keys::{ApiKey, KeyCache, KeyRateLimit, KeyRecord, Remembered, Seen};
use crate::limits::{LocalLimits, NamedLimit, Subject, Verdict};
use crate::telemetry::{CheckMetrics, PolicyCounters};
use crate::usage::{DecisionId, Ledger, Replica};

/// Joins decision, keys and limits; one for the process.
pub struct Authorizer {
    active: ArcSwap<ActivePolicy>,
    keys: Arc<KeyCache>,
    limits: LocalLimits,
    metrics: CheckMetrics,
    ledger: Arc<Ledger>,
}

/// The policy in force and its counters; a request works with one from its start to its end, also during a reload.
pub struct ActivePolicy {
    policy: Policy,
    counters: PolicyCounters,
    guards: BTreeMap<Box<str>, Arc<CompiledGuard>>,
}

impl ActivePolicy {
    pub(crate) fn new(policy: Policy, metrics: &CheckMetrics) -> Self {
        let guards = &policy.settings.guards;
        Self {
            counters: metrics.for_policy(&policy),
            guards: guards
                .iter()
                .map(|(name, guard)| (name.clone(), Arc::new(CompiledGuard::compile(guard))))
                .collect(),
            policy,
        }
    }

    /// The guard of this name.
    pub fn guard(&self, name: &str) -> Option<&Arc<CompiledGuard>> {
        self.guards.get(name)
    }

    /// Whether there is a route of this name.
    pub fn has_route(&self, name: &str) -> bool {
        self.settings.routes.iter().any(|route| &*route.name == name)
    }
}

impl Deref for ActivePolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

/// The key has to be looked up: call [`Authorizer::authorize`].
#[derive(Debug)]
pub struct NeedsLookUp;

impl Authorizer {
    /// Puts the parts together under a first policy.
    pub fn new(policy: Policy, keys: Arc<KeyCache>, limits: LocalLimits, metrics: CheckMetrics) -> Self {
        let active = ArcSwap::from_pointee(ActivePolicy::new(policy, &metrics));
        Self {
            active,
            keys,
            limits,
            metrics,
            ledger: Arc::new(Ledger::new(Replica::new())),
        }
    }

    /// Where decisions are counted that the access log should bring back.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<ActivePolicy> {
        self.active.load_full()
    }

    /// Swaps the policy as a whole. Requests under way end with the one that they began with.
    pub fn replace_policy(&self, policy: Policy) {
        self.active
            .store(Arc::new(ActivePolicy::new(policy, &self.metrics)));
    }

    /// The counters of the limits, for their metrics.
    pub fn limits(&self) -> &LocalLimits {
        &self.limits
    }

    /// Decides without waiting, if nothing has to be looked up.
    pub fn authorize_now<'r, R: RequestView>(
        &self,
        policy: &Policy,
        request: &'r R,
        arrival: Arrival,
    ) -> Result<Outcome<'r>, NeedsLookUp> {
        let Reading { facts, next } = decision::read(policy, request);
        let case = Case {
            authorizer: self,
            policy,
            facts,
            arrival,
        };
        match case.without_key(next) {
            Ok(outcome) => Ok(outcome),
            Err((case, candidate)) => match self.keys.get(candidate.key(), arrival.instant) {
                Remembered::Known(record) => Ok(case.with_record(candidate, Some(record))),
                Remembered::Unknown => Ok(case.with_record(candidate, None)),
                Remembered::Nothing => Err(NeedsLookUp),
            },
        }
    }

    /// Decides, and looks the key up if that is needed. Ends by the deadline, give or take the time of the decision itself.
    pub async fn authorize<'r, R: RequestView>(
        &self,
        policy: &Policy,
        request: &'r R,
        arrival: Arrival,
        deadline: Instant,
    ) -> Outcome<'r> {
        let Reading { facts, next } = decision::read(policy, request);
        let case = Case {
            authorizer: self,
            policy,
            facts,
            arrival,
        };
        let (case, candidate) = match case.without_key(next) {
            Ok(outcome) => return outcome,
            Err(wanted) => wanted,
        };
        let Some(key) = ApiKey::presented(candidate.key()) else {
            let route = candidate.route().cloned();
            return case.unverified(Denial::InvalidKey(InvalidKey::Malformed), route, None);
        };
        let found = self.keys.look_up(key, case.facts.client_address, deadline).await;
        match found {
            Ok(record) if Instant::now() < deadline => case.with_record(candidate, record),
            // Too late is no answer: Envoy has given up, and an allow that nobody waits for must not exist.
            Ok(_) => case.source_unavailable(candidate),
            Err(error) => {
                debug!(%error, "key source gave no answer");
                case.source_unavailable(candidate)
            }
        }
    }

    /// Counts and logs an outcome; `took` is the time from arrival to answer.
    pub fn record(&self, policy: &ActivePolicy, outcome: &Outcome<'_>, took: Duration) {
        let route = outcome.route.as_ref();
        policy
            .counters
            .record(route.map(|route| route.index), &outcome.decision, took);
        debug!(
            decision.id = %outcome.decision_id,
            decision.outcome = outcome.verb(),
            decision.reason = outcome.decision.reason(),
            route.name = route.map(|route| &*route.settings.name),
            key.id = outcome.identity.as_ref().map(|record| &*record.id),
            owner = outcome.identity.as_ref().and_then(|record| record.owner.as_ref()).map(tracing::field::display),
            request.id = outcome.facts.request_id,
            client.address = outcome.facts.client_address.map(tracing::field::display),
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "check"
        );
    }
}

/// A request on its way to its outcome.
struct Case<'a, 'r> {
    authorizer: &'a Authorizer,
    policy: &'a Policy,
    facts: Facts<'r>,
    arrival: Arrival,
}

impl<'r> Case<'_, 'r> {
    /// The outcome, if no key has to be verified; else the key that has to be.
    #[expect(clippy::result_large_err, reason = "not an error: the case goes on with it")]
    fn without_key(self, next: Next<'r>) -> Result<Outcome<'r>, (Self, Candidate<'r>)> {
        match next {
            Next::Decided { decision, route } => Ok(self.end(decision, route, None, None)),
            Next::Unverified { denial, route } => Ok(self.unverified(denial, route.ok(), None)),
            Next::Verify(candidate) if self.authorizer.keys.can_know(candidate.key()) => {
                Err((self, candidate))
            }
            Next::Verify(candidate) => {
                let route = candidate.route().cloned();
                Ok(self.unverified(Denial::InvalidKey(InvalidKey::Malformed), route, None))
            }
        }
    }

    /// Judges what the source said of the key.
    fn with_record(self, candidate: Candidate<'r>, record: Option<Arc<KeyRecord>>) -> Outcome<'r> {
        let route = candidate.route().cloned();
        match candidate.identify(record.clone(), self.arrival.unix_ms) {
            Err(Refused::Unverified(kind)) => self.unverified(Denial::InvalidKey(kind), route, record),
            Err(Refused::Denied(denial)) => self.end(Decision::Deny(denial), route, record, None),
            Ok(admitted) => {
                if admitted.record().retiring {
                    let seen = Seen {
                        at_ms: self.arrival.unix_ms,
                        address: self.facts.client_address,
                    };
                    self.authorizer
                        .keys
                        .uses()
                        .old_secret_used(&admitted.record().id, seen);
                }
                let limit = match &admitted.record().rate_limit {
                    Some(own) => Some(own_limit(own, admitted.limit())),
                    None => admitted.limit().cloned(),
                };
                let counted = limit.map(|limit| {
                    let subject = subject(&limit, admitted.record(), admitted.route(), &self.facts);
                    let verdict = self
                        .authorizer
                        .limits
                        .count(&limit, subject, self.arrival.unix_ms);
                    (limit, verdict)
                });
                let decision = match &counted {
                    Some((limit, verdict)) if !verdict.allowed => over(limit, verdict),
                    _ => admitted.decide(),
                };
                self.end(decision, route, record, counted)
            }
        }
    }

    /// Nobody proved to be anyone: refused as over the limit of the address, or as `denial`, counted.
    fn unverified(
        self,
        denial: Denial,
        route: Option<Arc<CompiledRoute>>,
        record: Option<Arc<KeyRecord>>,
    ) -> Outcome<'r> {
        self.refuse_unproven(LocalLimits::count, denial, route, record)
    }

    /// The source gave no answer. Not counted: it is no fault of the caller. An address over its limit hears of that first.
    fn source_unavailable(self, candidate: Candidate<'r>) -> Outcome<'r> {
        let route = candidate.route().cloned();
        self.refuse_unproven(LocalLimits::peek, Denial::SourceUnavailable, route, None)
    }

    /// `look` is whether the unauthenticated limit counts the request, or only tells.
    fn refuse_unproven(
        self,
        look: impl Fn(&LocalLimits, &NamedLimit, Subject<'_>, u64) -> Verdict,
        denial: Denial,
        route: Option<Arc<CompiledRoute>>,
        record: Option<Arc<KeyRecord>>,
    ) -> Outcome<'r> {
        let address = Subject::Address(self.facts.client_address);
        if let Some(limit) = &self.policy.unauthenticated {
            let verdict = look(&self.authorizer.limits, limit, address, self.arrival.unix_ms);
            if !verdict.allowed {
                let counted = Some((Arc::clone(limit), verdict));
                return self.end(over(limit, &verdict), route, record, counted);
            }
        }
        self.end(Decision::Deny(denial), route, record, None)
    }

    fn end(
        self,
        decision: Decision,
        route: Option<Arc<CompiledRoute>>,
        identity: Option<Arc<KeyRecord>>,
        limit: Option<(Arc<NamedLimit>, Verdict)>,
    ) -> Outcome<'r> {
        Outcome {
            decision_id: DecisionId::new(self.authorizer.ledger.replica(), self.arrival.unix_ms),
            decision,
            facts: self.facts,
            identity,
            route,
            limit,
            arrival: self.arrival,
        }
    }
}

fn over(limit: &Arc<NamedLimit>, verdict: &Verdict) -> Decision {
    Decision::Deny(Denial::RateLimited {
        limit: Arc::clone(limit),
        retry_after: verdict.retry_after,
    })
}

/// The limit of the key itself, in place of the route's: one count for the key on all routes. What a caller over it is told is what
/// the route would tell. No limit of the settings can have its name.
fn own_limit(own: &KeyRateLimit, of_route: Option<&Arc<NamedLimit>>) -> Arc<NamedLimit> {
    let told = |told: fn(&RateLimit) -> &str, otherwise: &str| -> Box<str> {
        of_route.map_or(otherwise, |limit| told(&limit.rule)).into()
    };
    Arc::new(NamedLimit {
        name: "key:own".into(),
        rule: RateLimit {
            limit: own.limit,
            window: own.window,
            per: Per::Key,
            error: told(|rule| &rule.error, "Rate limit exceeded"),
            code: told(|rule| &rule.code, "RATE_LIMITED"),
        },
    })
}

/// Whose request a route's limit counts.
fn subject<'a>(
    limit: &NamedLimit,
    record: &'a KeyRecord,
    route: &'a CompiledRoute,
    facts: &Facts<'_>,
) -> Subject<'a> {
    match limit.rule.per {
        Per::Key => Subject::Key(&record.id),
        Per::Owner => match &record.owner {
            Some(owner) => {
                let (kind, id) = owner.context();
                Subject::Owner(kind, id)
            }
            // A record without an owner is refused before any limit; its key stands for it all the same.
            None => Subject::Key(&record.id),
        },
        Per::Address => Subject::Address(facts.client_address),
        Per::Route => Subject::Route(&route.settings.name),
    }
}

#[cfg(test)]
mod tests;
