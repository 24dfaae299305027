//! What one pass over the headers found: facts that the answer needs whatever the decision is.

use std::net::IpAddr;

/// Facts of a request. Borrowed from it; nothing here was echoed or escaped yet.
#[derive(Debug, Default)]
pub struct Facts<'r> {
    /// `x-request-id`, only if it came once and is `[A-Za-z0-9._-]{1,64}`.
    pub request_id: Option<&'r str>,
    /// The content type is `application/grpc` or one of its kinds.
    pub is_grpc: bool,
    /// The address of the caller, as the setting `client_address` says; an IPv4 address mapped into IPv6 is IPv4.
    pub client_address: Option<IpAddr>,
    /// The request asks for another protocol: `Upgrade` (RFC 9110 §7.8) or an extended CONNECT (RFC 8441).
    pub upgrade: bool,
    /// Incoming names that must not reach the backend: credentials, strip headers that were sent, and every incoming name
    /// that equals a tenant header or a strip header once separators are read as `-`. In lower case, no name twice. A tenant
    /// header's own spelling is not among them: the answer sets or removes each of those.
    pub remove: Vec<&'r [u8]>,
    /// Envoy showed a chosen list of headers only, so what was not shown has to be removed blindly: add
    /// [`Policy::blind_removals`](super::Policy::blind_removals).
    pub shows_chosen_headers_only: bool,
    /// The target without a credential in its query, byte for byte otherwise; `None` when there is nothing to cut.
    pub new_target: Option<Vec<u8>>,
}
