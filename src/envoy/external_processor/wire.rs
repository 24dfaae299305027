//! Names of the messages, and the server that `build.rs` makes.

pub(super) use crate::envoy::messages::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
pub(super) use crate::envoy::messages::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{
    BodySendMode, HeaderSendMode,
};
pub(super) use crate::envoy::messages::envoy::service::ext_proc::v3::processing_request::Request;
pub(super) use crate::envoy::messages::envoy::service::ext_proc::v3::processing_response::Response;
pub(super) use crate::envoy::messages::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse,
};
pub(super) use generated::external_processor_server;

mod generated {
    #![expect(unreachable_pub, reason = "generated")]

    include!(concat!(
        env!("OUT_DIR"),
        "/envoy.service.ext_proc.v3.ExternalProcessor.rs"
    ));
}
