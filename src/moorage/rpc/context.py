"""The RPC that the current task serves: its request id, method and deadline.

A server sets it before it calls a handler; a client that is used inside passes the request id on, so that the
logs of both sides can be laid side by side.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final

from msgspec import Struct
from structlog.contextvars import bind_contextvars

import moorage.base.log  # noqa: F401 it must import structlog first, without rich

REQUEST_ID_KEY: Final = "csi.requestid"
"""The metadata key that carries a request id (the one gocsi uses)."""


class Call(Struct, frozen=True):
    """One running RPC. The times are monotonic; the caller no longer waits after `deadline_s`."""

    request_id: str
    rpc_name: str
    began_s: float
    deadline_s: float

    @property
    def remaining_s(self) -> float:
        """How long the caller still waits; 0 when it does not."""
        return max(0.0, self.deadline_s - time.monotonic())


_current: ContextVar[Call | None] = ContextVar("moorage_rpc_call", default=None)

current_call = _current.get
"""The RPC that this task serves, or None."""


def enter_call(call: Call) -> None:
    """Marks this task as serving `call`, and binds the request id to its log lines.

    gRPC gives each RPC a task of its own, so nothing needs to be undone.
    """
    _current.set(call)
    bind_contextvars(request_id=call.request_id)
