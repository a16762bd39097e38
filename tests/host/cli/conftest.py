"""Runs the `moorage` command as users do, with its temporary files where the test can look for traces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moorage.host.loop import list_loops
from moorage.host.mountinfo import read_mounts


@dataclass
class Shell:
    """A directory for everything, and the environment that leads there."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "moorage", *arguments]

    def run(self, *arguments: str, prefix: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; never raises."""
        return subprocess.run(
            [*prefix, *self.command(*arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **self.environment, **more},
        )

    def ok(self, *arguments: str) -> str:
        """Run and demand success; what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def traces(self) -> list[str]:
        """What is mounted, bound or lying about below the directory."""
        root = f"{self.directory}/"
        return [
            *(entry.mount_point for entry in read_mounts() if entry.mount_point.startswith(root)),
            *(device.path for device in list_loops() if device.backing_path.startswith(root)),
            *(str(path) for path in (self.directory / "tmp").iterdir()),
        ]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "tmp").mkdir(mode=0o777)
    (tmp_path / "tmp").chmod(0o777)
    return Shell(
        tmp_path,
        {
            "TMPDIR": str(tmp_path / "tmp"),
            "MOORAGE_STATE_DIR": str(tmp_path / "state"),
            "NO_COLOR": "1",
        },
    )


@pytest.fixture
def serve(shell: Shell) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the local driver on a pool of the test; a second call replaces the process, as a restart would."""
    (shell.directory / "pool").mkdir()
    running: list[subprocess.Popen[str]] = []

    def stop() -> None:
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        running.clear()

    def start(*options: str, **environment: str) -> subprocess.Popen[str]:
        stop()
        arguments = ("serve", "local", "--pool", str(shell.directory / "pool"), *options)
        where = ("--endpoint", f"unix://{shell.directory}/csi.sock", "--state-dir", f"{shell.directory}/driver")
        process = subprocess.Popen(
            shell.command(*arguments, *where),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        running.append(process)
        return process

    yield start
    stop()
