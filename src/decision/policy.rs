//! The policy: everything compiled from the settings that a decision needs. Immutable; a reload swaps it as a whole.

use std::sync::Arc;

use crate::config::{Route, Settings};
use crate::limits::NamedLimit;

/// A route as the table holds it.
#[derive(Debug)]
pub struct CompiledRoute {
    /// Its place in the settings, and so in per-route counters.
    pub index: usize,
    /// What the settings say of it.
    pub settings: Route,
    /// Its limit, resolved.
    pub limit: Option<Arc<NamedLimit>>,
}

/// Everything compiled that a decision needs.
#[derive(Debug)]
pub struct Policy {
    /// The settings that it was compiled from.
    pub settings: Arc<Settings>,
    /// The limit that counts failed authentications by address, if there is one.
    pub unauthenticated: Option<Arc<NamedLimit>>,
}

impl Policy {
    /// Compiles checked settings; cannot fail, since they are checked.
    pub fn compile(settings: Arc<Settings>) -> Self {
        Self { settings, unauthenticated: None }
    }
}
