//! Management auth: who calls the management API, and what may they do.
//!
//! A caller shows a bearer token. It is a static token of the settings, a JWT, or (if the settings allow it) an environment
//! key. From it comes a [`Principal`]: a name for the audit log and a set of permissions. A handler asks it for the permission
//! that its operation needs.
//!
//! Keys of the data plane never open the management API. What cannot be verified now (its issuer does not answer) is an error
//! of its own, never an allow.

mod attempts;
mod bearer;
mod claims;
mod endpoint;
mod first_token;
mod issuer_keys;
mod jws;
mod machines;
mod metrics;
mod principal;
mod provider;
mod secret_file;
mod signing;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use self::attempts::Attempts;
use self::bearer::Bearer;
use self::endpoint::Origin;
use self::jws::Unverified;
use self::machines::{Machines, MachinesError};
use self::metrics::AuthMetrics;
pub(crate) use self::principal::Principal;
use self::provider::Provider;
use self::tokens::{StaticTokens, TokensError};
use crate::config::{Settings, StoreUrl};
use crate::keys::ApiKey;
use crate::outbound::{ClientError, RemoteMetrics};
use crate::telemetry::Registry;

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
    tokens: Arc<StaticTokens>,
    provider: Option<Provider>,
    machines: Machines,
    attempts: Attempts,
    metrics: AuthMetrics,
    /// What no token of a machine client may be for.
    api_audiences: Vec<Box<str>>,
    serves_tls: bool,
    environment_keys: Option<Arc<dyn EnvironmentKeys>>,
}

/// Management access cannot be set up as the settings say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagementError {
    /// A static token cannot be used.
    #[error(transparent)]
    Token(#[from] TokensError),
    /// A machine client cannot.
    #[error(transparent)]
    Machines(#[from] MachinesError),
    /// The identity provider cannot be asked at all.
    #[error("management.jwt.jwks_url cannot be asked")]
    Provider(#[from] ClientError),
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
        remotes: &RemoteMetrics,
    ) -> Result<Self, ManagementError> {
        let management = &settings.management;
        let nobody =
            management.tokens.is_empty() && management.jwt.is_none() && management.clients.is_empty();
        let tokens = match &settings.store {
            _ if !nobody => StaticTokens::open(&management.tokens)?,
            StoreUrl::Sqlite(store) => StaticTokens::first(&first_token::path(store))?,
            StoreUrl::Postgres(_) => return Err(ManagementError::NobodyMayManage),
        };
        let provider = match &management.jwt {
            Some(jwt) => Some(Provider::new(jwt, remotes)?),
            None => None,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                tokens: Arc::new(tokens),
                provider,
                machines: Machines::open(management, &settings.store)?,
                attempts: Attempts::new(),
                metrics: AuthMetrics::default(),
                api_audiences: settings.apis.iter().map(|api| api.audience.clone()).collect(),
                serves_tls: settings.listen.http_tls.is_some(),
                environment_keys: environment_keys.filter(|_| management.environment_keys),
            }),
        })
    }

    /// Who sends a request with these headers. `Ok(None)`: nobody says so, there is no `Authorization` header.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Principal>, AuthError> {
        let found = match Bearer::of(headers) {
            Ok(None) => return Ok(None),
            Ok(Some(bearer)) => self.holder_of(&bearer).await,
            Err(error) => Err(error),
        };
        let kind = found.as_ref().map(|(kind, _)| *kind);
        self.shared.metrics.shown(kind.map_err(|error| *error));
        found.map(|(_, principal)| Some(principal))
    }

    /// Who holds this bearer, and what kind of bearer it is.
    async fn holder_of(&self, bearer: &Bearer<'_>) -> Result<(&'static str, Principal), AuthError> {
        let shared = &*self.shared;
        if let Some(holder) = shared.tokens.holder_of(bearer) {
            return Ok(("token", holder));
        }
        if let Some(token) = Unverified::of(bearer.expose()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = now.as_secs_f64();
            if token.header.kid.as_deref().is_some_and(Machines::is_own_kid) {
                let holder = shared.machines.holder_of(&token, now).await;
                return holder.map(|holder| ("client", holder)).ok_or(AuthError::Invalid);
            }
            let provider = shared.provider.as_ref().ok_or(AuthError::Invalid)?;
            return Ok(("jwt", provider.holder_of(&token, now).await?));
        }
        if let Some(keys) = &shared.environment_keys
            && let Some(key) = ApiKey::presented(bearer.expose())
            && let Some(key) = keys.verify(&key).await?
        {
            return Ok(("key", Principal::environment_key(&key.id, key.permissions)));
        }
        Err(AuthError::Invalid)
    }

    /// Adds the metrics of management auth to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Reads the files of the static tokens again when they change, until `stop`.
    pub(crate) async fn keep_up(&self, stop: CancellationToken) {
        Arc::clone(&self.shared.tokens).keep_up(stop).await;
    }

    /// `/oauth2/token`, and the documents under `/.well-known/`.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        endpoint::routes(self.clone())
    }

    fn machines(&self) -> &Machines {
        &self.shared.machines
    }

    fn metrics(&self) -> &AuthMetrics {
        &self.shared.metrics
    }

    fn attempts(&self) -> &Attempts {
        &self.shared.attempts
    }

    fn serves_tls(&self) -> bool {
        self.shared.serves_tls
    }

    /// Whether a token of a machine client may name this audience.
    fn may_be_audience(&self, audience: &str, origin: &Origin) -> bool {
        let is_api = self.shared.api_audiences.iter().any(|api| **api == *audience);
        !is_api && origin.is_audience(audience)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
