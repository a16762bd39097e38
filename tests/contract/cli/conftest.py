"""Real processes of the `moorage` command, started and ended here."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "moorage.cli.app"]

TINY_DRIVER = '''
"""A driver for tests."""
import os, time
from pathlib import Path
from typing import Annotated
import moorage.framework as csi
from moorage.framework.config import Duration


class TinyConfig(csi.Config):
    root: Annotated[Path, csi.Option("where volumes are", metavar="DIR")]
    create_takes: Annotated[Duration, csi.Option("how long a create takes")] = 0.0
    password: Annotated[str, csi.Option("password of the storage", secret=True)] = ""
    start_fails: Annotated[str, csi.Option("why it cannot start")] = ""


class Tiny(csi.Driver):
    """Volumes are empty files."""

    name = "tiny.example.com"
    Config = TinyConfig

    def start(self):
        if self.config.start_fails:
            raise RuntimeError(self.config.start_fails + self.config.password)

    def create_volume(self, volume):
        (self.config.root / volume.volume_id).touch()
        time.sleep(self.config.create_takes)

    def delete_volume(self, volume):
        (self.config.root / volume.volume_id).unlink(missing_ok=True)


class Clashing(csi.Driver):
    name = "clash.example.com"

    class Config(csi.Config):
        mode: Annotated[str, csi.Option("takes a flag of serve")] = ""
'''


@dataclass
class Box:
    """A directory with the test's driver and socket, and the processes started in it."""

    path: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def socket(self) -> str:
        return str(self.path / "csi.sock")

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {"PATH", "HOME", "PYTHONPYCACHEPREFIX", "LANG"}
        own = {key: value for key, value in os.environ.items() if key in kept}
        return {**own, "PYTHONPATH": f"{REPOSITORY / 'src'}:{self.path}", "MOORAGE_LOG_FORMAT": "json", **extra}

    def moorage(self, *arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.path,
            env=self.environment(**extra),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        """Start a command that goes on; its stderr goes to the file `log`."""
        return self._start([*COMMAND, *arguments], **extra)

    def start_script(self, name: str, **extra: str) -> subprocess.Popen[str]:
        """Start a Python script in the directory."""
        return self._start([sys.executable, name], **extra)

    def _start(self, command: list[str], **extra: str) -> subprocess.Popen[str]:
        with (self.path / "log").open("a") as log:
            process = subprocess.Popen(
                command, cwd=self.path, env=self.environment(**extra), stdout=log, stderr=log, text=True
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.path / "log").read_text()


@pytest.fixture
def box() -> Iterator[Box]:
    directory = Path(tempfile.mkdtemp(prefix="moorage-cli-"))
    (directory / "tiny.py").write_text(TINY_DRIVER)
    (directory / "volumes").mkdir()
    made = Box(directory)
    try:
        yield made
    finally:
        for process in made.processes:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=10)
        shutil.rmtree(directory)


Answer = Callable[[str, bytes, dict[str, str]], "bytes | list[bytes] | tuple[grpc.StatusCode, str]"]


class FakeDriver(grpc.GenericRpcHandler):
    """A peer that answers with bytes as told, whoever asks; it remembers what it was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, dict[str, str]]] = []
        self.answer: Answer = lambda path, raw, metadata: b""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = handler_call_details.method

        async def serve(raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
            self.calls.append((path, raw, metadata))
            answer = self.answer(path, raw, metadata)
            if isinstance(answer, tuple):
                await context.abort(*answer)
            for message in [answer] if isinstance(answer, bytes) else answer:
                yield message

        return grpc.unary_stream_rpc_method_handler(serve)


@pytest.fixture
async def fake(box: Box) -> AsyncIterator[FakeDriver]:
    driver = FakeDriver()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((driver,))
    server.add_insecure_port(f"unix:{box.socket}")
    await server.start()
    yield driver
    await server.stop(0)


async def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Wait for what another process does; there is nothing to subscribe to."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def wait_until() -> Callable[..., object]:
    return until


__all__ = ["Box", "FakeDriver"]
