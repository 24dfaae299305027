//! What the check said of the request: the only thing that the processor believes.
//!
//! It comes as dynamic metadata, which Envoy keeps and a caller cannot write. Headers could be forged or changed on the way, so
//! neither the route nor the owner is ever taken from them.

use prost_types::value::Kind;

use crate::envoy::messages::envoy::config::core::v3::Metadata;
use crate::guard::Caller;
use crate::usage::DecisionId;

/// Under this name Envoy keeps what a check answered, however the filter is called.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// One decision of Latchkey, as far as a guard needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Context {
    /// Name of the decision.
    pub(super) decision_id: Box<str>,
    /// Whether the request was allowed.
    pub(super) allowed: bool,
    /// The route's name.
    pub(super) route: Option<Box<str>>,
    /// The guard's name, if the route has one.
    pub(super) guard: Option<Box<str>>,
    /// `org:…` or `user:…`, if a key was shown.
    pub(super) owner: Option<Box<str>>,
    /// The organization, if there is one.
    pub(super) org_code: Option<Box<str>>,
    /// The user, if there is one.
    pub(super) user_id: Option<Box<str>>,
    /// The id of the key.
    pub(super) key_id: Option<Box<str>>,
    /// The scopes of the key, with spaces between them.
    pub(super) scopes: Option<Box<str>>,
}

impl Context {
    /// Reads it; `None` unless a check of Latchkey wrote it. Another service behind the same filter names no decision.
    pub(super) fn read(metadata: Option<&Metadata>) -> Option<Self> {
        let fields = &metadata?.filter_metadata.get(NAMESPACE)?.fields;
        let text = |name: &str| match fields.get(name)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text.as_str()),
            _ => None,
        };
        let decision_id = text("decision_id").filter(|id| DecisionId::parse(id.as_bytes()).is_some())?;
        let allowed = match text("outcome")? {
            "allow" => true,
            "deny" => false,
            _ => return None,
        };
        // A guard whose name cannot be read is not the same as none.
        if fields.contains_key("guard") && text("guard").is_none() {
            return None;
        }
        let owned = |name| text(name).map(Into::into);
        Some(Self {
            decision_id: decision_id.into(),
            allowed,
            route: owned("route"),
            guard: owned("guard"),
            owner: owned("context_owner"),
            org_code: owned("org_code"),
            user_id: owned("user_id"),
            key_id: owned("key_id"),
            scopes: owned("scopes"),
        })
    }

    /// Whose request it is, for the prompt context.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            context_owner: self.owner.as_deref().unwrap_or_default(),
            org_code: self.org_code.as_deref(),
            user_id: self.user_id.as_deref(),
            key_id: self.key_id.as_deref().unwrap_or_default(),
            scopes: self.scopes.as_deref().unwrap_or_default(),
            route: self.route.as_deref().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DECISION, metadata};
    use super::*;

    const ID: &str = DECISION;

    #[test]
    fn the_metadata_of_a_check_is_read() {
        let read = Context::read(Some(&metadata(&[
            ("decision_id", ID),
            ("outcome", "allow"),
            ("route", "chat"),
            ("guard", "ai"),
            ("context_owner", "org:org_acme"),
            ("org_code", "org_acme"),
            ("key_id", "api_key_1"),
            ("scopes", "a b"),
        ])));
        let expected = Context {
            decision_id: ID.into(),
            allowed: true,
            route: Some("chat".into()),
            guard: Some("ai".into()),
            owner: Some("org:org_acme".into()),
            org_code: Some("org_acme".into()),
            user_id: None,
            key_id: Some("api_key_1".into()),
            scopes: Some("a b".into()),
        };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn what_no_check_of_latchkey_wrote_is_no_context() {
        assert_eq!(Context::read(None), None);
        assert_eq!(Context::read(Some(&Metadata::default())), None);
        for fields in [
            &[][..],
            &[("outcome", "allow")],
            &[("decision_id", ID)],
            &[("decision_id", "short"), ("outcome", "allow")],
            &[("decision_id", ID), ("outcome", "perhaps")],
            &[("decision_id", &DECISION.replace('a', "g")), ("outcome", "allow")],
        ] {
            assert_eq!(Context::read(Some(&metadata(fields))), None, "{fields:?}");
        }
    }

    #[test]
    fn a_guard_that_is_no_text_is_no_unguarded_request() {
        let mut metadata = metadata(&[("decision_id", ID), ("outcome", "allow")]);
        let fields = &mut metadata.filter_metadata.get_mut(NAMESPACE).unwrap().fields;
        let number = prost_types::Value {
            kind: Some(Kind::NumberValue(1.0)),
        };
        fields.insert("guard".into(), number);
        assert_eq!(Context::read(Some(&metadata)), None);
    }
}
