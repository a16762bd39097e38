"""A client that judges nothing: it sends bytes and tells what came back, status and trailing metadata included.

`moorage.rpc.client` turns answers into structs and errors, which is right for everybody who uses a driver. Who
*examines* a driver needs what was really said: the code before it is interpreted, the status details that
should not be there, the fields that no struct has. This module knows neither CSI messages nor rules.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import grpc.aio

from moorage.rpc.connection import Connection, Link
from moorage.rpc.endpoint import Endpoint, parse_client_endpoint
from moorage.rpc.silence import is_late, is_lost, is_unreachable
from moorage.spec.errors import Code, Unavailable

__all__ = ["DETAILS_KEY", "Answer", "RawClient"]

DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata that carries status details."""
_ENDED: Final = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from one call.

    `bodies` are the messages as bytes: one for a call with one answer that went well, any number for a stream.
    `details` are the serialised status details, which CSI wants empty. `answered` is False when nothing was
    heard: the socket is gone, or our own deadline passed.
    """

    code: Code
    message: str
    bodies: tuple[bytes, ...]
    details: bytes
    duration_s: float
    answered: bool


class RawClient:
    """Calls one endpoint in bytes. It belongs to one event loop; close it at the end."""

    def __init__(self, endpoint: str | Endpoint) -> None:
        self.endpoint = parse_client_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self._connection = Connection(self.endpoint)

    async def close(self) -> None:
        """Cancel what runs and close the connection."""
        await self._connection.close()

    async def call(self, path: str, body: bytes, *, timeout_s: float, streaming: bool = False) -> Answer:
        """Make one call of the method at `path`, "/csi.v1.Node/NodeGetInfo" for example, and wait for its end.

        Never raises for what the driver does. When the caller is cancelled, so is the call.
        """
        started_s = time.monotonic()
        try:
            link = self._connection.acquire()
        except Unavailable as error:
            return _silence(Code.UNAVAILABLE, error.message, started_s)
        bodies: list[bytes] = []
        answered = False
        try:
            async for raw in _messages(link, path, body, timeout_s=timeout_s, streaming=streaming):
                bodies.append(raw)  # noqa: PERF401 (what came before a failure counts)
            answered = True
            return Answer(
                code=Code.OK,
                message="",
                bodies=tuple(bodies),
                details=b"",
                duration_s=time.monotonic() - started_s,
                answered=True,
            )
        except grpc.aio.AioRpcError as error:
            answer = _failure(error, started_s=started_s, timeout_s=timeout_s, bodies=bodies)
            answered = answer.answered
            if not answered:
                self._connection.suspect(link, since_s=started_s)
            return answer
        finally:
            self._connection.release(link, answered=answered)


async def _messages(link: Link, path: str, body: bytes, *, timeout_s: float, streaming: bool) -> AsyncIterator[bytes]:
    if not streaming:
        yield await link.unary(path)(body, timeout=timeout_s)
        return
    stream = link.stream(path)(body, timeout=timeout_s)
    try:
        async for raw in stream:
            yield raw
    finally:
        stream.cancel()


def _failure(error: grpc.aio.AioRpcError, *, started_s: float, timeout_s: float, bodies: list[bytes]) -> Answer:
    duration_s = time.monotonic() - started_s
    code = Code(error.code().value[0])
    message = error.details() or ""
    # A peer that keeps the same deadline may be the first to say so, and then it says CANCELLED.
    late = code in _ENDED and is_late(duration_s, timeout_s=timeout_s)
    if late:
        code = Code.DEADLINE_EXCEEDED
    return Answer(
        code=code,
        message=message,
        bodies=tuple(bodies),
        details=b"".join(
            value for key, value in error.trailing_metadata() if key == DETAILS_KEY and isinstance(value, bytes)
        ),
        duration_s=duration_s,
        answered=not (late or is_unreachable(code, message) or is_lost(code, message)),
    )


def _silence(code: Code, message: str, started_s: float) -> Answer:
    return Answer(
        code=code,
        message=message,
        bodies=(),
        details=b"",
        duration_s=time.monotonic() - started_s,
        answered=False,
    )
