//! What a decision reads of a request: a view that borrows, so that no gRPC or HTTP type comes in here.

use std::net::IpAddr;

/// A request as Envoy described it. All bytes are the caller's and may be anything.
pub trait RequestView {
    /// The method, such as `POST`.
    fn method(&self) -> &[u8];

    /// The request target with its query, exactly as Envoy has it (`:path`).
    fn target(&self) -> &[u8];

    /// Whether [`target`](Self::target) is known to be the caller's very bytes. Unless Envoy is told to encode raw headers, it puts
    /// `!` for every byte that is not UTF-8, and sends on the byte itself.
    fn is_target_exact(&self) -> bool;

    /// The host (`:authority` or `Host`).
    fn host(&self) -> &[u8];

    /// The headers, names in lower case as Envoy gives them; the same name may come more than once. Pseudo headers may be
    /// among them.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The direct TCP peer of Envoy (`source.address`), if it is an IP address.
    fn peer_address(&self) -> Option<IpAddr>;
}
