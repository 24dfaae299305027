//! Management auth: who calls the management API, and what may they do.
//!
//! A caller shows a bearer token. It is a static token of the settings, a JWT, or (if the settings allow it) an environment
//! key. From it comes a [`Principal`]: a name for the audit log and a set of permissions. A handler asks it for the permission
//! that its operation needs.
//!
//! Keys of the data plane never open the management API. What cannot be verified now (its issuer does not answer) is an error
//! of its own, never an allow.

mod bearer;
mod first_token;
mod principal;
mod secret_file;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use self::bearer::Bearer;
pub(crate) use self::principal::Principal;
use self::tokens::{StaticTokens, TokensError};
use crate::config::{Settings, StoreUrl};
use crate::keys::ApiKey;

/// Why a request that shows a bearer is not let in. No text holds anything of the bearer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// `Authorization` is there, and is no bearer token that could be good: 401.
    #[error("the Authorization header must hold one bearer token")]
    Malformed,
    /// Unknown, expired, wrongly signed, or meant for somebody else: 401.
    #[error("Access token is invalid or expired")]
    Invalid,
    /// What would verify it does not answer: 503, and the caller may try again after this time.
    #[error("the access token cannot be verified at the moment")]
    Unavailable {
        /// For `Retry-After`.
        retry_after: Duration,
    },
}

/// An environment key that was verified.
pub(crate) struct EnvironmentKey {
    /// Its id.
    pub(crate) id: Box<str>,
    /// Its scopes: what it may do.
    pub(crate) permissions: Vec<Box<str>>,
}

/// Verifies API keys that may be bearers of the management API: active keys of the type `environment`.
pub(crate) trait EnvironmentKeys: Send + Sync {
    /// The key, or nothing when it is not a good environment key.
    fn verify<'a>(&'a self, key: &'a ApiKey) -> BoxFuture<'a, Result<Option<EnvironmentKey>, AuthError>>;
}

/// Tells who sends a request to the management API. A clone shares everything.
#[derive(Clone)]
pub(crate) struct Authenticator {
    shared: Arc<Shared>,
}

struct Shared {
    tokens: StaticTokens,
    environment_keys: Option<Arc<dyn EnvironmentKeys>>,
}

/// Management access cannot be set up as the settings say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagementError {
    /// A static token cannot be used.
    #[error(transparent)]
    Token(#[from] TokensError),
    /// PostgreSQL has no folder beside it where a first token could be written.
    #[error(
        "with PostgreSQL as the store, `management` must name at least one of tokens, jwt and clients: \
         nobody could use the management API"
    )]
    NobodyMayManage,
}

impl Authenticator {
    /// Reads what the settings name. With no tokens, JWTs or clients at all, a first token is made and written to a file
    /// beside the SQLite store, which is where later starts find it again. `environment_keys` is asked only if the settings
    /// allow environment keys. Reads and writes files: to be called at the start.
    pub(crate) fn open(
        settings: &Settings,
        environment_keys: Option<Arc<dyn EnvironmentKeys>>,
    ) -> Result<Self, ManagementError> {
        let management = &settings.management;
        let nobody =
            management.tokens.is_empty() && management.jwt.is_none() && management.clients.is_empty();
        let tokens = match &settings.store {
            _ if !nobody => StaticTokens::read(&management.tokens)?,
            StoreUrl::Sqlite(store) => StaticTokens::first(&first_token::path(store))?,
            StoreUrl::Postgres(_) => return Err(ManagementError::NobodyMayManage),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                tokens,
                environment_keys: environment_keys.filter(|_| management.environment_keys),
            }),
        })
    }

    /// Who sends a request with these headers. `Ok(None)`: nobody says so, there is no `Authorization` header.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Principal>, AuthError> {
        let Some(bearer) = Bearer::of(headers)? else {
            return Ok(None);
        };
        if let Some(principal) = self.shared.tokens.holder_of(&bearer) {
            return Ok(Some(principal));
        }
        if let Some(keys) = &self.shared.environment_keys
            && let Some(key) = ApiKey::presented(bearer.expose())
            && let Some(key) = keys.verify(&key).await?
        {
            return Ok(Some(Principal::environment_key(&key.id, key.permissions)));
        }
        Err(AuthError::Invalid)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
