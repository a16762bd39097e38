"""Makes, checks and grows ext2/3/4, xfs and btrfs by their own tools, never over something that may be data.

`ensure_filesystem` may be repeated after kill -9: mkfs of all three writes the superblock last (seen with
e2fsprogs 1.47.0, xfsprogs 6.1.0 and btrfs-progs 6.2), so a finished file system is recognised and an
unfinished one is not taken for a finished one. Whether leftovers may be wiped is the caller's knowledge, not
a guess.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from typing import Final

from moorage.base.run import CommandError, run_sync
from moorage.host import ioctl, syscalls
from moorage.host.device import size_of
from moorage.host.probe import Blank, Content, Unreadable, Unrecognised, probe, wipe
from moorage.host.signature import Known, Unfinished

#: The smallest device mkfs accepts with the options used here, measured with the versions named above. ext3
#: and ext4 are made without a journal below this size, ext2 has none. xfs refuses less than 300 MiB, btrfs
#: less than 109 MiB (one system, one metadata block group in two copies each, and data).
MINIMUM_BYTES: Final = {
    "ext2": 128 << 10,
    "ext3": 2 << 20,
    "ext4": 2 << 20,
    "xfs": 300 << 20,
    "btrfs": 114_294_784,
}
_BTRFS_RESIZE_BYTES: Final = 256 << 20
_CANNOT_TRIM: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EROFS)
_EXT: Final = ("ext2", "ext3", "ext4")
_LABEL_BYTES: Final = {"ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255}


class FilesystemError(Exception):
    """What is on a device is not what was expected.

    FilesystemError
    ├── NotBlank             it may hold data, so no file system is made on it
    ├── FilesystemCorrupt    the checker found damage that it does not repair by itself
    └── CannotGrow           this file system cannot grow in this state
    """


class NotBlank(FilesystemError):
    """Refused: the device is not proved blank and does not hold the wanted file system.

    `content` says what it is.
    """

    def __init__(self, device: str, content: Content) -> None:
        super().__init__(device, content)
        self.device = device
        self.content = content

    def __str__(self) -> str:
        match self.content:
            case Known(fs_type=found):
                what = f"holds {found}"
            case Unfinished(fs_type=found, reason=reason):
                what = f"holds an unfinished {found}: {reason}"
            case Unrecognised(offset=offset):
                what = f"holds unrecognised data at byte {offset}"
            case Unreadable(reason=reason):
                what = f"could not be examined: {reason}"
            case _:
                what = "is blank"
        return f"{self.device} {what}; it is not formatted, to keep what may be data: inspect it by hand"


class FilesystemCorrupt(FilesystemError):
    """Damage that needs a decision; take a copy of the device before repairing it."""


class CannotGrow(FilesystemError):
    """Growing is not possible now; the text says what to do."""


def minimum_bytes(fs_type: str) -> int:
    """The smallest device in bytes on which `fs_type` can be made.

    Raises ValueError for a type not handled here.
    """
    if fs_type not in MINIMUM_BYTES:
        known = ", ".join(MINIMUM_BYTES)
        raise ValueError(f"file system type {fs_type!r} is not supported; use one of {known}")
    return MINIMUM_BYTES[fs_type]


def ensure_filesystem(
    device: str,
    fs_type: str,
    *,
    uuid: str | None = None,
    label: str = "",
    options: Sequence[str] = (),
    leftovers_are_ours: bool = False,
    timeout_s: float = 600.0,
) -> bool:
    """Have a file system of `fs_type` on `device`; False when it is there already (with `uuid`, when given).

    A fixed `uuid` makes a repeated call able to tell its own file system from another one. `options` go to
    mkfs as they are. `leftovers_are_ours` is the caller's word that it alone began to format this device and
    never finished: only then unfinished or unrecognised content is wiped first. Raises NotBlank, ValueError
    (type, label, size) or CommandError. Unreadable devices are never formatted.
    """
    content = probe(device)
    match content:
        case Known(fs_type=found, uuid=found_uuid) if found == fs_type and uuid in (None, found_uuid):
            return False
        case Unfinished() | Unrecognised() if leftovers_are_ours:
            wipe(device)
    make_filesystem(device, fs_type, uuid=uuid, label=label, options=options, timeout_s=timeout_s)
    return True


def make_filesystem(
    device: str,
    fs_type: str,
    *,
    uuid: str | None = None,
    label: str = "",
    options: Sequence[str] = (),
    timeout_s: float = 600.0,
) -> None:
    """Run mkfs on a device that is blank, proved here and now. Raises as `ensure_filesystem`; not idempotent.

    mkfs is told neither to discard (a preallocated image stays allocated) nor to force (its own checks stay
    on).
    """
    argv = mkfs_command(device, fs_type, uuid=uuid, label=label, options=options)
    content = probe(device)
    if not isinstance(content, Blank):
        raise NotBlank(device, content)
    if content.size_bytes < MINIMUM_BYTES[fs_type]:
        raise ValueError(
            f"{device} has {content.size_bytes} bytes, {fs_type} needs at least {MINIMUM_BYTES[fs_type]}; enlarge it"
        )
    run_sync(argv, timeout_s=timeout_s)


def mkfs_command(
    device: str, fs_type: str, *, uuid: str | None = None, label: str = "", options: Sequence[str] = ()
) -> list[str]:
    """The argv that makes the file system.

    Pure. Raises ValueError for an unknown type or a label too long.
    """
    minimum_bytes(fs_type)
    if len(label.encode()) > _LABEL_BYTES[fs_type]:
        raise ValueError(f"label {label!r} is longer than the {_LABEL_BYTES[fs_type]} bytes that {fs_type} can hold")
    named = ["-L", label] if label else []
    if fs_type in _EXT:
        # the checksum seed lets the UUID of a clone change without rewriting every checksum
        features = ["metadata_csum_seed"] if fs_type == "ext4" else []
        identity = ["-U", uuid] if uuid else []
        merged = _merge_ext_options(options, features=features)
        return [f"mkfs.{fs_type}", "-q", "-m", "0", *merged, *identity, *named, device]
    if fs_type == "xfs":
        identity = ["-m", f"uuid={uuid}"] if uuid else []
        return ["mkfs.xfs", "-q", "-K", *options, *identity, *named, device]
    identity = ["-U", uuid] if uuid else []
    return ["mkfs.btrfs", "-q", "-K", *options, *identity, *named, device]


def _merge_ext_options(options: Sequence[str], *, features: Sequence[str]) -> list[str]:
    """mke2fs obeys only its last -E and its last -O, so ours and the caller's are joined, the caller's last."""
    joined = {"-E": ["nodiscard"], "-O": list(features)}
    rest: list[str] = []
    words = iter(options)
    for word in words:
        if word in joined:
            joined[word].append(next(words, ""))
        elif word[:2] in joined:
            joined[word[:2]].append(word[2:])
        else:
            rest.append(word)
    extra = [part for flag, values in joined.items() if values for part in (flag, ",".join(values))]
    return [*extra, *rest]


def replay_journal(device: str, fs_type: str, *, timeout_s: float = 600.0) -> None:
    """Bring an unmounted file system's log up to date, as a mount and unmount would. Raises OSError,
    CommandError.

    xfs has no tool for it, so it is mounted for a moment without a place in the tree (and without the check
    for a duplicate UUID): if this process dies, that mount dies with it. btrfs needs nothing.
    """
    if fs_type in _EXT:
        _e2fsck(device, timeout_s=timeout_s)
    elif fs_type == "xfs":
        os.close(syscalls.mount_detached("xfs", device, options=("nouuid",)))


def check_filesystem(device: str, fs_type: str, *, full: bool = False, timeout_s: float = 3600.0) -> bool:
    """Check an unmounted file system before its mount; True when something was repaired.

    ext: `e2fsck -p`, which replays the journal and repairs what is safe; `full` forces all passes. xfs and
    btrfs recover by themselves at mount and are left alone, unless `full`: then the log of xfs is replayed
    and the checker runs without modifying anything. Raises FilesystemCorrupt, OSError or CommandError.
    """
    minimum_bytes(fs_type)
    if fs_type in _EXT:
        return _e2fsck(device, force=full, timeout_s=timeout_s)
    if full:
        replay_journal(device, fs_type, timeout_s=timeout_s)
        command = ["xfs_repair", "-n", device] if fs_type == "xfs" else ["btrfs", "check", "--readonly", device]
        done = run_sync(command, timeout_s=timeout_s, check=False)
        if done.returncode:
            raise FilesystemCorrupt(
                f"{command[0]} found damage in the {fs_type} file system on {device} (status {done.returncode}); "
                "copy the device, then repair the copy"
            )
    return False


def _e2fsck(device: str, *, force: bool = False, timeout_s: float) -> bool:
    """Status bits of e2fsck(8): 1 and 2 mean repaired, 4 left uncorrected, 8 and above trouble with running
    it.
    """
    argv = ["e2fsck", "-p", *(["-f"] if force else []), device]
    done = run_sync(argv, timeout_s=timeout_s, check=False)
    if done.returncode < 0 or done.returncode & ~7:
        raise CommandError("e2fsck", done.returncode, done.stderr or done.stdout)
    if done.returncode & 4:
        raise FilesystemCorrupt(
            f"e2fsck does not repair the file system on {device} by itself; copy the device, then run `e2fsck -f` on it"
        )
    return done.returncode & 3 != 0


def grow_filesystem(device: str, fs_type: str, *, mount_point: str | None, timeout_s: float = 600.0) -> bool:
    """Grow to the size of the device; False when there was nothing to gain. Never shrinks.

    `mount_point` is where it is mounted now; None means unmounted, which only ext can do (it is checked
    first). Raises CannotGrow, FilesystemCorrupt, OSError or CommandError.
    """
    minimum_bytes(fs_type)
    if mount_point is None:
        return _grow_offline(device, fs_type, timeout_s=timeout_s)
    if fs_type == "btrfs" and not _btrfs_can_gain(device, mount_point):
        return False
    before = os.statvfs(mount_point).f_blocks
    if fs_type in _EXT:
        return _grow_ext_online(device, mount_point)
    if fs_type == "xfs":
        run_sync(["xfs_growfs", "-d", mount_point], timeout_s=timeout_s)
    else:
        fd = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ioctl.call(fd, ioctl.BTRFS_IOC_RESIZE, struct.pack("=q4088s", 0, b"max"))
        finally:
            os.close(fd)
    return os.statvfs(mount_point).f_blocks > before


def _btrfs_can_gain(device: str, mount_point: str) -> bool:
    """Whether a sector more would fit. The kernel refuses to resize to less than 256 MiB, even to the present size."""
    found, size_bytes = os.statvfs(mount_point), size_of(device)
    if size_bytes - found.f_blocks * found.f_frsize < found.f_frsize:
        return False
    if size_bytes < _BTRFS_RESIZE_BYTES:
        raise CannotGrow(f"btrfs on {device} cannot be resized to less than 256 MiB; enlarge the device to that")
    return True


def _grow_ext_online(device: str, mount_point: str) -> bool:
    content = probe(device)
    if not isinstance(content, Known) or not content.block_size:
        raise CannotGrow(f"the superblock on {device} cannot be read; check the device")
    blocks = size_of(device) // content.block_size
    if blocks * content.block_size <= content.size_bytes:
        return False
    fd = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ioctl.call(fd, ioctl.EXT4_IOC_RESIZE_FS, blocks.to_bytes(8, "little"))
    except PermissionError:
        raise CannotGrow(
            f"ext4 at {mount_point} grows while mounted only with CAP_SYS_RESOURCE, which this process lacks; "
            "unmount it or add the capability"
        ) from None
    except OSError as error:
        raise OSError(error.errno, f"growing {mount_point} failed: {error.strerror}; look at the kernel log") from None
    finally:
        os.close(fd)
    return True


def _grow_offline(device: str, fs_type: str, *, timeout_s: float) -> bool:
    if fs_type not in _EXT:
        raise CannotGrow(f"{fs_type} on {device} grows only while mounted; mount it first")
    before = filesystem_size(device)
    if size_of(device) - before < 4096:
        return False
    _e2fsck(device, force=True, timeout_s=timeout_s)
    run_sync(["resize2fs", device], timeout_s=timeout_s)
    return filesystem_size(device) > before


def discard_free_space(mount_point: str) -> bool:
    """Tell the device of a mounted file system which space is free; False where that is not possible.

    The kernel keeps it apart from writers. A loop device gives the space back to the file system below. Raises
    OSError.
    """
    fd = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ioctl.call(fd, ioctl.FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, 0))
        return True
    except OSError as error:
        if error.errno in _CANNOT_TRIM:
            return False
        raise
    finally:
        os.close(fd)


def filesystem_size(device: str) -> int:
    """The size in bytes that the file system on `device` gives itself. Raises FilesystemError when there is
    none.

    The superblock on disk of a mounted xfs or btrfs may lag behind; use `moorage.host.stats` for mounted
    ones.
    """
    content = probe(device)
    if isinstance(content, Known) and content.size_bytes:
        return content.size_bytes
    raise (
        NotBlank(device, content)
        if not isinstance(content, Blank)
        else FilesystemError(f"{device} is blank; make a file system on it first")
    )
