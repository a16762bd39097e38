"""Where a mutant stands: its own socket, the process of the correct driver behind it, and the host around both."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

from moorage.testing.mutants.mutant import Call

__all__ = ["backend_log", "backend_pid", "bind_mount", "from_before_restart", "listening_path", "unmount"]


def listening_path(call: Call) -> Path:
    """The socket at which this process serves the mutant: the one that is in the directory of the driver's own.

    Raises FileNotFoundError when there is none. Source: proc_net(5); flag 00010000 stands for a listening socket.
    """
    place = os.path.dirname(call.backend.endpoint.path)
    own = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/self/fd/{number}"))
    for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]:
        *fields, path = line.split(maxsplit=7)
        if path.startswith(f"{place}/") and fields[3] == "00010000" and f"socket:[{fields[6]}]" in own:
            return Path(path)
    raise FileNotFoundError(f"this process listens at no socket in {place}")


def backend_pid(call: Call) -> int:
    """The process id of the correct driver, which changes when it is restarted; 0 while it does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        try:
            peer.settimeout(1.0)
            peer.connect(call.backend.endpoint.path)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def from_before_restart(call: Call, key: Any) -> bool:
    """Whether `key` was asked for already when another process, or none, was behind the mutant."""
    now = backend_pid(call)
    first = call.memory.setdefault("first seen", {}).setdefault(key, now)
    return bool(now) and first != now


def backend_log(call: Call) -> Path:
    """The file that the correct driver's standard output goes to."""
    return Path(os.readlink(f"/proc/{backend_pid(call)}/fd/1"))


def bind_mount(source: str, target: str) -> None:
    """Mount a directory or file on another. Raises CalledProcessError."""
    subprocess.run(["mount", "--bind", source, target], check=True, capture_output=True)


def unmount(target: str) -> None:
    """Take the topmost mount at a path away, if there is one."""
    subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
