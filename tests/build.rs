//! Compiles the messages that clients and fake workers here speak.

use std::error::Error;

const PROTOS: [&str; 2] = ["../proto/generation.proto", "../proto/inference.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo::rerun-if-changed={proto}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let files = protox::compile(PROTOS, ["../proto"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
