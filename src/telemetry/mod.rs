//! Logs and metrics.
//!
//! Nothing that a caller sent becomes a label, and nothing that a caller sent reaches a log line unescaped. Each room keeps its own
//! numbers and has a `register(&self, &mut Registry)`; the composition root collects them in one [`Registry`].

mod checks;
mod family;
pub mod logs;
mod process;
mod traces;

pub use checks::{CheckMetrics, PolicyCounters};
pub(crate) use family::family;
pub use logs::LogLevel;
pub use process::{ProcessMetrics, render};
pub use prometheus_client::registry::Registry;
pub use traces::{Ended, Trace, Traces};
