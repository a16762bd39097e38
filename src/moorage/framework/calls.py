"""One operation at a time for each object; work that outlives its caller's deadline.

An RPC that changes something runs here: an identical call that arrives meanwhile joins and gets the
same answer, any other call on the same object is told that one is pending. When the caller goes
away the work goes on, keeps its locks, and its result is found by the replay.
Source: contract spec, section 2, concurrency and time-outs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from typing import TypeVar

import msgspec

from moorage.base.clock import Clock
from moorage.base.locks import Held, KeyedLocks
from moorage.base.log import get_logger
from moorage.base.operations import Busy, Operations, Overloaded, RunningOperation
from moorage.base.scrubber import SecretScrubber
from moorage.framework.translate import as_csi_error
from moorage.spec.errors import OperationPending, Unavailable
from moorage.spec.locks import lock_keys
from moorage.spec.redact import secret_values
from moorage.spec.rules import RPCS

T = TypeVar("T")

log = get_logger(__name__)

_encoder = msgspec.json.Encoder(order="deterministic")


def fingerprint(request: msgspec.Struct, *, without: Iterable[str] = ("secrets",)) -> str:
    """A digest of a request that is the same for a replay; secrets, which may be rotated, do not count."""
    dropped = frozenset(without)
    fields = {name: getattr(request, name) for name in request.__struct_fields__ if name not in dropped}
    return blake2b(_encoder.encode(fields), digest_size=16).hexdigest()


class _Wish:
    """A request, to be told from another one; the digest is made only when two of a kind meet."""

    __slots__ = ("_request",)

    def __init__(self, request: msgspec.Struct) -> None:
        self._request = request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wish) and fingerprint(self._request) == fingerprint(other._request)

    def __hash__(self) -> int:
        return hash(fingerprint(self._request))


class Calls:
    """Runs operations under keyed locks, in a bounded registry for each side.

    However many creations hang, an unpublish finds room in the registry of the node.
    """

    def __init__(self, *, limit: int, clock: Clock, locks: KeyedLocks, scrubber: SecretScrubber) -> None:
        self.locks = locks
        self._controller = Operations(limit=limit, clock=clock)
        self._node = Operations(limit=limit, clock=clock)
        self._scrubber = scrubber

    def running(self) -> list[RunningOperation]:
        """The operations that run now, oldest first."""
        both = [*self._controller.snapshot(), *self._node.snapshot()]
        return sorted(both, key=lambda operation: -operation.age_s)

    async def drain(self, timeout_s: float) -> list[RunningOperation]:
        """Wait until nothing runs, at most `timeout_s`; what still runs then is left to run."""
        await asyncio.gather(self._controller.drain(timeout_s), self._node.drain(timeout_s))
        return self.running()

    async def run(
        self,
        rpc: str,
        request: msgspec.Struct,
        work: Callable[[], Awaitable[T]],
        *,
        also: Iterable[str] = (),
    ) -> T:
        """The result of `work`, run once with the keys of the RPC held, and `also` those given.

        Raises `OperationPending` when a key is taken, `Unavailable` when too much is running.
        """
        known = RPCS[rpc]
        alone, shared = lock_keys(known, request)
        keys = (*alone, *also)
        describe = f"{rpc} on {keys[0]}"

        async def locked() -> T:
            with self.take(describe, exclusive=keys, shared=shared):
                return await work()

        try:
            operations = self._node if known.service == "Node" else self._controller
            secrets = secret_values(request)
            return await operations.run(
                f"{rpc} {keys[0]}",
                _Wish(request),
                describe=describe,
                factory=locked,
                within=self._scrubber.hiding(secrets) if secrets else None,
            )
        except Busy as busy:
            raise OperationPending(f"{busy}; repeat the call when it is done") from None
        except Overloaded as full:
            raise Unavailable(f"{full}; repeat the call later") from None
        except Exception as error:
            answer = as_csi_error(error)
            if answer is None or answer is error:
                raise
            log.warning("operation.failed", operation=describe, exc_info=error)
            raise answer from error

    def reading(self, rpc: str, request: msgspec.Struct) -> Held:
        """The keys that an RPC shares with other readers while it streams; to be used in a `with`."""
        return self.take(rpc, shared=lock_keys(RPCS[rpc], request)[1])

    def take(self, describe: str, *, exclusive: Iterable[str] = (), shared: Iterable[str] = ()) -> Held:
        """All these locks, or `OperationPending` naming what holds one of them."""
        exclusive, shared = tuple(exclusive), tuple(shared)
        held = self.locks.try_acquire(exclusive, shared=shared, holder=describe)
        if held is None:
            holders = {holder for key in (*exclusive, *shared) if (holder := self.locks.holder(key))}
            raise OperationPending(f"{' and '.join(sorted(holders))} is running; repeat the call when it is done")
        return held
