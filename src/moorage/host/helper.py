"""Runs mounts, unmounts and statfs that may wait for a network in child processes that can be given up.

A thread stuck in such a call cannot be freed; a process can be killed, or, while the kernel does not let go
of it (state D), abandoned and counted. Children are executed, never forked off a threaded process, and serve
one call at a time; `start` brings one up before the gRPC server exists. A call that passes its deadline costs
its child, which the next call replaces. What the lost call did is unknown: read the mount table before
deciding.

Protocol on the child's stdin and stdout: four bytes of big-endian length, then that much JSON. The child's side
is `moorage.host.helper_child`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from moorage.base.run import SEARCH_PATH
from moorage.host.helper_child import frame
from moorage.host.stats import FilesystemStats

_START_TIMEOUT_S: Final = 15.0
_KILL_GRACE_S: Final = 2.0


class HelperTimeout(TimeoutError):
    """A call passed its deadline and its process was killed; whether it took effect is unknown.

    While `still_running()` is true not even SIGKILL ended it: keep the key of the operation locked.
    """

    def __init__(self, operation: str, path: str, *, timeout_s: float, process: subprocess.Popen[bytes]) -> None:
        super().__init__(
            f"{operation} of {path} did not finish within {timeout_s:g} s; check the network and the storage server"
        )
        self.path = path
        self._process = process

    def still_running(self) -> bool:
        """Whether the process of the call still exists."""
        return self._process.poll() is None

    def wait_for_end(self) -> None:
        """Wait, without a limit, until the process of the call is gone: only then is it decided what it did."""
        self._process.wait()


class HelperBusy(OSError):
    """All children are taken or stuck; the text says how many."""


class MountHelper:
    """A small pool of child processes for operations that may hang. Safe to use from many threads."""

    def __init__(self, *, max_children: int = 8) -> None:
        self._max_children = max_children
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy = 0
        self._stuck: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def start(self) -> None:
        """Bring up the first child. Raises OSError when it does not come up."""
        self._give_back(self._take(), healthy=True)

    def close(self) -> None:
        """End all idle children, and busy ones when their call ends. Calls after this raise HelperBusy."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    @property
    def abandoned(self) -> int:
        """How many killed children the kernel still holds on to."""
        with self._lock:
            self._stuck = [process for process in self._stuck if process.poll() is None]
            return len(self._stuck)

    def mount(
        self,
        source: str,
        target: str,
        *,
        fs_type: str,
        options: Sequence[str] = (),
        with_program: bool = False,
        timeout_s: float = 60.0,
    ) -> bool:
        """Have `source` mounted on `target`; False when it already is. The mount table must show it as `source`.

        `with_program` runs mount(8), for types that need their mount.TYPE program (nfs, cifs, fuse, ...);
        keep secrets out of `options` then, other users can see them. Raises OSError (EEXIST when something
        else is mounted there, EINVAL when the table shows another source), ValueError, HelperTimeout or HelperBusy.
        """
        request = {
            "operation": "mount",
            "path": target,
            "source": source,
            "fs_type": fs_type,
            "options": list(options),
            "with_program": with_program,
        }
        return bool(self._call(request, timeout_s))

    def bind(self, source: str, target: str, *, readonly: bool = False, timeout_s: float = 60.0) -> bool:
        """Have the directory `source`, which may lie on a network, bound on `target`; False when nothing had to
        change. Raises OSError (EEXIST when something else is mounted there), HelperTimeout or HelperBusy.
        """
        request = {"operation": "bind", "path": target, "source": source, "readonly": readonly}
        return bool(self._call(request, timeout_s))

    def unmount(self, path: str, *, lazy: bool = False, timeout_s: float = 60.0) -> bool:
        """Remove all mounts at `path`; False when there were none. Raises OSError, HelperTimeout or
        HelperBusy.
        """
        return bool(self._call({"operation": "unmount", "path": path, "lazy": lazy}, timeout_s))

    def statfs(self, path: str, *, timeout_s: float = 10.0) -> FilesystemStats:
        """Figures of the file system at `path`. Raises OSError, HelperTimeout or HelperBusy."""
        return FilesystemStats(*self._call({"operation": "statfs", "path": path}, timeout_s))

    def _call(self, request: dict[str, Any], timeout_s: float) -> Any:
        child = self._take()
        healthy = False
        try:
            reply = child.exchange(request, timeout_s=timeout_s)
            healthy = True
        except TimeoutError:
            raise HelperTimeout(
                request["operation"], request["path"], timeout_s=timeout_s, process=child.process
            ) from None
        finally:
            self._give_back(child, healthy=healthy)
        if "errno" in reply:
            raise OSError(reply["errno"], reply["error"])
        if "invalid" in reply:
            raise ValueError(reply["invalid"])
        return reply["result"]

    def _take(self) -> _Child:
        stuck = self.abandoned
        with self._lock:
            if self._closed:
                raise HelperBusy(errno.ESHUTDOWN, "the mount helper is closed; no operation is started any more")
            if self._busy + stuck >= self._max_children:
                raise HelperBusy(
                    errno.EAGAIN,
                    f"{self._busy} mount operations are running and {stuck} are stuck; try again later",
                )
            self._busy += 1
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
                child.close()
        try:
            return _Child()
        except BaseException:
            with self._lock:
                self._busy -= 1
            raise

    def _give_back(self, child: _Child, *, healthy: bool) -> None:
        died = True
        if not healthy:
            died = child.kill()
        with self._lock:
            self._busy -= 1
            if not died:
                self._stuck.append(child.process)
            elif healthy and not self._closed:
                self._idle.append(child)
                return
        if healthy:
            child.close()


class _Child:
    """One child process, seen from the parent."""

    def __init__(self) -> None:
        package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "moorage.host.helper_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "PYTHONPATH": package_root},
            start_new_session=True,
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the helper process has no pipes")
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        try:
            self._receive(time.monotonic() + _START_TIMEOUT_S)
        except (OSError, TimeoutError):
            self.kill()
            raise OSError(errno.EIO, "the mount helper process did not start; check the Python installation") from None

    def exchange(self, request: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """One question, one answer. Raises TimeoutError, or OSError when the child is gone."""
        deadline = time.monotonic() + timeout_s
        try:
            self._stdin.write(frame(request))
        except BrokenPipeError:
            raise OSError(errno.EPIPE, "the mount helper process ended unexpectedly; try again") from None
        return self._receive(deadline)

    def _receive(self, deadline: float) -> dict[str, Any]:
        length = int.from_bytes(self._read(4, deadline), "big")
        reply = json.loads(self._read(length, deadline))
        if not isinstance(reply, dict):
            raise OSError(errno.EPROTO, "the mount helper process answered nonsense; try again")
        return reply

    def _read(self, count: int, deadline: float) -> bytes:
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        data = b""
        while len(data) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poller.poll(left_s * 1000):
                raise TimeoutError
            part = os.read(self._stdout.fileno(), count - len(data))
            if not part:
                raise OSError(errno.EPIPE, "the mount helper process ended unexpectedly; try again")
            data += part
        return data

    def kill(self) -> bool:
        """Kill the child and what it started; False when it is still there after a short grace."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._stdin.close()
        self._stdout.close()
        try:
            self.process.wait(_KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Let the idle child end by itself."""
        self._stdin.close()
        self._stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_KILL_GRACE_S)
