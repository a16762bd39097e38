"""The names under which `moorage rpc` knows services and methods, and what their positional arguments are.

A method goes by its name in the specification (`NodeStageVolume`), in kebab case (`node-stage-volume`),
without the service's name (`stage-volume`), and by the command names and aliases of csc (`stage`). Case, `-`
and `_` do not matter. This module makes no calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from moorage.spec.rules import RPCS, SERVICES, Rpc, Service

SERVICE_ALIASES: Final[Mapping[Service, tuple[str, ...]]] = {
    "Identity": ("identity", "i", "ident"),
    "Controller": ("controller", "c", "ctrl"),
    "Node": ("node", "n"),
    "GroupController": ("group", "g", "group-controller"),
    "SnapshotMetadata": ("metadata", "m", "snapshot-metadata"),
}
"""The first is the name shown."""

METHOD_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "GetPluginInfo": ("plugin-info", "info"),
    "GetPluginCapabilities": ("plugin-capabilities", "caps"),
    "CreateVolume": ("n", "c", "new", "create"),
    "DeleteVolume": ("d", "rm", "del", "delete"),
    "ListVolumes": ("ls", "list", "volumes"),
    "ControllerPublishVolume": ("publish", "att", "attach"),
    "ControllerUnpublishVolume": ("unpublish", "det", "detach"),
    "ValidateVolumeCapabilities": ("validate",),
    "GetCapacity": ("capacity", "cap"),
    "ControllerGetCapabilities": ("capabilities", "caps"),
    "ControllerExpandVolume": ("exp", "expand"),
    "CreateSnapshot": ("s", "snap"),
    "DeleteSnapshot": ("ds", "delsnap"),
    "ListSnapshots": ("sl", "snap-list", "snapshots"),
    "ControllerGetVolume": ("get",),
    "ControllerModifyVolume": ("modify",),
    "ControllerGetVolumeHealth": ("health",),
    "NodeGetInfo": ("info",),
    "NodeGetCapabilities": ("capabilities", "caps"),
    "NodeStageVolume": ("stage",),
    "NodeUnstageVolume": ("unstage",),
    "NodePublishVolume": ("publish", "mnt", "mount"),
    "NodeUnpublishVolume": ("unpublish", "umount", "unmount"),
    "NodeExpandVolume": ("exp", "expand"),
    "NodeGetVolumeStats": ("stats",),
    "NodeGetVolumeHealth": ("health",),
    "NodeGetStorageHealth": ("storage-health",),
    "GroupControllerGetCapabilities": ("capabilities", "caps"),
    "CreateVolumeGroupSnapshot": ("create", "new", "snap"),
    "DeleteVolumeGroupSnapshot": ("delete", "rm", "del"),
    "GetVolumeGroupSnapshot": ("get",),
    "GetMetadataAllocated": ("allocated",),
    "GetMetadataDelta": ("delta",),
}

POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "CreateVolume": ("name",),
    "CreateSnapshot": ("name",),
    "CreateVolumeGroupSnapshot": ("name",),
    "DeleteSnapshot": ("snapshot_id",),
    "GetSnapshot": ("snapshot_id",),
    "DeleteVolumeGroupSnapshot": ("group_snapshot_id",),
    "GetVolumeGroupSnapshot": ("group_snapshot_id",),
    "GetMetadataAllocated": ("snapshot_id",),
    "GetMetadataDelta": ("base_snapshot_id", "target_snapshot_id"),
    "NodeExpandVolume": ("volume_id", "volume_path"),
}
"""The request fields that positional arguments fill. Not listed: the volume id where a request has one."""


def positional_fields(rpc: Rpc) -> tuple[str, ...]:
    """The fields that positional arguments fill, in order; with one field, each argument is a call of its own."""
    if rpc.name in POSITIONAL:
        return POSITIONAL[rpc.name]
    return ("volume_id",) if "volume_id" in rpc.request.__struct_fields__ else ()


def kebab(name: str) -> str:
    """`NodeStageVolume` as `node-stage-volume`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def short_name(rpc: Rpc) -> str:
    """The name shown for a method below its service: kebab case without the service's name."""
    return kebab(rpc.name.removeprefix(rpc.service)) if rpc.name != rpc.service else kebab(rpc.name)


def find_service(name: str) -> Service | None:
    """The service of this name or alias; None when there is none."""
    wanted = _plain(name)
    for service, aliases in SERVICE_ALIASES.items():
        if wanted in {_plain(alias) for alias in aliases} or wanted == f"csiv1{service.lower()}":
            return service
    return None


def find_method(service: Service, name: str) -> Rpc | None:
    """The RPC of a service by any of its names; None when there is none."""
    wanted = _plain(name)
    return next((rpc for rpc in methods_of(service) if wanted in {_plain(known) for known in names_of(rpc)}), None)


def find_rpc(name: str) -> Rpc | None:
    """An RPC by its name alone (`CreateVolume`, `create-volume`) or its path (`csi.v1.Node/NodeGetInfo`)."""
    wanted = _plain(name.rpartition("/")[2])
    found = next((rpc for rpc in RPCS.values() if _plain(rpc.name) == wanted), None)
    if found is not None and "/" in name and name.lstrip("/") not in {found.path[1:], found.path[8:]}:
        return None
    return found


def methods_of(service: Service) -> Iterator[Rpc]:
    """The RPCs of a service, in the order of the specification."""
    return (rpc for rpc in RPCS.values() if rpc.service == service)


def names_of(rpc: Rpc) -> tuple[str, ...]:
    """Every name of a method below its service, the one shown first."""
    return (short_name(rpc), rpc.name, *METHOD_ALIASES.get(rpc.name, ()))


def shown_services() -> Iterator[tuple[str, Service]]:
    """The services with the names shown for them, in the order of the specification."""
    return ((SERVICE_ALIASES[service][0], service) for service in SERVICES)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]", "", name).lower()
