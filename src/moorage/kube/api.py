"""The verbs of the Kubernetes API on typed objects: get, list, watch, create, patch, replace, delete.

Structs are for reading: what a struct does not name is lost when it is decoded, so a decoded object is never
sent back. Changes are patches, or `replace_raw` of the JSON that was read. Where a call takes `as_`, it is
the type to decode the answer to, or `bytes` for the JSON as it came.

All calls raise ApiError (see `moorage.kube.errors`) for a refusal, Unreachable when there is no answer within
`timeout_s`, waiting for a turn and repetitions included, and Undecodable.
"""

from __future__ import annotations

from typing import Final

from moorage.kube.calling import Caller
from moorage.kube.decoding import Body, Page
from moorage.kube.limiter import Limiter
from moorage.kube.observation import RequestObserver, Unobserved
from moorage.kube.reading import PAGE_SIZE, Reads
from moorage.kube.transport import Transport
from moorage.kube.writing import Propagation, Writes

__all__ = ["PAGE_SIZE", "Api", "Body", "Page", "Propagation"]

DEFAULT_TIMEOUT_S: Final = 60.0


class Api(Reads, Writes):
    """One user's access to one API server. Any number of tasks of one event loop may share it."""

    def __init__(
        self,
        transport: Transport,
        *,
        limiter: Limiter | None = None,
        observer: RequestObserver | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """`timeout_s` is the time that a call may take when it names none itself."""
        self.limiter = limiter or Limiter()
        self._transport = transport
        self._caller = Caller(transport, self.limiter, observer=observer or Unobserved(), timeout_s=timeout_s)

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()
