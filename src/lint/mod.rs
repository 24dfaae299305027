//! What is allowed in a configuration, and probably not meant.
//!
//! Mistakes are `config`'s to refuse; here are findings: each with its place, what it means, and what to do. Whatever is said
//! of routes was asked of the compiled table itself.

mod paths;
mod unused;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::tree::{Node, Place, Value};
use crate::config::{Access, Placed, Route, ScopeRule, Settings, SettingsError, load_placed};
use crate::decision::Policy;

/// Something that is probably not meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Finding {
    /// Where: file, line and column, or the name of an environment variable.
    pub place: String,
    /// Which kind.
    pub kind: Kind,
    /// What was found, and what it means.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no route at all.
    EmptyPolicy,
    /// Requests that a route seems to take never come to it.
    Shadowed,
    /// Two paths that many upstreams take for one.
    PathTwins,
    /// A route asks for no scope.
    NoScopes,
    /// No route takes keys of this API.
    UnusedApi,
    /// No route asks for this scope.
    UnusedScope,
    /// No route names this limit.
    UnusedLimit,
    /// No route names this guard.
    UnusedGuard,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyPolicy => "empty_policy",
            Self::Shadowed => "shadowed",
            Self::PathTwins => "path_twins",
            Self::NoScopes => "no_scopes",
            Self::UnusedApi => "unused_api",
            Self::UnusedScope => "unused_scope",
            Self::UnusedLimit => "unused_limit",
            Self::UnusedGuard => "unused_guard",
        }
    }
}

/// Reads a configuration as [`crate::config::load`] does, and looks through it. In the order of the file.
pub fn lint(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<Finding>, SettingsError> {
    load_placed(file, environment).map(|placed| look_through(&placed))
}

fn look_through(placed: &Placed) -> Vec<Finding> {
    let settings = &placed.loaded.settings;
    let mut found = Found {
        tree: &placed.tree,
        list: Vec::new(),
    };
    if settings.routes.is_empty() {
        let place = found.tree.get("routes").unwrap_or(found.tree).place.clone();
        found.add(
            &place,
            Kind::EmptyPolicy,
            "there is no route, so every request is refused",
            "write a route for what your backend serves",
        );
    }
    scopeless(settings, &mut found);
    let policy = Policy::compile(Arc::new(settings.clone()));
    paths::shadowed(&policy, &mut found);
    paths::twins(&settings.routes, &mut found);
    unused::all(settings, &mut found);
    found.list.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
        .list
        .into_iter()
        .map(|(place, finding)| Finding {
            place: place.in_file(&placed.name).to_string(),
            ..finding
        })
        .collect()
}

fn scopeless(settings: &Settings, found: &mut Found<'_>) {
    for (at, route) in settings.routes.iter().enumerate() {
        if let Access::Key(access) = &route.access
            && matches!(&access.scopes, ScopeRule::All(scopes) if scopes.is_empty())
        {
            found.add_at_route(
                at,
                Kind::NoScopes,
                &format!(
                    "route `{}` asks for no scope: every key of API `{}` may use it",
                    route.name, access.api
                ),
                "list the scopes that it needs",
            );
        }
    }
}

/// Findings so far, and the tree that has their places.
struct Found<'t> {
    tree: &'t Node,
    list: Vec<(Place, Finding)>,
}

impl<'t> Found<'t> {
    fn add(&mut self, place: &Place, kind: Kind, message: &str, advice: &str) {
        let finding = Finding {
            place: String::new(),
            kind,
            message: message.into(),
            advice: advice.into(),
        };
        self.list.push((place.clone(), finding));
    }

    /// The items of a list, and nothing where there is none.
    fn items(&self, section: &str) -> &'t [Node] {
        match self.tree.get(section).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// Points at the name of a route.
    fn add_at_route(&mut self, at: usize, kind: Kind, message: &str, advice: &str) {
        let route = self.items("routes").get(at);
        let node = route
            .and_then(|route| route.get("name"))
            .or(route)
            .unwrap_or(self.tree);
        self.add(&node.place, kind, message, advice);
    }
}

/// The host and path of a route, for messages.
fn target(route: &Route) -> String {
    format!(
        "{}{}",
        route.host.as_deref().unwrap_or_default(),
        route.path.as_str()
    )
}

#[cfg(test)]
mod tests;
