"""The child process that thaws frozen file systems when their freezer dies or takes too long.

Run by path, as a script: it imports nothing of its package, so that it starts in a few milliseconds.
Everything it needs is loaded before it reports ready, because the file system it would load from may be the
frozen one.

Arguments: the longest freeze in seconds, then one inherited descriptor per mount point in freezing order.
Standard input: `F` starts the clock, `D` says that all is thawed; its end without `D` means the freezer died.
Standard output: `R` when ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys

FITHAW = 0xC0045878


def main(argv: list[str]) -> int:
    """Wait for the end of the freeze; exit status 0 when there was nothing to do, 1 when it had to thaw."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    max_s, fds = float(argv[1]), [int(word) for word in argv[2:]]
    poller = select.poll()
    poller.register(0, select.POLLIN)
    os.write(1, b"R")
    if os.read(0, 1) != b"F":
        return 0
    finished = bool(poller.poll(max_s * 1000)) and os.read(0, 1) == b"D"
    if finished:
        return 0
    for fd in reversed(fds):
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, FITHAW, 0)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
