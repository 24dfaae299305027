//! Calls that Latchkey makes to other servers: how they are made, bounded, tried again, and given up for a while.
//!
//! Everything remote goes through an [`Endpoint`]. A call has a deadline and an answer a size; redirects are not followed,
//! proxies of the environment not used, and TLS is verified against the system's authorities or one file. A call is made
//! again once where that is safe, and a [`Breaker`] spares an endpoint that keeps failing, and those who would wait for it.
//!
//! URLs come from the operator's configuration only, which has checked that they are https, or loopback.

mod breaker;
mod client;
mod endpoint;
mod error;
mod metrics;

pub use breaker::{Breaker, Permit};
pub use client::{ClientError, client};
pub use endpoint::{Answer, Endpoint};
pub use error::CallError;
pub use metrics::RemoteMetrics;
