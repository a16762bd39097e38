"""The least size of a volume: what the driver says, and what mkfs of its file systems accepts."""

from __future__ import annotations

from moorage.framework.driver import Driver
from moorage.host.filesystem import MINIMUM_BYTES
from moorage.spec.types import VolumeCapability


def minimum_bytes(driver: Driver, capabilities: tuple[VolumeCapability, ...]) -> int:
    """Bytes below which a volume with these capabilities cannot be made (never a failure at stage)."""
    least = driver.minimum_size_bytes
    if not driver.formats:
        return least
    for capability in capabilities:
        if not capability.is_block:
            fs_type = capability.mount.fs_type or driver.fs_types[0]
            least = max(least, MINIMUM_BYTES.get(fs_type, 0))
    return least
