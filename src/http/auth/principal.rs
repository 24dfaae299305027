//! Who calls the management API, after that was proven.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::ALL_PERMISSIONS;

/// The longest subject of a JWT that the audit log keeps, in characters.
const LONGEST_SUBJECT: usize = 128;

/// Who calls, and what they may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Principal {
    name: Arc<str>,
    permissions: Arc<BTreeSet<Box<str>>>,
}

impl Principal {
    /// The holder of a static token.
    pub(super) fn token(name: &str, permissions: Arc<BTreeSet<Box<str>>>) -> Self {
        Self {
            name: format!("token:{name}").into(),
            permissions,
        }
    }

    /// The one at the command line, who has the store itself and so may do everything.
    pub(crate) fn operator(user: &str) -> Self {
        Self::new("cli", user, ALL_PERMISSIONS.map(Box::from).to_vec())
    }

    /// The holder of an environment key.
    pub(super) fn environment_key(id: &str, permissions: Vec<Box<str>>) -> Self {
        Self::new("key", id, permissions)
    }

    /// The holder of a token of an identity provider.
    pub(super) fn jwt(subject: &str, permissions: Vec<Box<str>>) -> Self {
        Self::new("jwt", subject, permissions)
    }

    /// A machine client of our own.
    pub(super) fn client(id: &str, permissions: Vec<Box<str>>) -> Self {
        Self::new("client", id, permissions)
    }

    /// `kind` keeps names of different origins apart: the subject of a JWT is chosen elsewhere, and must not read as a token.
    fn new(kind: &str, name: &str, permissions: Vec<Box<str>>) -> Self {
        let name: String = name
            .chars()
            .take(LONGEST_SUBJECT)
            .flat_map(char::escape_debug)
            .collect();
        Self {
            name: format!("{kind}:{name}").into(),
            permissions: Arc::new(permissions.into_iter().collect()),
        }
    }

    /// The name for the audit log: `token:bootstrap`, `client:ci`, `jwt:<subject>`, `key:<id>`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether an operation that needs this permission is allowed.
    pub(crate) fn has(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }

    /// Everything that is allowed, in alphabetical order.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "who makes an environment key gives away no more than this"
        )
    )]
    pub(crate) fn permissions(&self) -> impl Iterator<Item = &str> {
        self.permissions.iter().map(AsRef::as_ref)
    }
}
