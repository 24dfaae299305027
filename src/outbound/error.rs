//! Why a call came to nothing.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Why a call came to nothing. Never says what was sent or received: both may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection; nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(Arc<str>),
    /// No whole answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke before a whole answer had come.
    #[error("the connection broke: {0}")]
    Broken(Arc<str>),
    /// The endpoint says that it cannot answer now.
    #[error("it answers with status {status}")]
    TryLater {
        /// The status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that says nothing of what was asked.
    #[error("its answer cannot be understood: {0}")]
    Malformed(&'static str),
    /// An answer that is understood and must not be used; the next one may be fine.
    #[error("its answer cannot be used: {0}")]
    Unusable(&'static str),
    /// Not called: it has failed too often.
    #[error("it was not asked, since it keeps failing; the next try is in {0:?}")]
    NotAsked(Duration),
}

impl CallError {
    /// The error of the HTTP client, without the URL, which may hold a secret in its query.
    pub(super) fn of(error: reqwest::Error, limit: Duration) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            return Self::Timeout(limit);
        }
        let text = innermost(&error);
        if error.is_connect() {
            Self::Connect(text)
        } else {
            Self::Broken(text)
        }
    }

    /// Whether the endpoint, and not only this one answer, is in trouble.
    pub(super) fn is_trouble(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout(_) | Self::Broken(_) | Self::Malformed(_) => true,
            // Of the statuses under 500 only this one is about the endpoint: others may depend on what was asked, and nobody
            // may be able to keep others out by asking it.
            Self::TryLater { status, .. } => *status >= 500 || *status == 429,
            Self::Unusable(_) | Self::NotAsked(_) => false,
        }
    }

    /// Whether the same call made at once may well succeed. A slow or a busy endpoint gets nothing more to do.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) => true,
            Self::TryLater { status, retry_after } => matches!(status, 502..=504) && retry_after.is_none(),
            Self::Timeout(_) | Self::Malformed(_) | Self::Unusable(_) | Self::NotAsked(_) => false,
        }
    }

    /// How long the endpoint wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TryLater { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Broken(_) => "broken",
            Self::TryLater { status: 429, .. } => "rate_limited",
            Self::TryLater { .. } => "status",
            Self::Malformed(_) => "malformed",
            Self::Unusable(_) => "unusable",
            Self::NotAsked(_) => "not_asked",
        }
    }
}

/// The last cause in the chain: what the system or TLS says.
fn innermost(error: &reqwest::Error) -> Arc<str> {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().into()
}
