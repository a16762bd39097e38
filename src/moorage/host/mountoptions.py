"""Turns lists of mount options into the flags and the data string that mount(2) takes. Pure.

Options are applied in their order and later ones win, as with mount(8). Options that only mean something to
mount(8) or systemd are dropped; options that ask for another operation (bind, remount, ...) are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_SYNCHRONOUS: Final = 0x10
MS_REMOUNT: Final = 0x20
MS_MANDLOCK: Final = 0x40
MS_DIRSYNC: Final = 0x80
MS_NOSYMFOLLOW: Final = 0x100
MS_NOATIME: Final = 0x400
MS_NODIRATIME: Final = 0x800
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SILENT: Final = 0x8000
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MS_I_VERSION: Final = 1 << 23
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25

_ATIME: Final = MS_NOATIME | MS_RELATIME | MS_STRICTATIME
_PER_MOUNT: Final = _ATIME | MS_NODIRATIME | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW

# option -> (flags to set, flags to clear)
_FLAGS: Final[dict[str, tuple[int, int]]] = {
    "ro": (MS_RDONLY, 0),
    "rw": (0, MS_RDONLY),
    "nosuid": (MS_NOSUID, 0),
    "suid": (0, MS_NOSUID),
    "nodev": (MS_NODEV, 0),
    "dev": (0, MS_NODEV),
    "noexec": (MS_NOEXEC, 0),
    "exec": (0, MS_NOEXEC),
    "sync": (MS_SYNCHRONOUS, 0),
    "async": (0, MS_SYNCHRONOUS),
    "dirsync": (MS_DIRSYNC, 0),
    "mand": (MS_MANDLOCK, 0),
    "nomand": (0, MS_MANDLOCK),
    "nosymfollow": (MS_NOSYMFOLLOW, 0),
    "symfollow": (0, MS_NOSYMFOLLOW),
    "noatime": (MS_NOATIME, _ATIME),
    "atime": (0, MS_NOATIME),
    "relatime": (MS_RELATIME, _ATIME),
    "norelatime": (0, MS_RELATIME),
    "strictatime": (MS_STRICTATIME, _ATIME),
    "nostrictatime": (0, MS_STRICTATIME),
    "nodiratime": (MS_NODIRATIME, 0),
    "diratime": (0, MS_NODIRATIME),
    "lazytime": (MS_LAZYTIME, 0),
    "nolazytime": (0, MS_LAZYTIME),
    "iversion": (MS_I_VERSION, 0),
    "noiversion": (0, MS_I_VERSION),
    "silent": (MS_SILENT, 0),
    "loud": (0, MS_SILENT),
}
_DEFAULTS_CLEARS: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS

_IGNORED: Final = frozenset(
    (
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "noowner",
        "group",
        "nogroup",
        "_netdev",
        "nofail",
        "fail",
    )
)
_OPERATIONS: Final = frozenset(
    ("bind", "rbind", "remount", "move", "loop", "shared", "rshared", "slave", "rslave")
) | frozenset(("private", "rprivate", "unbindable", "runbindable"))

# statvfs(3) flag of a mounted file system -> mount(2) flag
_FROM_STATVFS: Final = (
    (0x1, MS_RDONLY),
    (0x2, MS_NOSUID),
    (0x4, MS_NODEV),
    (0x8, MS_NOEXEC),
    (0x400, MS_NOATIME),
    (0x800, MS_NODIRATIME),
    (0x1000, MS_RELATIME),
    (0x2000, MS_NOSYMFOLLOW),
)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """`flags` for mount(2) and `data` for the file system; `data` may hold secrets, never print it."""

    flags: int = 0
    data: str = ""

    def __repr__(self) -> str:
        return f"MountOptions(flags={self.flags:#x}, data=<{len(self.data)} characters>)"


def split_options(options: Iterable[str]) -> list[str]:
    """Single options in their order; each item may hold several, separated by commas outside double quotes."""
    result: list[str] = []
    for item in options:
        word, quoted = "", False
        for character in item:
            quoted ^= character == '"'
            if character == "," and not quoted:
                result.append(word)
                word = ""
            else:
                word += character
        result.append(word)
    return [word.strip() for word in result if word.strip()]


def parse_mount_options(options: Iterable[str]) -> MountOptions:
    """Flags and data for `options`.

    Raises ValueError for an option that asks for another operation than a mount.
    """
    flags, data = 0, []
    for option in split_options(options):
        name = option.partition("=")[0]
        if option in _FLAGS:
            wanted, unwanted = _FLAGS[option]
            flags = flags & ~unwanted | wanted
        elif option == "defaults":
            flags &= ~_DEFAULTS_CLEARS
        elif name in _OPERATIONS:
            raise ValueError(f"mount option {name!r} is an operation of its own; remove it from the mount options")
        elif name not in _IGNORED and not name.startswith(("x-", "X-", "comment")):
            data.append(option)
    return MountOptions(flags, ",".join(data))


def bind_flags(options: Iterable[str]) -> int:
    """The flags for `options` of a bind mount, which shares everything else with the mount that it shows.

    Raises ValueError for other options; the text says which ones are possible and holds none of those given.
    """
    parsed = parse_mount_options(options)
    if parsed.data or parsed.flags & ~_PER_MOUNT:
        raise ValueError(f"leave out all but {', '.join(_flag_names(_PER_MOUNT))} and their opposites")
    return parsed.flags


def _flag_names(flags: int) -> list[str]:
    return [name for name, (wanted, _) in _FLAGS.items() if wanted & flags]


def flags_of_statvfs(statvfs_flags: int) -> int:
    """The mount(2) flags that a remount must repeat to keep what statvfs(3) reports as set."""
    flags = 0
    for bit, flag in _FROM_STATVFS:
        if statvfs_flags & bit:
            flags |= flag
    return flags


def flags_of_entry(options: Iterable[str]) -> int:
    """The mount(2) flags that a remount must repeat, from the per-mount options that mountinfo shows."""
    flags = 0
    for option in options:
        wanted, unwanted = _FLAGS.get(option, (0, 0))
        flags = flags & ~unwanted | wanted
    return flags if flags & _ATIME else flags | MS_STRICTATIME


def added_to_bind(present: int, flags: int) -> int:
    """The flags of a bind mount that had `present` and is to have `flags` too; times of access as `flags` say."""
    if flags & _ATIME:
        present &= ~_ATIME
    return present | flags
