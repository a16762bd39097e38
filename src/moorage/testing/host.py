"""In-memory stand-ins for the host's mounts and loop devices, for tests that have no root.

They keep the contracts of `moorage.host.mount` and `moorage.host.loop` (idempotency, errors, stacking) and
nothing more: no file system is read or written except to learn sizes and identities of backing files.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import posixpath
from collections.abc import Iterable, Sequence

from moorage.host.loop import LoopDevice
from moorage.host.mountinfo import MountEntry, covering_mount
from moorage.host.mountoptions import MS_RDONLY, parse_mount_options

__all__ = ["FakeLoops", "FakeMountTable"]


class FakeMountTable:
    """A mount table in memory; `failures` maps a path to the OSError that the next change there raises, once."""

    def __init__(self) -> None:
        self.entries: list[MountEntry] = [
            MountEntry(1, 0, "8:1", "/", "/", ("rw", "relatime"), "ext4", "/dev/fake-root", ("rw",))
        ]
        self.failures: dict[str, OSError] = {}
        self._next_id = 2
        self._next_minor = 1
        self._devices: dict[str, str] = {}

    def find_mount(self, path: str, *, mounts: Sequence[MountEntry] | None = None) -> MountEntry | None:
        """The topmost mount exactly at `path`."""
        entry = covering_mount(posixpath.normpath(path), mounts=self.entries if mounts is None else mounts)
        return entry if entry is not None and entry.mount_point == posixpath.normpath(path) else None

    def mounts_below(self, path: str, *, mounts: Sequence[MountEntry] | None = None) -> list[MountEntry]:
        """Mounts strictly below `path`, deepest first."""
        prefix = posixpath.normpath(path).rstrip("/") + "/"
        table = self.entries if mounts is None else mounts
        below = [entry for entry in table if entry.mount_point.startswith(prefix) and entry.mount_point != "/"]
        return sorted(below, key=lambda entry: (entry.mount_point.count("/"), entry.mount_id), reverse=True)

    def ensure_mounted(self, device: str, target: str, *, fs_type: str, options: Iterable[str] = ()) -> bool:
        """Mount a device; False when it is mounted there. Raises OSError EEXIST for another mount."""
        self._fail(target)
        flags = parse_mount_options(options).flags
        number = self._device_number(device)
        entry = self.find_mount(target)
        if entry is not None:
            if (entry.device, entry.root) == (number, "/"):
                return False
            raise OSError(errno.EEXIST, f"{target} already holds a mount of {entry.source}; unmount it first")
        access = "ro" if flags & MS_RDONLY else "rw"
        self._add(number, "/", target, access=access, fs_type=fs_type, source=device)
        return True

    def ensure_bind_mounted(self, source: str, target: str, *, readonly: bool = False) -> bool:
        """Bind `source`; False when it is bound there with that access.

        Raises OSError EEXIST for another mount.
        """
        self._fail(target)
        origin = covering_mount(posixpath.normpath(source), mounts=self.entries)
        if origin is None:
            raise OSError(errno.ENOENT, f"{source} lies in no mount; check the path")
        root = posixpath.normpath(posixpath.join(origin.root, posixpath.relpath(source, origin.mount_point)))
        access = "ro" if readonly else "rw"
        entry = self.find_mount(target)
        if entry is None:
            self._add(origin.device, root, target, access=access, fs_type=origin.fs_type, source=origin.source)
            return True
        if (entry.device, entry.root) != (origin.device, root):
            raise OSError(errno.EEXIST, f"{target} already holds a mount of {entry.source}; unmount it first")
        if access in entry.options:
            return False
        changed = dataclasses.replace(entry, options=(access, *entry.options[1:]))
        self.entries[self.entries.index(entry)] = changed
        return True

    def ensure_bind_file(self, device: str, target: str, *, readonly: bool = False) -> bool:
        """Bind a device node on a file."""
        return self.ensure_bind_mounted(device, target, readonly=readonly)

    def ensure_unmounted(self, path: str, *, lazy: bool = False) -> bool:
        """Remove all layers at `path`; EBUSY while something is mounted below, unless `lazy`."""
        self._fail(path)
        changed = False
        while (entry := self.find_mount(path)) is not None:
            children = [child for child in self.entries if child.parent_id == entry.mount_id]
            if children and not lazy:
                raise OSError(
                    errno.EBUSY,
                    f"unmounting {path} failed: something is mounted below it; unmount that first",
                )
            self._drop(entry)
            changed = True
        return changed

    def _drop(self, entry: MountEntry) -> None:
        for child in [child for child in self.entries if child.parent_id == entry.mount_id]:
            self._drop(child)
        self.entries.remove(entry)

    def _add(self, device: str, root: str, target: str, *, access: str, fs_type: str, source: str) -> None:
        point = posixpath.normpath(target)
        parent = covering_mount(point, mounts=self.entries)
        parent_id = 0 if parent is None else parent.mount_id
        options, super_options = (access, "relatime"), ("rw",)
        self.entries.append(
            MountEntry(self._next_id, parent_id, device, root, point, options, fs_type, source, super_options)
        )
        self._next_id += 1

    def _device_number(self, device: str) -> str:
        if device not in self._devices:
            self._devices[device] = f"7:{self._next_minor}"
            self._next_minor += 1
        return self._devices[device]

    def _fail(self, path: str) -> None:
        failure = self.failures.pop(path, None)
        if failure is not None:
            raise failure


class FakeLoops:
    """Loop devices in memory, over real files (for their size and identity)."""

    def __init__(self) -> None:
        self.devices: list[LoopDevice] = []
        self.busy: set[str] = set()

    def find_loop(self, path: str) -> LoopDevice | None:
        """The device bound to the file at `path`."""
        backing = _identity(path)
        return next((device for device in self.devices if device.backing == backing), None)

    def list_loops(self) -> list[LoopDevice]:
        """All bound devices by number."""
        return sorted(self.devices, key=lambda device: device.number)

    def attach(self, path: str, *, readonly: bool = False, direct_io: bool = True, block_size: int = 512) -> LoopDevice:
        """Bind `path`, or adopt its device. Raises OSError EEXIST when it is bound with the other access."""
        existing = self.find_loop(path)
        if existing is not None:
            if existing.readonly != readonly:
                raise OSError(errno.EEXIST, f"{path} is bound to {existing.path} otherwise; detach that device first")
            return self.refresh_capacity(existing)
        taken = {device.number for device in self.devices}
        number = next(number for number in range(len(taken) + 1) if number not in taken)
        size_bytes = os.stat(path).st_size // block_size * block_size
        device = LoopDevice(f"/dev/loop{number}", number, _identity(path), path, size_bytes, readonly, direct_io, True)
        self.devices.append(device)
        return device

    def detach(self, device: str, *, expected_backing: str | tuple[int, int]) -> bool:
        """Unbind; False when the device shows nothing or another file. EBUSY for paths in `busy`."""
        expected = _identity(expected_backing) if isinstance(expected_backing, str) else expected_backing
        for found in self.devices:
            if found.path == device and found.backing == expected:
                if device in self.busy:
                    raise OSError(errno.EBUSY, f"{device} is still in use; unmount its file system first")
                self.devices.remove(found)
                return True
        return False

    def refresh_capacity(self, device: LoopDevice) -> LoopDevice:
        """Take over the backing file's size."""
        size_bytes = os.stat(device.backing_path).st_size // 512 * 512
        fresh = dataclasses.replace(device, size_bytes=size_bytes)
        self.devices[self.devices.index(device)] = fresh
        return fresh


def _identity(path: str) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_dev, info.st_ino
