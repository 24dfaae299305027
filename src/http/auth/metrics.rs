//! What is told of those who call the management API.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::AuthError;

type Label = (&'static str, &'static str);

/// Bearers, and requests for tokens, by what came of them.
#[derive(Clone, Debug, Default)]
pub(super) struct AuthMetrics {
    bearers: Family<[Label; 1], Counter>,
    token_requests: Family<[Label; 1], Counter>,
}

impl AuthMetrics {
    /// Adds `latchkey_management_bearers_total` and `latchkey_token_requests_total`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_management_bearers",
            "Bearers that were shown to the management API, by what they are",
            self.bearers.clone(),
        );
        registry.register(
            "latchkey_token_requests",
            "Requests of machine clients for a token, by what came of them",
            self.token_requests.clone(),
        );
    }

    /// `Ok`: what kind of bearer it is.
    pub(super) fn shown(&self, found: Result<&'static str, AuthError>) {
        let result = match found {
            Ok(kind) => kind,
            Err(AuthError::Malformed) => "malformed",
            Err(AuthError::Invalid) => "invalid",
            Err(AuthError::Unavailable { .. }) => "unavailable",
        };
        self.bearers.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn requested(&self, result: &'static str) {
        self.token_requests.get_or_create(&[("result", result)]).inc();
    }
}
