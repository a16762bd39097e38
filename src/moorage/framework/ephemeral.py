"""Ephemeral inline volumes: made by NodePublishVolume, gone with NodeUnpublishVolume.

The orchestrator sends only those two calls, with an id of its own; the volume is created, staged
under the state directory, and deleted here. Source: contract node, section 3, volumeLifecycleModes.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from moorage.base.faults import declare_step
from moorage.base.units import parse_bytes
from moorage.framework.core import Core
from moorage.framework.node_journal import Staged
from moorage.framework.sizing import minimum_bytes
from moorage.framework.staging import Staging
from moorage.framework.values import NewVolume, NodeVolume, VolumeRecord
from moorage.host.paths import ensure_directory, ensure_removed_target
from moorage.spec import messages as m
from moorage.spec.capacity import choose_size
from moorage.spec.compatibility import without_orchestrator_keys
from moorage.spec.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from moorage.spec.types import CapacityRange, Volume, VolumeCapability

RECORDED = declare_step("node.ephemeral.recorded", "the ephemeral volume is recorded before it is made")
MADE = declare_step("node.ephemeral.made", "the driver has made the ephemeral volume")
DELETED = declare_step("node.ephemeral.deleted", "the driver has deleted the ephemeral volume")
FORGOTTEN = declare_step("node.ephemeral.forgotten", "the record of the ephemeral volume is erased")


class Ephemeral:
    """Makes and removes inline volumes; used by `Publishing` under the volume's key."""

    def __init__(self, core: Core, staging: Staging, state_dir: Path) -> None:
        self._core = core
        self._staging = staging
        self._directory = state_dir / "ephemeral"

    async def ensure(self, request: m.NodePublishVolumeRequest, capability: VolumeCapability) -> Staged:
        """The inline volume, made and staged."""
        core = self._core
        if not (core.driver.ephemeral and core.invoke.offers("create_volume")):
            raise FailedPrecondition(f"{core.driver.name} offers no ephemeral inline volumes; use a claim")
        new = self._wish(request, capability)
        record = await core.store.volume(request.volume_id)
        if record is not None and not record.ephemeral:
            raise AlreadyExists(f"volume {request.volume_id!r} is no inline volume; publish it through a claim")
        if record is None:
            record = _record(new, Volume(new.volume_id, new.size_bytes))
            await core.settle(RECORDED, put=(record,))
        with MADE:
            made: Volume | None = await core.controller("create_volume", new)
        context = made.volume_context if made is not None else {}
        volume = NodeVolume(
            volume_id=new.volume_id,
            volume_capability=capability,
            volume_context={**request.volume_context, **context},
            secrets=request.secrets,
        )
        path = str(self._staging_path(new.volume_id))
        await core.invoke.run("node", _make_directory, path)
        return await self._staging.ensure_staged(volume, path)

    async def remove(self, volume_id: str) -> None:
        """Unstage and delete the volume if it is an inline one; any other is left alone."""
        core = self._core
        record = await core.store.volume(volume_id)
        if record is None or not record.ephemeral:
            return
        path = str(self._staging_path(volume_id))
        await self._staging.ensure_unstaged(volume_id, path)
        await core.invoke.run("node", ensure_removed_target, path)
        with DELETED:
            await core.controller("delete_volume", record)
        await core.settle(FORGOTTEN, drop=(record,))

    def _staging_path(self, volume_id: str) -> Path:
        return self._directory / sha256(volume_id.encode()).hexdigest()[:32]

    def _wish(self, request: m.NodePublishVolumeRequest, capability: VolumeCapability) -> NewVolume:
        driver = self._core.driver
        parameters = dict(without_orchestrator_keys(request.volume_context))
        size_text = parameters.pop("size", "")
        try:
            asked = parse_bytes(size_text) if size_text else 0
        except ValueError as problem:
            raise InvalidArgument(f"attribute size of the inline volume is wrong: {problem}") from None
        merged, _ = self._core.effective_parameters(parameters, {})
        size = choose_size(
            CapacityRange(required_bytes=asked),
            default_bytes=driver.default_size_bytes,
            minimum_bytes=minimum_bytes(driver, (capability,)),
            granularity_bytes=driver.granularity_bytes,
            maximum_bytes=driver.maximum_size_bytes,
        )
        return NewVolume(
            volume_id=request.volume_id,
            name=request.volume_id,
            size_bytes=size,
            volume_capabilities=(capability,),
            parameters=merged,
            secrets=request.secrets,
            token=request.volume_id,
        )


def _record(new: NewVolume, volume: Volume) -> VolumeRecord:
    return VolumeRecord(
        volume_id=volume.volume_id,
        name=f"ephemeral\x00{new.name}",
        capacity_bytes=volume.capacity_bytes,
        volume_capabilities=new.volume_capabilities,
        parameters=new.parameters,
        ephemeral=True,
    )


def _make_directory(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    ensure_directory(path, mode=0o700)
