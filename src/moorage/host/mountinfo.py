"""Reads /proc/self/mountinfo: what is mounted where, without touching a mount that might hang.

The parser is pure. Lookups compare text and parent ids; the only file-system access is to the directory above
the path asked for, and only when the text alone finds nothing. Format: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOUNTINFO: Final = "/proc/self/mountinfo"
_DELETED: Final = "//deleted"
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_TO_ESCAPE: Final = re.compile(rb"[ \t\n\\]")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo.

    `device` is `major:minor` of the superblock, `root` the path inside the file system that is mounted,
    `shared`, `master` and `propagate_from` are peer group numbers. `deleted` says that the mount point was
    unlinked, so that no path leads to the mount any more; `root_deleted` that what is mounted was unlinked at
    its origin.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]
    shared: int | None = None
    master: int | None = None
    propagate_from: int | None = None
    unbindable: bool = False
    deleted: bool = False
    root_deleted: bool = False

    @property
    def readonly(self) -> bool:
        """Whether this mount, or the superblock below it, refuses writes."""
        return "ro" in self.options or "ro" in self.super_options


def unescape(field: bytes) -> str:
    """Undo the octal escapes of mountinfo and decode as Python decodes file names."""
    if b"\\" not in field:
        return os.fsdecode(field)
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def escape(text: str) -> bytes:
    """Escape blank, tab, newline and backslash as the kernel does in mountinfo."""
    return _TO_ESCAPE.sub(lambda match: b"\\%03o" % match[0][0], os.fsencode(text))


@lru_cache(maxsize=1024)  # the table is read often and changes little: a node with 200 mounts saves 4 ms a time
def parse_mountinfo_line(line: bytes) -> MountEntry:
    """Parse one line without its newline. Raises ValueError when the line is not of that format."""
    fields = line.split(b" ")
    try:
        separator = fields.index(b"-", 6)
        mount_id, parent_id, device, root, mount_point, options = fields[:6]
        fs_type, source, super_options = fields[separator + 1 : separator + 4]
        peers = _parse_optional(fields[6:separator])
        point, inside = unescape(mount_point), unescape(root)
        deleted = point.endswith(_DELETED)
        return MountEntry(
            mount_id=int(mount_id),
            parent_id=int(parent_id),
            device=device.decode("ascii"),
            root=inside.removesuffix(_DELETED) or "/",
            mount_point=point.removesuffix(_DELETED) or "/",
            options=_split_options(options),
            fs_type=unescape(fs_type),
            source=unescape(source),
            super_options=_split_options(super_options),
            shared=peers.get(b"shared"),
            master=peers.get(b"master"),
            propagate_from=peers.get(b"propagate_from"),
            unbindable=b"unbindable" in peers,
            deleted=deleted,
            root_deleted=inside.endswith(_DELETED),
        )
    except (ValueError, UnicodeDecodeError):
        raise ValueError(f"this is not a line of mountinfo: {line!r}") from None


def parse_mountinfo(data: bytes) -> list[MountEntry]:
    """Parse the whole file, in its order. Raises ValueError on a malformed line."""
    return [parse_mountinfo_line(line) for line in data.split(b"\n") if line]


def _parse_optional(tags: Sequence[bytes]) -> dict[bytes, int]:
    """Optional fields `tag[:number]`; tags of future kernels are skipped by whoever reads the result."""
    found: dict[bytes, int] = {}
    for tag in tags:
        name, _, number = tag.partition(b":")
        found[name] = int(number) if number.isdigit() else 0
    return found


def _split_options(field: bytes) -> tuple[str, ...]:
    return tuple(unescape(option) for option in field.split(b",") if option)


def read_mounts(path: str = MOUNTINFO) -> list[MountEntry]:
    """All mounts of this mount namespace.

    The kernel hands the table out in pieces, and an entry can be missed when others vanish in between, so the
    file is read until two readings agree (five at most). Raises OSError.
    """
    previous = b""
    for _ in range(5):
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        if data == previous:
            break
        previous = data
    return parse_mountinfo(previous)


def find_mount(path: str, *, mounts: Sequence[MountEntry] | None = None) -> MountEntry | None:
    """The mount that is on top exactly at `path`, or None; mounts hidden below others do not count.

    The last component of `path` is never followed or looked at: a dead network mount there cannot block the
    call.
    """
    table = read_mounts() if mounts is None else mounts
    for candidate in _spellings(path):
        entry = covering_mount(candidate, mounts=table)
        if entry is not None and entry.mount_point == candidate:
            return entry
    return None


def mounts_below(path: str, *, mounts: Sequence[MountEntry] | None = None) -> list[MountEntry]:
    """Mounts strictly below `path`, hidden ones included, deepest first (the order to unmount them in)."""
    table = read_mounts() if mounts is None else mounts
    prefixes = {spelling.rstrip("/") + "/" for spelling in _spellings(path)}
    below = [
        entry
        for entry in table
        if not entry.deleted and any(entry.mount_point.startswith(p) for p in prefixes) and entry.mount_point != "/"
    ]
    below.reverse()  # of layers at one path, the last mounted goes first
    return sorted(below, key=lambda entry: entry.mount_point.count("/"), reverse=True)


def covering_mount(path: str, *, mounts: Sequence[MountEntry]) -> MountEntry | None:
    """The mount in which the absolute, normalised, symlink-free `path` lies; walks the tree of parents from
    `/`.
    """
    known = {entry.mount_id for entry in mounts}
    children: dict[int, list[MountEntry]] = {}
    current: MountEntry | None = None
    for entry in mounts:
        if entry.deleted:
            continue
        is_top = entry.parent_id not in known or entry.parent_id == entry.mount_id
        if is_top and entry.mount_point == "/":
            current = entry
        elif not is_top:
            children.setdefault(entry.parent_id, []).append(entry)
    while current is not None:
        on_the_way = [child for child in children.get(current.mount_id, ()) if _is_within(path, child.mount_point)]
        if not on_the_way:
            break
        current = min(on_the_way, key=lambda child: len(child.mount_point))
    return current


def _is_within(path: str, mount_point: str) -> bool:
    return mount_point in ("/", path) or path.startswith(mount_point + "/")


def _spellings(path: str) -> list[str]:
    """`path` as written, and with the symlinks of its parent directories resolved (never its own)."""
    written = os.path.normpath(os.path.abspath(path))
    if written.startswith("//"):  # POSIX lets two leading slashes stand, mountinfo has one
        written = written[1:]
    if written == "/":
        return [written]
    parent, name = os.path.split(written)
    resolved = os.path.join(os.path.realpath(parent), name)
    return [written] if resolved == written else [written, resolved]
