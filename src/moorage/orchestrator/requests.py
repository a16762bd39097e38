"""The request of each step, made from the record of a volume. Pure: it reads no file and calls nothing."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from moorage.orchestrator.model import VolumeRecord
from moorage.orchestrator.plan import Step, stages
from moorage.spec.capabilities import Declared
from moorage.spec.messages import (
    ControllerExpandVolumeRequest,
    ControllerPublishVolumeRequest,
    ControllerUnpublishVolumeRequest,
    CreateVolumeRequest,
    DeleteVolumeRequest,
    NodeExpandVolumeRequest,
    NodePublishVolumeRequest,
    NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest,
    ProbeRequest,
)
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    ControllerCapability,
    PluginCapability,
    Secrets,
    Topology,
    TopologyRequirement,
)

READER_ONLY = frozenset({AccessMode.SINGLE_NODE_READER_ONLY, AccessMode.MULTI_NODE_READER_ONLY})


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What NodeGetInfo told about this machine; the empty value stands for a driver without that RPC."""

    node_id: str = ""
    topology: Topology | None = None


def request_for(volume: VolumeRecord, step: Step, *, declared: Declared, node: NodeFacts, secrets: Secrets) -> Struct:
    """The request that performs `step`. Raises ValueError for a step that is not about a volume."""
    match step.rpc:
        case "CreateVolume" | "DeleteVolume" | "ControllerExpandVolume":
            return _storage_request(volume, step, declared=declared, node=node, secrets=secrets)
        case "ControllerPublishVolume" | "ControllerUnpublishVolume":
            return _attach_request(volume, step, declared=declared, secrets=secrets)
        case "Probe":
            return ProbeRequest()
        case _:
            return _node_request(volume, step, declared=declared, secrets=secrets)


def _storage_request(
    volume: VolumeRecord, step: Step, *, declared: Declared, node: NodeFacts, secrets: Secrets
) -> Struct:
    if step.rpc == "DeleteVolume":
        return DeleteVolumeRequest(volume_id=volume.actual.volume_id, secrets=secrets)
    if step.rpc == "ControllerExpandVolume":
        return ControllerExpandVolumeRequest(
            volume_id=volume.actual.volume_id,
            capacity_range=CapacityRange(required_bytes=step.size_bytes),
            volume_capability=volume.capability,
            secrets=secrets,
        )
    return CreateVolumeRequest(
        name=volume.request_name,
        volume_capabilities=(volume.capability,),
        capacity_range=volume.capacity_range,
        parameters=volume.parameters,
        volume_content_source=volume.source,
        accessibility_requirements=_here(declared, node),
        secrets=secrets,
    )


def _here(declared: Declared, node: NodeFacts) -> TopologyRequirement | None:
    """One machine is all the orchestrator has: a volume must be reachable from it."""
    constrained = PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS in declared.plugin
    if not constrained or node.topology is None or not node.topology.segments:
        return None
    return TopologyRequirement(requisite=(node.topology,), preferred=(node.topology,))


def _attach_request(volume: VolumeRecord, step: Step, *, declared: Declared, secrets: Secrets) -> Struct:
    actual = volume.actual
    if step.rpc == "ControllerUnpublishVolume":
        return ControllerUnpublishVolumeRequest(volume_id=actual.volume_id, node_id=actual.node_id, secrets=secrets)
    can_be_readonly = ControllerCapability.PUBLISH_READONLY in declared.controller
    return ControllerPublishVolumeRequest(
        volume_id=actual.volume_id,
        node_id=actual.node_id,
        volume_capability=volume.capability,
        readonly=can_be_readonly and volume.capability.access_mode in READER_ONLY,
        volume_context=actual.volume_context,
        secrets=secrets,
    )


def _node_request(volume: VolumeRecord, step: Step, *, declared: Declared, secrets: Secrets) -> Struct:
    actual = volume.actual
    staging_path = actual.staging_path if stages(declared) else ""
    match step.rpc:
        case "NodeStageVolume":
            return NodeStageVolumeRequest(
                volume_id=actual.volume_id,
                staging_target_path=staging_path,
                volume_capability=volume.capability,
                publish_context=actual.publish_context,
                volume_context=actual.volume_context,
                secrets=secrets,
            )
        case "NodePublishVolume":
            return NodePublishVolumeRequest(
                volume_id=actual.volume_id,
                target_path=step.path,
                staging_target_path=staging_path,
                volume_capability=volume.capability,
                readonly=step.readonly,
                publish_context=actual.publish_context,
                volume_context=actual.volume_context,
                secrets=secrets,
            )
        case "NodeUnpublishVolume":
            return NodeUnpublishVolumeRequest(volume_id=actual.volume_id, target_path=step.path)
        case "NodeUnstageVolume":
            return NodeUnstageVolumeRequest(volume_id=actual.volume_id, staging_target_path=actual.staging_path)
        case "NodeExpandVolume":
            return NodeExpandVolumeRequest(
                volume_id=actual.volume_id,
                volume_path=volume_path(volume, declared),
                capacity_range=CapacityRange(required_bytes=step.size_bytes),
                staging_target_path=staging_path,
                volume_capability=volume.capability,
                secrets=secrets,
            )
    raise ValueError(f"{step.rpc} is not a step in the life of a volume")


def volume_path(volume: VolumeRecord, declared: Declared) -> str:
    """Where NodeExpandVolume finds the volume: staged file systems at the staging path, as kubelet does it.

    A block volume, and a volume that is not staged, is found where it is published.
    """
    actual = volume.actual
    published = next((m.path for m in actual.mounts if not m.readonly), None)
    published = published or next((m.path for m in actual.mounts), "")
    if stages(declared) and not (volume.capability.is_block and published):
        return actual.staging_path
    return published
