"""One wrapper around each handler: all that happens between the bytes of a request and those of its reply.

gRPC's interceptors would do the same in a chain of five, each with its own coroutine; fused they cost about
as much as one. The order is that of the specification: decoding, admission, gate and fields, faults under
test, handler, response. Whatever goes wrong becomes a status here, in one place, without secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from msgspec import Struct

from moorage.base import faults
from moorage.base.log import SecretScrubber, get_logger
from moorage.rpc.admission import Admission
from moorage.rpc.attempt import Observe
from moorage.rpc.context import REQUEST_ID_KEY, Call, enter_call
from moorage.rpc.injection import inject
from moorage.rpc.logview import Redacted
from moorage.rpc.replies import BadResponse, Replies
from moorage.rpc.status import GRPC_STATUS, Status, clean_message, status_of
from moorage.rpc.wire import WireError, decode
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code, DeadlineExceeded, Unavailable, Unimplemented
from moorage.spec.redact import secret_values
from moorage.spec.rules import Rpc
from moorage.spec.validate import check_request

Handler = Callable[[Any], Awaitable[Struct]]
"""Answers one request struct with one response struct."""
StreamHandler = Callable[[Any], AsyncIterator[Struct]]
"""Answers one request struct with a stream of response structs."""

CALL_LIMIT_S: Final = 900.0
"""How long a call may run whose caller set no deadline."""
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_READS: Final = re.compile("Get|List|Validate|Probe")
_NO_SECRETS: Final = contextlib.nullcontext()
_DONE: Final = Status(Code.OK, "")

log = get_logger(__name__)
# base.log sets stdlib's root to its own level; asking costs a fiftieth of an event that is dropped.
_shown = logging.getLogger(__name__).isEnabledFor


def _request_ids() -> Iterator[str]:
    prefix = os.urandom(3).hex()
    return (f"{prefix}-{number}" for number in itertools.count(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the RPCs of one server have in common."""

    declared: Declared
    admission: Admission
    scrubber: SecretScrubber
    observe: Observe | None = None
    call_limit_s: float = CALL_LIMIT_S
    request_ids: Iterator[str] = field(default_factory=_request_ids)


class Served:
    """One RPC of a server: its handler, wrapped."""

    def __init__(self, rpc: Rpc, handler: Any, *, shared: Shared) -> None:
        self._rpc = rpc
        self._handler = handler
        self._shared = shared
        self._replies = Replies(rpc, shared.declared)
        self._has_fields = bool(rpc.request.__struct_fields__)
        self._level = logging.DEBUG if _READS.search(rpc.name) else logging.INFO

    def grpc_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """What gRPC calls, bytes in and bytes out."""
        if self._rpc.streaming:
            return grpc.unary_stream_rpc_method_handler(self.serve)
        return grpc.unary_unary_rpc_method_handler(self.serve)

    async def serve(self, raw: bytes, context: Any) -> bytes:
        """Serve one call; whatever happens it ends at once, with a reply or with a status of our making."""
        began_s = time.monotonic()
        scrubber = self._shared.scrubber
        left_s = context.time_remaining()
        limit_s = self._shared.call_limit_s
        deadline_s = began_s + (limit_s if left_s is None else left_s)
        call = Call(self._request_id(context), self._rpc.name, began_s, deadline_s)
        enter_call(call)
        try:
            request = decode(self._rpc.request_proto, raw)
        except WireError as error:
            status, body = Status(Code.INVALID_ARGUMENT, f"the request cannot be read: {error}"), b""
            self._tell(status, began_s)
        else:
            secrets = secret_values(request) if self._has_fields else ()
            with scrubber.hiding(secrets) if secrets else _NO_SECRETS:
                limit = None if left_s is not None else call.deadline_s
                status, body = await self._outcome(request, call, context, limit_s=limit)
                self._tell(status, began_s)
        if status is not _DONE:
            await context.abort(GRPC_STATUS[status.code], status.message)
        return body

    async def _outcome(
        self, request: Struct, call: Call, context: Any, *, limit_s: float | None
    ) -> tuple[Status, bytes]:
        """The reply, or the status for whatever went wrong. A caller's cancellation passes through."""
        admission, rpc = self._shared.admission, self._rpc
        try:
            admission.enter(rpc, call)
            try:
                if _shown(logging.DEBUG):
                    log.debug("rpc.request", method=rpc.path, request=Redacted(request))
                if limit_s is None:
                    return _DONE, await self._answer(request, context)
                return _DONE, await self._answer_within(limit_s, request, context)
            finally:
                admission.leave(rpc)
        except asyncio.CancelledError:
            return self._cancelled(call), b""
        except BadResponse as error:
            return self._refused(error, call), b""
        except Exception as error:
            return status_of(error, request_id=call.request_id, scrub=self._shared.scrubber), b""

    async def _answer(self, request: Struct, context: Any) -> bytes:
        """Check the request, run the handler, check its response."""
        rpc, replies = self._rpc, self._replies
        check_request(rpc, request, self._shared.declared)
        plan = faults.installed()
        drop_reply = plan is not None and await inject(plan, rpc.name)
        body = b""
        response: Struct | None = None
        if self._handler is None:
            raise Unimplemented(f"this driver does not offer {rpc.name}; see its capabilities")
        if rpc.streaming:
            async with contextlib.aclosing(self._handler(request)) as responses:
                async for response in responses:
                    await context.write(replies.body(response))
        else:
            response = await self._handler(request)
            body = replies.body(response)
        if drop_reply:
            raise Unavailable(f"the reply to {rpc.name} was dropped by the fault plan")
        if response is not None and _shown(logging.DEBUG):
            log.debug("rpc.response", method=rpc.path, response=Redacted(response))
        return body

    async def _answer_within(self, limit_s: float, request: Struct, context: Any) -> bytes:
        """For a caller without a deadline: ours."""
        loop = asyncio.get_running_loop()
        timeout = asyncio.timeout_at(loop.time() + limit_s - time.monotonic())
        try:
            async with timeout:
                return await self._answer(request, context)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlineExceeded(
                f"{self._rpc.name} took longer than {self._shared.call_limit_s:g} s, the limit for callers that set no "
                "deadline; repeat the call"
            ) from None

    def _cancelled(self, call: Call) -> Status:
        """What a cancellation means. Raises it again when it was the caller who gave up."""
        task = asyncio.current_task()
        assert task is not None
        if self._shared.admission.was_stopped():
            task.uncancel()
            return Status(Code.UNAVAILABLE, f"the driver is stopping before {self._rpc.name} is done; repeat the call")
        if not task.cancelling():
            # Without a status the caller would wait until its own deadline (grpc#29248).
            return Status(Code.ABORTED, f"{self._rpc.name} was cancelled inside the driver; repeat the call")
        late = time.monotonic() >= call.deadline_s
        self._tell(Status(Code.DEADLINE_EXCEEDED if late else Code.CANCELLED, "the caller gave up"), call.began_s)
        raise asyncio.CancelledError

    def _refused(self, error: BadResponse, call: Call) -> Status:
        for problem in error.problems:
            log.error("rpc.bad_response", method=self._rpc.path, problem=problem)
        text = f"the driver's answer breaks the specification ({error}); its log has it under {call.request_id}"
        return Status(Code.INTERNAL, clean_message(text, self._shared.scrubber, code=Code.INTERNAL))

    def _tell(self, status: Status, began_s: float) -> None:
        """Count a finished call and log it; a success, which has nothing to hide, once the reply is on its way."""
        duration_s = time.monotonic() - began_s
        if self._shared.observe is not None:
            self._shared.observe(self._rpc.path, status.code, duration_s)
        if status.defect:
            log.error("rpc.defect", method=self._rpc.path, where=status.defect)
        if not _shown(self._level):
            return
        if status is _DONE:
            asyncio.get_running_loop().call_soon(self._log, status, duration_s)
        else:
            self._log(status, duration_s)

    def _log(self, status: Status, duration_s: float) -> None:
        tell = log.info if self._level == logging.INFO else log.debug
        values = {"method": self._rpc.path, "code": status.code.name, "ms": round(duration_s * 1e3, 1)}
        if status.message:
            values["message"] = status.message
        tell("rpc.done", **values)

    def _request_id(self, context: Any) -> str:
        """The caller's request id if it sent a sound one, else one of ours."""
        for key, value in context.invocation_metadata() or ():
            if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                return value
        return next(self._shared.request_ids)
