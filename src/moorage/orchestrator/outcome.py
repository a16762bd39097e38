"""What a call does to the record of a volume: before it (intent), after it, and when it fails.

Pure. The record must be on disk between `intended` and the call, and again after the answer: that is what
lets a killed orchestrator go on where it stopped.
"""

from __future__ import annotations

from msgspec.structs import replace

from moorage.orchestrator.model import Actual, Mounted, OrchestratorError, Presence, VolumeRecord, may_exist
from moorage.orchestrator.plan import Step
from moorage.spec.errors import Code, CsiError
from moorage.spec.messages import (
    ControllerExpandVolumeResponse,
    ControllerPublishVolumeResponse,
    CreateVolumeResponse,
    NodeExpandVolumeResponse,
)

TEARDOWN = frozenset({"NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume"})


REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.PERMISSION_DENIED,
        Code.UNAUTHENTICATED,
        Code.FAILED_PRECONDITION,
        Code.UNIMPLEMENTED,
    }
)
"""Codes that say that a deletion was not even begun; after any other final error something may be half gone."""


class DriverMisbehaved(OrchestratorError):
    """The driver's answer breaks the specification in a way that cannot be worked around."""


def intended(volume: VolumeRecord, step: Step, *, node_id: str, staging_path: str, boot_id: str) -> VolumeRecord:
    """The record while the answer to `step` is not known."""
    actual = volume.actual
    match step.rpc:
        case "CreateVolume" | "DeleteVolume":
            actual = replace(actual, created=Presence.UNCERTAIN)
        case "ControllerPublishVolume":
            actual = replace(actual, attached=Presence.UNCERTAIN, node_id=actual.node_id or node_id)
        case "ControllerUnpublishVolume":
            actual = replace(actual, attached=Presence.UNCERTAIN)
        case "NodeStageVolume":
            path = actual.staging_path or staging_path
            actual = replace(actual, staged=Presence.UNCERTAIN, staging_path=path, boot_id=boot_id)
            actual = replace(actual, node_expansion_postponed=False)
        case "NodeUnstageVolume":
            actual = replace(actual, staged=Presence.UNCERTAIN)
        case "NodePublishVolume":
            if _is_new_start(actual):
                actual = replace(actual, node_expansion_postponed=False)
            actual = replace(_with_mount(actual, step, Presence.UNCERTAIN), boot_id=boot_id)
        case "NodeUnpublishVolume":
            before = next((m for m in actual.mounts if m.path == step.path), None)
            if before is not None:
                step = Step(step.rpc, path=step.path, readonly=before.readonly)
                actual = _with_mount(actual, step, Presence.UNCERTAIN)
        case _:
            return volume
    return replace(volume, actual=actual)


def _is_new_start(actual: Actual) -> bool:
    """Whether publishing does what staging does for other drivers: the volume comes to this node."""
    return actual.staged is Presence.ABSENT and not any(m.presence is Presence.PRESENT for m in actual.mounts)


def succeeded(volume: VolumeRecord, step: Step, response: object) -> VolumeRecord:
    """The record after the driver answered `step` with OK.

    Raises DriverMisbehaved for an answer that cannot be recorded.
    """
    actual = volume.actual
    match response:
        case CreateVolumeResponse():
            return replace(volume, actual=_created(volume, response))
        case ControllerExpandVolumeResponse():
            return replace(volume, actual=_expanded(volume, step, response))
        case NodeExpandVolumeResponse(capacity_bytes=size_bytes):
            grown = max(actual.capacity_bytes, size_bytes, step.size_bytes)
            return replace(volume, actual=replace(actual, capacity_bytes=grown, node_expansion_bytes=0))
        case ControllerPublishVolumeResponse(publish_context=context):
            attached = replace(actual, attached=Presence.PRESENT, publish_context=dict(context))
            return replace(volume, actual=attached)
        case _:
            return replace(volume, actual=_plain_success(actual, step))


def failed(volume: VolumeRecord, step: Step, error: CsiError) -> VolumeRecord:
    """The record after `step` failed with a final error.

    A failed CreateVolume left nothing, and a refused DeleteVolume left the volume as it was. Failed stage,
    publish and attach calls stay uncertain: undoing them costs one idempotent call, trusting every driver to
    have cleaned up could leave a mount behind.
    """
    actual = volume.actual
    if step.rpc == "CreateVolume" and not actual.volume_id:
        return replace(volume, actual=replace(actual, created=Presence.ABSENT))
    if step.rpc == "NodeExpandVolume":
        return replace(volume, actual=replace(actual, node_expansion_postponed=True))
    if step.rpc == "DeleteVolume" and error.code in REFUSALS:
        kept = replace(volume.desired, exists=True)
        return replace(volume, actual=replace(actual, created=Presence.PRESENT), desired=kept)
    return volume


def _plain_success(actual: Actual, step: Step) -> Actual:
    match step.rpc:
        case "NodeStageVolume":
            return replace(actual, staged=Presence.PRESENT)
        case "NodePublishVolume":
            return _with_mount(actual, step, Presence.PRESENT)
        case "NodeUnpublishVolume":
            return replace(actual, mounts=tuple(m for m in actual.mounts if m.path != step.path))
        case "NodeUnstageVolume":
            return replace(actual, staged=Presence.ABSENT)
        case "ControllerUnpublishVolume":
            return replace(actual, attached=Presence.ABSENT, publish_context={}, node_id="")
        case "DeleteVolume":
            return Actual()
    return actual


def _created(volume: VolumeRecord, response: CreateVolumeResponse) -> Actual:
    made = response.volume
    if not made.volume_id:
        raise DriverMisbehaved(
            f"driver {volume.driver!r} answered CreateVolume for {volume.name!r} without a volume_id; report "
            "this to the driver's maintainers"
        )
    return replace(
        volume.actual,
        created=Presence.PRESENT,
        volume_id=made.volume_id,
        capacity_bytes=made.capacity_bytes,
        volume_context=dict(made.volume_context),
        accessible_topology=made.accessible_topology,
    )


def _expanded(volume: VolumeRecord, step: Step, response: ControllerExpandVolumeResponse) -> Actual:
    if response.capacity_bytes < step.size_bytes:
        raise DriverMisbehaved(
            f"driver {volume.driver!r} expanded volume {volume.name!r} to {response.capacity_bytes} bytes, less "
            f"than the {step.size_bytes} asked for; report this to the driver's maintainers"
        )
    owed_bytes = response.capacity_bytes if response.node_expansion_required else 0
    return replace(
        volume.actual,
        capacity_bytes=response.capacity_bytes,
        node_expansion_bytes=owed_bytes,
        node_expansion_postponed=False,
    )


def _with_mount(actual: Actual, step: Step, presence: Presence) -> Actual:
    mounted = Mounted(step.path, step.readonly, presence)
    others = tuple(m for m in actual.mounts if m.path != step.path)
    return replace(actual, mounts=(*others, mounted))


def is_gone(volume: VolumeRecord) -> bool:
    """Whether the volume is neither wanted nor exists, so that its record can be dropped."""
    return not volume.desired.exists and not may_exist(volume.actual.created)
