"""What a driver that does more in fewer calls must remember: where volumes are in use on the node."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from pathlib import Path

from moorage.spec.types import VolumeCapability


class Volumes:
    """`attached` has pairs of volume id and node id. Everything is forgotten with the process."""

    def __init__(self, directory: Path) -> None:
        self.attached: set[tuple[str, str]] = set()
        self._directory = directory
        self._places: defaultdict[str, dict[str, VolumeCapability | None]] = defaultdict(dict)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def places_of(self, volume_id: str) -> dict[str, VolumeCapability | None]:
        """The paths at which a volume is in use, or may be, and how; to be changed by the caller."""
        return self._places[volume_id]

    def lock_of(self, volume_id: str) -> asyncio.Lock:
        """Held by whoever publishes or unpublishes the volume."""
        return self._locks[volume_id]

    def hidden(self, volume_id: str) -> Path:
        """The staging path that nobody but the driver knows."""
        return self._directory / hashlib.sha256(volume_id.encode()).hexdigest()[:16]
