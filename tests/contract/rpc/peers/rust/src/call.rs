//! A client that walks through a driver's calls and prints what became of them.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::csi::controller_client::ControllerClient;
use crate::csi::identity_client::IdentityClient;
use crate::csi::plugin_capability::{self, service};
use crate::csi::snapshot_metadata_client::SnapshotMetadataClient;
use crate::csi::volume_capability::{AccessMode, AccessType, MountVolume, access_mode};
use crate::csi::*;

const CALL_LIMIT: Duration = Duration::from_secs(10);
const SHORT_LIMIT: Duration = Duration::from_millis(300);
const MIB: i64 = 1 << 20;

/// The outcomes by the name of the step: code and message of the status, and what the answer said.
#[derive(Default)]
struct Walk(Map<String, Value>);

impl Walk {
    async fn step(&mut self, name: &str, call: impl Future<Output = Result<Value, Status>>) -> Value {
        let (code, message, answer) = match call.await {
            Ok(answer) => (0, String::new(), answer),
            Err(status) => (i32::from(status.code()), status.message().to_owned(), Value::Null),
        };
        self.0.insert(name.to_owned(), json!({"code": code, "message": message, "answer": answer}));
        answer
    }
}

/// A request with a deadline, which also goes to the driver.
fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

pub async fn call(socket: &str) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::from_shared(format!("unix://{socket}"))?.connect().await?;
    let mut walk = Walk::default();
    identity(&mut walk, IdentityClient::new(channel.clone())).await;
    controller(&mut walk, ControllerClient::new(channel.clone())).await;
    stream(&mut walk, SnapshotMetadataClient::new(channel)).await;
    println!("{}", Value::Object(walk.0));
    Ok(())
}

async fn identity(walk: &mut Walk, mut client: IdentityClient<Channel>) {
    let mut other = client.clone();
    walk.step("Probe", async { Ok(json!(client.probe(within(CALL_LIMIT, ProbeRequest {})).await?.get_ref().ready)) })
        .await;
    walk.step("GetPluginInfo", async {
        Ok(json!(client.get_plugin_info(within(CALL_LIMIT, GetPluginInfoRequest {})).await?.into_inner().name))
    })
    .await;
    walk.step("GetPluginCapabilities", async {
        let request = within(CALL_LIMIT, GetPluginCapabilitiesRequest {});
        let capabilities = other.get_plugin_capabilities(request).await?.into_inner().capabilities;
        let mut names: Vec<&str> = capabilities.iter().filter_map(service_name).collect();
        names.sort_unstable();
        Ok(json!(names))
    })
    .await;
}

fn service_name(capability: &PluginCapability) -> Option<&'static str> {
    match &capability.r#type {
        Some(plugin_capability::Type::Service(offered)) => {
            service::Type::try_from(offered.r#type).ok().map(|kind| kind.as_str_name())
        }
        _ => None,
    }
}

fn new_volume(name: &str, size_bytes: i64) -> Request<CreateVolumeRequest> {
    let capability = VolumeCapability {
        access_mode: Some(AccessMode { mode: access_mode::Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    };
    let range = CapacityRange { required_bytes: size_bytes, limit_bytes: size_bytes };
    within(
        CALL_LIMIT,
        CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(range),
            volume_capabilities: vec![capability],
            ..CreateVolumeRequest::default()
        },
    )
}

async fn controller(walk: &mut Walk, mut client: ControllerClient<Channel>) {
    let mut volume_id = String::new();
    for (step, name, size_bytes) in [
        ("CreateVolume", "from-peer", 8 * MIB),
        ("CreateVolume again", "from-peer", 8 * MIB),
        ("CreateVolume larger", "from-peer", 16 * MIB),
        ("CreateVolume nameless", "", 8 * MIB),
    ] {
        let answer = walk
            .step(step, async {
                let volume = client.create_volume(new_volume(name, size_bytes)).await?.into_inner().volume;
                let volume = volume.ok_or_else(|| Status::data_loss("no volume in the answer"))?;
                Ok(json!({"volume_id": volume.volume_id, "capacity_bytes": volume.capacity_bytes}))
            })
            .await;
        if step == "CreateVolume" {
            volume_id = answer["volume_id"].as_str().unwrap_or_default().to_owned();
        }
    }
    walk.step("ListVolumes", async {
        let entries =
            client.list_volumes(within(CALL_LIMIT, ListVolumesRequest::default())).await?.into_inner().entries;
        let ids = entries.into_iter().filter_map(|entry| entry.volume).map(|volume| volume.volume_id);
        Ok(json!(ids.collect::<Vec<_>>()))
    })
    .await;
    for (step, volume_id, limit) in [
        ("DeleteVolume", volume_id.as_str(), CALL_LIMIT),
        ("DeleteVolume again", volume_id.as_str(), CALL_LIMIT),
        ("DeleteVolume slow", "slow", SHORT_LIMIT),
    ] {
        let request = DeleteVolumeRequest { volume_id: volume_id.into(), ..DeleteVolumeRequest::default() };
        walk.step(step, async {
            client.delete_volume(within(limit, request)).await?;
            Ok(Value::Null)
        })
        .await;
    }
}

async fn stream(walk: &mut Walk, mut client: SnapshotMetadataClient<Channel>) {
    walk.step("GetMetadataAllocated", async {
        let request = GetMetadataAllocatedRequest { snapshot_id: "monday".into(), ..Default::default() };
        let mut answers = client.get_metadata_allocated(within(CALL_LIMIT, request)).await?.into_inner();
        let (mut messages, mut blocks) = (0, 0);
        while let Some(answer) = answers.message().await? {
            messages += 1;
            blocks += answer.block_metadata.len();
        }
        Ok(json!({"messages": messages, "blocks": blocks}))
    })
    .await;
}
