"""A driver under a restart command: one shell line that kills it with SIGKILL and starts it again.

This is what `moorage verify --restart-command` wants, for drivers in any language.

    driver = Restartable(["my-driver", "--endpoint", "/run/x/csi.sock"], directory=tmp_path)
    driver.start()
    ... driver.command ...
    driver.stop()

Environment variables of whoever runs the command reach the driver. Public: part of `moorage.testing`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["Restartable"]

_STOP_S: Final = 30.0
_SCRIPT: Final = """\
#!/bin/sh
# Kills the driver with SIGKILL, if it runs, and starts it again.
cd {directory} || exit 1
if [ -s pid ]; then
    read -r pid <pid
    kill -9 "$pid" 2>/dev/null
    # A process that nobody has waited for yet is dead, although its number is still taken.
    while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.01; done
fi
setsid {argv} >>driver.log 2>&1 </dev/null &
echo $! >pid
"""


class Restartable:
    """A program with its pid, log and restart script in `directory`. The script's children belong to nobody."""

    def __init__(self, argv: Sequence[str], *, directory: Path) -> None:
        self.directory = directory
        self.log_path = directory / "driver.log"
        self.command = shlex.quote(str(directory / "restart.sh"))
        directory.mkdir(parents=True, exist_ok=True)
        script = directory / "restart.sh"
        script.write_text(_SCRIPT.format(directory=shlex.quote(str(directory)), argv=shlex.join(argv)))
        script.chmod(0o700)

    def start(self) -> None:
        """Start it, or kill it and start it again. Raises CalledProcessError."""
        subprocess.run(["/bin/sh", "-c", self.command], check=True, timeout=_STOP_S)

    def pid(self) -> int | None:
        """The process id, None when it does not run."""
        try:
            pid = int((self.directory / "pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if state != "Z" else None

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL when it does not go within 30 s."""
        give_up_s = time.monotonic() + _STOP_S
        number = signal.SIGTERM
        while (pid := self.pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if time.monotonic() > give_up_s:
                number = signal.SIGKILL
            time.sleep(0.05)
