"""Guard processes, seen from the side that freezes: started, told what to watch, and kept for the next freeze.

Starting one takes longer than most freezes, so one that has done its work waits for more. It then holds no file and
no mount, and ends with this process, however that ends. What it does is in `watchdog`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from moorage.host import watchdog

_KEPT: Final = 1
_ANSWER_TIMEOUT_S: Final = 10.0
_FDS_PER_MESSAGE: Final = 200  # the kernel takes 253

_idle: list[Guard] = []
_keeping: Final = threading.Lock()


class Guard:
    """One guard process, started and ready. Raises OSError when it does not start."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_ANSWER_TIMEOUT_S)
        self._sound = True
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", os.path.abspath(watchdog.__file__)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    start_new_session=True,
                )
        except BaseException:
            self._channel.close()
            raise
        try:
            self._hear(watchdog.READY)
        except BaseException:
            self.close()
            raise

    @property
    def is_sound(self) -> bool:
        """Whether it runs, watches nothing, and can be told to watch something."""
        return self._sound and self.process.poll() is None

    def begin(self, fds: Sequence[int], *, max_s: float) -> None:
        """Have it watch these mount points and start the clock.

        Raises OSError when the guard is gone, before anything is frozen.
        """
        self._sound = False
        for start in range(0, len(fds), _FDS_PER_MESSAGE):
            socket.send_fds(self._channel, [watchdog.WATCH], fds[start : start + _FDS_PER_MESSAGE])
        self._channel.send(watchdog.BEGIN + str(max_s).encode())
        self._hear(watchdog.READY)

    def end(self) -> None:
        """Tell it that everything is thawed, and wait until it has let go of the mounts."""
        with contextlib.suppress(OSError):
            self._channel.send(watchdog.DONE)
            self._hear(watchdog.READY)
            self._sound = True

    def close(self) -> None:
        """End the process; it thaws first what it still watches."""
        self._channel.close()
        try:
            self.process.wait(_ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_ANSWER_TIMEOUT_S)

    def _hear(self, expected: bytes) -> None:
        if self._channel.recv(1) != expected:
            raise OSError(errno.EIO, "the guard process of a freeze has ended; nothing was frozen, repeat the call")


@contextlib.contextmanager
def ready() -> Iterator[Guard]:
    """A guard for the body, which afterwards holds no mount any more. Raises OSError."""
    guard = _take()
    try:
        yield guard
    finally:
        _give_back(guard)


def _take() -> Guard:
    while True:
        with _keeping:
            if not _idle:
                break
            guard = _idle.pop()
        if guard.is_sound:
            return guard
        guard.close()
    return Guard()


def _give_back(guard: Guard) -> None:
    if guard.is_sound:
        with _keeping:
            if len(_idle) < _KEPT:
                _idle.append(guard)
                return
    guard.close()


@atexit.register
def end_idle() -> None:
    """End the guards that wait for work."""
    with _keeping:
        guards, _idle[:] = list(_idle), []
    for guard in guards:
        guard.close()
