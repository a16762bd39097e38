"""Node RPCs: what is mounted where, and what is left of it afterwards."""

from __future__ import annotations

import os

from moorage.spec.types import ControllerCapability
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, expect, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME


@rule(
    "node.target-is-a-mount",
    section="NodePublishVolume",
    title="the target path is a mount point of the volume",
    sends="a volume's way to a target path",
    demands="mountinfo has a mount there, and it is not the file system that the directory was on",
    needs=(CREATE, "Node", Facility.MOUNT, Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def target_is_a_mount(lab: Lab) -> None:
    capability = lab.capability(block=False)
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    expect(bool(await use.mounts()), f"nothing is mounted at {use.target}: data written there is not the volume's")
    await use.end()
    expect(not await lab.io(os.path.lexists, use.target), f"{use.target} is still there after NodeUnpublishVolume")


@rule(
    "node.data-survives-republish",
    section="NodePublishVolume",
    title="data is there again after the volume was taken from the node and brought back",
    sends="write, unpublish, unstage, detach; attach, stage, publish elsewhere, read",
    demands="the bytes are those written",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def data_survives_republish(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    await use.end()
    again = await lab.use(volume)
    await again.expect_pattern(pattern, "when the volume came back to the node")
    await again.end()
