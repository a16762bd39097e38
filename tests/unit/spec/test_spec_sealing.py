"""Mount flags on disk, and messages that are too long."""

from __future__ import annotations

from moorage.spec import messages as m
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS, STRING_LIMIT_BYTES
from moorage.spec.sealing import sealed, unsealed
from moorage.spec.shorten import shortened, with_short_messages
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    HealthEntry,
    MountAccess,
    VolumeCapability,
    VolumeHealth,
    VolumeHealthStatus,
)

MODE = AccessMode.SINGLE_NODE_WRITER


def capability(*flags: str) -> VolumeCapability:
    return VolumeCapability(MODE, MountAccess("ext4", flags))


def test_only_uncommon_flags_are_sealed() -> None:
    kept = sealed(capability("ro", "password=hunter2", "noatime"))
    assert kept.mount.mount_flags[0::2] == ("ro", "noatime")
    assert "hunter2" not in str(kept.mount.mount_flags)
    assert sealed(kept) == kept


def test_sealed_flags_tell_the_same_from_another() -> None:
    assert sealed(capability("password=a")) == sealed(capability("password=a"))
    assert sealed(capability("password=a")) != sealed(capability("password=b"))
    assert sealed(capability("a", "b")) != sealed(capability("b", "a"))


def test_a_repeated_request_gives_the_flags_back() -> None:
    given = capability("ro", "password=a", "x=y")
    assert unsealed(sealed(given), given) == given
    kept = sealed(given)
    assert unsealed(kept, capability("ro")) == kept


def test_what_has_no_flags_stays_the_same_object() -> None:
    for each in (VolumeCapability(MODE, BlockAccess()), VolumeCapability(MODE, None), capability(), capability("ro")):
        assert sealed(each) is each


def test_messages_are_cut_between_characters() -> None:
    text = "é" * 100
    assert shortened("x" * STRING_LIMIT_BYTES) == "x" * STRING_LIMIT_BYTES
    assert len(shortened(text).encode()) <= STRING_LIMIT_BYTES
    assert shortened(text).rstrip("…") == "é" * 62


def test_a_long_message_breaks_no_answer() -> None:
    entry = HealthEntry(VolumeHealthStatus.DEGRADED, "Slow", "why " * 100)
    response = m.NodeGetVolumeHealthResponse(VolumeHealth("v" * 20, (entry,)))
    rpc = RPCS["NodeGetVolumeHealth"]
    assert response_problems(rpc, response)
    short = with_short_messages(response)
    assert response_problems(rpc, short) == []
    assert short.volume_health.health_statuses[0].reason == "Slow"
    assert short.volume_health.volume_id == "v" * 20
