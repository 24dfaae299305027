//! Compiles `proto/` with protox, so that no protoc is needed: messages by prost, and the descriptors for reflection and for
//! the conformance test. Services are generated one by one: `envoy::authorization` answers Check itself.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use tonic_prost_build::manual;

const SERVICES: [&str; 3] = [
    "envoy/service/auth/v3/external_auth.proto",
    "envoy/service/ext_proc/v3/external_processor.proto",
    "envoy/service/accesslog/v3/als.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut descriptors = protox::compile(SERVICES, ["proto"])?;

    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .emit_rerun_if_changed(false)
        .include_file("messages.rs")
        // Sorted, so that a message encodes to the same bytes each time.
        .btree_map(".")
        // Bodies stay in the buffer that they arrived in.
        .bytes(".envoy.service.ext_proc")
        .compile_fds(descriptors.clone())?;

    // Comments and positions are of no use to a client of reflection.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;

    manual::Builder::new()
        .build_client(false)
        .compile(&[external_processor()]);
    Ok(())
}

/// The server of `ExternalProcessor`; the file is named after the service.
fn external_processor() -> manual::Service {
    let message = |name: &str| format!("crate::envoy::messages::envoy::service::ext_proc::v3::{name}");
    manual::Service::builder()
        .name("ExternalProcessor")
        .package("envoy.service.ext_proc.v3")
        .comment("One stream a request")
        .method(
            manual::Method::builder()
                .name("process")
                .route_name("Process")
                .comment("Sees one request and its response, and says what to make of them")
                .input_type(message("ProcessingRequest"))
                .output_type(message("ProcessingResponse"))
                .codec_path("tonic_prost::ProstCodec")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build()
}
