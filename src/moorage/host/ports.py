"""The seams that upper layers are tested through: what they need of mounts and loop devices.

The modules `moorage.host.mount` and `moorage.host.loop` satisfy these protocols themselves (`HOST_MOUNTS` and
`HOST_LOOPS` are those modules), fakes are in `moorage.testing.host`. Everything else of this package works on
files and directories and needs no fake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from moorage.host import loop, mount
from moorage.host.loop import LoopDevice
from moorage.host.mountinfo import MountEntry


class MountTable(Protocol):
    """The verbs of `moorage.host.mount` that drivers and the framework use."""

    def find_mount(self, path: str, *, mounts: Sequence[MountEntry] | None = None) -> MountEntry | None: ...

    def mounts_below(self, path: str, *, mounts: Sequence[MountEntry] | None = None) -> list[MountEntry]: ...

    def ensure_mounted(self, device: str, target: str, *, fs_type: str, options: Iterable[str] = ()) -> bool: ...

    def ensure_bind_mounted(self, source: str, target: str, *, readonly: bool = False) -> bool: ...

    def ensure_bind_file(self, device: str, target: str, *, readonly: bool = False) -> bool: ...

    def ensure_unmounted(self, path: str, *, lazy: bool = False) -> bool: ...


class Loops(Protocol):
    """The verbs of `moorage.host.loop` that drivers use."""

    def find_loop(self, path: str) -> LoopDevice | None: ...

    def list_loops(self) -> list[LoopDevice]: ...

    def attach(
        self, path: str, *, readonly: bool = False, direct_io: bool = True, block_size: int = 512
    ) -> LoopDevice: ...

    def detach(self, device: str, *, expected_backing: str | tuple[int, int]) -> bool: ...

    def refresh_capacity(self, device: LoopDevice) -> LoopDevice: ...


HOST_MOUNTS: Final[MountTable] = mount
HOST_LOOPS: Final[Loops] = loop
