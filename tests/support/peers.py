"""Drivers and clients made with other gRPC implementations; `tools/peers.sh` builds them.

A peer is one program: `peer serve SOCKET` is a driver in memory that fails on demand, and `peer call SOCKET`
a client that walks through a driver's calls. Their sources are in tests/contract/rpc/peers.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "peers.sh"
LIMIT_S = 30.0
MISSING = {
    "go": "needs Go >= 1.26 to build the Go peer with (make deps)",
    "rust": "needs cargo >= 1.88 to build the Rust peer with (rustup.rs); Debian's is too old",
}
"""Why a peer cannot be built here, for the reason of a skip."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the binary of a peer belongs; `missing` says why it is not there, and is empty when it is."""

    binary: Path
    missing: str


def place_of(name: str) -> Place:
    """The place of the peer "go" or "rust"."""
    asked = subprocess.run([SCRIPT, "where", name], capture_output=True, text=True, check=False)
    reasons = {0: "", 1: f"needs the {name} peer (tools/peers.sh builds it)", 2: MISSING[name]}
    if asked.returncode not in reasons:
        raise RuntimeError(f"{SCRIPT} where {name} failed: {asked.stderr}")
    return Place(Path(asked.stdout.strip()), reasons[asked.returncode])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a peer's client met in one step: the number and text of the status, and what the answer said."""

    code: int
    message: str
    answer: Any


async def walk(binary: Path, socket: Path) -> dict[str, Outcome]:
    """Let the peer's client call the driver at the socket; the outcomes by step."""
    process = await asyncio.create_subprocess_exec(
        binary, "call", socket, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode(errors="replace")
    return {step: Outcome(**outcome) for step, outcome in json.loads(output).items()}


@dataclass(slots=True)
class Serving:
    """A peer's driver as a child process, which ends with its standard input and so with this process.

    `arguments` follow the socket on its command line.
    """

    binary: Path
    socket: Path
    arguments: tuple[str, ...] = ()
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def said(self) -> str:
        """The next line of its standard output."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def start(self) -> None:
        """Start it and wait until it listens; a socket that a killed predecessor left is removed."""
        self.socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            self.binary,
            *("serve", str(self.socket), *self.arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.said() == "ready"

    async def kill(self) -> None:
        """End it with SIGKILL, unless it has ended, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
