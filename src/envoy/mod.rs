//! What Envoy speaks: the check service with its wire format, and the external processor.
//!
//! [`CheckLayer`] answers `Check` in front of tonic's router. It reads the request through [`CheckView`], which copies
//! nothing, asks the [authorizer](crate::authorizer), and writes the answer with a writer of its own. The messages that prost
//! made of `proto/` are the oracle of the tests for both.

mod access_log;
mod answer;
mod ask;
mod authorization;
mod codec;
mod external_processor;
pub mod messages;

pub use access_log::AccessLogService;
pub use answer::write as write_answer;
pub use ask::Question;
pub use authorization::{AUTHORIZATION_SERVICE, CheckLayer, CheckService};
pub use codec::{CheckView, Malformed};
pub use external_processor::{EXTERNAL_PROCESSOR_SERVICE, ExternalProcessorServer, GuardMetrics, Processor};

/// Encoded `google.protobuf.FileDescriptorSet` of everything in `proto/` and what it imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
