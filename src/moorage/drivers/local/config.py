"""The settings of the local driver, parsed once and checked before anything is touched.

This module looks at no file system: whether a pool can do what is asked of it is found out by `probe`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Struct, field

from moorage.framework.config import Config, ConfigError, Option, Size

BackendName = Literal["image", "subvolume", "directory"]
Allocation = Literal["thin", "reserved"]
DEFAULT_POOL: Final = "default"

_BACKENDS: Final = ("auto", "image", "subvolume", "directory")
_POOL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


class PoolSetting(Struct, frozen=True):
    """One pool: its name in the parameter `pool`, its directory, and the backend of its mounted volumes."""

    name: str
    directory: Path
    backend: str = "auto"


class LocalConfig(Config):
    """Settings of `local.csi.moorage.dev`; only `pool` has no default."""

    pool: Annotated[
        tuple[str, ...],
        Option("directory that holds volumes and snapshots; the first pool is the default one", metavar="[NAME=]DIR"),
    ]
    backend: Annotated[
        tuple[str, ...],
        Option(
            "how mounted volumes are kept: auto, image, subvolume or directory; auto asks the pool",
            metavar="[NAME=]BACKEND",
        ),
    ] = ()
    node_id: Annotated[str, Option("id of this node; the host name by default", metavar="ID")] = field(
        default_factory=socket.gethostname
    )
    reserve: Annotated[
        Allocation,
        Option("allocation of volumes that do not ask for one: thin takes space on write, reserved at creation"),
    ] = "thin"
    overcommit_percent: Annotated[
        int,
        Option("limit of the sum of volume sizes, in percent of the pool's size; 0 sets no limit", metavar="PERCENT"),
    ] = 0
    max_volume_size: Annotated[
        Size, Option("largest volume that can be made or grown to, in bytes; 0 leaves it to the pool")
    ] = 0
    volume_limit: Annotated[int, Option("how many volumes this node says it takes; 0 sets no limit", metavar="N")] = 0
    attach: Annotated[
        bool, Option("offer ControllerPublishVolume, as book-keeping: nothing has to be done to attach")
    ] = False
    attach_node: Annotated[
        tuple[str, ...], Option("further node id that ControllerPublishVolume accepts", metavar="ID")
    ] = ()
    attach_limit: Annotated[
        int, Option("how many volumes may be attached to one node; 0 sets no limit", metavar="N")
    ] = 0
    snapshot_topology: Annotated[bool, Option("say where snapshots are reachable (CSI 1.13, alpha)")] = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; use 0 for no limit or a positive number"
            for name, value in (
                ("overcommit_percent", self.overcommit_percent),
                ("max_volume_size", self.max_volume_size),
                ("volume_limit", self.volume_limit),
                ("attach_limit", self.attach_limit),
            )
            if value < 0
        ]
        if not self.node_id or len(self.node_id.encode()) > 256:
            problems.append("node_id must have 1 to 256 bytes; use --node-id ID")
        try:
            parse_pools(self.pool, self.backend)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(*problems)

    @property
    def pools(self) -> tuple[PoolSetting, ...]:
        """The pools, the default one first."""
        return parse_pools(self.pool, self.backend)

    @property
    def node_ids(self) -> frozenset[str]:
        """Node ids that ControllerPublishVolume accepts."""
        return frozenset({self.node_id, *self.attach_node})


def parse_pools(pools: Sequence[str], backends: Sequence[str] = ()) -> tuple[PoolSetting, ...]:
    """Read `DIR` and `NAME=DIR` with their backends; raises ConfigError with a sentence for each problem.

    One pool may go without a name; it is then called `default`.
    """
    problems = [] if pools else ["no pool is given; use --pool DIR"]
    named: dict[str, Path] = {}
    for text in pools:
        name, directory = _split_pool(text)
        if problem := _pool_problem(name, directory, named):
            problems.append(problem)
        named.setdefault(name, Path(directory))
    chosen: dict[str, str] = {}
    for text in backends:
        name, equals, backend = text.rpartition("=")
        if backend not in _BACKENDS:
            problems.append(f"backend {backend!r} is not one of {', '.join(_BACKENDS)}")
        elif equals and name not in named:
            problems.append(f"backend is set for pool {name!r}, which is not given; use --pool {name}=DIR")
        else:
            chosen.update(dict.fromkeys((name,) if equals else named, backend))
    if problems:
        raise ConfigError(*problems)
    return tuple(PoolSetting(name, path, chosen.get(name, "auto")) for name, path in named.items())


def _split_pool(text: str) -> tuple[str, str]:
    name, equals, directory = text.partition("=")
    if not equals or "/" in name:  # a directory may have '=' in its name
        return DEFAULT_POOL, text
    return name, directory


def _pool_problem(name: str, directory: str, others: Mapping[str, Path]) -> str:
    """What is wrong with a pool beside those given before it, as a sentence; empty when nothing is."""
    if not _POOL_NAME.match(name):
        return f"pool name {name!r} is not made of letters, digits, '.', '_' and '-'"
    if not directory.startswith("/") or "\0" in directory:
        return f"pool {name!r} is at {directory!r}, which is no absolute path; give DIR or NAME=DIR"
    if name in others:
        hint = "; give further pools a name: NAME=DIR" if name == DEFAULT_POOL else ""
        return f"pool {name!r} is given twice{hint}"
    if Path(directory) in others.values():
        return f"directory {directory} is given as two pools; keep one"
    return ""
