"""One call of a client, from its start to its error class, log line and metric.

The transport's own failures become sentences that name the socket; whatever the peer said is cleaned of the
secrets that the request carried, for a careless driver may quote them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import grpc.aio
from msgspec import Struct

from moorage.base.log import SecretScrubber, get_logger
from moorage.rpc.connection import Connection, Link
from moorage.rpc.logview import Redacted
from moorage.rpc.silence import is_late, is_lost, is_unreachable
from moorage.rpc.status import clean_message
from moorage.spec.errors import Code, CsiError, DeadlineExceeded, Unavailable, error_for
from moorage.spec.redact import secret_values
from moorage.spec.rules import Rpc

Observe = Callable[[str, Code, float], None]
"""Told of every call that ended: method path, code, duration in seconds."""
_ENDED: Final = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})

log = get_logger(__name__)
# base.log sets stdlib's root to its own level; asking costs a fiftieth of an event that is dropped.
_shown = logging.getLogger(__name__).isEnabledFor


class Attempt:
    """A context manager around the gRPC call; inside it `link` is the connection to use.

    Any AioRpcError leaves it as the CsiError of its code.
    """

    __slots__ = ("_connection", "_observe", "_request", "_rpc", "_start_s", "_timeout_s", "link", "response")

    def __init__(
        self, rpc: Rpc, request: Struct, *, connection: Connection, timeout_s: float, observe: Observe | None
    ) -> None:
        self._rpc = rpc
        self._request = request
        self._connection = connection
        self._timeout_s = timeout_s
        self._observe = observe
        self._start_s = time.monotonic()
        self.link: Link
        self.response: Struct | None = None

    def __enter__(self) -> Self:
        if _shown(logging.DEBUG):
            log.debug("rpc.request", method=self._rpc.path, request=Redacted(self._request))
        try:
            self.link = self._connection.acquire()
        except CsiError as error:
            self._tell(error.code)
            raise
        return self

    @property
    def remaining_s(self) -> float:
        """What is left of the deadline, for gRPC."""
        return max(0.001, self._start_s + self._timeout_s - time.monotonic())

    def heard(self) -> None:
        """A message of a stream arrived: the peer is alive."""
        self.link.answered_at = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answered = error is None or isinstance(error, CsiError)
        failure: CsiError | None = None
        if isinstance(error, grpc.aio.AioRpcError):
            answered, failure = self._translate(error)
            if not answered and failure.code is Code.DEADLINE_EXCEEDED:
                self._connection.suspect(self.link, since_s=self._start_s)
        self._connection.release(self.link, answered=answered)
        ended = failure or error
        self._tell(Code.OK if ended is None else ended.code if isinstance(ended, CsiError) else Code.CANCELLED)
        if failure is not None:
            raise failure from None

    def _translate(self, error: grpc.aio.AioRpcError) -> tuple[bool, CsiError]:
        """Whether the peer itself said it, and the error to raise."""
        number, details = error.code().value[0], error.details() or ""
        where, name = self._connection.endpoint, self._rpc.name
        if is_unreachable(number, details):
            reason = details.rpartition(" error: ")[2].rpartition("unix:")[2]
            return False, Unavailable(f"the driver at {where} cannot be reached ({reason}); check that it runs")
        if number in _ENDED and self._is_late():
            # A peer that keeps the same deadline may be the first to say so, and then it says CANCELLED.
            return number == Code.CANCELLED, DeadlineExceeded(
                f"the driver at {where} did not answer {name} within {self._timeout_s:.3g} s; the operation "
                "may still be running, so repeat the call"
            )
        if is_lost(number, details):
            return True, Unavailable(
                f"the answer of the driver at {where} to {name} was lost on the way ({details}); the operation may "
                "still be running, so repeat the call"
            )
        scrubber = SecretScrubber()
        with scrubber.hiding(secret_values(self._request)):
            return True, error_for(number, clean_message(details, scrubber, code=Code(number)))

    def _is_late(self) -> bool:
        """Whether our own deadline has passed, and not one inside the peer."""
        return is_late(time.monotonic() - self._start_s, timeout_s=self._timeout_s)

    def _tell(self, code: Code) -> None:
        duration_s = time.monotonic() - self._start_s
        if self._observe is not None:
            self._observe(self._rpc.path, code, duration_s)
        if not _shown(logging.DEBUG):
            return
        response = None if self.response is None else Redacted(self.response)
        ms = round(duration_s * 1e3, 1)
        log.debug("rpc.response", method=self._rpc.path, code=code.name, ms=ms, response=response)
