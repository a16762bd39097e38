"""Network, mount and PID namespaces, and processes in them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_START_S = 10.0


class Process:
    """A program in the namespaces, with its output in a file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._popen = popen

    @property
    def pid(self) -> int | None:
        """Its process id as this machine counts, None when it has ended."""
        if self._popen.poll() is not None:
            return None
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()[0])
        return None

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the program itself, and wait for its end when it is a deadly one."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._popen.wait(timeout=60)

    def wait(self, *, timeout_s: float = 30.0) -> None:
        """Wait until it has ended. Raises TimeoutExpired."""
        self._popen.wait(timeout=timeout_s)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


class Namespace:
    """Holds the namespaces open with a process that sleeps; `script` is run there first, by sh."""

    def __init__(self, directory: Path, script: str) -> None:
        self.directory = directory
        self._script = script
        self._holder: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> None:
        """Make the namespaces. Raises RuntimeError with the script's output."""
        ready, log = self.directory / "namespace-ready", self.directory / "namespace.log"
        script = f"set -e\n{self._script}\n: >{ready}\nexec sleep infinity"
        flags = ("--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child")
        with log.open("wb") as output:
            self._holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *flags, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        give_up_s = time.monotonic() + _START_S
        while not ready.exists():
            if self._holder.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"the namespaces could not be made: {log.read_text()}")
            time.sleep(0.01)
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self._pid = int(children[0])

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the namespaces."""
        return ["nsenter", "--target", str(self._pid), "--net", "--mount", "--pid", "--", *argv]

    def spawn(self, name: str, argv: Sequence[str], *, env: dict[str, str] | None = None) -> Process:
        """Start a program; its log is NAME.log in the directory."""
        log_path = self.directory / f"{name}.log"
        with log_path.open("ab") as log:
            popen = subprocess.Popen(
                self.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **(env or {})},
            )
        return Process(name, popen, log_path)

    def run(
        self, *argv: str, input_text: str | None = None, timeout_s: float = 60.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises CalledProcessError with `check`, its stderr in a note."""
        done = subprocess.run(
            self.command(argv),
            input=input_text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd="/",
            check=False,
        )
        if check and done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
            error.add_note(done.stderr[-2000:])
            raise error
        return done

    def stop(self) -> None:
        """End every process in the namespaces, and with them the namespaces."""
        if self._holder is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid or self._holder.pid, signal.SIGKILL)
        self._holder.wait(timeout=30)
