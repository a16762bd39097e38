"""Run a program: an argv list, never a shell, with a deadline, bounded output and a typed error.

Every program starts in its own session with a minimal environment and `/` as working directory, so that it
neither inherits secrets nor pins a mount point. When its time is up the whole process group is killed. A
child that survives SIGKILL, because it waits in the kernel (state D), is given up after a short grace and
counted.

The argv may hold secrets, so no error text ever contains it: only the program's name and its own words.
This module knows nothing of what the programs do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

from moorage.base.command import (
    SEARCH_PATH,
    CommandError,
    CommandNotFound,
    CommandOutputTooLarge,
    CommandTimeout,
    Completed,
)

__all__ = [
    "SEARCH_PATH",
    "CommandError",
    "CommandNotFound",
    "CommandOutputTooLarge",
    "CommandTimeout",
    "Completed",
    "abandoned_children",
    "run",
    "run_sync",
]

MAX_OUTPUT_BYTES: Final = 1 << 20
KILL_GRACE_S: Final = 2.0
_STDERR_TAIL_BYTES: Final = 4096
_CHUNK_BYTES: Final = 1 << 16


def run_sync(
    argv: Sequence[str],
    *,
    timeout_s: float = 60.0,
    input_bytes: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    max_output_bytes: int = MAX_OUTPUT_BYTES,
) -> Completed:
    """Run `argv` to its end and return what it wrote; blocks the calling thread.

    `argv[0]` is a name to be found in `SEARCH_PATH` or an absolute path. `env` adds to the minimal
    environment (PATH, LC_ALL=C). The call ends when the program itself ends, even if a daemon it started
    keeps its output open. Raises `CommandError` on a non-zero status (only with `check`), `CommandTimeout`,
    `CommandNotFound`, and with `check` also `CommandOutputTooLarge`.
    """
    child = _Child(argv, timeout_s=timeout_s, input_bytes=input_bytes, env=env, max_output_bytes=max_output_bytes)
    return child.run(check=check)


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float = 60.0,
    input_bytes: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    max_output_bytes: int = MAX_OUTPUT_BYTES,
) -> Completed:
    """Like `run_sync`, from a task; a cancelled task returns only after the program has been killed."""
    child = _Child(argv, timeout_s=timeout_s, input_bytes=input_bytes, env=env, max_output_bytes=max_output_bytes)
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Completed] = loop.create_future()

    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())

    def deliver(result: Completed | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        elif result is not None:
            outcome.set_result(result)

    def body() -> None:
        result, error = None, None
        try:
            result = child.run(check=check)
        except BaseException as caught:  # carried to the awaiting task
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is gone, nobody waits
            loop.call_soon_threadsafe(deliver, result, error)

    try:
        threading.Thread(target=body, name=f"run-{child.program}", daemon=True).start()
    except BaseException:
        child.close_wakeup()
        raise
    try:
        await asyncio.wait([outcome])
    except asyncio.CancelledError:
        child.abort()
        await asyncio.wait([outcome])
        raise
    return outcome.result()


def abandoned_children() -> int:
    """How many children were given up after SIGKILL and still exist in the kernel."""
    with _abandoned_lock:
        _abandoned[:] = [child for child in _abandoned if child.poll() is None]
        return len(_abandoned)


_abandoned: list[subprocess.Popen[bytes]] = []
_abandoned_lock = threading.Lock()


class _Capture:
    """A bounded buffer that keeps the first (`head`) or the last bytes of a stream."""

    def __init__(self, limit_bytes: int, *, head: bool) -> None:
        self.limit_bytes = limit_bytes
        self.head = head
        self.data = bytearray()
        self.truncated = False

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > self.limit_bytes:
            self.truncated = True
            if self.head:
                del self.data[self.limit_bytes :]
            else:
                del self.data[: -self.limit_bytes or None]

    def text(self) -> str:
        return self.data.decode("utf-8", "backslashreplace")


class _Child:
    """One run of one program, driven by one thread; `abort` may be called from any other."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input_bytes: bytes | None,
        env: Mapping[str, str] | None,
        max_output_bytes: int,
    ) -> None:
        if not argv or isinstance(argv, str | bytes):
            raise ValueError("argv must be a non-empty list of strings, for example ['mount', '-t', 'ext4']")
        self.argv = list(argv)
        self.program = os.path.basename(self.argv[0])
        self.timeout_s = timeout_s
        self.env = {"PATH": SEARCH_PATH, "LC_ALL": "C", **(env or {})}
        self.pending = None if input_bytes is None else memoryview(input_bytes)
        self.stdout = _Capture(max_output_bytes, head=True)
        self.stderr = _Capture(max_output_bytes, head=False)
        self.aborted = False
        self._wake_lock = threading.Lock()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def abort(self) -> None:
        """Ask the driving thread to kill the program now."""
        with self._wake_lock:
            self.aborted = True
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def close_wakeup(self) -> None:
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def run(self, *, check: bool) -> Completed:
        try:
            return self._run(check=check)
        finally:
            self.close_wakeup()

    def _run(self, *, check: bool) -> Completed:
        process = self._spawn()
        try:
            ended = self._attend(process, time.monotonic() + self.timeout_s)
        except BaseException:
            self._kill(process)
            raise
        finally:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        if not ended:
            died = self._kill(process)
            tail = self.stderr.text()[-_STDERR_TAIL_BYTES:]
            raise CommandTimeout(self.program, self.timeout_s, stderr=tail, abandoned=not died)
        return self._judge(process.wait(), check=check)

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.argv[0]
        if "/" in program and not os.path.isabs(program):
            raise ValueError(f"program {program} must be a bare name or an absolute path, programs run in /")
        path = shutil.which(program, path=self.env["PATH"])
        if path is None:
            raise CommandNotFound(self.program)
        try:
            process = subprocess.Popen(
                [path, *self.argv[1:]],
                stdin=subprocess.DEVNULL if self.pending is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=self.env,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(self.program, 126, f"cannot start it: {error.strerror}") from None
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
        return process

    def _attend(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Feed and read the program until it ends; False when its time is up or the run was aborted."""
        pidfd = _pidfd_or_none(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_fd, selectors.EVENT_READ)
                if pidfd is not None:
                    selector.register(pidfd, selectors.EVENT_READ)
                for stream, capture in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
                    if stream is not None:
                        selector.register(stream, selectors.EVENT_READ, capture)
                if process.stdin is not None:
                    selector.register(process.stdin, selectors.EVENT_WRITE)
                return self._pump(process, selector, deadline, has_pidfd=pidfd is not None)
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def _pump(
        self,
        process: subprocess.Popen[bytes],
        selector: selectors.BaseSelector,
        deadline: float,
        *,
        has_pidfd: bool,
    ) -> bool:
        while not self.aborted:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            ready = selector.select(left_s if has_pidfd else min(left_s, 0.02))
            exited = not has_pidfd and process.poll() is not None
            for key, _ in ready:
                if isinstance(key.data, _Capture):
                    if not _read_into(key.data, key.fd, once=True):
                        selector.unregister(key.fileobj)
                elif process.stdin is not None and key.fileobj is process.stdin:
                    if not self._feed(process.stdin):
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif key.fd != self._wake_fd:
                    exited = True
            if exited:
                for stream, capture in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
                    if stream is not None:
                        _read_into(capture, stream.fileno(), once=False)
                return True
        return False

    def _feed(self, stdin: IO[bytes]) -> bool:
        """Write what the pipe takes; False when there is nothing more to write."""
        if not self.pending:
            return False
        try:
            self.pending = self.pending[os.write(stdin.fileno(), self.pending[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self.pending) > 0

    def _kill(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill the process group; False when the program is still there after the grace and was given up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            with _abandoned_lock:
                _abandoned.append(process)
            return False
        return True

    def _judge(self, returncode: int, *, check: bool) -> Completed:
        truncated = self.stdout.truncated or self.stderr.truncated
        done = Completed(self.stdout.text(), self.stderr.text(), returncode, truncated)
        if check and returncode != 0:
            raise CommandError(self.program, returncode, done.stderr[-_STDERR_TAIL_BYTES:])
        if check and self.stdout.truncated:
            raise CommandOutputTooLarge(self.program, self.stdout.limit_bytes)
        return done


def _pidfd_or_none(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:  # kernels before 5.3: the child is polled instead
        return None


def _read_into(capture: _Capture, fd: int, *, once: bool) -> bool:
    """Read what is there without waiting; False at the end of the stream."""
    left = 1 if once else 16 * MAX_OUTPUT_BYTES // _CHUNK_BYTES  # a surviving daemon may write for ever
    while left:
        left -= 1
        try:
            chunk = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        capture.add(chunk)
    return True
