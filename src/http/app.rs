//! What the handlers share.

use std::ops::Deref;
use std::sync::Arc;

use http::request::Parts;

use super::audit::AuditLog;
use super::auth::{Authenticator, Principal};
use super::error::ApiError;
use super::operation::Caller;
use crate::authorizer::Authorizer;
use crate::config::Settings;
use crate::keys::{Changed, KeyCache, KeyStore};
use crate::usage::UsageStore;

/// What the handlers share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// See [`App`].
pub(crate) struct Shared {
    /// Whose policy, with its settings, is in force, also after a reload.
    pub(crate) authorizer: Arc<Authorizer>,
    /// Where keys are kept.
    pub(crate) store: Arc<dyn KeyStore>,
    /// What Check knows of them.
    pub(crate) keys: Arc<KeyCache>,
    /// Knows who sends a bearer; without one nobody is known.
    pub(crate) authenticator: Option<Authenticator>,
    /// Where actions are written down.
    pub(crate) audit: AuditLog,
    /// What was used.
    pub(crate) usage: Arc<dyn UsageStore>,
}

/// Stands in a request's extensions for a caller who needs no token: the one at the command line, who could read and write
/// the store itself. Nothing that comes over a socket can put it there.
#[derive(Clone)]
pub(crate) struct Operator(pub(crate) Principal);

impl App {
    /// Puts the parts together.
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.authorizer.policy().settings)
    }

    /// Who sends a request; `None` is somebody who shows nothing.
    pub(crate) async fn principal(&self, parts: &Parts) -> Result<Option<Principal>, ApiError> {
        if let Some(Operator(principal)) = parts.extensions.get() {
            return Ok(Some(principal.clone()));
        }
        match &self.authenticator {
            Some(authenticator) => Ok(authenticator.authenticate(&parts.headers).await?),
            None => Ok(None),
        }
    }

    /// Does what a caller asked for, and writes down when it comes to nothing. What is done is written with the change itself.
    pub(crate) async fn audited<T>(
        &self,
        caller: &Caller,
        target: Option<&str>,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let done = work.await;
        if let Err(error) = &done {
            self.audit.refused(caller, target, error);
        }
        done
    }

    /// After a change was committed: this server's Check goes by it from now on.
    pub(crate) fn changed(&self, changed: &Changed) {
        for digest in &changed.digests {
            self.keys.forget(digest);
        }
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
