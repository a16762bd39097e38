//! Failing on demand, as the parameters of a request ask for.

use std::collections::HashMap;
use std::future::pending;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::driver::NAME;

const PREFIX: &str = "asked to fail: ";

/// google.rpc.Status, which goes with a gRPC status as its details.
#[derive(Clone, PartialEq, Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// google.rpc.ErrorInfo, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// Tells on standard output that a call was given up by its caller.
struct GivenUp;

impl Drop for GivenUp {
    fn drop(&mut self) {
        println!("given up");
    }
}

/// `hang` waits until the caller gives up; `fail_code`, a number, fails with a message of `message_bytes` and
/// with an ErrorInfo.
pub async fn asked_for(parameters: &HashMap<String, String>) -> Result<(), Status> {
    if parameters.contains_key("hang") {
        let _told = GivenUp;
        println!("hanging");
        return pending().await;
    }
    let Some(code) = number(parameters, "fail_code") else {
        return Ok(());
    };
    let size = number(parameters, "message_bytes").and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let message = format!("{PREFIX}{}", "x".repeat(size.saturating_sub(PREFIX.len())));
    let info = ErrorInfo { reason: "ASKED_TO_FAIL".into(), domain: NAME.into() };
    let packed = Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(), value: info.encode_to_vec() };
    let details = RichStatus { code, message: message.clone(), details: vec![packed] }.encode_to_vec();
    Err(Status::with_details(Code::from_i32(code), message, details.into()))
}

fn number(parameters: &HashMap<String, String>, key: &str) -> Option<i32> {
    parameters.get(key)?.parse().ok()
}
