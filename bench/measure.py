"""What the measurements have in common: timing, the table they print, a place to work in, and a clean end.

A measurement is no timed test: a missed aim is printed and nothing more. The exit status is 1 only when nothing
could be measured. Knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import grpc.aio

from moorage.spec.errors import CsiError
from moorage.testing.driver import DriverDied

_NAME, _VALUE, _AIM = 58, 14, 16


class Unable(Exception):
    """A measurement cannot be made here; the message says why, and what to do about it."""


class Table:
    """Prints one figure a line as soon as it is known: name, value, aim, and whether the aim is met."""

    def __init__(self, title: str) -> None:
        print(f"{title}\n{_machine()}")
        print(f"{'':{_NAME}} {'value':>{_VALUE}} {'aim':>{_AIM}}  verdict", flush=True)

    def row(self, name: str, value: str, *, aim: str = "", met: bool | None = None) -> None:
        """A figure; `met` None where there is no aim."""
        verdict = "" if met is None else "met" if met else "MISSED"
        print(f"{name:{_NAME}} {value:>{_VALUE}} {aim:>{_AIM}}  {verdict}".rstrip(), flush=True)

    def at_most(self, name: str, value: float, limit: float, *, unit: str, digits: int = 2) -> None:
        """A figure that is to be no larger than `limit`."""
        self.row(name, f"{value:.{digits}f} {unit}", aim=f"<= {limit:.{digits}f} {unit}", met=value <= limit)

    def time(self, name: str, seconds: float) -> None:
        """A duration without an aim."""
        self.row(name, milliseconds(seconds))

    def ratio(self, name: str, value_s: float, reference_s: float, *, limit: float | None = None) -> None:
        """How many times as long as the reference something takes."""
        ratio = value_s / reference_s
        digits = 2 if ratio >= 0.1 else 4
        aim = "" if limit is None else f"<= {limit:g} x"
        self.row(name, f"{ratio:.{digits}f} x", aim=aim, met=None if limit is None else ratio <= limit)


def milliseconds(seconds: float) -> str:
    """A duration for the table."""
    return f"{seconds * 1e3:.{3 if seconds < 0.1 else 0}f} ms"


def p50(samples: Sequence[float]) -> float:
    """The median."""
    return statistics.median(samples)


async def timed(call: Awaitable[object]) -> float:
    """How long this takes, in seconds."""
    began_s = time.perf_counter()
    await call
    return time.perf_counter() - began_s


async def command_s(*argv: str) -> float:
    """How long a command takes, from its start to its end. Raises Unable when it fails; ends with its caller."""
    began_s = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, complaint = await asyncio.to_thread(process.communicate)
        elapsed_s = time.perf_counter() - began_s
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise Unable(f"{argv[0]} failed: {complaint.decode(errors='replace').strip()}")
    return elapsed_s


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty directory that is gone afterwards; below TMPDIR, with a path short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="moorage-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def run(benchmark: Callable[[], Awaitable[None]]) -> None:
    """Run a measurement to its end. SIGTERM and Ctrl-C end it through its `finally` clauses, with status 130."""

    async def main() -> None:
        await benchmark()

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
    signal.signal(signal.SIGTERM, interrupt)
    try:
        asyncio.run(main())
    except* (Unable, CsiError, DriverDied, OSError, grpc.aio.AioRpcError) as errors:
        print(f"the measurement could not be made: {_first(errors)}", file=sys.stderr)
        raise SystemExit(1) from None
    except* KeyboardInterrupt:
        print("interrupted; what was made for the measurement is removed", file=sys.stderr)
        raise SystemExit(130) from None


def _first(error: BaseException) -> BaseException:
    """The first exception of a group of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"({os.cpu_count()} CPUs, {load:.1f} tasks running or waiting over the last minute, "
        f"Linux {platform.release()}, Python {platform.python_version()})"
    )
