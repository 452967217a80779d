//! Compiles `proto/inference.proto`: to Rust types, and to the descriptor that server
//! reflection shows.

use std::{env, error::Error, fs, path::Path};

use protox::prost::Message;

const PROTO: &str = "../../proto/inference.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;

    let mut files = protox::compile([PROTO], ["../../proto"])?;
    prost_build::Config::new()
        // Maps are written in one order, so that equal messages are equal bytes.
        .btree_map(["."])
        .compile_fds(files.clone())?;

    // Comments and positions are half of a descriptor, and no client asks for them.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(
        Path::new(&out).join("inference.descriptor"),
        files.encode_to_vec(),
    )?;
    Ok(())
}
