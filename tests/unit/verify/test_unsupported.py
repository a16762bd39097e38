"""What a driver cannot do is found, or the question dropped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from moorage.spec.messages import NodeGetInfoResponse
from moorage.spec.types import AccessMode, BlockAccess, MountAccess, Topology, VolumeCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Skipped
from moorage.verify.unsupported import elsewhere, unsupported_capability


class ALab:
    """A lab whose driver refuses block devices, or several nodes, or an unknown file system, or nothing."""

    def __init__(self, refuses: str) -> None:
        self.refuses = refuses

    def capability(
        self,
        mode: AccessMode = AccessMode.SINGLE_NODE_WRITER,
        *,
        block: bool | None = None,
        fs_type: str = "",
    ) -> VolumeCapability:
        return VolumeCapability(mode, BlockAccess() if block else MountAccess(fs_type))

    async def supports(self, capability: VolumeCapability) -> bool:
        traits = {
            "block": capability.is_block,
            "several nodes": capability.access_mode is AccessMode.MULTI_NODE_MULTI_WRITER,
            "fs_type": bool(capability.mount.fs_type),
        }
        return not traits.get(self.refuses, False)


@pytest.mark.parametrize("refuses", ["block", "several nodes", "fs_type"])
async def test_finds_what_is_refused(refuses: str) -> None:
    lab = ALab(refuses)
    assert not await lab.supports(await unsupported_capability(cast("Lab", lab)))


async def test_drops_the_question_for_a_driver_that_takes_everything() -> None:
    with pytest.raises(Skipped):
        await unsupported_capability(cast("Lab", ALab("nothing")))


def a_lab_at(place: Topology | None) -> Lab:
    node = NodeGetInfoResponse("node", accessible_topology=place)
    return cast("Lab", SimpleNamespace(peer=SimpleNamespace(node=node)))


def test_another_place_has_the_same_keys_and_no_value_of_the_node() -> None:
    here = Topology({"a.b/zone": "z1", "a.b/region": "r1"})
    nowhere = elsewhere(a_lab_at(here))
    assert nowhere.segments.keys() == here.segments.keys()
    assert not set(nowhere.segments.values()) & set(here.segments.values())


@pytest.mark.parametrize("place", [None, Topology()], ids=["none", "empty"])
def test_there_is_no_other_place_without_a_place(place: Topology | None) -> None:
    with pytest.raises(Skipped):
        elsewhere(a_lab_at(place))
