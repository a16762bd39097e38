"""The order of calls of HashiCorp Nomad, for testing how a driver copes with an orchestrator of another school.

Nomad asks before it acts, probes two to three times as often, calls NodeUnpublishVolume and
ControllerUnpublishVolume twice, publishes at the new place before it leaves the old one, makes the staging
directory with its own layout, and never calls GetCapacity. Pure.
"""

from __future__ import annotations

from moorage.orchestrator.model import VolumeRecord
from moorage.orchestrator.plan import Step

CALLED_TWICE = frozenset({"NodeUnpublishVolume", "ControllerUnpublishVolume"})
_PROBES = (Step("Probe"),) * 2


def calls_for(step: Step) -> tuple[Step, ...]:
    """The calls that Nomad would make for one step; every call in it is idempotent by the specification."""
    repeated = (step, step) if step.rpc in CALLED_TWICE else (step,)
    return (*_PROBES, *repeated)


def usage(volume: VolumeRecord) -> str:
    """Nomad's name for a way of using a volume, such as `rw-file-system-single-node-writer`."""
    mode = volume.capability.access_mode.name.lower().replace("_", "-")
    access = "ro" if "reader-only" in mode else "rw"
    attachment = "block-device" if volume.capability.is_block else "file-system"
    return f"{access}-{attachment}-{mode}"


def staging_path(base: str, volume: VolumeRecord) -> str:
    """Where Nomad stages: base/staging/<namespace>/<volume>/<usage>."""
    return f"{base}/staging/default/{volume.name}/{usage(volume)}"
