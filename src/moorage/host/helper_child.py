"""The process that `moorage.host.helper` starts: it answers one request after the other, and ends with its parent.

It ends at once, in the middle of a mount too, when its parent has gone: nobody would know what it does later.
Starting it must be cheap, so what an operation needs is imported when it comes.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import threading
from typing import Any, Final

_MAX_MESSAGE_BYTES: Final = 1 << 20


def frame(message: dict[str, Any]) -> bytes:
    """A message as it is sent."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(4, "big") + body


def perform(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request in the child; every failure becomes part of the answer."""
    try:
        return {"result": _OPERATIONS[request["operation"]](request)}
    except OSError as error:
        text = error.args[1] if len(error.args) > 1 else str(error)
        return {"errno": error.errno or errno.EIO, "error": str(text)}
    except ValueError as error:
        return {"invalid": str(error)}


def _perform_mount(request: dict[str, Any]) -> bool:
    from moorage.host import mount
    from moorage.host.mountoptions import parse_mount_options
    from moorage.host.network import shows_source

    source, target, fs_type = request["source"], request["path"], request["fs_type"]
    parsed = parse_mount_options(request["options"])
    entry = mount.find_mount(target)
    if entry is not None:
        if shows_source(entry, source, fs_type=fs_type):
            return False
        raise OSError(errno.EEXIST, f"{target} already holds a mount of {entry.source}; unmount it first")
    if request["with_program"]:
        _run_mount_program(source, target, fs_type=fs_type, options=request["options"])
    else:
        mount.mount_filesystem(source, target, fs_type=fs_type, flags=parsed.flags, data=parsed.data)
    entry = mount.find_mount(target)
    if entry is None:
        raise OSError(errno.EIO, f"mount of {source} on {target} reported success and nothing is mounted there")
    if not shows_source(entry, source, fs_type=fs_type):
        mount.ensure_unmounted(target)
        shown = f"{entry.source} ({entry.fs_type})"
        raise OSError(errno.EINVAL, f"{target} shows {shown} when {source} is mounted there; name it as it is shown")
    return True


def _perform_bind(request: dict[str, Any]) -> bool:
    from moorage.host import mount

    return mount.ensure_bind_mounted(request["source"], request["path"], readonly=request["readonly"])


def _run_mount_program(source: str, target: str, *, fs_type: str, options: list[str]) -> None:
    """mount(8) in this process group, so that killing the group ends it too."""
    import tempfile

    argv = ["mount", "-t", fs_type, *(["-o", ",".join(options)] if options else []), "--", source, target]
    with tempfile.TemporaryFile() as said:  # a pipe would stay open in daemons that mount programs start
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        said.seek(0)
        words = said.read().decode("utf-8", "backslashreplace").strip().splitlines()
    if done.returncode:
        text = words[-1] if words else f"status {done.returncode}"
        for option in options:
            value = option.partition("=")[2]
            text = text.replace(value, "***") if value else text
        raise OSError(errno.EIO, f"mount of {source} on {target} failed: {text}")


def _perform_unmount(request: dict[str, Any]) -> bool:
    from moorage.host import mount

    return mount.ensure_unmounted(request["path"], lazy=request["lazy"])


def _perform_statfs(request: dict[str, Any]) -> list[int]:
    from moorage.host.stats import filesystem_stats

    stats = filesystem_stats(request["path"])
    return [
        stats.total_bytes,
        stats.available_bytes,
        stats.used_bytes,
        stats.total_inodes,
        stats.available_inodes,
        stats.used_inodes,
    ]


_OPERATIONS: Final = {
    "mount": _perform_mount,
    "bind": _perform_bind,
    "unmount": _perform_unmount,
    "statfs": _perform_statfs,
}


def serve(input_fd: int, output_fd: int) -> None:
    """The child's life: say hello, answer requests, end when the parent closes its side or is gone."""
    with open(input_fd, "rb", closefd=False) as source:
        os.write(output_fd, frame({"pid": os.getpid()}))
        while True:
            header = source.read(4)
            length = int.from_bytes(header, "big")
            if len(header) < 4 or length > _MAX_MESSAGE_BYTES:
                return
            body = source.read(length)
            if len(body) < length:
                return
            answer = memoryview(frame(perform(json.loads(body))))
            while answer:
                answer = answer[os.write(output_fd, answer) :]


def end_with(parent_fd: int) -> None:
    """Kill this process and what it started when the other end of the pipe is closed."""
    poller = select.poll()
    poller.register(parent_fd, 0)  # hang-ups are always reported
    poller.poll()
    os.killpg(os.getpid(), signal.SIGKILL)  # `start_new_session` made it the leader of its group


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(0,), daemon=True).start()
    serve(0, 1)
