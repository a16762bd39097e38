"""The driver of the demo: `moorage serve local` as a process of its own, with its log in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass

from moorage.orchestrator.model import OrchestratorError
from moorage.rpc.client import Client
from moorage.spec.errors import CsiError

READY_S = 20.0
STOP_S = 25.0


@dataclass(slots=True)
class ServedDriver:
    """A running driver process; `arguments` are those of the `moorage` command."""

    process: asyncio.subprocess.Process
    arguments: tuple[str, ...]
    log_path: str

    async def stop(self) -> None:
        """End the process as an orchestrator would: SIGTERM, and SIGKILL when it does not go."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The end of the driver's log."""
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return [line.rstrip("\n") for line in file.readlines()[-count:]]
        except OSError:
            return []


async def serve_local(pool: str, *, socket: str, state_dir: str, log_path: str) -> ServedDriver:
    """Start the local driver on a pool and wait until it is ready.

    The process gets a session of its own, so that Ctrl-C reaches only the demo, which then cleans up with the
    driver's help. Raises OrchestratorError when the driver does not come up; the process is ended then.
    """
    arguments = (
        *("serve", "local", "--pool", pool, "--attach"),
        *("--endpoint", f"unix://{socket}", "--state-dir", state_dir, "--log-format", "console"),
    )
    environment = {**os.environ, "NO_COLOR": "1"}
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moorage"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(log)
    driver = ServedDriver(process, arguments, log_path)
    try:
        await _wait_ready(driver, socket)
    except BaseException:
        await driver.stop()
        raise
    return driver


async def _wait_ready(driver: ServedDriver, socket: str) -> None:
    async with Client(f"unix://{socket}") as client:
        ready = asyncio.create_task(client.wait_ready(READY_S), name="demo waits for its driver")
        ended = asyncio.create_task(driver.process.wait(), name="demo watches its driver")
        try:
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                said = " ".join(driver.last_log_lines(1)).removeprefix("moorage: ") or "it said nothing"
                raise OrchestratorError(
                    f"the driver ended with exit code {driver.process.returncode} before it was ready: {said}"
                )
            await ready
        except CsiError as error:
            raise OrchestratorError(f"the driver did not become ready ({error.message})") from error
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)
