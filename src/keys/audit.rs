//! The audit log: who did what, when, and what came of it.

use std::net::IpAddr;
use std::str::FromStr;

/// How long events are kept.
pub const AUDIT_KEPT_MS: u64 = 400 * 24 * 3600 * 1000;

/// How many are kept at the most; the oldest go first.
pub const AUDIT_EVENTS_KEPT: u32 = 1_000_000;

/// One action of management. Holds no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEvent {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who, such as `token:bootstrap`; `None` where nobody was proven.
    pub actor: Option<Box<str>>,
    /// What, such as `api_key.create`.
    pub action: Box<str>,
    /// On what: the id of a key.
    pub target: Option<Box<str>>,
    /// What came of it.
    pub result: AuditResult,
    /// The code of a refusal.
    pub code: Option<Box<str>>,
    /// The direct peer.
    pub address: Option<IpAddr>,
}

/// What came of an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditResult {
    /// It was done.
    Done,
    /// It was not, and it was the caller's fault.
    Refused,
    /// It was not, and it was our fault.
    Failed,
}

/// Neither `done`, `refused` nor `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a result is done, refused or failed")]
pub struct UnknownResult;

impl AuditResult {
    const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    /// `done`, `refused` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for AuditResult {
    type Err = UnknownResult;

    fn from_str(text: &str) -> Result<Self, UnknownResult> {
        let named = |result: &Self| result.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or(UnknownResult)
    }
}

/// An event as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Later events have higher ones.
    pub seq: u64,
    /// The event.
    pub event: AuditEvent,
}

/// Which events to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditFilter {
    /// Only of this actor.
    pub actor: Option<Box<str>>,
    /// Only this action.
    pub action: Option<Box<str>>,
    /// Only on this target.
    pub target: Option<Box<str>>,
    /// Only with this result.
    pub result: Option<AuditResult>,
    /// Only from this time on, in milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Only before this time.
    pub to_ms: Option<u64>,
    /// Only those before the event with this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}
