"""The system calls that Python does not offer, by ctypes, with errno turned into OSError.

Every function here does one system call and nothing else. Error texts name the call and the object, never
mount data, because mount data may hold passwords. Numbers from 424 upwards are the same on every
architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08

OPEN_TREE_CLONE: Final = 1
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x04
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
MOUNT_ATTR_RDONLY: Final = 0x01
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_CMD_CREATE: Final = 6

FALLOC_FL_KEEP_SIZE: Final = 0x01
FALLOC_FL_PUNCH_HOLE: Final = 0x02

_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_SYS_OPENAT2: Final = 437
_SYS_MOUNT_SETATTR: Final = 442
_CLOEXEC: Final = 1  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.syncfs.argtypes = (ctypes.c_int,)
_libc.syscall.restype = ctypes.c_long


def _raise(call: str, what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{call}: {os.strerror(code)}", what)


def _checked(result: int, call: str, what: str) -> int:
    if result < 0:
        _raise(call, what)
    return result


def _syscall(number: int, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    converted = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return int(_libc.syscall(ctypes.c_long(number), *converted))


def mount(source: str | None, target: str, *, fs_type: str | None, flags: int, data: str | None) -> None:
    """mount(2). Raises OSError naming `target`."""
    result = _libc.mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if fs_type is None else fs_type.encode(),
        flags,
        None if data is None else os.fsencode(data),
    )
    _checked(result, "mount", target)


def umount2(target: str, flags: int) -> None:
    """umount2(2). Raises OSError naming `target`."""
    _checked(_libc.umount2(os.fsencode(target), flags), "umount", target)


def fallocate(fd: int, mode: int, *, offset: int, length: int) -> None:
    """fallocate(2) of `length` bytes at `offset`, with EINTR retried.

    Raises OSError (EOPNOTSUPP, ENOSPC, ...).
    """
    while _libc.fallocate(fd, mode, offset, length) < 0:
        if ctypes.get_errno() != errno.EINTR:
            _raise("fallocate", f"fd {fd}")


def syncfs(fd: int) -> None:
    """syncfs(2): write back the file system that holds `fd` and wait.

    Raises OSError, EIO when a write failed.
    """
    _checked(_libc.syncfs(fd), "syncfs", f"fd {fd}")


def openat2(dir_fd: int, path: str, *, flags: int, resolve: int) -> int:
    """openat2(2) (Linux 5.6).

    Raises OSError: ENOSYS on older kernels, EXDEV or ELOOP when `resolve` forbids it.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    buffer = ctypes.create_string_buffer(how, len(how))
    return _checked(_syscall(_SYS_OPENAT2, dir_fd, os.fsencode(path), buffer, len(how)), "openat2", path)


def open_tree_clone(path: str) -> int:
    """A detached bind mount of `path` as a file descriptor (Linux 5.2); closing it without attaching removes
    it.
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC
    return _checked(_syscall(_SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags), "open_tree", path)


def set_mount_attributes(mount_fd: int, *, attr_set: int, attr_clear: int = 0) -> None:
    """mount_setattr(2) on a mount descriptor (Linux 5.12); attributes that are not named stay as they are."""
    attr = struct.pack("=QQQQ", attr_set, attr_clear, 0, 0)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = _syscall(_SYS_MOUNT_SETATTR, mount_fd, b"", AT_EMPTY_PATH, buffer, len(attr))
    _checked(result, "mount_setattr", f"fd {mount_fd}")


def attach_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2): attach a detached mount on top of the directory or file that `target_fd` refers to."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    result = _syscall(_SYS_MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags)
    _checked(result, "move_mount", f"fd {target_fd}")


def mount_detached(fs_type: str, device: str, *, options: tuple[str, ...] = ()) -> int:
    """Mount `device` nowhere (Linux 5.2): the file descriptor is the only reference, closing it unmounts.

    So a mount that dies with its process, and needs no directory. `options` are flags or `key=value`.
    Raises OSError with the kernel's reason.
    """
    fs_fd = _checked(_syscall(_SYS_FSOPEN, fs_type.encode(), _CLOEXEC), "fsopen", fs_type)
    try:
        _fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", device)
        for option in options:
            key, equals, value = option.partition("=")
            _fsconfig(fs_fd, FSCONFIG_SET_STRING if equals else FSCONFIG_SET_FLAG, key, value or None)
        _fsconfig(fs_fd, FSCONFIG_CMD_CREATE, None, None, what=device)
        return _checked(_syscall(_SYS_FSMOUNT, fs_fd, _CLOEXEC, 0), "fsmount", device)
    finally:
        os.close(fs_fd)


def _fsconfig(fs_fd: int, command: int, key: str | None, value: str | None, *, what: str = "") -> None:
    encoded_key = None if key is None else key.encode()
    encoded_value = None if value is None else os.fsencode(value)
    result = _syscall(_SYS_FSCONFIG, fs_fd, command, encoded_key, encoded_value, 0)
    _checked(result, "fsconfig", what or (key or ""))
