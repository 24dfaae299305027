//! What callers may do: one permission an operation, in Kinde's names.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::app::App;
use super::auth::Principal;
use super::error::ApiError;

/// A permission, as a type that a handler can ask for.
pub(crate) trait Permission: Send + Sync + 'static {
    /// Its name, such as `read:apis`.
    const NAME: &'static str;
}

/// A caller who has the permission `P`. The only way to get one is a request that proves it.
pub(crate) struct May<P> {
    /// Who it is.
    pub(crate) principal: Principal,
    _permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<App> for May<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = app
            .authenticator
            .authenticate(&parts.headers)
            .await?
            .ok_or(ApiError::NoToken)?;
        if !principal.has(P::NAME) {
            return Err(ApiError::MissingPermission(P::NAME));
        }
        Ok(Self {
            principal,
            _permission: PhantomData,
        })
    }
}

macro_rules! permissions {
    ($($name:ident = $text:literal),+ $(,)?) => {$(
        #[doc = concat!("`", $text, "`")]
        pub(crate) struct $name;

        impl Permission for $name {
            const NAME: &'static str = $text;
        }
    )+};
}

permissions! {
    CreateApiScopes = "create:api_scopes",
    CreateApis = "create:apis",
    ReadApiScopes = "read:api_scopes",
    ReadApis = "read:apis",
    ReadUsage = "read:usage",
}
