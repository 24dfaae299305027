//! The messages of `proto/`, as prost makes them.
//!
//! Not on a request's way, which has a reader and a writer of its own; tests hold these against them, and clients use them.

#![expect(missing_docs, reason = "generated; what needs words has them in proto/")]

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
