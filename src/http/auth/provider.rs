//! Tokens of an identity provider.

use super::AuthError;
use super::claims::{ACCESS_TOKEN_TYPES, Claims, Expected};
use super::issuer_keys::{IssuerKeys, over_http};
use super::jws::Unverified;
use super::principal::Principal;
use crate::config::ManagementJwt;
use crate::outbound::{ClientError, RemoteMetrics};

/// The identity provider of the settings.
#[derive(Debug)]
pub(super) struct Provider {
    keys: IssuerKeys,
    issuer: Box<str>,
    audience: Box<str>,
}

impl Provider {
    /// The keys are fetched when a token needs them.
    pub(super) fn new(settings: &ManagementJwt, remotes: &RemoteMetrics) -> Result<Self, ClientError> {
        Ok(Self {
            keys: IssuerKeys::new(over_http(&settings.jwks_url, remotes)?),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        })
    }

    /// Who holds this token. `now`: seconds since the Unix epoch.
    pub(super) async fn holder_of(&self, token: &Unverified<'_>, now: f64) -> Result<Principal, AuthError> {
        let header = &token.header;
        let expected = Expected {
            issuer: Some(&self.issuer),
            audience: &self.audience,
            types: ACCESS_TOKEN_TYPES,
        };
        let key = self.keys.find(header.kid.as_deref(), header.alg).await?;
        let claims = key
            .and_then(|key| token.verify(&key))
            .and_then(|claims| Claims::accepted(&claims, header.typ.as_deref(), &expected, now))
            .ok_or(AuthError::Invalid)?;
        Ok(Principal::jwt(claims.subject(), claims.permissions()))
    }
}
