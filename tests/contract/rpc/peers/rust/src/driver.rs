//! Identity and Controller of a driver that keeps its volumes in memory, by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::{Request, Response, Status};

use crate::csi::controller_server::Controller;
use crate::csi::controller_service_capability::{self, rpc};
use crate::csi::identity_server::Identity;
use crate::csi::plugin_capability::{self, service};
use crate::csi::*;
use crate::failure;

pub const NAME: &str = "rust.peer.example.com";

#[derive(Clone, Default)]
pub struct Driver {
    volumes: Arc<Mutex<BTreeMap<String, Volume>>>,
}

impl Driver {
    fn volumes(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: NAME.into(),
            vendor_version: "1.0.0".into(),
            manifest: HashMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let kinds = [service::Type::ControllerService, service::Type::SnapshotMetadataService];
        let capabilities = kinds
            .map(|kind| PluginCapability {
                r#type: Some(plugin_capability::Type::Service(plugin_capability::Service { r#type: kind.into() })),
            })
            .to_vec();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}

#[tonic::async_trait]
impl Controller for Driver {
    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let kinds = [rpc::Type::CreateDeleteVolume, rpc::Type::ListVolumes];
        let capabilities = kinds
            .map(|kind| ControllerServiceCapability {
                r#type: Some(controller_service_capability::Type::Rpc(controller_service_capability::Rpc {
                    r#type: kind.into(),
                })),
            })
            .to_vec();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        failure::asked_for(&request.parameters).await?;
        let size = request.capacity_range.map_or(0, |range| range.required_bytes);
        let mut volumes = self.volumes();
        let volume = volumes.entry(request.name.clone()).or_insert_with(|| Volume {
            volume_id: format!("rust-{}", request.name),
            capacity_bytes: size,
            volume_context: request.parameters,
            ..Volume::default()
        });
        if volume.capacity_bytes != size {
            return Err(Status::already_exists(format!("{:?} has {} bytes", request.name, volume.capacity_bytes)));
        }
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume.clone()) }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        self.volumes().remove(request.get_ref().volume_id.trim_start_matches("rust-"));
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let ListVolumesRequest { max_entries, starting_token } = request.into_inner();
        let most = usize::try_from(max_entries).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
        let volumes = self.volumes();
        let mut rest = volumes.range(starting_token..);
        let entries = rest
            .by_ref()
            .take(most)
            .map(|(_, volume)| list_volumes_response::Entry { volume: Some(volume.clone()), status: None })
            .collect();
        let next_token = rest.next().map(|(name, _)| name.clone()).unwrap_or_default();
        Ok(Response::new(ListVolumesResponse { entries, next_token }))
    }
}
