//! Compiles `proto/generation.proto`, for the client and the fake worker that speak it.

use std::error::Error;

const PROTO: &str = "../proto/generation.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed=build.rs");
    let files = protox::compile([PROTO], ["../proto"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
