"""The child process that thaws frozen file systems when their freezer dies or takes too long.

Run by path, as a script: it imports nothing of its package, so that it starts in a few milliseconds. Everything
it needs is loaded before it reports ready, because the file system it would load from may be the frozen one.

Standard input is a socket of packets, with the freezer at the other end; its end means that the freezer died.
It is sent `W` with descriptors of mount points in freezing order, any number of times, then `B` and the longest
freeze in seconds, which starts the clock, then `D` when all is thawed. It answers `R` when it is ready at first,
when the clock runs, and when it has closed the descriptors.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket

FITHAW = 0xC0045878
READY, WATCH, BEGIN, DONE = b"R", b"W", b"B", b"D"
MAX_FDS = 253


def main() -> int:
    """Serve freezes until the freezer is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=0)
    watched: list[int] = []
    with contextlib.suppress(OSError):  # nobody is left to answer
        channel.send(READY)
        while True:
            message, fds, _, _ = socket.recv_fds(channel, 64, MAX_FDS)
            watched += fds
            if not message:
                break
            if message.startswith(BEGIN):
                channel.send(READY)
                watch(channel, watched, max_s=float(message[1:]))
                watched = []
                channel.send(READY)
    return 0


def watch(channel: socket.socket, fds: list[int], *, max_s: float) -> None:
    """Wait for the end of one freeze, thaw when it is late or its freezer is gone, and close the descriptors."""
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    finished = bool(poller.poll(max_s * 1000)) and heard_done(channel)
    if not finished:
        for fd in reversed(fds):
            with contextlib.suppress(OSError):
                fcntl.ioctl(fd, FITHAW, 0)
    for fd in fds:
        os.close(fd)
    if not finished:
        heard_done(channel)


def heard_done(channel: socket.socket) -> bool:
    """Whether the freezer says that all is thawed, and not that it is gone."""
    try:
        return channel.recv(1) == DONE
    except OSError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
