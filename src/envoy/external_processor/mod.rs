//! Envoy's external processor: what goes into an AI backend, and what comes out of it, passes by here.
//!
//! Envoy opens a stream for each request. An [`Exchange`](exchange::Exchange) answers its messages one by one; `server` drives
//! it. Where a route has no guard, the first answer is the last one, and no body ever leaves Envoy.
//!
//! Who asks, by which route and under which guard is known from the check's metadata alone ([`Context`](context::Context)). A
//! request without it is refused: it is not unguarded, it is unknown.

mod context;
mod exchange;
mod fault;
mod findings;
mod headers;
mod metrics;
mod reply;
mod server;
#[cfg(test)]
mod testing;
mod traced;
mod wire;

pub use metrics::GuardMetrics;
pub use server::{EXTERNAL_PROCESSOR_SERVICE, Processor};
pub use wire::external_processor_server::ExternalProcessorServer;
