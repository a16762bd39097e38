"""What the orchestrator knows: volumes, snapshots, groups and drivers, wanted and actual.

Each volume record holds what its user wants (`Desired`) and what is known to exist (`Actual`). Whatever can be
half done carries a `Presence`: it is UNCERTAIN from the moment before a call until its answer, so that after a
crash the planner repeats the call (on the way up) or undoes it (on the way down); both are idempotent in CSI.

Secrets are never part of a record: only the path of the file that holds them is. This module does no I/O and
knows no order of calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from moorage.spec.types import CapacityRange, ContentSource, Topology, VolumeCapability

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class OrchestratorError(Exception):
    """What was asked cannot be done; the text is one sentence for the user."""


class Presence(StrEnum):
    """Whether something exists: a call about it is answered (ABSENT, PRESENT) or not (UNCERTAIN)."""

    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    PRESENT = "present"


class Mount(Struct, frozen=True):
    """A place where a volume is to be visible."""

    path: str
    readonly: bool = False


class Mounted(Struct, frozen=True):
    """A place where a volume is, or may be, published; places that are surely clear are not listed."""

    path: str
    readonly: bool = False
    presence: Presence = Presence.PRESENT


class Desired(Struct, frozen=True, kw_only=True):
    """What the user wants of a volume; `size_bytes` 0 means as large as it was created."""

    exists: bool = True
    size_bytes: int = 0
    mounts: tuple[Mount, ...] = ()


class Actual(Struct, frozen=True, kw_only=True):
    """What is known to be.

    `node_expansion_bytes` is the size that NodeExpandVolume still has to reach (0: nothing owed); it is
    `node_expansion_postponed` after the node finally refused it, so that it blocks no mount: to the next staging, or
    to the next publishing of a volume that is neither staged nor published.
    `boot_id` names the boot of this machine in which the node-side facts were established.
    """

    created: Presence = Presence.ABSENT
    volume_id: str = ""
    capacity_bytes: int = 0
    volume_context: Mapping[str, str] = {}
    accessible_topology: tuple[Topology, ...] = ()
    attached: Presence = Presence.ABSENT
    node_id: str = ""
    publish_context: Mapping[str, str] = {}
    staged: Presence = Presence.ABSENT
    staging_path: str = ""
    mounts: tuple[Mounted, ...] = ()
    node_expansion_bytes: int = 0
    node_expansion_postponed: bool = False
    boot_id: str = ""


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """A volume of this orchestrator. `request_name` is the idempotency key sent with CreateVolume."""

    name: str
    driver: str
    request_name: str
    capability: VolumeCapability
    capacity_range: CapacityRange | None = None
    parameters: Mapping[str, str] = {}
    source: ContentSource | None = None
    secrets_file: str = ""
    imported: bool = False
    desired: Desired = Desired()
    actual: Actual = Actual()


class SnapshotRecord(Struct, frozen=True, kw_only=True):
    """A snapshot of a volume; `group` is the name of the group it was cut with, or empty."""

    name: str
    driver: str
    request_name: str
    source_volume_id: str
    source_volume: str = ""
    parameters: Mapping[str, str] = {}
    secrets_file: str = ""
    group: str = ""
    wanted: bool = True
    presence: Presence = Presence.ABSENT
    snapshot_id: str = ""
    size_bytes: int = 0
    creation_time: datetime | None = None
    ready: bool = False


class GroupRecord(Struct, frozen=True, kw_only=True):
    """A group snapshot: snapshots of several volumes of one driver, cut at one instant."""

    name: str
    driver: str
    request_name: str
    source_volume_ids: tuple[str, ...]
    source_volumes: tuple[str, ...] = ()
    parameters: Mapping[str, str] = {}
    secrets_file: str = ""
    wanted: bool = True
    presence: Presence = Presence.ABSENT
    group_snapshot_id: str = ""
    snapshot_ids: tuple[str, ...] = ()
    creation_time: datetime | None = None
    ready: bool = False


class DriverRecord(Struct, frozen=True, kw_only=True):
    """A registered driver: the user's `name` for it, where it listens, and what it calls itself."""

    name: str
    endpoint: str
    plugin_name: str
    vendor_version: str = ""


def check_name(kind: str, name: str) -> str:
    """Return `name` when it may name an object of this kind ("volume", "snapshot"); it becomes part of paths.

    Raises OrchestratorError otherwise.
    """
    if NAME_PATTERN.fullmatch(name) and ".." not in name:
        return name
    raise OrchestratorError(
        f"{kind} name {name!r} is not allowed; use at most 63 letters, digits, '-', '_' and single '.', "
        "beginning and ending with a letter or digit"
    )


def may_exist(presence: Presence) -> bool:
    """True unless it is certain that the thing is gone."""
    return presence is not Presence.ABSENT


def is_in_use(actual: Actual) -> bool:
    """Whether any node-side or attach state of the volume exists, or may exist."""
    return bool(actual.mounts) or may_exist(actual.staged) or may_exist(actual.attached)
