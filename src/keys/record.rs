//! The record of a key: everything that is known of it but the secret.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Scope;

/// What is known of a key. Pure data; holds neither the secret nor its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// `api_key_` and 32 hexadecimal digits for keys of our own; opaque, at most 256 bytes.
    pub id: Box<str>,
    /// For people; at most 255 characters.
    pub name: Box<str>,
    /// Whom it was made for.
    pub key_type: KeyType,
    /// The trusted context; a remote source may know a key that has none, and then nothing is allowed.
    pub owner: Option<Owner>,
    /// The API that the key belongs to. `None` when the source does not say (a remote verify answer names no API), and then
    /// the key is taken for every API: its scopes decide.
    pub api_id: Option<Box<str>>,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// Milliseconds since the Unix epoch at which it stops being valid.
    pub expires_at_ms: Option<u64>,
    /// Networks that it may be used from; empty means any.
    pub allowed_networks: Vec<IpNet>,
    /// Its own limit, which counts in place of those of its routes.
    pub rate_limit: Option<KeyRateLimit>,
    /// Whether the presented secret was rotated out, and works only until its grace ends. That end is in `expires_at_ms`.
    pub retiring: bool,
}

/// How often one key may be used, on all routes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRateLimit {
    /// Requests in a window.
    pub limit: NonZeroU32,
    /// The window, 1 second to 366 days.
    pub window: Duration,
}

/// Whom a key was made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyType {
    /// An organization, or a user inside of one.
    Organization,
    /// A user.
    User,
    /// The management of this Latchkey. Nobody owns it, so no request passes Check with it.
    Environment,
}

/// Neither `organization`, `user` nor `environment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is of type organization, user or environment")]
pub struct UnknownKeyType;

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Organization, Self::User, Self::Environment];

    /// `organization`, `user` or `environment`, as in Kinde's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::User => "user",
            Self::Environment => "environment",
        }
    }

    /// The type of a key with this owner, where none is said: a user's where there is a user.
    pub fn of(owner: Option<&Owner>) -> Self {
        match owner {
            Some(Owner::User { .. } | Owner::Member { .. }) => Self::User,
            Some(Owner::Organization { .. }) | None => Self::Organization,
        }
    }
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        let named = |key_type: &Self| key_type.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or(UnknownKeyType)
    }
}

/// Whose key it is. Ids are 1 to 256 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// An organization (B2B).
    Organization {
        /// `org_code`
        org_code: Box<str>,
    },
    /// A user (B2C).
    User {
        /// `user_id`
        user_id: Box<str>,
    },
    /// A user inside an organization; the organization is the context owner.
    Member {
        /// `org_code`
        org_code: Box<str>,
        /// `user_id`
        user_id: Box<str>,
    },
}

impl Owner {
    /// The owner of a record with these two; `None` when there is neither. An empty text is none.
    pub fn from_parts(org_code: Option<&str>, user_id: Option<&str>) -> Option<Self> {
        let there = |part: Option<&str>| part.filter(|text| !text.is_empty()).map(Box::<str>::from);
        match (there(org_code), there(user_id)) {
            (Some(org_code), Some(user_id)) => Some(Self::Member { org_code, user_id }),
            (Some(org_code), None) => Some(Self::Organization { org_code }),
            (None, Some(user_id)) => Some(Self::User { user_id }),
            (None, None) => None,
        }
    }

    /// The organization, if there is one.
    pub fn org_code(&self) -> Option<&str> {
        match self {
            Self::Organization { org_code } | Self::Member { org_code, .. } => Some(org_code),
            Self::User { .. } => None,
        }
    }

    /// The user, if there is one.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User { user_id } | Self::Member { user_id, .. } => Some(user_id),
            Self::Organization { .. } => None,
        }
    }

    /// Kind and id of the context owner: `("org", code)` if there is an organization, else `("user", id)`.
    pub fn context(&self) -> (&'static str, &str) {
        match self {
            Self::Organization { org_code } | Self::Member { org_code, .. } => ("org", org_code),
            Self::User { user_id } => ("user", user_id),
        }
    }
}

/// The context owner, `org:<org_code>` or `user:<user_id>`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = self.context();
        write!(f, "{kind}:{id}")
    }
}

/// Whether a key may be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// Its API or owner is disabled.
    Inactive,
    /// Never again.
    Revoked,
}

impl KeyStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Revoked];

    /// `active`, `inactive` or `revoked`, as in Kinde's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
        }
    }
}

/// Neither `active`, `inactive` nor `revoked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is active, inactive or revoked")]
pub struct UnknownStatus;

impl FromStr for KeyStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let named = |status: &Self| status.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or(UnknownStatus)
    }
}
