"""Loop devices by ioctl, found by the device and inode of their backing file, never by its name.

LOOP_CONFIGURE sets a device up in one step, so a process killed half way leaves a complete device or none;
`attach` adopts a complete one and corrects what was not yet done (size, direct I/O). Calls for the same
backing file exclude each other by flock on that file, also across processes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moorage.host import ioctl
from moorage.host.device import size_of

_LOOP_MAJOR: Final = 7
_CONTROL: Final = "/dev/loop-control"
_SYSFS: Final = "/sys/block"
_ATTEMPTS: Final = 64
_LOCK_TIMEOUT_S: Final = 10.0
_CLEAR_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.01
_DELETED: Final = " (deleted)"


@dataclass(frozen=True, slots=True)
class LoopDevice:
    """A bound loop device.

    `backing` is the (st_dev, st_ino) pair of the backing file and `backing_path` what the kernel last knew as
    its name, with ` (deleted)` after it when it was unlinked; the name may be wrong in a container, the pair
    is not.
    """

    path: str
    number: int
    backing: tuple[int, int]
    backing_path: str
    size_bytes: int
    readonly: bool
    direct_io: bool
    whole_file: bool


def list_loops() -> list[LoopDevice]:
    """Every bound loop device of this machine, by number. Raises OSError."""
    numbers = []
    for name in os.listdir(_SYSFS):
        match = re.fullmatch(r"loop(\d+)", name)
        if match and os.path.isdir(f"{_SYSFS}/{name}/loop"):
            numbers.append(int(match[1]))
    found = (_inspect(number) for number in sorted(numbers))
    return [device for device in found if device is not None]


def find_loop(path: str) -> LoopDevice | None:
    """The loop device that shows the whole file at `path`, or None.

    Raises OSError when `path` cannot be read.
    """
    return _find(_identity(os.stat(path)))


def attach(path: str, *, readonly: bool = False, direct_io: bool = True, block_size: int = 512) -> LoopDevice:
    """Have the file at `path` bound to a loop device and return it; an existing one is adopted and refreshed.

    A block device can be bound too, read-only: that gives readers a device of their own which refuses writes.

    `block_size` is the logical sector size in bytes; keep it the same for the life of a file system. Direct
    I/O falls back to buffered where the backing file system refuses it: look at the result. Raises OSError:
    EEXIST when the file is bound with the other access, EBUSY when no device can be had.
    """
    info = os.stat(path)
    if not (stat.S_ISREG(info.st_mode) or (readonly and stat.S_ISBLK(info.st_mode))):
        raise OSError(errno.EINVAL, f"{path} is no regular file and cannot back a loop device; check the path")
    with _locked(path):
        device = _find(_identity(info))
        if device is None:
            device = _bind_free(path, readonly=readonly, direct_io=direct_io, block_size=block_size)
        elif device.readonly != readonly:
            access = "read-only" if device.readonly else "writable"
            raise OSError(errno.EEXIST, f"{path} is bound to {device.path} as {access}; detach that device first")
        elif device.size_bytes != _size_of(path, info) // 512 * 512:
            device = refresh_capacity(device)
        if device.direct_io != direct_io:
            _set_direct_io(device.path, direct_io)
        return _inspect(device.number) or device


def detach(device: str, *, expected_backing: str | tuple[int, int]) -> bool:
    """Unbind loop device `device` if it shows `expected_backing`; False when it shows nothing or another
    file.

    `expected_backing` is a path or a (st_dev, st_ino) pair; the path of a deleted file matches what the
    kernel remembers. Raises OSError: EBUSY while the device is mounted or held by another device.
    """
    number = _number_of(device)
    lock_path = expected_backing if isinstance(expected_backing, str) else None
    with contextlib.ExitStack() as stack:
        if lock_path is not None:
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(_locked(lock_path))
        found = _inspect(number)
        if found is None or not _shows(found, expected_backing):
            return False
        try:
            fd = os.open(found.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise OSError(errno.EBUSY, f"{found.path} is still in use; unmount its file system first") from None
            raise
        try:
            with _gone_is_fine():
                ioctl.call(fd, ioctl.LOOP_CLR_FD)
        finally:
            os.close(fd)
        _wait_until_unbound(found)
    return True


@contextlib.contextmanager
def kept_unbound(path: str) -> Iterator[bool]:
    """Keep `attach` off the file at `path` for the body, which learns whether no device shows it, not even in part.

    Keep the body short: `attach` waits for its end for a few seconds only. Raises OSError.
    """
    with _locked(path):
        backing = _identity(os.stat(path))
        yield all(device.backing != backing for device in list_loops())


def refresh_capacity(device: LoopDevice) -> LoopDevice:
    """Tell the kernel that the backing file changed its size; online. Raises OSError."""
    fd = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ioctl.call(fd, ioctl.LOOP_SET_CAPACITY)
    finally:
        os.close(fd)
    return _inspect(device.number) or device


def read_ahead_kib(device: str) -> int:
    """Read-ahead of block device `device` in KiB. Raises OSError."""
    with open(_read_ahead_file(device), encoding="ascii") as file:
        return int(file.read())


def ensure_read_ahead(device: str, kib: int) -> bool:
    """Set the read-ahead of block device `device` to `kib` KiB; False when it is so already. Raises OSError."""
    if read_ahead_kib(device) == kib:
        return False
    with open(_read_ahead_file(device), "w", encoding="ascii") as file:
        file.write(str(kib))
    return True


def _read_ahead_file(device: str) -> str:
    number = os.stat(device).st_rdev
    return f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/queue/read_ahead_kb"


def _size_of(path: str, info: os.stat_result) -> int:
    """Size in bytes of a regular file or a block device."""
    return info.st_size if stat.S_ISREG(info.st_mode) else size_of(path)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _number_of(device: str) -> int:
    match = re.fullmatch(r"/dev/loop(\d+)", device)
    if match is None:
        raise ValueError(f"{device} is no loop device; give a path like /dev/loop0")
    return int(match[1])


def _find(backing: tuple[int, int]) -> LoopDevice | None:
    matching = (device for device in list_loops() if device.backing == backing and device.whole_file)
    return next(matching, None)


def _shows(device: LoopDevice, expected: str | tuple[int, int]) -> bool:
    if not isinstance(expected, str):
        return device.backing == expected
    try:
        return device.backing == _identity(os.stat(expected))
    except FileNotFoundError:
        return device.backing_path == os.path.abspath(expected) + _DELETED


def _ensure_node(number: int) -> str:
    """/dev/loopN, made if missing: a container's /dev does not follow the kernel."""
    path = f"/dev/loop{number}"
    if not os.path.exists(path):
        with contextlib.suppress(FileExistsError):
            os.mknod(path, 0o660 | stat.S_IFBLK, os.makedev(_LOOP_MAJOR, number))
    return path


def _inspect(number: int) -> LoopDevice | None:
    """What device `number` shows now; None when it is free."""
    path = _ensure_node(number)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.ENOENT):
            return None
        raise
    try:
        buffer = bytearray(ioctl.LOOP_INFO64_SIZE)
        ioctl.call(fd, ioctl.LOOP_GET_STATUS64, buffer)
        size_bytes = ioctl.read_u64(fd, ioctl.BLKGETSIZE64)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    finally:
        os.close(fd)
    info = ioctl.unpack_loop_info(bytes(buffer))
    return LoopDevice(
        path=path,
        number=number,
        backing=(_decode_device(info.device), info.inode),
        backing_path=_backing_path(number) or os.fsdecode(info.file_name),
        size_bytes=size_bytes,
        readonly=bool(info.flags & ioctl.LO_FLAGS_READ_ONLY),
        direct_io=bool(info.flags & ioctl.LO_FLAGS_DIRECT_IO),
        whole_file=info.offset == 0 and info.size_limit == 0,
    )


def _decode_device(encoded: int) -> int:
    """The kernel's `new_encode_dev` form as a `st_dev`."""
    return os.makedev(encoded >> 8 & 0xFFF, encoded & 0xFF | encoded >> 12 & 0xFFF00)


def _backing_path(number: int) -> str | None:
    try:
        with open(f"{_SYSFS}/loop{number}/loop/backing_file", "rb") as file:
            return os.fsdecode(file.read().removesuffix(b"\n"))
    except OSError:
        return None


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """flock on its own open file: the one given to the kernel would stay locked as long as the device lives."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise OSError(errno.EBUSY, f"{path} is locked by another process; try again later") from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(fd)


def _bind_free(path: str, *, readonly: bool, direct_io: bool, block_size: int) -> LoopDevice:
    """Bind `path` to a free device, trying again when another process takes it first."""
    file_fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = _free_number()
            if _configure(number, file_fd, path, readonly=readonly, direct_io=direct_io, block_size=block_size):
                device = _inspect(number)
                if device is not None:
                    return device
    finally:
        os.close(file_fd)
    raise OSError(errno.EBUSY, f"no free loop device for {path} after {_ATTEMPTS} attempts; detach unused ones")


def _free_number() -> int:
    fd = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return ioctl.call(fd, ioctl.LOOP_CTL_GET_FREE)
    finally:
        os.close(fd)


def _configure(number: int, file_fd: int, path: str, *, readonly: bool, direct_io: bool, block_size: int) -> bool:
    """One LOOP_CONFIGURE; False when the device was taken meanwhile."""
    device_fd = os.open(_ensure_node(number), (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    base_flags = ioctl.LO_FLAGS_READ_ONLY if readonly else 0
    try:
        for direct_flag in (ioctl.LO_FLAGS_DIRECT_IO, 0) if direct_io else (0,):
            flags = base_flags | direct_flag
            config = ioctl.pack_loop_config(file_fd, block_size=block_size, flags=flags, file_name=path)
            try:
                ioctl.call(device_fd, ioctl.LOOP_CONFIGURE, config)
                return True
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                if error.errno != errno.EINVAL or not direct_flag:
                    raise OSError(
                        error.errno, f"binding {path} to /dev/loop{number} failed: {error.strerror}"
                    ) from None
        return False
    finally:
        os.close(device_fd)


def _set_direct_io(device: str, wanted: bool) -> None:
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # refused by file systems without direct I/O: buffered works everywhere
        with contextlib.suppress(OSError):
            ioctl.call(fd, ioctl.LOOP_SET_DIRECT_IO, int(wanted))
    finally:
        os.close(fd)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


def _wait_until_unbound(device: LoopDevice) -> None:
    """The kernel clears the device when its last opener closes it, and udev may be one of them for a moment."""
    deadline = time.monotonic() + _CLEAR_TIMEOUT_S
    while True:
        now = _inspect(device.number)
        if now is None or now.backing != device.backing:
            return
        if time.monotonic() >= deadline:
            raise OSError(errno.EBUSY, f"{device.path} is held open by a process; it detaches when that one closes it")
        time.sleep(_POLL_S)
