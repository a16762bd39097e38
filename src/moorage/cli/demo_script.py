"""What the demo does, as a list of acts: a pure function of what the driver declares.

Files are described by a word, from which their bytes follow, so the script alone says what each volume must hold
at each moment. Nothing here calls a driver or touches a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    VolumeExpansion,
)

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do; `title` tells of it. `tolerated` are codes by which a driver may decline without shame."""

    title: str
    tolerated: frozenset[Code] = field(default=frozenset(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Create(Act):
    """Create volume `name`, empty."""

    name: str
    size_bytes: int
    block: bool = False


@dataclass(frozen=True, slots=True)
class Copy(Act):
    """Create volume `name` from a snapshot or from a volume."""

    name: str
    snapshot: str = ""
    volume: str = ""


@dataclass(frozen=True, slots=True)
class Mount(Act):
    """Mount a volume."""

    name: str


@dataclass(frozen=True, slots=True)
class Unmount(Act):
    """Unmount a volume."""

    name: str


@dataclass(frozen=True, slots=True)
class Write(Act):
    """Write files, given as name to word, into a mounted volume; a block volume takes its only file at offset 0."""

    name: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verify(Act):
    """Check that a mounted volume holds exactly these files, by checksum."""

    name: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stats(Act):
    """Ask how full a volume is."""

    name: str


@dataclass(frozen=True, slots=True)
class Snapshot(Act):
    """Cut a snapshot."""

    volume: str
    name: str


@dataclass(frozen=True, slots=True)
class GroupSnapshot(Act):
    """Cut several volumes at one instant."""

    name: str
    volumes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expand(Act):
    """Double a volume, and look whether a mounted one shows more space afterwards."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteCopies(Act):
    """Delete these snapshots and groups, as far as they exist."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delete(Act):
    """Delete a volume, if it exists."""

    name: str


@dataclass(frozen=True, slots=True)
class Left(Act):
    """Something that the driver does not offer; `title` says what and why."""


def up(declared: Declared, *, size_bytes: int, grows_online: bool | None = True) -> Iterator[Act]:
    """Everything before the end of the volumes' life, for a driver that declares this much.

    `grows_online` false unmounts a volume before it is expanded, for file systems that demand it; None stands for
    not known, and then the driver may decline.
    """
    yield Create("create a volume", "data", size_bytes)
    yield Mount("mount it", "data")
    yield Write("write a file", "data", {"journal": "first"})
    yield from _stats(declared)
    yield from _snapshots(declared)
    yield from _clone(declared)
    yield from _expansion(declared, grows_online=grows_online)
    yield from _group(declared)
    yield from _block(declared)


def down() -> Iterator[Act]:
    """The end of everything that `up` may have made."""
    for name in ("data", "restored", "twin", "raw"):
        yield Unmount(f"unmount {name}", name)
    yield DeleteCopies("delete the snapshots", ("monday", "together"))
    for name in ("data", "restored", "twin", "raw"):
        yield Delete(f"delete {name}", name)


def _stats(declared: Declared) -> Iterator[Act]:
    if NodeCapability.GET_VOLUME_STATS in declared.node:
        yield Stats("ask how full it is", "data")
    else:
        yield Left("statistics: the driver does not declare GET_VOLUME_STATS")


def _snapshots(declared: Declared) -> Iterator[Act]:
    changed = {"journal": "second", "later": "later"}
    if ControllerCapability.CREATE_DELETE_SNAPSHOT not in declared.controller:
        yield Left("snapshot and restore: the driver does not declare CREATE_DELETE_SNAPSHOT")
        yield Write("write on", "data", changed)
        return
    yield Snapshot("cut a snapshot", "data", "monday")
    yield Write("write on, over the old file and a new one", "data", changed)
    yield Copy("restore the snapshot as another volume", "restored", snapshot="monday")
    yield Mount("mount the restored volume", "restored")
    yield Verify("the restored volume holds the old content only", "restored", {"journal": "first"})
    yield Verify("the original holds the new content", "data", changed)


def _clone(declared: Declared) -> Iterator[Act]:
    if ControllerCapability.CLONE_VOLUME not in declared.controller:
        yield Left("clone: the driver does not declare CLONE_VOLUME")
        return
    yield Copy("clone the volume", "twin", volume="data")
    yield Mount("mount the clone", "twin")
    yield Verify("the clone holds the new content", "twin", {"journal": "second", "later": "later"})
    yield Write("write into the clone", "twin", {"journal": "third"})
    yield Verify("the original did not change", "data", {"journal": "second", "later": "later"})


def _expansion(declared: Declared, *, grows_online: bool | None) -> Iterator[Act]:
    by_controller = ControllerCapability.EXPAND_VOLUME in declared.controller
    if not by_controller and NodeCapability.EXPAND_VOLUME not in declared.node:
        yield Left("expansion: the driver does not declare EXPAND_VOLUME")
        return
    offline = VolumeExpansion.OFFLINE in declared.expansion and VolumeExpansion.ONLINE not in declared.expansion
    if offline or grows_online is False:
        yield Unmount("unmount the volume, which grows only then", "data")
        yield Expand("double its size", "data")
        yield Mount("mount it again", "data")
    else:
        declines = frozenset() if grows_online else frozenset({Code.FAILED_PRECONDITION})
        yield Expand("double its size while it is mounted", "data", tolerated=declines)
    yield Verify("its content survived", "data", {"journal": "second", "later": "later"})


def _group(declared: Declared) -> Iterator[Act]:
    wanted = GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT
    if wanted not in declared.group or ControllerCapability.CLONE_VOLUME not in declared.controller:
        yield Left("group snapshot: the driver does not declare it together with CLONE_VOLUME")
        return
    yield GroupSnapshot(
        "cut the volume and its clone at one instant",
        "together",
        ("data", "twin"),
        tolerated=frozenset({Code.FAILED_PRECONDITION}),
    )


def _block(declared: Declared) -> Iterator[Act]:
    declines = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE})
    yield Create("create a raw block volume", "raw", BLOCK_BYTES, block=True, tolerated=declines)
    yield Mount("publish it as a device", "raw")
    yield Write("write to the device", "raw", {"": "blocks"})
    yield Verify("the device holds what was written", "raw", {"": "blocks"})
