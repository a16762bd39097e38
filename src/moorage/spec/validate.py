"""Requests against the specification, in the order that orchestrators and csi-sanity rely on.

    gate (UNIMPLEMENTED) -> required fields -> values -> fields against capabilities (INVALID_ARGUMENT)

What needs the object itself (does it exist, is it compatible) comes after all this and elsewhere. Input is
judged tolerantly: an id is never refused for its form, and the size limits of the specification bind only
what a plugin sends (`moorage.spec.responses`), because real orchestrators exceed them. Nothing here does
I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from msgspec import Struct

from moorage.spec.capabilities import Declared, gate_open
from moorage.spec.errors import FailedPrecondition, InvalidArgument, OutOfRange, Unimplemented
from moorage.spec.messages import Confirmed, ValidateVolumeCapabilitiesResponse
from moorage.spec.names import banned_characters
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS, Rpc
from moorage.spec.topology import requirement_problem
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    ContentSource,
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    OpenEnum,
    PluginCapability,
    SnapshotSource,
    TopologyRequirement,
    VolumeCapability,
    VolumeSource,
)

__all__ = ["check_request", "is_ephemeral", "response_problems"]

NAME_REFUSED_BYTES: Final = 1024
"""Names up to eight times the specification's limit are taken; beyond that nobody means a name."""

PATH_REFUSED_BYTES: Final = 4095
"""Linux' limit for any path."""

CHECKED_BY_HANDLER: Final = frozenset(
    {("DeleteVolumeGroupSnapshot", "snapshot_ids"), ("GetVolumeGroupSnapshot", "snapshot_ids")}
)
"""Required fields that matter only when the object exists: csi-sanity leaves them out for unknown groups."""

ABSOLUTE_PATHS: Final = frozenset({"NodeStageVolume", "NodeUnstageVolume", "NodePublishVolume", "NodeUnpublishVolume"})
"""RPCs that refuse relative paths; the others answer NOT_FOUND for them, as csi-sanity wants."""

EPHEMERAL_KEY: Final = "csi.storage.k8s.io/ephemeral"

SNAPSHOT_CAPABILITIES: Final[tuple[OpenEnum, ...]] = (
    ControllerCapability.CREATE_DELETE_SNAPSHOT,
    ControllerCapability.LIST_SNAPSHOTS,
    ControllerCapability.GET_SNAPSHOT,
    GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
)


def check_request(rpc: Rpc, request: Struct, declared: Declared) -> None:
    """Refuse a request that the specification lets the plugin refuse unseen.

    Raises Unimplemented when the RPC is not on offer, InvalidArgument for missing, malformed or disallowed
    fields, OutOfRange for negative offsets, FailedPrecondition for a publish without its staging path.
    """
    if not gate_open(rpc, declared):
        raise Unimplemented(f"{rpc.name} is not offered by this plugin; see its capabilities")
    for field in rpc.required:
        if not getattr(request, field) and (rpc.name, field) not in CHECKED_BY_HANDLER:
            raise InvalidArgument(f"{rpc.name} needs the field {field}; set it and call again")
    for field, check in value_checks(rpc.name):
        value = getattr(request, field)
        if value is not None:
            check(rpc, field, value)
    for field, check_allowed in ALLOWED.get(rpc.name, ()):
        check_allowed(rpc, field, getattr(request, field), declared)
    if rpc.name == "NodePublishVolume":
        check_staged(request, declared)
    elif rpc.name == "ValidateVolumeCapabilities":
        check_echo(rpc, request, declared)


def is_ephemeral(request: Any) -> bool:
    """Whether a NodePublishVolume is to create its volume on the spot (Kubernetes inline volumes)."""
    return bool(request.volume_context.get(EPHEMERAL_KEY) == "true")


def check_staged(request: Any, declared: Declared) -> None:
    """A plugin that stages cannot publish without the staging path. Raises FailedPrecondition."""
    staged = declared.has(NodeCapability.STAGE_UNSTAGE_VOLUME)
    if staged and not request.staging_target_path and not is_ephemeral(request):
        raise FailedPrecondition(
            f"volume {request.volume_id!r} cannot be published without staging_target_path; stage it first"
        )


# --- values -----------------------------------------------------------------------------------


def check_name(rpc: Rpc, field: str, value: str) -> None:
    """Banned control characters, and lengths beyond reason."""
    if banned := banned_characters(value):
        codes = ", ".join(f"U+{ord(character):04X}" for character in banned)
        raise InvalidArgument(f"{rpc.name}: {field} {value!r} has control characters ({codes}); remove them")
    if (size := len(value.encode(errors="replace"))) > NAME_REFUSED_BYTES:
        raise InvalidArgument(f"{rpc.name}: {field} has {size} bytes; use at most 128")


def check_ids(rpc: Rpc, field: str, value: tuple[str, ...]) -> None:
    """A list of ids has no empty one."""
    if not all(value):
        raise InvalidArgument(f"{rpc.name}: {field} holds an empty id; remove it")


def check_capability(rpc: Rpc, field: str, value: VolumeCapability) -> None:
    """An access mode and an access type must be given, and known."""
    mode = value.access_mode
    if mode is AccessMode.UNKNOWN:
        raise InvalidArgument(f"{rpc.name}: {field} has no access mode; set access_mode.mode")
    if not mode.recognized:
        raise InvalidArgument(f"{rpc.name}: {field} has access mode {int(mode)}, which CSI 1.13 does not define")
    if value.access_type is None:
        raise InvalidArgument(f"{rpc.name}: {field} has no access type; set either block or mount")


def check_capabilities(rpc: Rpc, field: str, value: Iterable[VolumeCapability]) -> None:
    """Each capability of a list."""
    for index, capability in enumerate(value):
        check_capability(rpc, f"{field}[{index}]", capability)


def check_range(rpc: Rpc, field: str, value: CapacityRange) -> None:
    """No negative sizes, no ceiling below the floor; an empty range counts as none, except to expand into."""
    if value.required_bytes < 0 or value.limit_bytes < 0:
        raise InvalidArgument(f"{rpc.name}: {field} is negative; give sizes in bytes, 0 for none")
    if value.limit_bytes and value.limit_bytes < value.required_bytes:
        raise InvalidArgument(
            f"{rpc.name}: {field} asks for at least {value.required_bytes} and at most {value.limit_bytes} "
            "bytes, and no size is both; raise limit_bytes"
        )
    if field in rpc.required and not (value.required_bytes or value.limit_bytes):
        raise InvalidArgument(f"{rpc.name}: {field} is empty; set required_bytes, limit_bytes or both")


def check_source(rpc: Rpc, field: str, value: ContentSource) -> None:
    """A content source names a snapshot or a volume."""
    if not (value.snapshot_id if isinstance(value, SnapshotSource) else value.volume_id):
        raise InvalidArgument(f"{rpc.name}: {field} names neither a snapshot nor a volume; set the id of one")


def check_requirement(rpc: Rpc, field: str, value: TopologyRequirement) -> None:
    """A topology requirement has a term, and prefers only what it allows."""
    if problem := requirement_problem(value):
        raise InvalidArgument(f"{rpc.name}: {field} {problem}")


def check_count(rpc: Rpc, field: str, value: int) -> None:
    """Counts are not negative."""
    if value < 0:
        raise InvalidArgument(f"{rpc.name}: {field} is {value}; use 0 for no limit")


def check_offset(rpc: Rpc, field: str, value: int) -> None:
    """Offsets are not negative. Raises OutOfRange."""
    if value < 0:
        raise OutOfRange(f"{rpc.name}: {field} is {value}; offsets start at 0")


def check_path(rpc: Rpc, field: str, value: str) -> None:
    """Paths have no NUL; where a volume is mounted they are absolute and mean one place only."""
    if "\0" in value:
        raise InvalidArgument(f"{rpc.name}: {field} {value!r} has a NUL character, which no path can have")
    if value and rpc.name in ABSOLUTE_PATHS:
        if not value.startswith("/"):
            raise InvalidArgument(f"{rpc.name}: {field} {value!r} is relative; give an absolute path")
        if len(value.encode(errors="replace")) > PATH_REFUSED_BYTES:
            raise InvalidArgument(f"{rpc.name}: {field} has more than {PATH_REFUSED_BYTES} bytes, as no path can have")
        if ".." in value.split("/"):
            raise InvalidArgument(f"{rpc.name}: {field} {value!r} leads through '..'; give a path without it")


ValueCheck = Callable[[Rpc, str, Any], None]

VALUE_CHECKS: Final[dict[str, ValueCheck]] = {
    "name": check_name,
    "source_volume_ids": check_ids,
    "volume_capability": check_capability,
    "volume_capabilities": check_capabilities,
    "capacity_range": check_range,
    "volume_content_source": check_source,
    "accessibility_requirements": check_requirement,
    "max_entries": check_count,
    "max_results": check_count,
    "starting_offset": check_offset,
}


@cache
def value_checks(rpc_name: str) -> tuple[tuple[str, ValueCheck], ...]:
    """The checks of one RPC's fields, in the order of the fields."""
    rpc = RPCS[rpc_name]
    checks = {**VALUE_CHECKS, **dict.fromkeys(rpc.path_fields, check_path)}
    return tuple((field, checks[field]) for field in rpc.request.__struct_fields__ if field in checks)


# --- fields that need a capability --------------------------------------------------------------


def needs(capability: OpenEnum) -> Callable[[Rpc, str, Any, Declared], None]:
    """A check that a field is left out unless `capability` is declared."""

    def check(rpc: Rpc, field: str, value: Any, declared: Declared) -> None:
        if value and not declared.has(capability):
            raise InvalidArgument(
                f"{rpc.name}: {field} is set and this plugin does not declare {capability.name}; leave it out"
            )

    return check


def check_source_allowed(rpc: Rpc, field: str, value: ContentSource | None, declared: Declared) -> None:
    """Clones need CLONE_VOLUME; snapshots as sources need a plugin that has snapshots at all."""
    if isinstance(value, VolumeSource):
        needs(ControllerCapability.CLONE_VOLUME)(rpc, field, value, declared)
    elif value is not None and not any(declared.has(capability) for capability in SNAPSHOT_CAPABILITIES):
        raise InvalidArgument(f"{rpc.name}: {field} is a snapshot and this plugin has none; leave it out")


def check_mount_group(rpc: Rpc, field: str, value: VolumeCapability, declared: Declared) -> None:
    """A group to mount for needs VOLUME_MOUNT_GROUP: to ignore it would give files the wrong owner."""
    group_field = f"{field}.volume_mount_group"
    needs(NodeCapability.VOLUME_MOUNT_GROUP)(rpc, group_field, value.mount.volume_mount_group, declared)


def check_echo(rpc: Rpc, request: Any, declared: Declared) -> None:
    """What is to be confirmed must fit into the answer, whose limits are strict. Raises InvalidArgument."""
    confirmed = Confirmed(**{field: getattr(request, field) for field in Confirmed.__struct_fields__})
    if problems := response_problems(rpc, ValidateVolumeCapabilitiesResponse(confirmed=confirmed), declared):
        raise InvalidArgument(f"{rpc.name} cannot confirm what is asked: {problems[0].partition(': ')[2]}")


AllowedCheck = Callable[[Rpc, str, Any, Declared], None]

ALLOWED: Final[dict[str, tuple[tuple[str, AllowedCheck], ...]]] = {
    "CreateVolume": (
        ("volume_content_source", check_source_allowed),
        ("accessibility_requirements", needs(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS)),
        ("mutable_parameters", needs(ControllerCapability.MODIFY_VOLUME)),
    ),
    "ValidateVolumeCapabilities": (("mutable_parameters", needs(ControllerCapability.MODIFY_VOLUME)),),
    "ControllerPublishVolume": (("readonly", needs(ControllerCapability.PUBLISH_READONLY)),),
    "GetCapacity": (("accessible_topology", needs(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS)),),
    "CreateSnapshot": (("accessibility_requirements", needs(PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS)),),
    "NodeStageVolume": (("volume_capability", check_mount_group),),
    "NodePublishVolume": (("volume_capability", check_mount_group),),
}
"""Fields that the specification forbids unless the plugin declares something."""
