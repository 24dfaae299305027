//! The policy: everything compiled from the settings that a decision needs. Immutable; a reload swaps it as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::credential::QueryPlaces;
use super::headers::{HeaderIndex, blind_removals};
use super::routes::RouteTable;
use crate::config::{Access, CredentialPlace, KeyAccess, Route, Settings, UNAUTHENTICATED_LIMIT};
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

impl CompiledRoute {
    /// What it asks of a key; `None` for a public route.
    pub(super) fn key_access(&self) -> Option<&KeyAccess> {
        match &self.settings.access {
            Access::Key(access) => Some(access),
            Access::Public => None,
        }
    }
}

/// Everything compiled that a decision needs.
#[derive(Debug)]
pub struct Policy {
    /// The settings that it was compiled from.
    pub settings: Arc<Settings>,
    /// The limit that counts failed authentications by address, if there is one.
    pub unauthenticated: Option<Arc<NamedLimit>>,
    /// Names to remove unseen where [`Facts::shows_chosen_headers_only`](super::Facts::shows_chosen_headers_only): credentials,
    /// strip headers, and every spelling of a tenant header but its own. In lower case, sorted, no name twice.
    pub blind_removals: Vec<Box<str>>,
    pub(super) routes: RouteTable,
    pub(super) headers: HeaderIndex,
    pub(super) query: QueryPlaces,
}

impl Policy {
    /// Compiles checked settings; cannot fail, since they are checked.
    pub fn compile(settings: Arc<Settings>) -> Self {
        let limits: BTreeMap<&str, Arc<NamedLimit>> = settings
            .rate_limits
            .iter()
            .map(|(name, rule)| {
                (
                    &**name,
                    Arc::new(NamedLimit {
                        name: name.clone(),
                        rule: rule.clone(),
                    }),
                )
            })
            .collect();
        let routes: Vec<_> = settings
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| Arc::new(compile_route(index, route, &limits)))
            .collect();
        Self {
            unauthenticated: limits.get(UNAUTHENTICATED_LIMIT).cloned(),
            blind_removals: blind_removals(&settings),
            routes: RouteTable::compile(&routes),
            headers: HeaderIndex::compile(&settings),
            query: query_places(&settings),
            settings,
        }
    }

    /// The routes, in matching order.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }
}

fn compile_route(index: usize, route: &Route, limits: &BTreeMap<&str, Arc<NamedLimit>>) -> CompiledRoute {
    let limit = match &route.access {
        Access::Key(access) => access
            .rate_limit
            .as_deref()
            .and_then(|name| limits.get(name).cloned()),
        Access::Public => None,
    };
    CompiledRoute {
        index,
        settings: route.clone(),
        limit,
    }
}

fn query_places(settings: &Settings) -> QueryPlaces {
    let name = |place: &CredentialPlace| match place {
        CredentialPlace::Query { name } => Some(name.clone()),
        CredentialPlace::Header { .. } => None,
    };
    QueryPlaces {
        names: settings.credentials.iter().filter_map(name).collect(),
    }
}
