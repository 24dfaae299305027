//! The steps to a decision, told from what the decision found.
//!
//! The order is that of the decision, in which nobody learns what they may not know. Which step decided is read from the
//! decision by a `match` without `_`, so a new reason does not compile before it has its place here.

use std::fmt;

use serde::Serialize;

use super::Counting;
use crate::authorizer::Outcome;
use crate::config::{Access, CredentialPlace, KeyAccess, Per, RateLimit, Scope, ScopeRule};
use crate::decision::{CompiledRoute, Decision, Denial, InvalidKey, Next, NotAllowed, Policy, RequestView};
use crate::keys::{KeyRecord, KeyStatus};

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// Which one.
    pub step: StepName,
    /// What came of it.
    pub result: StepResult,
    /// For people: what was found.
    pub found: String,
}

/// The steps, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The request target has one reading.
    Path,
    /// So has the host.
    Host,
    /// The route for host, path and method. That there is none is told to a known key only.
    Route,
    /// One key, in one of the configured places.
    Credential,
    /// The key source knows it, and it is valid.
    Key,
    /// Somebody owns it.
    Owner,
    /// It may come to this route: there is one, of its API, from its networks, without an upgrade past a guard.
    Access,
    /// It is within the limit of the route.
    Limit,
    /// It has the scopes that the route needs.
    Scopes,
}

impl StepName {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Path,
        Self::Host,
        Self::Route,
        Self::Credential,
        Self::Key,
        Self::Owner,
        Self::Access,
        Self::Limit,
        Self::Scopes,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Host => "host",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Key => "key",
            Self::Owner => "owner",
            Self::Access => "access",
            Self::Limit => "limit",
            Self::Scopes => "scopes",
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// It holds.
    Passed,
    /// It decided: the request is refused.
    Refused,
    /// It does not hold, which is told only after the steps that follow: at `access`.
    Held,
    /// The route does not ask for it.
    Skipped,
    /// An earlier step decided.
    NotReached,
}

/// Everything that the steps are told from.
struct Told<'a, R> {
    policy: &'a Policy,
    request: &'a R,
    next: &'a Next<'a>,
    outcome: &'a Outcome<'a>,
    counting: Counting,
}

/// Tells the steps to an outcome. `next` is what reading the request came to.
pub(super) fn steps<R: RequestView>(
    policy: &Policy,
    request: &R,
    next: &Next<'_>,
    outcome: &Outcome<'_>,
    counting: Counting,
) -> Vec<Step> {
    let told = Told {
        policy,
        request,
        next,
        outcome,
        counting,
    };
    let decisive = told.decisive();
    StepName::ALL
        .into_iter()
        .map(|step| {
            let (result, found) = match decisive {
                Some(decisive) if step > decisive => (StepResult::NotReached, String::new()),
                Some(decisive) if step == decisive => (StepResult::Refused, told.refused(step)),
                _ => told.held(step),
            };
            Step { step, result, found }
        })
        .collect()
}

impl<R: RequestView> Told<'_, R> {
    /// The step that refused; `None` for an allow.
    fn decisive(&self) -> Option<StepName> {
        let denial = match &self.outcome.decision {
            Decision::Allow(_) => return None,
            Decision::Deny(denial) => denial,
        };
        Some(match denial {
            Denial::InvalidPath => StepName::Path,
            Denial::InvalidHost => StepName::Host,
            Denial::MissingKey | Denial::InvalidKey(InvalidKey::Ambiguous) => StepName::Credential,
            Denial::InvalidKey(InvalidKey::Malformed) if !self.has_credential() => StepName::Credential,
            Denial::InvalidKey(
                InvalidKey::Malformed
                | InvalidKey::Unknown
                | InvalidKey::Revoked
                | InvalidKey::Inactive
                | InvalidKey::Expired,
            )
            | Denial::SourceUnavailable => StepName::Key,
            Denial::NoTrustedOwner => StepName::Owner,
            Denial::NotAllowed(_) | Denial::UpgradeNotAllowed => StepName::Access,
            // The unauthenticated limit speaks for the key that proved nothing.
            Denial::RateLimited { limit, .. } if self.is_unauthenticated(&limit.name) => {
                if self.has_credential() {
                    StepName::Key
                } else {
                    StepName::Credential
                }
            }
            Denial::RateLimited { .. } => StepName::Limit,
            Denial::InsufficientScope { .. } => StepName::Scopes,
            // A fault can be anywhere; nothing was found out.
            Denial::Internal => StepName::Path,
        })
    }

    fn has_credential(&self) -> bool {
        matches!(self.next, Next::Verify(_))
    }

    fn is_unauthenticated(&self, limit: &str) -> bool {
        self.policy
            .unauthenticated
            .as_ref()
            .is_some_and(|known| &*known.name == limit)
    }

    /// The route, or why there is none; `None` where path or host have decided.
    fn place(&self) -> Option<Result<&CompiledRoute, NotAllowed>> {
        match self.next {
            Next::Decided { route, .. } => route.as_deref().map(Ok),
            Next::Unverified { route, .. } => Some(route.as_deref().map_err(|reason| *reason)),
            Next::Verify(candidate) => Some(candidate.place().map(|route| &**route)),
        }
    }

    fn access(&self) -> Option<&KeyAccess> {
        match &self.outcome.route.as_deref()?.settings.access {
            Access::Key(access) => Some(access),
            Access::Public => None,
        }
    }

    fn record(&self) -> Option<&KeyRecord> {
        self.outcome.identity.as_deref()
    }

    /// A step that did not decide.
    fn held(&self, step: StepName) -> (StepResult, String) {
        let reason = self.outcome.decision.reason();
        let without_key = matches!(self.outcome.decision, Decision::Allow(_)) && self.record().is_none();
        let found = match step {
            StepName::Path => shown_path(self.request.target()),
            StepName::Host => escape(self.request.host()),
            StepName::Route => match self.place() {
                Some(Ok(route)) => describe_route(route),
                Some(Err(reason)) => return (StepResult::Held, format!("{}; see access", why_not(reason))),
                None => String::new(),
            },
            _ if without_key => {
                let found = match (step, reason) {
                    (StepName::Credential, "anonymous") => "none, and the route takes requests without a key",
                    (StepName::Credential, "cors_preflight") => "a CORS preflight, which the route lets pass",
                    (StepName::Credential, _) => "not needed: the route is public",
                    _ => "",
                };
                return (StepResult::Skipped, found.into());
            }
            StepName::Credential => format!("one key, in {}", self.seen_places()),
            StepName::Key => self.record().map(describe_key).unwrap_or_default(),
            StepName::Owner => self
                .record()
                .and_then(|record| record.owner.as_ref())
                .map(|owner| escape(owner.to_string().as_bytes()))
                .unwrap_or_default(),
            StepName::Access => self.describe_access(),
            StepName::Limit => return self.describe_limit(),
            StepName::Scopes => match self.access().map(|access| &access.scopes) {
                Some(ScopeRule::All(needed)) if needed.is_empty() => "none needed".into(),
                Some(rule) => format!("has {}", Rule(rule)),
                None => String::new(),
            },
        };
        (StepResult::Passed, found)
    }

    /// The step that decided.
    fn refused(&self, step: StepName) -> String {
        let Decision::Deny(denial) = &self.outcome.decision else {
            return String::new();
        };
        match denial {
            Denial::InvalidPath if self.request.method() == b"CONNECT" => {
                "the target of a plain CONNECT is no path".into()
            }
            Denial::InvalidPath => {
                format!(
                    "{} can be read in more than one way: upstreams could disagree on it",
                    shown_path(self.request.target())
                )
            }
            Denial::InvalidHost => format!("{} is not one host name or address", escape(self.request.host())),
            Denial::MissingKey => format!("no key in any of: {}", self.places()),
            Denial::InvalidKey(InvalidKey::Ambiguous) => {
                "more than one key, or a list where one key is expected".into()
            }
            Denial::InvalidKey(InvalidKey::Malformed) if step == StepName::Credential => {
                "what is there can be no key: 1 to 256 visible ASCII characters".into()
            }
            Denial::InvalidKey(InvalidKey::Malformed) => format!(
                "not of the form of a key of the source (prefix `{}_`, length, checksum), so it was not looked up",
                self.policy.settings.keys.prefix
            ),
            Denial::InvalidKey(InvalidKey::Unknown) => "the key source does not know it".into(),
            Denial::InvalidKey(InvalidKey::Revoked | InvalidKey::Inactive | InvalidKey::Expired) => {
                self.record().map(describe_key).unwrap_or_default()
            }
            Denial::SourceUnavailable => "the key source gave no answer".into(),
            Denial::NoTrustedOwner => "neither an organization nor a user owns the key".into(),
            Denial::NotAllowed(reason @ (NotAllowed::NoRoute | NotAllowed::Method | NotAllowed::Twin)) => {
                why_not(*reason).into()
            }
            Denial::NotAllowed(NotAllowed::Api) => format!(
                "the key is for API `{}`, the route for `{}`",
                self.record()
                    .and_then(|record| record.api_id.as_deref())
                    .unwrap_or_default(),
                self.access().map(|access| &*access.api).unwrap_or_default()
            ),
            Denial::NotAllowed(NotAllowed::Network) => format!(
                "{} is in none of the networks of the key: {}",
                self.address(),
                self.networks()
            ),
            Denial::UpgradeNotAllowed => "a protocol upgrade, which the guard could not look into".into(),
            Denial::RateLimited { limit, retry_after } => format!(
                "over limit `{}` ({}); again in {} s",
                limit.name,
                describe_rule(&limit.rule),
                retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)
            ),
            Denial::InsufficientScope { missing } => format!(
                "lacks `{missing}`; the route needs {}, the key has {}",
                self.access()
                    .map(|access| Rule(&access.scopes).to_string())
                    .unwrap_or_default(),
                List(self.record().map_or(&[], |record| &record.scopes))
            ),
            Denial::Internal => "a fault of Latchkey itself".into(),
        }
    }

    fn describe_access(&self) -> String {
        let api = self.access().map(|access| &*access.api).unwrap_or_default();
        let networks = match self.record() {
            Some(record) if !record.allowed_networks.is_empty() => self.networks(),
            _ => "any network".into(),
        };
        format!("API `{api}`, from {} ({networks})", self.address())
    }

    fn describe_limit(&self) -> (StepResult, String) {
        match &self.outcome.limit {
            None => (StepResult::Skipped, "the route has none".into()),
            Some((limit, verdict)) => {
                let rule = describe_rule(&limit.rule);
                let counted = match self.counting {
                    Counting::Never => "not counted here".into(),
                    Counting::Yes => format!("{} left", verdict.remaining),
                };
                (StepResult::Passed, format!("`{}`: {rule}; {counted}", limit.name))
            }
        }
    }

    fn address(&self) -> String {
        match self.outcome.facts.client_address {
            Some(address) => address.to_string(),
            None => "an unknown address".into(),
        }
    }

    fn networks(&self) -> String {
        let networks = self.record().map_or(&[][..], |record| &record.allowed_networks);
        networks
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The places where a key may be.
    fn places(&self) -> String {
        let place = |place: &CredentialPlace| match place {
            CredentialPlace::Header { name, scheme: None } => format!("header {name}"),
            CredentialPlace::Header {
                name,
                scheme: Some(scheme),
            } => format!("header {name} ({scheme} …)"),
            CredentialPlace::Query { name } => format!("query parameter {name}"),
        };
        let places: Vec<String> = self.policy.settings.credentials.iter().map(place).collect();
        places.join(", ")
    }

    /// The places where a key was: what is taken out of the request on the way to the backend.
    fn seen_places(&self) -> String {
        let facts = &self.outcome.facts;
        let is_removed = |header: &str| {
            facts
                .remove
                .iter()
                .any(|name| name.eq_ignore_ascii_case(header.as_bytes()))
        };
        let mut seen: Vec<String> = Vec::new();
        for place in &self.policy.settings.credentials {
            let text = match place {
                CredentialPlace::Header { name, .. } if is_removed(name.as_str()) => format!("header {name}"),
                CredentialPlace::Query { .. } if facts.new_target.is_some() => "the query".into(),
                _ => continue,
            };
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        seen.join(", ")
    }
}

fn why_not(reason: NotAllowed) -> &'static str {
    match reason {
        NotAllowed::NoRoute => "no route has this host and path",
        NotAllowed::Method => "the route of this path does not take the method",
        NotAllowed::Twin => {
            "the path differs from that of a more specific route only by case, a final slash or an escape, which many upstreams ignore"
        }
        NotAllowed::Api => "the key belongs to another API",
        NotAllowed::Network => "the address is in none of the networks of the key",
    }
}

pub(crate) fn describe_route(route: &CompiledRoute) -> String {
    let settings = &route.settings;
    let methods = if settings.methods.is_empty() {
        "any method".into()
    } else {
        settings.methods.join(" ")
    };
    let host = settings.host.as_deref().unwrap_or_default();
    format!("`{}`: {methods} {host}{}", settings.name, settings.path.as_str())
}

fn describe_key(record: &KeyRecord) -> String {
    let id = escape(record.id.as_bytes());
    let expiry = match record.expires_at_ms {
        None => String::new(),
        Some(unix_ms) => {
            let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(unix_ms));
            let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
            format!(", expiry {}", at.unwrap_or_else(|| "far away".into()))
        }
    };
    let status = match record.status {
        KeyStatus::Inactive => "inactive: its API or owner is disabled",
        status => status.as_str(),
    };
    format!("{id}, {status}{expiry}")
}

fn describe_rule(rule: &RateLimit) -> String {
    let per = match rule.per {
        Per::Key => "key",
        Per::Owner => "owner",
        Per::Address => "address",
        Per::Route => "route",
    };
    format!(
        "{} in {} per {per}",
        rule.limit,
        humantime::format_duration(rule.window)
    )
}

/// Which scopes a route needs.
pub(crate) struct Rule<'a>(pub(crate) &'a ScopeRule);

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ScopeRule::All(scopes) => List(scopes).fmt(f),
            ScopeRule::Any(scopes) => write!(f, "any of {}", List(scopes)),
        }
    }
}

struct List<'a>(&'a [Scope]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, scope) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}`{scope}`")?;
        }
        Ok(())
    }
}

/// The path of a target; a query can hold a secret and is not shown.
fn shown_path(target: &[u8]) -> String {
    match target.iter().position(|&byte| byte == b'?') {
        Some(at) => format!("{}?…", escape(&target[..at])),
        None => escape(target),
    }
}

/// What a caller sent, so that it cannot speak to a terminal.
fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
