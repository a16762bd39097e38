"""What a mutant is: one wrong behaviour, put between a correct driver and whoever calls it.

    @mutant("create.same-name-other-size", on=("CreateVolume",))
    async def ignores_the_size(call: Call) -> Reply:
        "A name that is taken is answered with the old volume, whatever size was asked for."
        ...

The function sees each call of the RPCs it is registered for, may forward it (changed or not, once or not at
all), do something on the host, and answers what it likes. Everything else passes unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from msgspec import Struct

from moorage.rpc.raw import Answer, RawClient
from moorage.rpc.wire import WireError, decode, encode
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST, RPCS, Rpc

__all__ = ["MUTANTS", "Call", "Mutant", "Reply", "mutant"]

ResponseT = TypeVar("ResponseT", bound=Struct)
_FORWARD_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back to the caller: a code with a message, and the messages of the answer in bytes."""

    code: Code = Code.OK
    message: str = ""
    bodies: tuple[bytes, ...] = ()
    details: bytes = b""

    @classmethod
    def of(cls, *responses: Struct) -> Reply:
        """A good answer."""
        return cls(bodies=tuple(encode(response) for response in responses))

    @classmethod
    def failed(cls, code: Code, message: str) -> Reply:
        """A refusal."""
        return cls(code=code, message=message)

    @property
    def ok(self) -> bool:
        """Whether the code is OK."""
        return self.code is Code.OK

    def with_message(self, message: str) -> Reply:
        """The same with another text."""
        return replace(self, message=message)


@dataclass(slots=True)
class Call:
    """One call on its way. `memory` is the mutant's own, kept from call to call for as long as it lives.

    `request` is None when the body is no such message.
    """

    rpc: Rpc
    body: bytes
    request: Any
    backend: RawClient
    memory: dict[str, Any]

    async def forward(self, request: Struct | None = None) -> Reply:
        """What the correct driver answers to this request, or to another one."""
        rpc = self.rpc if request is None else BY_REQUEST[type(request)]
        body = self.body if request is None else encode(request)
        answer = await self.backend.call(rpc.path, body, timeout_s=_FORWARD_S, streaming=rpc.streaming)
        return Reply(code=answer.code, message=answer.message, bodies=answer.bodies, details=answer.details)

    def read(self, reply: Reply, kind: type[ResponseT]) -> ResponseT:
        """The one response in a good reply of this call's RPC."""
        return self.read_of(self.rpc.name, reply, kind)

    def read_of(self, rpc_name: str, reply: Reply, kind: type[ResponseT]) -> ResponseT:
        """The one response in a good reply of any RPC."""
        found = decode(RPCS[rpc_name].response_proto, reply.bodies[0])
        assert isinstance(found, kind)
        return found


Break = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A wrong driver: `rule` is the id of the rule that must catch it, `on` the RPCs it meddles with."""

    name: str
    rule: str
    what: str
    on: frozenset[str]
    answer: Break


MUTANTS: dict[str, Mutant] = {}
"""All mutants by name, as far as their modules are imported."""


def mutant(rule: str, *, on: tuple[str, ...]) -> Callable[[Break], Mutant]:
    """Register a mutant under the function's name; its docstring says what is wrong with it.

    Raises ValueError for a second mutant of one name, an unknown RPC and a missing docstring.
    """

    def registered(function: Break) -> Mutant:
        name = getattr(function, "__name__", "").replace("_", "-")
        what = inspect.getdoc(function)
        if name in MUTANTS or not what or not on or any(rpc not in RPCS for rpc in on):
            raise ValueError(f"mutant {name!r} needs a new name, a docstring and RPCs that exist")
        MUTANTS[name] = Mutant(name=name, rule=rule, what=" ".join(what.split()), on=frozenset(on), answer=function)
        return MUTANTS[name]

    return registered


@dataclass(slots=True)
class Meddler:
    """Answers calls as one mutant does; the relay's function."""

    mutant: Mutant | None
    backend: RawClient
    memory: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, path: str, body: bytes) -> Answer:
        rpc = next((rpc for rpc in RPCS.values() if rpc.path == path), None)
        if rpc is None:
            return await self.backend.call(path, body, timeout_s=_FORWARD_S)
        if self.mutant is None or rpc.name not in self.mutant.on:
            return await self.backend.call(path, body, timeout_s=_FORWARD_S, streaming=rpc.streaming)
        try:
            request = decode(rpc.request_proto, body)
        except WireError:
            request = None
        call = Call(rpc=rpc, body=body, request=request, backend=self.backend, memory=self.memory)
        reply = await self.mutant.answer(call)
        return Answer(
            code=reply.code,
            message=reply.message,
            bodies=reply.bodies,
            details=reply.details,
            duration_s=0.0,
            answered=True,
        )
