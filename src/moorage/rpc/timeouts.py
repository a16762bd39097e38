"""How long a client waits when its caller does not say: no call is ever made without a deadline."""

from __future__ import annotations

from typing import Final

from moorage.spec.rules import Rpc

QUERY_TIMEOUT_S: Final = 10.0
"""Identity calls, capabilities and NodeGetInfo: a driver answers these from memory."""
OPERATION_TIMEOUT_S: Final = 120.0
"""Everything that touches storage; the kubelet waits as long."""
STREAM_TIMEOUT_S: Final = 600.0
"""A whole stream of snapshot metadata; external-snapshot-metadata allows as long."""


def default_timeout_s(rpc: Rpc) -> float:
    """The deadline of a call whose caller gave none."""
    if rpc.streaming:
        return STREAM_TIMEOUT_S
    if rpc.service == "Identity" or rpc.name.endswith("GetCapabilities") or rpc.name == "NodeGetInfo":
        return QUERY_TIMEOUT_S
    return OPERATION_TIMEOUT_S
