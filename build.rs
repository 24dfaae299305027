//! Compiles `proto/` with protox, so that no protoc is needed: messages by prost, and the descriptors for reflection and for
//! the conformance test. No service is generated: `envoy::authorization` answers Check itself.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const SERVICES: [&str; 1] = ["envoy/service/auth/v3/external_auth.proto"];

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
        .compile_fds(descriptors.clone())?;

    // Comments and positions are of no use to a client of reflection.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
