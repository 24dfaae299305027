//! What callers may do: a type for each operation, which says the permission that it needs and its name in the audit log.

use std::marker::PhantomData;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::app::App;
use super::auth::Principal;
use super::error::ApiError;
use super::peer::Peer;
use crate::keys::{AuditEvent, AuditResult, now_ms};

/// An operation, as a type that a handler can ask for.
pub(crate) trait Operation: Send + Sync + 'static {
    /// What it needs, such as `read:apis`.
    const PERMISSION: &'static str;
    /// Its name in the audit log, such as `api.list`.
    const ACTION: &'static str;
}

/// Who sends a request. `None` is nobody who could be told.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who it is.
    pub(crate) principal: Option<Principal>,
    /// The direct peer.
    pub(crate) address: Option<IpAddr>,
    action: &'static str,
}

impl Caller {
    /// Somebody who does something that needs no permission.
    pub(crate) fn new(principal: Option<Principal>, address: Option<IpAddr>, action: &'static str) -> Self {
        Self {
            principal,
            address,
            action,
        }
    }

    /// For the audit log.
    pub(crate) fn name(&self) -> Option<&str> {
        self.principal.as_ref().map(Principal::name)
    }

    /// Whether it has a permission.
    pub(crate) fn has(&self, permission: &str) -> bool {
        self.principal
            .as_ref()
            .is_some_and(|principal| principal.has(permission))
    }

    /// What it did, or tried to.
    pub(crate) fn event(&self, target: Option<&str>, result: AuditResult, code: Option<&str>) -> AuditEvent {
        AuditEvent {
            at_ms: now_ms(),
            actor: self.name().map(Into::into),
            action: self.action.into(),
            target: target.map(Into::into),
            result,
            code: code.map(Into::into),
            address: self.address,
        }
    }

    /// What it has done.
    pub(crate) fn done(&self, target: &str) -> AuditEvent {
        self.event(Some(target), AuditResult::Done, None)
    }
}

/// A caller who may do the operation `O`. The only way to get one is a request that proves it.
pub(crate) struct May<O> {
    /// Who it is.
    pub(crate) caller: Caller,
    _operation: PhantomData<O>,
}

impl<O: Operation> FromRequestParts<App> for May<O> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Peer(address) = parts.extensions.get().copied().unwrap_or_default();
        let (principal, refused) = match app.principal(parts).await {
            Ok(Some(principal)) if principal.has(O::PERMISSION) => (Some(principal), None),
            Ok(Some(principal)) => (Some(principal), Some(ApiError::MissingPermission(O::PERMISSION))),
            Ok(None) => (None, Some(ApiError::NoToken)),
            Err(error) => (None, Some(error)),
        };
        let caller = Caller::new(principal, address, O::ACTION);
        if let Some(error) = refused {
            app.audit.refused(&caller, None, &error);
            return Err(error);
        }
        Ok(Self {
            caller,
            _operation: PhantomData,
        })
    }
}

macro_rules! operations {
    ($($name:ident = $permission:literal, $action:literal);+ $(;)?) => {$(
        #[doc = concat!("`", $action, "`: needs `", $permission, "`.")]
        pub(crate) struct $name;

        impl Operation for $name {
            const PERMISSION: &'static str = $permission;
            const ACTION: &'static str = $action;
        }
    )+};
}

operations! {
    CreateApi = "create:apis", "api.create";
    CreateKey = "create:api_keys", "api_key.create";
    CreateScope = "create:api_scopes", "api_scope.create";
    ImportKey = "create:api_keys", "api_key.import";
    ListApis = "read:apis", "api.list";
    ListEvents = "read:audit_events", "audit_event.list";
    ListKeys = "read:api_keys", "api_key.list";
    ListScopes = "read:api_scopes", "api_scope.list";
    ReadUsage = "read:usage", "usage.read";
    RevokeKey = "delete:api_keys", "api_key.revoke";
    RotateKey = "update:api_keys", "api_key.rotate";
    ShowApi = "read:apis", "api.show";
    ShowKey = "read:api_keys", "api_key.show";
    ShowScope = "read:api_scopes", "api_scope.show";
    UpdateKey = "update:api_keys", "api_key.update";
}
