"""The secrets of the running call, for every driver method that needs to authenticate.

Records hold no secrets, so `delete_volume`, `expand_volume` and the like get none with their
arguments; they ask here. A context variable carries them into the operation that outlives its
caller and into the thread of a plain `def` method, and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from moorage.spec.types import Secrets

_current: ContextVar[Secrets] = ContextVar("moorage_call_secrets")


def current_secrets() -> Secrets:
    """The `secrets` of the request that the driver works for; empty where the RPC has none (unstage, unpublish)."""
    return _current.get(Secrets())


def with_secrets(handler: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """The handler, run with the secrets of its request at hand."""

    async def carrying(request: Any) -> Any:
        token = _current.set(request.secrets)
        try:
            return await handler(request)
        finally:
            _current.reset(token)

    return carrying


def stream_with_secrets(
    handler: Callable[[Any], AsyncGenerator[Any, None]],
) -> Callable[[Any], AsyncGenerator[Any, None]]:
    """The same for a handler that streams."""

    async def carrying(request: Any) -> AsyncGenerator[Any, None]:
        _current.set(request.secrets)
        async with aclosing(handler(request)) as responses:
            async for response in responses:
                yield response

    return carrying
