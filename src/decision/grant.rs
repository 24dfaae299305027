//! What comes out: an allow that proves itself, or a denial with its reason.

use std::sync::Arc;

use super::denial::Denial;
use crate::keys::KeyRecord;

/// The end of a decision. There is no default.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// The request may pass.
    Allow(Grant),
    /// It may not.
    Deny(Denial),
}

impl Decision {
    /// The reason in logs, metrics and metadata: one of a fixed set, in snake case.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Allow(grant) => grant.ground.reason(),
            Self::Deny(denial) => denial.reason(),
        }
    }
}

/// Proof that a request was allowed; only the steps of this room make one. What writes tenant headers takes a `&Grant`.
#[derive(Clone, PartialEq, Debug)]
pub struct Grant {
    ground: Ground,
    identity: Option<Arc<KeyRecord>>,
}

/// Why a request may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ground {
    /// A key that is good for the route.
    Key,
    /// The route is public.
    Public,
    /// The route takes requests without a key too.
    Optional,
    /// A CORS preflight on a route that lets them pass.
    Preflight,
}

impl Ground {
    fn reason(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Public => "public",
            Self::Optional => "anonymous",
            Self::Preflight => "cors_preflight",
        }
    }
}

impl Grant {
    /// For a key that passed every check.
    pub(super) fn to_key(record: Arc<KeyRecord>) -> Self {
        Self {
            ground: Ground::Key,
            identity: Some(record),
        }
    }

    /// For a request that needs no key.
    pub(super) fn without_key(ground: Ground) -> Self {
        Self {
            ground,
            identity: None,
        }
    }

    /// The key that the request is allowed for; `None` where none is needed.
    pub fn identity(&self) -> Option<&Arc<KeyRecord>> {
        self.identity.as_ref()
    }
}
