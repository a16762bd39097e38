"""From a handler's response to the bytes of a reply, refusing what the specification forbids.

Responses that hold nothing but a set of capabilities or a flag cannot change, so a handler that returns the
same object again gets the same bytes without any work.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from moorage.rpc.wire import WireError, encode
from moorage.spec.capabilities import Declared
from moorage.spec.rules import Rpc
from moorage.spec.shorten import with_short_messages
from moorage.spec.validate import response_problems

_CONSTANT: Final = frozenset(
    {
        "Probe",
        "GetPluginCapabilities",
        "ControllerGetCapabilities",
        "GroupControllerGetCapabilities",
        "NodeGetCapabilities",
    }
)


class BadResponse(Exception):
    """A handler returned something that the specification forbids. `problems` are sentences about it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Replies:
    """The replies of one RPC."""

    __slots__ = ("_constant", "_declared", "_last", "_last_body", "_rpc")

    def __init__(self, rpc: Rpc, declared: Declared) -> None:
        self._rpc = rpc
        self._declared = declared
        self._constant = rpc.name in _CONSTANT
        self._last: Struct | None = None
        self._last_body = b""

    def body(self, response: object) -> bytes:
        """The wire form of `response`. Raises BadResponse."""
        if response is self._last and response is not None:
            return self._last_body
        rpc = self._rpc
        if not isinstance(response, rpc.response):
            kind = type(response).__name__
            raise BadResponse([f"the handler of {rpc.name} returned {kind} and not {rpc.response.__name__}"])
        if not response.__struct_fields__:
            return b""
        if response_problems(rpc, response, self._declared):
            response = with_short_messages(response)
            if problems := response_problems(rpc, response, self._declared):
                raise BadResponse(problems)
        try:
            body = encode(response)
        except WireError as error:
            raise BadResponse([str(error)]) from None
        if self._constant:
            self._last, self._last_body = response, body
        return body
