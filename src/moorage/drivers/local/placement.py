"""Decides how a volume is kept: pure rules over what was asked, what the pool can do and where content comes from.

Nothing has been touched when these refuse.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from moorage.drivers.local import parameters as p
from moorage.drivers.local.config import Allocation, BackendName
from moorage.drivers.local.facts import PoolFacts
from moorage.drivers.local.parameters import Wanted
from moorage.framework.source import RootOwnership
from moorage.spec.errors import InvalidArgument, OutOfRange

_ONLY_FOR: Final[tuple[tuple[str, BackendName], ...]] = (
    (p.ALLOCATION, "image"),
    (p.READ_AHEAD, "image"),
    (p.COMPRESSION, "subvolume"),
)


class Placement(Struct, frozen=True, kw_only=True):
    """How a volume is kept."""

    backend: BackendName
    allocation: Allocation = "thin"
    read_ahead_kib: int | None = None
    compression: str = ""
    root: RootOwnership = RootOwnership()


def place_volume(
    wanted: Wanted,
    facts: PoolFacts,
    *,
    block: bool,
    configured: str = "auto",
    reserve: Allocation = "thin",
    source: BackendName | None = None,
) -> Placement:
    """How to keep a volume with these wishes in this pool; `source` is the backend of the content it starts with.

    Raises InvalidArgument where the wishes contradict each other, the pool or the source.
    """
    backend = _backend(wanted, facts, block=block, configured=configured, source=source)
    check_settings(wanted, backend)
    return Placement(
        backend=backend,
        allocation=(wanted.allocation or reserve) if backend == "image" else "thin",
        read_ahead_kib=wanted.read_ahead_kib,
        compression=wanted.compression or "",
        root=wanted.root,
    )


def check_settings(wanted: Wanted, backend: BackendName) -> None:
    """Raise InvalidArgument for a parameter that volumes of this backend do not have."""
    given = {
        p.ALLOCATION: wanted.allocation,
        p.READ_AHEAD: wanted.read_ahead_kib,
        p.COMPRESSION: wanted.compression,
    }
    for name, owner in _ONLY_FOR:
        if given[name] is not None and owner != backend:
            raise InvalidArgument(f"parameter {name} is for {owner} volumes and this one is a {backend} volume")


def check_size(size_bytes: int, backend: BackendName, facts: PoolFacts, *, limit_bytes: int) -> None:
    """Raise OutOfRange for a size beyond the configured limit or what the pool's file system can hold."""
    if limit_bytes and size_bytes > limit_bytes:
        raise OutOfRange(f"{size_bytes} bytes are more than the {limit_bytes} that max_volume_size allows")
    if backend == "image" and size_bytes > facts.largest_file_bytes:
        raise OutOfRange(f"{size_bytes} bytes are more than a file on {facts.fs_type} can have")


def _backend(
    wanted: Wanted, facts: PoolFacts, *, block: bool, configured: str, source: BackendName | None
) -> BackendName:
    offered = facts.backends
    if block and "image" not in offered:
        raise InvalidArgument("raw block volumes need root and loop devices; ask for a mounted volume")
    if source is not None:
        return _like_source(wanted, offered, block=block, source=source)
    if block:
        if wanted.backend not in (None, "image"):
            raise InvalidArgument(f"a raw block volume cannot be a {wanted.backend}; leave the parameter backend out")
        return "image"
    for name in (wanted.backend, None if configured == "auto" else configured):
        if name is not None and name not in offered:
            raise InvalidArgument(f"backend {name!r} is not possible in this pool; it offers {', '.join(offered)}")
    if wanted.backend is not None:
        return wanted.backend
    return next((name for name in offered if name == configured), offered[0])


def _like_source(wanted: Wanted, offered: tuple[BackendName, ...], *, block: bool, source: BackendName) -> BackendName:
    """Content keeps its form: an image stays an image, a tree stays a tree."""
    if block and source != "image":
        raise InvalidArgument(f"the source is a {source} and cannot become a raw block volume")
    if wanted.backend not in (None, source):
        raise InvalidArgument(f"the source is kept as {source}, so the volume cannot be a {wanted.backend}")
    if source not in offered:
        raise InvalidArgument(f"the source is kept as {source}, which is not possible here; pools offer {offered}")
    return source
