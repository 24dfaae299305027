//! The steps of a decision, in the order that nobody learns from what they may not know.

use std::net::IpAddr;
use std::sync::Arc;

use super::denial::{Denial, InvalidKey};
use super::facts::Facts;
use super::grant::Decision;
use super::policy::{CompiledRoute, Policy};
use super::view::RequestView;
use crate::keys::KeyRecord;
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
        /// The route, if one was found.
        route: Option<Arc<CompiledRoute>>,
    },
    /// Verify this key.
    Verify(Candidate<'r>),
}

/// A key to be verified, and what it is wanted for.
#[derive(Debug)]
pub struct Candidate<'r> {
    key: &'r str,
    route: Result<Arc<CompiledRoute>, super::denial::NotAllowed>,
    client_address: Option<IpAddr>,
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
    let _ = (policy, request);
    Reading {
        facts: Facts::default(),
        next: Next::Decided { decision: Decision::Deny(Denial::Internal), route: None },
    }
}

impl<'r> Candidate<'r> {
    /// The presented key: visible ASCII, 1 to 256 bytes.
    pub fn key(&self) -> &'r str {
        self.key
    }

    /// The route that it is wanted for, if there is one.
    pub fn route(&self) -> Option<&Arc<CompiledRoute>> {
        self.route.as_ref().ok()
    }

    /// Judges the record that the source gave for the key; `now_ms` is milliseconds since the Unix epoch.
    pub fn identify(self, record: Option<Arc<KeyRecord>>, now_ms: u64) -> Result<Admitted, Refused> {
        let _ = (record, now_ms, self.client_address);
        Err(Refused::Unverified(InvalidKey::Unknown))
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
        Decision::Deny(Denial::Internal)
    }
}
