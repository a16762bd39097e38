"""Did the peer say this, or did gRPC's core make it up because nothing was heard?"""

from __future__ import annotations

from typing import Final

from moorage.spec.errors import Code

_TRANSPORT_TEXTS: Final = (
    "failed to connect",
    "Stream removed",
    "Socket closed",
    "recvmsg:",
    "sendmsg:",
    "Broken pipe",
    "Connection reset",
    "Endpoint ",
    "GOAWAY",
    "Cancelling all calls",
)
"""How gRPC's core begins the text of an UNAVAILABLE that the peer did not send."""
_LOST_TEXTS: Final = ("Stream removed", "Received RST_STREAM")
"""How it begins when a stream was reset, under codes of which most would be final if they were the peer's own."""
_LOST_CODES: Final = frozenset({Code.CANCELLED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED, Code.UNKNOWN})
_DEADLINE_SLACK_S: Final = 0.005


def is_unreachable(code: int, details: str) -> bool:
    """Whether this status means that the connection could not be made or broke."""
    return code == Code.UNAVAILABLE and details.startswith(_TRANSPORT_TEXTS)


def is_lost(code: int, details: str) -> bool:
    """Whether this status means that the peer's answer got lost on a connection that lives on."""
    return code in _LOST_CODES and details.startswith(_LOST_TEXTS)


def is_late(duration_s: float, *, timeout_s: float) -> bool:
    """Whether our own deadline of `timeout_s` has passed, and not one inside the peer."""
    return duration_s >= timeout_s - _DEADLINE_SLACK_S
