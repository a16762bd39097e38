"""One operation at a time for each object; work that outlives its caller's deadline.

An RPC that changes something runs here: an identical call that arrives meanwhile joins and gets the
same answer, any other call on the same object is told that one is pending. When the caller goes
away the work goes on, keeps its locks, and its result is found by the replay.
Source: contract spec, section 2, concurrency and time-outs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from moorage.base.locks import KeyedLocks
from moorage.base.log import get_logger
from moorage.base.operations import Busy, Operations, Overloaded
from moorage.base.scrubber import SecretScrubber
from moorage.framework.translate import as_csi_error
from moorage.spec.errors import OperationPending, Unavailable
from moorage.spec.redact import secret_values

T = TypeVar("T")

log = get_logger(__name__)

_encoder = msgspec.json.Encoder(order="deterministic")


def fingerprint(request: msgspec.Struct, *, without: Iterable[str] = ("secrets",)) -> str:
    """A digest of a request that is the same for a replay; secrets, which may be rotated, do not count."""
    dropped = frozenset(without)
    fields = {name: getattr(request, name) for name in request.__struct_fields__ if name not in dropped}
    return blake2b(_encoder.encode(fields), digest_size=16).hexdigest()


class Calls:
    """Runs operations under keyed locks in a bounded registry."""

    def __init__(self, operations: Operations, locks: KeyedLocks, scrubber: SecretScrubber) -> None:
        self.operations = operations
        self.locks = locks
        self._scrubber = scrubber

    async def run(
        self,
        rpc: str,
        request: msgspec.Struct,
        work: Callable[[], Awaitable[T]],
        *,
        exclusive: Iterable[str],
        shared: Iterable[str] = (),
    ) -> T:
        """The result of `work`, run once with all keys held; raises `OperationPending` when one is taken."""
        keys = tuple(exclusive)
        describe = f"{rpc} on {keys[0]}"

        async def locked() -> T:
            with (
                self._scrubber.hiding(secret_values(request)),
                self.take(describe, exclusive=keys, shared=shared),
            ):
                return await work()

        try:
            return await self.operations.run(
                f"{rpc} {keys[0]}", fingerprint(request), describe=describe, factory=locked
            )
        except Busy as busy:
            raise OperationPending(f"{busy}; repeat the call when it is done") from None
        except Overloaded as full:
            raise Unavailable(f"{full}; repeat the call later") from None
        except Exception as error:
            known = as_csi_error(error)
            if known is None or known is error:
                raise
            log.warning("operation.failed", operation=describe, exc_info=error)
            raise known from error

    def take(self, describe: str, *, exclusive: Iterable[str] = (), shared: Iterable[str] = ()) -> Any:
        """All these locks, or `OperationPending` naming what holds one of them."""
        exclusive, shared = tuple(exclusive), tuple(shared)
        held = self.locks.try_acquire(exclusive, shared=shared, holder=describe)
        if held is None:
            holders = {holder for key in (*exclusive, *shared) if (holder := self.locks.holder(key))}
            raise OperationPending(f"{' and '.join(sorted(holders))} is running; repeat the call when it is done")
        return held
