//! Generates the CSI messages and services from the vendored `proto/csi.proto`, with no protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(5).ok_or("no repository above")?;
    let proto = repository.join("proto");
    println!("cargo::rerun-if-changed={}", proto.join("csi.proto").display());
    let files = protox::compile(["csi.proto"], [&proto])?;
    // A driver here serves few RPCs; the others answer UNIMPLEMENTED.
    tonic_prost_build::configure().generate_default_stubs(true).compile_fds(files)?;
    Ok(())
}
