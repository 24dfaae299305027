//! Why a request is refused, and what each reason means to the caller and to operators.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Scope;
use crate::limits::NamedLimit;

/// A refusal. Status, code, text and label of each come from the `match`es below, so a new one does not compile without.
#[derive(Clone, PartialEq, Debug)]
pub enum Denial {
    /// The path can be read in more than one way.
    InvalidPath,
    /// The host is not one name or address.
    InvalidHost,
    /// No key in any of the configured places.
    MissingKey,
    /// A key that proves nothing; which kind is for operators only.
    InvalidKey(InvalidKey),
    /// A valid key that no one owns.
    NoTrustedOwner,
    /// A valid key that may not come here.
    NotAllowed(NotAllowed),
    /// A protocol upgrade, which a guard could not look into.
    UpgradeNotAllowed,
    /// The key lacks a scope.
    InsufficientScope {
        /// The first one that is missing.
        missing: Scope,
    },
    /// Over a limit.
    RateLimited {
        /// Which one.
        limit: Arc<NamedLimit>,
        /// Until one more request would pass.
        retry_after: Duration,
    },
    /// The key source gave no answer, and nothing usable is remembered.
    SourceUnavailable,
    /// A fault of our own.
    Internal,
}

/// What is wrong with a key. A caller never learns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InvalidKey {
    /// Not of a form that a key has.
    Malformed,
    /// More than one.
    Ambiguous,
    /// No source knows it.
    Unknown,
    /// Revoked.
    Revoked,
    /// Its API or owner is disabled.
    Inactive,
    /// Expired.
    Expired,
}

/// Why a valid key may not come here. A caller never learns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NotAllowed {
    /// No route for this host and path.
    NoRoute,
    /// The path has a route, but not for this method.
    Method,
    /// The target differs from a more specific route only by ASCII case or a final slash.
    Twin,
    /// The key belongs to another API.
    Api,
    /// The address is in none of the key's networks.
    Network,
}

impl Denial {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidPath | Self::InvalidHost => 400,
            Self::MissingKey | Self::InvalidKey(_) => 401,
            Self::NoTrustedOwner
            | Self::NotAllowed(_)
            | Self::UpgradeNotAllowed
            | Self::InsufficientScope { .. } => 403,
            Self::RateLimited { .. } => 429,
            Self::SourceUnavailable => 503,
            Self::Internal => 500,
        }
    }

    /// `code` of the body.
    pub fn code(&self) -> &str {
        match self {
            Self::InvalidPath => "INVALID_PATH",
            Self::InvalidHost => "INVALID_HOST",
            Self::MissingKey => "MISSING_API_KEY",
            Self::InvalidKey(_) => "INVALID_API_KEY",
            Self::NoTrustedOwner => "TRUSTED_CONTEXT_REQUIRED",
            Self::NotAllowed(_) => "ROUTE_NOT_ALLOWED",
            Self::UpgradeNotAllowed => "UPGRADE_NOT_ALLOWED",
            Self::InsufficientScope { .. } => "INSUFFICIENT_SCOPE",
            Self::RateLimited { limit, .. } => &limit.rule.code,
            Self::SourceUnavailable => "KEY_SOURCE_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The reason in logs, metrics and metadata: one of a fixed set, in snake case.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidPath => "invalid_path",
            Self::InvalidHost => "invalid_host",
            Self::MissingKey => "missing_key",
            Self::InvalidKey(InvalidKey::Malformed) => "key_malformed",
            Self::InvalidKey(InvalidKey::Ambiguous) => "key_ambiguous",
            Self::InvalidKey(InvalidKey::Unknown) => "key_unknown",
            Self::InvalidKey(InvalidKey::Revoked) => "key_revoked",
            Self::InvalidKey(InvalidKey::Inactive) => "key_inactive",
            Self::InvalidKey(InvalidKey::Expired) => "key_expired",
            Self::NoTrustedOwner => "no_trusted_owner",
            Self::NotAllowed(NotAllowed::NoRoute) => "no_route",
            Self::NotAllowed(NotAllowed::Method) => "method_not_allowed",
            Self::NotAllowed(NotAllowed::Twin) => "path_twin",
            Self::NotAllowed(NotAllowed::Api) => "wrong_api",
            Self::NotAllowed(NotAllowed::Network) => "network_not_allowed",
            Self::UpgradeNotAllowed => "upgrade_not_allowed",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::RateLimited { .. } => "rate_limited",
            Self::SourceUnavailable => "key_source_unavailable",
            Self::Internal => "internal",
        }
    }
}
