"""Health as CSI 1.3 to 1.12 told it: one flag and one sentence, which kubelet still reads (gate CSIVolumeHealth)."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.spec.types import HealthEntry, VolumeCondition

HEALTHY = "the volume is healthy"
MESSAGE_BYTES = 128


def condition_of(entries: Iterable[HealthEntry]) -> VolumeCondition:
    """The condition that says what these entries say; the message keeps to the limit of the specification."""
    told = [entry.message or entry.reason or entry.status.name for entry in entries]
    if not told:
        return VolumeCondition(abnormal=False, message=HEALTHY)
    text = "; ".join(told).encode()[:MESSAGE_BYTES].decode(errors="ignore")
    return VolumeCondition(abnormal=True, message=text)
