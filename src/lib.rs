//! Latchkey: API-key authorization for AI APIs behind Envoy.
//!
//! The rooms of this crate, and the way of one request through them, are described in `ARCHITECTURE.md`.

pub mod authorizer;
pub mod cases;
pub mod cli;
pub mod config;
pub mod decision;
pub mod envoy;
pub mod explain;
pub mod guard;
pub mod http;
pub mod keys;
pub mod limits;
pub mod lint;
pub mod outbound;
pub mod server;
pub mod telemetry;
pub mod usage;
