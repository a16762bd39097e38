"""Node, CSINode and Pod. Source: the Kubernetes API reference, v1 and storage.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moorage.kube.objects.claims import ClaimSpec
from moorage.kube.objects.meta import EMPTY, ApiStruct, Condition, ObjectMeta

__all__ = [
    "AttachedVolume",
    "ClaimTemplate",
    "ContainerStatus",
    "CsiNode",
    "CsiNodeDriver",
    "CsiNodeSpec",
    "EphemeralVolumeSource",
    "InlineCsiVolumeSource",
    "Node",
    "NodeSpec",
    "NodeStatus",
    "Pod",
    "PodClaimSource",
    "PodSpec",
    "PodStatus",
    "PodVolume",
    "Taint",
    "VolumeNodeResources",
]


class Taint(ApiStruct, frozen=True):
    """What keeps pods away from a node."""

    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(ApiStruct, frozen=True):
    """What an administrator wants of the node."""

    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class AttachedVolume(ApiStruct, frozen=True):
    """A volume that the attach-detach controller believes to be attached."""

    name: str = ""
    device_path: str = ""


class NodeStatus(ApiStruct, frozen=True):
    """What the kubelet and the attach-detach controller say."""

    conditions: tuple[Condition, ...] = ()
    volumes_in_use: tuple[str, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()


class Node(ApiStruct, frozen=True):
    """A machine that runs pods."""

    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class VolumeNodeResources(ApiStruct, frozen=True):
    """How many volumes fit; None is no limit."""

    count: int | None = None


class CsiNodeDriver(ApiStruct, frozen=True):
    """A driver on a node, under which id the driver knows that node, and its topology keys."""

    name: str = ""
    node_id: str = msgspec.field(default="", name="nodeID")
    topology_keys: tuple[str, ...] | None = None
    allocatable: VolumeNodeResources | None = None


class CsiNodeSpec(ApiStruct, frozen=True):
    """The drivers of a node; the server writes null when there are none."""

    drivers: tuple[CsiNodeDriver, ...] | None = ()


class CsiNode(ApiStruct, frozen=True):
    """Which drivers are registered at a node; has the node's name."""

    metadata: ObjectMeta = ObjectMeta()
    spec: CsiNodeSpec = CsiNodeSpec()


class PodClaimSource(ApiStruct, frozen=True):
    """A claim in the namespace of the pod."""

    claim_name: str = ""
    read_only: bool = False


class ClaimTemplate(ApiStruct, frozen=True):
    """The claim that is made for the pod."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ClaimSpec = ClaimSpec()


class EphemeralVolumeSource(ApiStruct, frozen=True):
    """A volume with the life of the pod; its claim is named POD-VOLUME."""

    volume_claim_template: ClaimTemplate | None = None


class InlineCsiVolumeSource(ApiStruct, frozen=True):
    """A volume that a driver makes at publish."""

    driver: str = ""
    read_only: bool | None = None
    fs_type: str | None = None
    volume_attributes: Mapping[str, str] = EMPTY


class PodVolume(ApiStruct, frozen=True):
    """A volume of a pod; of its sources only those with storage behind them are read."""

    name: str = ""
    persistent_volume_claim: PodClaimSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    csi: InlineCsiVolumeSource | None = None


class PodSpec(ApiStruct, frozen=True):
    """Where the pod runs and what it mounts."""

    node_name: str = ""
    service_account_name: str = ""
    scheduler_name: str = ""
    volumes: tuple[PodVolume, ...] = ()


class ContainerStatus(ApiStruct, frozen=True):
    """Whether a container is up."""

    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0


class PodStatus(ApiStruct, frozen=True):
    """`phase` is Pending, Running, Succeeded, Failed or Unknown."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(ApiStruct, frozen=True):
    """Containers that run together on a node."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
