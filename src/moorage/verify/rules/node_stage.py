"""Staging on a node: repeated, undone, refused."""

from __future__ import annotations

import os

import msgspec

from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import STAGE, USE
from moorage.verify.rule import Danger, Facility, Severity, expect, rule
from moorage.verify.use import Use


@rule(
    "node.stage-twice",
    section="NodeStageVolume",
    title="staging again changes nothing",
    sends="NodeStageVolume three times with equal fields, before and after publishing; NodeUnstageVolume once",
    demands="all answers are OK, the data stays, and one NodeUnstageVolume takes every mount away",
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def stage_twice(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    for _ in range(2):
        await use.stage()
    await use.publish()
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await use.stage()
    await use.expect_pattern(pattern, "after NodeStageVolume was repeated")
    await use.unpublish()
    await use.unstage()
    await _expect_unmounted(use, "after three equal NodeStageVolume and one NodeUnstageVolume")


async def _expect_unmounted(use: Use, when: str) -> None:
    found = await use.lab.io(find_mount, use.staging)
    expect(found is None, f"{use.staging} is still a mount point {when}", use.lab.last)


@rule(
    "node.unstage-twice",
    section="NodeUnstageVolume",
    title="unstaging what is not staged is fine",
    sends="NodeUnstageVolume before the volume was ever staged, and twice after it was",
    demands="all answers are OK",
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def unstage_twice(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await use.unstage()
    await use.stage()
    for _ in range(2):
        await use.unstage()
        await lab.io(os.makedirs, use.staging, exist_ok=True)  # a driver may have taken the directory away


@rule(
    "node.unstage-undoes-staging",
    section="NodeUnstageVolume",
    title="nothing of the volume is left at the staging path",
    sends="stage, publish, write, unpublish, unstage",
    demands="the staging path is no mount point, and if the directory is still there, it is empty",
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def unstage_undoes_staging(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    await use.write(Pattern(seed=lab.random.getrandbits(32), size_bytes=4096))
    await use.end()
    await _expect_unmounted(use, "after NodeUnstageVolume")
    if await lab.io(os.path.isdir, use.staging):
        left = await lab.io(os.listdir, use.staging)
        expect(not left, f"{left[:3]} is left in {use.staging} after NodeUnstageVolume", lab.last)


@rule(
    "node.unstage-keeps-directory",
    section="NodeUnstageVolume",
    title="the staging directory stays, as it is the CO's",
    sends="NodeStageVolume and NodeUnstageVolume",
    demands="the staging directory, which the CO made, is still there",
    severity=Severity.ADVICE,
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def unstage_keeps_directory(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await use.stage()
    await use.unstage()
    there = await lab.io(os.path.isdir, use.staging)
    expect(there, f"{use.staging} is gone after NodeUnstageVolume, and the driver had not made it", lab.last)


@rule(
    "node.stage-other-capability",
    section="NodeStageVolume",
    title="a staged volume is not staged at the same path for another kind of access",
    sends="NodeStageVolume of a volume made for mount and block access, first as one, then as the other",
    demands="ALREADY_EXISTS; after NodeUnstageVolume it is OK",
    needs=(*USE, STAGE, Facility.MOUNT, Facility.BLOCK),
    danger=(Danger.CREATES,),
)
async def stage_other_capability(lab: Lab) -> None:
    mount, block = lab.capability(block=False), lab.capability(block=True)
    volume = await lab.create_or_skip("both mount and block access", volume_capabilities=(mount, block))
    use = await lab.ready(volume, mount)
    await use.stage()
    other = msgspec.structs.replace(use.stage_request(), volume_capability=block)
    exchange = await lab.settle(other)
    exchange.refused(Code.ALREADY_EXISTS, why="the volume is staged at this path as a mounted file system")
    await use.unstage()
    await use.detach()
    again = await lab.ready(volume, block)
    (await lab.settle(again.stage_request())).response(m.NodeStageVolumeResponse)


@rule(
    "node.publish-before-stage",
    section="NodePublishVolume",
    title="what is published is the volume, even if it was never staged",
    sends="NodePublishVolume with a staging path where nothing was staged; if it is OK, a write; then the right order",
    demands="a refusal, or the data is there when the volume is staged and published",
    severity=Severity.SHOULD,
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def publish_before_stage(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    target = lab.path()
    if not (await lab.settle(use.publish_request(target))).ok:
        return
    use.target = target
    early = lab.last
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await use.unpublish()
    await use.unstage()
    await use.stage()
    await use.publish()
    same = await use.holds(pattern)
    expect(same, "a volume that was not staged was published, and what was written there is not in the volume", early)
