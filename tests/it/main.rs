//! Tests from the outside.

mod attack;
mod conformance;
mod e2e_abuse;
mod e2e_chain;
mod e2e_check;
mod e2e_client;
mod e2e_fault;
mod e2e_guard;
mod e2e_guard_faults;
mod e2e_guard_rules;
mod e2e_guard_streams;
mod e2e_keys;
mod e2e_reload;
mod e2e_remote;
mod e2e_serve;
mod e2e_shapes;
mod e2e_store;
mod e2e_tls;
mod e2e_traces;
mod e2e_usage;
mod explain;
mod guard;
mod management;
mod sdk;
mod support;
