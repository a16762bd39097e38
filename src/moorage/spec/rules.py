"""The rules table: one row for each RPC of the CSI specification.

What the descriptors say is read from them: services, paths, message classes, streaming, alpha marks,
secrets; required fields come from `moorage.proto.required`, which is generated from the proto's comments.
Written here by hand, once, is what stands only in the prose: which capability opens an RPC, which status
codes its error table lists, and how long things may be. Server-side validation and the conformance suite
read the same table. It holds data and no behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from moorage.proto import csi_pb2
from moorage.proto.required import REQUIRED_FIELDS
from moorage.spec.convert import struct_class_of
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, GroupControllerCapability, NodeCapability

Service = Literal["Identity", "Controller", "GroupController", "SnapshotMetadata", "Node"]
Capability = ControllerCapability | GroupControllerCapability | NodeCapability

SERVICES: Final[tuple[Service, ...]] = (
    "Identity",
    "Controller",
    "GroupController",
    "SnapshotMetadata",
    "Node",
)

STRING_LIMIT_BYTES: Final = 128
"""Every string that has no limit of its own (spec, "Size Limits"); in UTF-8 bytes, not characters."""
MAP_LIMIT_BYTES: Final = 4096
"""All keys and values of a `map<string, string>` together."""
NODE_ID_LIMIT_BYTES: Final = 256
MOUNT_FLAGS_LIMIT_BYTES: Final = 4096
"""All mount flags of one capability together."""
DRIVER_NAME_LIMIT: Final = 63
PATH_LEAST_LIMIT_BYTES: Final = 128
"""Paths have no limit but the system's; at least this much must be accepted."""

SHARED_CODES: Final = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.PERMISSION_DENIED,
        Code.ABORTED,
        Code.UNIMPLEMENTED,
        Code.UNAUTHENTICATED,
    }
)
"""What every RPC may answer (spec, "Error Scheme")."""

_GATES: Final[Mapping[str, tuple[Capability, ...]]] = {
    "CreateVolume": (ControllerCapability.CREATE_DELETE_VOLUME,),
    "DeleteVolume": (ControllerCapability.CREATE_DELETE_VOLUME,),
    "ControllerPublishVolume": (ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,),
    "ControllerUnpublishVolume": (ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,),
    "ListVolumes": (ControllerCapability.LIST_VOLUMES,),
    "ControllerListVolumeHealth": (ControllerCapability.LIST_VOLUME_HEALTH,),
    "ControllerGetVolumeHealth": (ControllerCapability.GET_VOLUME_HEALTH,),
    "ControllerGetVolume": (ControllerCapability.GET_VOLUME,),
    "ControllerModifyVolume": (ControllerCapability.MODIFY_VOLUME,),
    "GetCapacity": (ControllerCapability.GET_CAPACITY,),
    "CreateSnapshot": (ControllerCapability.CREATE_DELETE_SNAPSHOT,),
    "DeleteSnapshot": (ControllerCapability.CREATE_DELETE_SNAPSHOT,),
    "ListSnapshots": (ControllerCapability.LIST_SNAPSHOTS,),
    "GetSnapshot": (ControllerCapability.GET_SNAPSHOT,),
    "ControllerExpandVolume": (ControllerCapability.EXPAND_VOLUME,),
    "CreateVolumeGroupSnapshot": (GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,),
    "DeleteVolumeGroupSnapshot": (GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,),
    "GetVolumeGroupSnapshot": (GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,),
    "NodeStageVolume": (NodeCapability.STAGE_UNSTAGE_VOLUME,),
    "NodeUnstageVolume": (NodeCapability.STAGE_UNSTAGE_VOLUME,),
    "NodeGetVolumeStats": (NodeCapability.GET_VOLUME_STATS, NodeCapability.VOLUME_CONDITION),
    "NodeExpandVolume": (NodeCapability.EXPAND_VOLUME,),
    "NodeGetVolumeHealth": (NodeCapability.GET_VOLUME_HEALTH,),
    "NodeGetStorageHealth": (NodeCapability.GET_STORAGE_HEALTH,),
}

_CODES: Final[Mapping[str, str]] = {
    "Probe": "FAILED_PRECONDITION",
    "CreateVolume": "INVALID_ARGUMENT NOT_FOUND ALREADY_EXISTS RESOURCE_EXHAUSTED OUT_OF_RANGE",
    "DeleteVolume": "FAILED_PRECONDITION",
    "ControllerPublishVolume": "NOT_FOUND ALREADY_EXISTS FAILED_PRECONDITION RESOURCE_EXHAUSTED",
    "ControllerUnpublishVolume": "NOT_FOUND",
    "ValidateVolumeCapabilities": "NOT_FOUND",
    "ListVolumes": "ABORTED",
    "ControllerListVolumeHealth": "ABORTED",
    "ControllerGetVolumeHealth": "NOT_FOUND",
    "ControllerGetVolume": "NOT_FOUND",
    "ControllerModifyVolume": "INVALID_ARGUMENT NOT_FOUND",
    "CreateSnapshot": "ALREADY_EXISTS ABORTED RESOURCE_EXHAUSTED NOT_FOUND",
    "DeleteSnapshot": "INVALID_ARGUMENT FAILED_PRECONDITION ABORTED",
    "ListSnapshots": "ABORTED",
    "GetSnapshot": "NOT_FOUND",
    "ControllerExpandVolume": "INVALID_ARGUMENT NOT_FOUND FAILED_PRECONDITION OUT_OF_RANGE",
    "CreateVolumeGroupSnapshot": "ALREADY_EXISTS FAILED_PRECONDITION ABORTED RESOURCE_EXHAUSTED NOT_FOUND",
    "DeleteVolumeGroupSnapshot": "INVALID_ARGUMENT FAILED_PRECONDITION",
    "GetVolumeGroupSnapshot": "INVALID_ARGUMENT NOT_FOUND",
    "GetMetadataAllocated": "INVALID_ARGUMENT NOT_FOUND OUT_OF_RANGE",
    "GetMetadataDelta": "INVALID_ARGUMENT NOT_FOUND FAILED_PRECONDITION OUT_OF_RANGE",
    "NodeStageVolume": "NOT_FOUND ALREADY_EXISTS FAILED_PRECONDITION",
    "NodeUnstageVolume": "NOT_FOUND",
    "NodePublishVolume": "NOT_FOUND ALREADY_EXISTS FAILED_PRECONDITION",
    "NodeUnpublishVolume": "NOT_FOUND",
    "NodeGetVolumeStats": "NOT_FOUND",
    "NodeGetVolumeHealth": "NOT_FOUND",
    "NodeExpandVolume": "INVALID_ARGUMENT NOT_FOUND FAILED_PRECONDITION OUT_OF_RANGE",
}
"""The error tables. NOT_FOUND for the source of a snapshot is not printed there, yet every driver uses it."""

_UNDETECTABLE: Final = frozenset({"readonly", "starting_offset"})
"""Required fields of kinds that proto3 cannot tell from unset ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """What the specification says about one RPC. Field names are those of its request.

    `gate` lists the capabilities of which one must be declared; empty means always, where the service is
    served. `required` leaves out what proto3 cannot tell from unset. `codes` are those of the RPC's own
    error table; `SHARED_CODES` come on top of them.
    """

    name: str
    service: Service
    path: str
    request: type[Struct]
    response: type[Struct]
    request_proto: type[Message]
    response_proto: type[Message]
    streaming: bool
    alpha: bool
    gate: tuple[Capability, ...]
    required: tuple[str, ...]
    secret_fields: tuple[str, ...]
    name_fields: tuple[str, ...]
    id_fields: tuple[str, ...]
    node_id_fields: tuple[str, ...]
    path_fields: tuple[str, ...]
    codes: frozenset[Code]

    @property
    def listed_codes(self) -> frozenset[Code]:
        """Every code that the specification lists for this RPC, its own and the shared ones."""
        return self.codes | SHARED_CODES


def _rpc(method: MethodDescriptor) -> Rpc:
    request, response = method.input_type, method.output_type
    service: Any = method.containing_service
    fields = [field.name for field in request.fields]
    alpha = method.GetOptions().Extensions[csi_pb2.alpha_method]
    return Rpc(
        name=method.name,
        service=service.name,
        path=f"/{service.full_name}/{method.name}",
        request=struct_class_of(request),
        response=struct_class_of(response),
        request_proto=GetMessageClass(request),
        response_proto=GetMessageClass(response),
        streaming=method.server_streaming,
        alpha=alpha or service.GetOptions().Extensions[csi_pb2.alpha_service],
        gate=_GATES.get(method.name, ()),
        required=tuple(f for f in required_fields(request) if f not in _UNDETECTABLE),
        secret_fields=secret_fields(request),
        name_fields=tuple(name for name in fields if name == "name"),
        id_fields=_ending(fields, "_id", "_ids", but="node_id"),
        node_id_fields=tuple(name for name in fields if name == "node_id"),
        path_fields=_ending(fields, "_path"),
        codes=frozenset(Code[name] for name in _CODES.get(method.name, "").split()),
    )


def _ending(names: Iterable[str], *ends: str, but: str = "") -> tuple[str, ...]:
    return tuple(name for name in names if name.endswith(ends) and name != but)


def required_fields(descriptor: Descriptor) -> tuple[str, ...]:
    """The fields of a message that the specification calls REQUIRED, whatever their kind."""
    return REQUIRED_FIELDS.get(descriptor.full_name, ())


def secret_fields(descriptor: Descriptor) -> tuple[str, ...]:
    """The fields of a message that carry the `csi_secret` option."""
    return tuple(field.name for field in descriptor.fields if field.GetOptions().Extensions[csi_pb2.csi_secret])


RPCS: Final[Mapping[str, Rpc]] = MappingProxyType(
    {
        method.name: _rpc(method)
        for service in SERVICES
        for method in csi_pb2.DESCRIPTOR.services_by_name[service].methods
    }
)
"""Every RPC by name; names are unique over the services."""

BY_REQUEST: Final[Mapping[type[Struct], Rpc]] = MappingProxyType({rpc.request: rpc for rpc in RPCS.values()})
"""The RPC that a request belongs to."""
