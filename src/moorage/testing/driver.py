"""A driver in a process of its own, to be called, killed and started again by a test.

    async with DriverProcess("my_driver:MyDriver", directory=tmp_path, arguments=["--root", root]) as driver:
        await driver.client.create_volume(...)
        await driver.kill()                  # as SIGKILL, at any moment
        await driver.start()                 # the same socket, the same state directory

Faults (moorage.base.faults) are given as a plan to `start`. Public: part of `moorage.testing`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moorage.rpc.client import Client

__all__ = ["DriverDied", "DriverProcess"]


class DriverDied(Exception):
    """The driver process ended before it was ready; the message has the end of its log."""


class DriverProcess:
    """`moorage serve` as a child process.

    name: what `moorage serve` takes: an entry point or `package.module:Class`.
    directory: holds socket, state directory and log; short, because a socket path has at most 107 bytes.
    arguments: further arguments of `moorage serve`.
    environment: added to this process's own.
    """

    def __init__(
        self,
        name: str,
        *,
        directory: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.socket = directory / "csi.sock"
        self.state_dir = directory / "state"
        self.log_path = directory / "driver.log"
        self._arguments = tuple(arguments)
        self._environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._client: Client | None = None

    @property
    def endpoint(self) -> str:
        """The CSI endpoint."""
        return f"unix://{self.socket}"

    @property
    def client(self) -> Client:
        """A client of the running driver. Raises `DriverDied` when it was not started."""
        if self._client is None:
            raise DriverDied(f"{self.name} is not running; call start first")
        return self._client

    @property
    def pid(self) -> int:
        """The process id. Raises `DriverDied` when it was not started."""
        if self._process is None:
            raise DriverDied(f"{self.name} is not running; call start first")
        return self._process.pid

    async def start(self, *, faults: Sequence[Mapping[str, Any]] = (), trace: Path | None = None) -> None:
        """Start the driver with a plan of faults and wait until it answers Probe. Raises `DriverDied`."""
        environment = {**os.environ, **self._environment}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a driver that is started often should start fast
        if faults or trace is not None:
            plan: dict[str, Any] = {"rules": list(faults)}
            if trace is not None:
                plan["trace"] = str(trace)
            environment["MOORAGE_FAULTS"] = json.dumps(plan)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "moorage", "--log-format", "console", "serve", self.name),
                *("--endpoint", self.endpoint, "--state-dir", str(self.state_dir)),
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._client = Client(self.endpoint)
        ready = asyncio.ensure_future(self._client.wait_ready(timeout_s=30.0))
        ended = asyncio.ensure_future(self._process.wait())
        done, _ = await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ready not in done:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            raise DriverDied(f"{self.name} ended with status {ended.result()}: {self.log_tail()}")
        ended.cancel()
        await ready

    async def kill(self) -> None:
        """End the process with SIGKILL and wait for its end."""
        await self._end(signal.SIGKILL)

    async def stop(self, *, timeout_s: float = 30.0) -> int:
        """End the process with SIGTERM; its exit status. Killed after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._end(signal.SIGTERM)
        except TimeoutError:
            return await self._end(signal.SIGKILL)

    async def wait_dead(self, *, timeout_s: float = 10.0) -> int:
        """Wait until the process has ended by itself, as an injected fault makes it; its exit status."""
        if self._process is None:
            raise DriverDied(f"{self.name} is not running; call start first")
        async with asyncio.timeout(timeout_s):
            status = await self._process.wait()
        await self._close_client()
        return status

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the driver's log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        status = await process.wait()
        await self._close_client()
        self._process = None
        return status

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
