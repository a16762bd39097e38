//! A CSI driver and a CSI client made with tonic, for Moorage's contract tests.
//!
//!     peer serve SOCKET   a tiny driver; it ends when its standard input is closed
//!     peer call SOCKET    a client that walks through a driver's calls and prints the outcomes as JSON

mod call;
mod driver;
mod failure;
mod metadata;

/// The messages and services of csi.proto.
#[allow(clippy::all, rustdoc::all)]
mod csi {
    tonic::include_proto!("csi.v1");
}

use std::error::Error;
use std::process::ExitCode;

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use csi::controller_server::ControllerServer;
use csi::identity_server::IdentityServer;
use csi::snapshot_metadata_server::SnapshotMetadataServer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", socket] => serve(socket).await,
        ["call", socket] => call::call(socket).await,
        _ => Err("use: peer serve SOCKET | peer call SOCKET".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers on the socket until standard input ends, as it does when the test dies. Says "ready" once it listens.
async fn serve(socket: &str) -> Result<(), Box<dyn Error>> {
    let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
    let driver = driver::Driver::default();
    let served = Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(ControllerServer::new(driver))
        .add_service(SnapshotMetadataServer::new(metadata::Blocks))
        .serve_with_incoming(connections);
    println!("ready");
    tokio::select! {
        ended = served => Ok(ended?),
        _ = input_ends() => Ok(()),
    }
}

async fn input_ends() {
    let mut input = tokio::io::stdin();
    let mut buffer = [0u8; 64];
    while matches!(input.read(&mut buffer).await, Ok(1..)) {}
}
