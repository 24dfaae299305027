//! The steps of a decision, in the order that nobody learns from what they may not know.

use std::net::IpAddr;
use std::sync::Arc;

use super::credential::{Presented, PresentedKey};
use super::denial::{Denial, InvalidKey, NotAllowed};
use super::facts::Facts;
use super::grant::{Decision, Grant, Ground};
use super::headers::HeadersRead;
use super::path::{Target, read_host};
use super::policy::{CompiledRoute, Policy};
use super::routes::Choice;
use super::view::RequestView;
use crate::config::{CorsPreflight, KeyAccess, Scope, ScopeRule};
use crate::keys::{KeyRecord, KeyStatus};
use crate::limits::NamedLimit;

/// A request, read.
#[derive(Debug)]
pub struct Reading<'r> {
    /// What the answer needs whatever the decision is.
    pub facts: Facts<'r>,
    /// What to do now.
    pub next: Next<'r>,
}

/// What to do after reading.
#[derive(Debug)]
pub enum Next<'r> {
    /// Nothing: it is decided without a key (public, anonymous, preflight, or a bad path or host).
    Decided {
        /// The decision.
        decision: Decision,
        /// The route, if one was found.
        route: Option<Arc<CompiledRoute>>,
    },
    /// No key, or one that needs no look-up to be refused: 429 if the address is over the unauthenticated limit, else this,
    /// counted.
    Unverified {
        /// [`Denial::MissingKey`] or [`Denial::InvalidKey`].
        denial: Denial,
        /// The route, or why there is none: something that only a known key is told.
        route: Result<Arc<CompiledRoute>, NotAllowed>,
    },
    /// Verify this key.
    Verify(Candidate<'r>),
}

/// A key to be verified, and what it is wanted for. Its `Debug` shows nothing of the key.
#[derive(Debug)]
pub struct Candidate<'r> {
    key: PresentedKey<'r>,
    route: Result<Arc<CompiledRoute>, NotAllowed>,
    client_address: Option<IpAddr>,
    upgrade: bool,
}

/// Why a record is refused: as a key that proves nothing, or as a known caller.
#[derive(Clone, PartialEq, Debug)]
pub enum Refused {
    /// Not verified: counts against the unauthenticated limit.
    Unverified(InvalidKey),
    /// Verified, and refused all the same.
    Denied(Denial),
}

/// A verified key that may use the route, but for its limit and scopes.
#[derive(Debug)]
pub struct Admitted {
    record: Arc<KeyRecord>,
    route: Arc<CompiledRoute>,
}

/// Reads the request: path, host, route, credential.
pub fn read<'r, R: RequestView>(policy: &Policy, request: &'r R) -> Reading<'r> {
    let mut headers = policy.headers.read(request);
    let next = match Place::find(policy, request, headers.has_protocol) {
        Ok(place) => place.next(policy, request, &mut headers),
        Err(denial) => refused(denial),
    };
    Reading {
        facts: headers.facts,
        next,
    }
}

/// Where a request wants to go.
struct Place<'p, 'r> {
    target: Target<'r>,
    choice: Result<&'p Choice, NotAllowed>,
    route: Result<&'p Arc<CompiledRoute>, NotAllowed>,
}

impl<'p, 'r> Place<'p, 'r> {
    fn find<R: RequestView>(policy: &'p Policy, request: &'r R, has_protocol: bool) -> Result<Self, Denial> {
        // The target of a plain CONNECT is a host and a port; an upstream would open a tunnel to there.
        if request.method() == b"CONNECT" && !has_protocol {
            return Err(Denial::InvalidPath);
        }
        let target = Target::read(request.target()).map_err(|_| Denial::InvalidPath)?;
        // A `!` may stand for any byte then, and the upstream gets that byte.
        if target.path.contains(&b'!') && !request.is_target_exact() {
            return Err(Denial::InvalidPath);
        }
        let host = read_host(request.host()).map_err(|_| Denial::InvalidHost)?;
        let choice = policy.routes.find(&host, &target.path);
        let route = choice.and_then(|choice| choice.route(request.method()));
        Ok(Self {
            target,
            choice,
            route,
        })
    }

    fn next<R: RequestView>(
        self,
        policy: &Policy,
        request: &'r R,
        headers: &mut HeadersRead<'r>,
    ) -> Next<'r> {
        if let Some((ground, route)) = self.open(request.method(), headers) {
            if is_unguardable(route, headers.facts.upgrade) {
                return refused_on(Denial::UpgradeNotAllowed, route);
            }
            headers.keep_foreign_credentials();
            let own_shape = Some(policy.headers.own_shape());
            headers.facts.new_target = policy
                .query
                .cut(request.target(), self.target.path_len, own_shape);
            if !can_be_sent(headers) {
                return refused(Denial::InvalidPath);
            }
            return allow_without_key(ground, route);
        }
        headers.facts.new_target = policy.query.cut(request.target(), self.target.path_len, None);
        if !can_be_sent(headers) {
            return refused(Denial::InvalidPath);
        }
        let mut presented = std::mem::take(&mut headers.presented);
        for found in policy.query.read(self.target.query.unwrap_or_default()) {
            presented.add(found);
        }
        match (presented, self.route) {
            (Presented::Nothing, Ok(route)) if route.key_access().is_some_and(|access| access.optional) => {
                if is_unguardable(route, headers.facts.upgrade) {
                    return refused_on(Denial::UpgradeNotAllowed, route);
                }
                allow_without_key(Ground::Optional, route)
            }
            (Presented::Nothing, route) => unverified(Denial::MissingKey, route),
            (Presented::Invalid(invalid), route) => unverified(Denial::InvalidKey(invalid), route),
            (Presented::Key(key), route) => Next::Verify(Candidate {
                key,
                route: route.cloned(),
                client_address: headers.facts.client_address,
                upgrade: headers.facts.upgrade,
            }),
        }
    }

    /// Why the request needs no key, whatever it carries, and by which route: a public one, or for a CORS preflight the one
    /// of the method that the browser asks for.
    fn open(&self, method: &[u8], headers: &HeadersRead<'_>) -> Option<(Ground, &'p Arc<CompiledRoute>)> {
        if let Ok(route) = self.route
            && route.key_access().is_none()
        {
            return Some((Ground::Public, route));
        }
        let asked = headers.preflight_for(method)?;
        let route = self.choice.and_then(|choice| choice.route(asked)).ok()?;
        (route.settings.cors_preflight == CorsPreflight::Allow).then_some((Ground::Preflight, route))
    }
}

fn refused<'r>(denial: Denial) -> Next<'r> {
    Next::Decided {
        decision: Decision::Deny(denial),
        route: None,
    }
}

fn refused_on<'r>(denial: Denial, route: &Arc<CompiledRoute>) -> Next<'r> {
    Next::Decided {
        decision: Decision::Deny(denial),
        route: Some(Arc::clone(route)),
    }
}

/// Whether the route has a guard, which could not look into the protocol that the request asks for.
fn is_unguardable(route: &CompiledRoute, upgrade: bool) -> bool {
    upgrade && route.key_access().is_some_and(|access| access.guard.is_some())
}

/// Whether the target that is left once a credential was cut can be written into an answer as it is: visible ASCII.
fn can_be_sent(headers: &HeadersRead<'_>) -> bool {
    let target = headers.facts.new_target.as_deref().unwrap_or(b"/");
    target.iter().all(u8::is_ascii_graphic)
}

fn allow_without_key<'r>(ground: Ground, route: &Arc<CompiledRoute>) -> Next<'r> {
    Next::Decided {
        decision: Decision::Allow(Grant::without_key(ground)),
        route: Some(route.clone()),
    }
}

fn unverified<'r>(denial: Denial, route: Result<&Arc<CompiledRoute>, NotAllowed>) -> Next<'r> {
    Next::Unverified {
        denial,
        route: route.cloned(),
    }
}

impl Candidate<'_> {
    /// The presented key: visible ASCII, 1 to 256 bytes.
    pub fn key(&self) -> &str {
        self.key.as_str()
    }

    /// The route that it is wanted for, if there is one.
    pub fn route(&self) -> Option<&Arc<CompiledRoute>> {
        self.place().ok()
    }

    /// The same, or why there is none.
    pub fn place(&self) -> Result<&Arc<CompiledRoute>, NotAllowed> {
        self.route.as_ref().map_err(|reason| *reason)
    }

    /// Judges the record that the source gave for the key; `now_ms` is milliseconds since the Unix epoch.
    pub fn identify(self, record: Option<Arc<KeyRecord>>, now_ms: u64) -> Result<Admitted, Refused> {
        let record = record.ok_or(InvalidKey::Unknown).map_err(Refused::Unverified)?;
        check_validity(&record, now_ms).map_err(Refused::Unverified)?;
        let route = self.admit(&record).map_err(Refused::Denied)?;
        Ok(Admitted { record, route })
    }

    fn admit(self, record: &KeyRecord) -> Result<Arc<CompiledRoute>, Denial> {
        if record.owner.is_none() {
            return Err(Denial::NoTrustedOwner);
        }
        let route = self.route.map_err(Denial::NotAllowed)?;
        // A public route is decided before a key is looked at.
        let access = route.key_access().ok_or(Denial::Internal)?;
        check_api(record, access).map_err(Denial::NotAllowed)?;
        check_network(record, self.client_address).map_err(Denial::NotAllowed)?;
        if is_unguardable(&route, self.upgrade) {
            return Err(Denial::UpgradeNotAllowed);
        }
        Ok(route)
    }
}

fn check_validity(record: &KeyRecord, now_ms: u64) -> Result<(), InvalidKey> {
    match record.status {
        KeyStatus::Revoked => Err(InvalidKey::Revoked),
        KeyStatus::Inactive => Err(InvalidKey::Inactive),
        KeyStatus::Active if record.expires_at_ms.is_some_and(|expiry| now_ms >= expiry) => {
            Err(InvalidKey::Expired)
        }
        KeyStatus::Active => Ok(()),
    }
}

fn check_api(record: &KeyRecord, access: &KeyAccess) -> Result<(), NotAllowed> {
    match &record.api_id {
        Some(api) if *api != access.api => Err(NotAllowed::Api),
        _ => Ok(()),
    }
}

/// A key that is bound to networks is refused where the address is not known.
fn check_network(record: &KeyRecord, address: Option<IpAddr>) -> Result<(), NotAllowed> {
    let is_inside = |address| {
        record
            .allowed_networks
            .iter()
            .any(|network| network.contains(&address))
    };
    if record.allowed_networks.is_empty() || address.is_some_and(is_inside) {
        Ok(())
    } else {
        Err(NotAllowed::Network)
    }
}

/// The scope to name in a refusal: the first missing one, or where any would do, the first.
fn missing_scope<'s>(rule: &'s ScopeRule, held: &[Scope]) -> Option<&'s Scope> {
    match rule {
        ScopeRule::All(needed) => needed.iter().find(|scope| !held.contains(scope)),
        ScopeRule::Any(enough) if enough.iter().any(|scope| held.contains(scope)) => None,
        ScopeRule::Any(enough) => enough.first(),
    }
}

impl Admitted {
    /// The limit to count this request against.
    pub fn limit(&self) -> Option<&Arc<NamedLimit>> {
        self.route.limit.as_ref()
    }

    /// The key.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }

    /// The route.
    pub fn route(&self) -> &Arc<CompiledRoute> {
        &self.route
    }

    /// The last step, once the limit was counted: the scopes.
    pub fn decide(self) -> Decision {
        let Some(access) = self.route.key_access() else {
            return Decision::Deny(Denial::Internal);
        };
        match missing_scope(&access.scopes, &self.record.scopes) {
            Some(missing) => Decision::Deny(Denial::InsufficientScope {
                missing: missing.clone(),
            }),
            None => Decision::Allow(Grant::to_key(self.record)),
        }
    }
}

#[cfg(test)]
mod tests;
