"""Which failed requests are sent again, and after how long: a pure decision.

It follows client-go: a server that sheds load names a pause, and then any verb may be repeated; a broken
connection is tried again only where a repetition cannot do harm. Everything else is the caller's to judge,
who knows what the request meant. This module neither waits nor sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moorage.base.backoff import Backoff
from moorage.kube.errors import Unreachable
from moorage.kube.transport import Response

__all__ = ["MAX_ATTEMPTS", "MAX_ATTEMPTS_UNREACHABLE", "pause_before_retry_s"]

MAX_ATTEMPTS: Final = 11
MAX_ATTEMPTS_UNREACHABLE: Final = 5
_JITTER: Final = 0.25
_RECONNECT: Final = Backoff(0.1, 1.0, jitter=0.5)
_SAFE: Final = frozenset({"GET", "HEAD"})
_IDEMPOTENT: Final = _SAFE | {"PUT", "DELETE"}


def pause_before_retry_s(
    method: str, outcome: Response | Unreachable, *, attempts: int, random: Callable[[], float]
) -> float | None:
    """Seconds to wait before another attempt, or None when `outcome` stands.

    `attempts` have been made so far. `random` yields from [0, 1) and spreads clients that were turned away
    together; the pause is never shorter than the one that the server asked for.
    """
    if isinstance(outcome, Unreachable):
        if attempts >= MAX_ATTEMPTS_UNREACHABLE or not _may_reconnect(method, outcome):
            return None
        return _RECONNECT.delay_s(attempts - 1, random)
    if attempts >= MAX_ATTEMPTS or not _is_turned_away(method, outcome.status):
        return None
    pause = outcome.headers.get("retry-after", "")
    if not (pause.isascii() and pause.isdigit()):
        return None
    return max(float(pause), 0.1) * (1 + _JITTER * random())


def _may_reconnect(method: str, failure: Unreachable) -> bool:
    if failure.kind not in {"refused", "reset"}:
        return False
    return method in (_SAFE if failure.sent else _IDEMPOTENT)


def _is_turned_away(method: str, status: int) -> bool:
    """Whether a pause named with this status is an invitation to come back.

    429 and 503 say that nothing was done. Any other 5xx leaves that open, so there only reads are repeated.
    """
    return status in {429, 503} or (status >= 500 and method in _SAFE)
