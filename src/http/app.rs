//! What the handlers share.

use std::ops::Deref;
use std::sync::Arc;

use crate::authorizer::Authorizer;
use crate::config::Settings;
use crate::http::auth::Authenticator;
use crate::usage::UsageStore;

/// What the handlers share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// See [`App`].
pub(crate) struct Shared {
    /// Whose policy, with its settings, is in force, also after a reload.
    pub(crate) authorizer: Arc<Authorizer>,
    /// Knows who sends a bearer.
    pub(crate) authenticator: Authenticator,
    /// What was used.
    pub(crate) usage: Arc<dyn UsageStore>,
}

impl App {
    /// Puts the parts together.
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.authorizer.policy().settings)
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
