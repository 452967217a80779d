//! Compiles `proto/caikit/*.proto`: to Rust types, and to the descriptors that server
//! reflection shows.

use std::{env, error::Error, fs, path::Path};

use protox::prost::Message;

const FOLDER: &str = "../../proto";
const SERVICES: [&str; 2] = ["caikit/nlp_service.proto", "caikit/info_service.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}/caikit");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;

    let mut files = protox::compile(SERVICES, [FOLDER])?;
    prost_build::Config::new()
        // In order: equal messages are equal bytes.
        .btree_map(["."])
        .include_file("packages.rs")
        .compile_fds(files.clone())?;

    // Comments and positions are half of a descriptor, and no client asks for them.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(
        Path::new(&out).join("caikit.descriptor"),
        files.encode_to_vec(),
    )?;
    Ok(())
}
