"""ControllerExpandVolume and ControllerModifyVolume."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from tests.support.controller import BLOCK, MIB, MOUNT, Controller, attach, create

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, FailedPrecondition, InvalidArgument, OutOfRange, Unavailable
from moorage.spec.types import CapacityRange
from moorage.testing.memory import MemoryConfig, MemoryDriver, MemoryStorage, TaggedDriver


@pytest_asyncio.fixture(params=[MemoryDriver, TaggedDriver], ids=["journal", "tags"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Controller]:
    async with Controller(tmp_path / "state", driver=request.param) as running:
        yield running


async def volume(controller: Controller, **fields: Any) -> str:
    response: m.CreateVolumeResponse = await controller.call(create(**fields))
    return response.volume.volume_id


def expand(volume_id: str, required: int, limit: int = 0) -> m.ControllerExpandVolumeRequest:
    return m.ControllerExpandVolumeRequest(volume_id, CapacityRange(required, limit))


async def test_expansion_is_repeatable_and_never_shrinks(either: Controller) -> None:
    volume_id = await volume(either)
    for _ in range(2):
        response = await either.call(expand(volume_id, 16 * MIB, 16 * MIB))
        assert response == m.ControllerExpandVolumeResponse(16 * MIB, node_expansion_required=True)
    assert (await either.call(expand(volume_id, 4 * MIB))).capacity_bytes == 16 * MIB
    assert (await either.call(expand(volume_id, 0, 32 * MIB))).capacity_bytes == 16 * MIB
    with pytest.raises(OutOfRange, match="cannot shrink"):
        await either.call(expand(volume_id, 0, 8 * MIB))
    assert either.storage.calls["expand_volume"] == 1
    await either.restart()
    response = await either.call(m.ControllerGetVolumeRequest(volume_id))
    assert response.volume.capacity_bytes == 16 * MIB


async def test_a_lost_reply_does_not_matter(either: Controller) -> None:
    volume_id = await volume(either)
    either.storage.fail("expand_volume", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await either.call(expand(volume_id, 16 * MIB))
    assert (await either.call(expand(volume_id, 16 * MIB))).capacity_bytes == 16 * MIB


async def test_an_impossible_range(either: Controller) -> None:
    volume_id = await volume(either)
    with pytest.raises(OutOfRange):
        await either.call(expand(volume_id, 8 * MIB + 1, 8 * MIB + 2))
    assert either.storage.calls["expand_volume"] == 0


class Doubling(MemoryDriver):
    """Grows in steps that are larger than asked for."""

    def expand_volume(self, volume: csi.VolumeRecord, size_bytes: int) -> int:
        return super().expand_volume(volume, 2 * size_bytes)


class Stubborn(MemoryDriver):
    """Does not grow and does not say so."""

    def expand_volume(self, volume: csi.VolumeRecord, size_bytes: int) -> int:
        return volume.capacity_bytes


async def test_more_than_the_limit_is_out_of_range_but_known(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Doubling) as doubling:
        volume_id = await volume(doubling)
        with pytest.raises(OutOfRange, match=str(32 * MIB)):
            await doubling.call(expand(volume_id, 16 * MIB, 20 * MIB))
        assert (await doubling.call(m.ControllerGetVolumeRequest(volume_id))).volume.capacity_bytes == 32 * MIB


async def test_less_than_asked_for_is_a_defect(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Stubborn) as stubborn:
        with pytest.raises(csi.Internal, match="instead of"):
            await stubborn.call(expand(await volume(stubborn), 16 * MIB))


class Offline(MemoryDriver):
    """Grows only what nobody uses."""

    online_expansion = False


async def test_offline_expansion(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Offline) as offline:
        volume_id = await volume(offline)
        await offline.call(attach(volume_id))
        with pytest.raises(FailedPrecondition, match="node-1"):
            await offline.call(expand(volume_id, 16 * MIB))
        assert (await offline.call(expand(volume_id, 8 * MIB))).capacity_bytes == 8 * MIB
        await offline.call(m.ControllerUnpublishVolumeRequest(volume_id))
        assert (await offline.call(expand(volume_id, 16 * MIB))).capacity_bytes == 16 * MIB


# --- modify ---


class Tuned(MemoryDriver):
    """Knows one mutable parameter."""

    block = False

    def check_parameters(self, parameters: Mapping[str, str], mutable: Mapping[str, str]) -> None:
        for key, value in mutable.items():
            if key not in ("iops", "tier") or not value:
                raise InvalidArgument(f"mutable parameter {key!r} is not known or has no value")


class TaggedTuned(Tuned, TaggedDriver):
    """The same without a journal."""


@pytest_asyncio.fixture(params=[Tuned, TaggedTuned], ids=["journal", "tags"])
async def tuned(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Controller]:
    async with Controller(tmp_path / "state", driver=request.param) as running:
        yield running


async def test_nothing_is_applied_when_one_key_is_wrong(tuned: Controller) -> None:
    volume_id = await volume(tuned, mutable_parameters={"iops": "100"})
    for wrong in ({"iops": "200", "colour": "red"}, {"tier": "gold", "iops": ""}):
        with pytest.raises(InvalidArgument):
            await tuned.call(m.ControllerModifyVolumeRequest(volume_id, wrong))
    assert tuned.storage.content.volumes[volume_id].settings == {"iops": "100"}


async def test_keys_that_are_not_named_stay(tuned: Controller) -> None:
    volume_id = await volume(tuned, mutable_parameters={"iops": "100"})
    stored = tuned.storage.content.volumes[volume_id]
    await tuned.call(m.ControllerModifyVolumeRequest(volume_id, {"tier": "gold"}))
    assert stored.settings == {"iops": "100", "tier": "gold"}


async def test_there_and_back_again(tuned: Controller) -> None:
    volume_id = await volume(tuned, mutable_parameters={"iops": "100"})
    for value in ("200", "200", "100"):
        await tuned.restart()
        await tuned.call(m.ControllerModifyVolumeRequest(volume_id, {"iops": value}))
        assert tuned.storage.content.volumes[volume_id].settings == {"iops": value}


async def test_a_creation_is_repeated_after_a_modification(tuned: Controller) -> None:
    """What a creation is compared with are the parameters of the creation: the modification was another wish."""
    request = create(mutable_parameters={"iops": "100"})
    made = await tuned.call(request)
    await tuned.call(m.ControllerModifyVolumeRequest(made.volume.volume_id, {"iops": "200", "tier": "gold"}))
    await tuned.restart()
    assert await tuned.call(request) == made
    assert tuned.storage.content.volumes[made.volume.volume_id].settings == {"iops": "200", "tier": "gold"}
    with pytest.raises(AlreadyExists, match="iops"):
        await tuned.call(create(mutable_parameters={"iops": "300"}))


async def test_validation_is_about_the_parameters_of_the_creation(tuned: Controller) -> None:
    volume_id = await volume(tuned, mutable_parameters={"iops": "100"})
    await tuned.call(m.ControllerModifyVolumeRequest(volume_id, {"iops": "200"}))
    asked = m.ValidateVolumeCapabilitiesRequest(volume_id, volume_capabilities=(MOUNT,))
    for value, confirmed in (("100", True), ("200", False)):
        answer = await tuned.call(structs.replace(asked, mutable_parameters={"iops": value}))
        assert (answer.confirmed is not None) == confirmed


class Watchful(Tuned):
    """Notes what it is told of a volume."""

    def __init__(self, config: MemoryConfig | None = None, *, storage: MemoryStorage | None = None) -> None:
        super().__init__(config, storage=storage)
        self.told: list[csi.VolumeRecord] = []

    def modify_volume(self, volume: csi.VolumeRecord, parameters: Mapping[str, str]) -> None:
        self.told.append(volume)
        super().modify_volume(volume, parameters)


async def test_a_driver_is_told_what_was_modified(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Watchful) as watchful:
        volume_id = await volume(watchful, mutable_parameters={"iops": "100"})
        for value in ("gold", "lead"):
            await watchful.call(m.ControllerModifyVolumeRequest(volume_id, {"tier": value}))
        _, second = watchful.plugin.driver.told  # type: ignore[attr-defined]  # it is a Watchful
        assert (second.mutable_parameters, second.modified_parameters) == ({"iops": "100"}, {"tier": "gold"})


async def test_a_capability_that_the_driver_lacks(tuned: Controller) -> None:
    volume_id = await volume(tuned)
    request = m.ControllerExpandVolumeRequest(volume_id, CapacityRange(16 * MIB), volume_capability=BLOCK)
    with pytest.raises(InvalidArgument, match="block"):
        await tuned.call(request)
