"""Mounts that are lost: somebody unmounts or removes what the driver made, as a reboot or an administrator does."""

from __future__ import annotations

import os

from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount
from moorage.host.paths import ensure_removed_target
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import MOUNT, STAGE, USE
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule
from moorage.verify.use import Use

_HARM = (Danger.CREATES, Danger.ROOT)


async def _lose_mount(use: Use, path: str) -> None:
    """Unmount what is at a path, behind the driver's back. Raises Skipped when nothing is mounted there."""
    if not await use.lab.io(ensure_unmounted, path):
        raise Skipped(f"the driver mounts nothing at {path}, so no mount can be lost there")


@rule(
    "node.unpublish-after-umount",
    section="NodeUnpublishVolume",
    title="a target whose mount was lost can be unpublished",
    sends="a published volume, unmounted by hand; NodeUnpublishVolume",
    demands="OK, and the target path is gone",
    needs=(*USE, Facility.ROOT),
    danger=_HARM,
)
async def unpublish_after_umount(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    await _lose_mount(use, use.target)
    await use.unpublish()
    gone = not await lab.io(os.path.lexists, use.target)
    expect(gone, f"{use.target} is still there after NodeUnpublishVolume of a target whose mount was lost", lab.last)
    await use.end()


@rule(
    "node.unpublish-after-removal",
    section="NodeUnpublishVolume",
    title="a target that was unmounted and removed can be unpublished",
    sends="a published volume, unmounted and its target path removed by hand; NodeUnpublishVolume",
    demands="OK, and the volume can be published there again",
    needs=(*USE, Facility.ROOT),
    danger=_HARM,
)
async def unpublish_after_removal(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await _lose_mount(use, use.target)
    await lab.io(ensure_removed_target, use.target)
    await use.unpublish()
    await use.publish(target=use.target)
    await use.expect_pattern(pattern, "after its target was removed by hand, unpublished and published again")
    await use.end()


@rule(
    "node.unstage-after-umount",
    section="NodeUnstageVolume",
    title="a staging path whose mount was lost can be unstaged",
    sends="a staged volume, unmounted by hand; NodeUnstageVolume twice; DeleteVolume",
    demands="OK",
    needs=(*MOUNT, STAGE, Facility.ROOT),
    danger=_HARM,
)
async def unstage_after_umount(lab: Lab) -> None:
    capability = lab.capability(block=False)
    use = await lab.ready(await lab.create(volume_capabilities=(capability,)), capability)
    await use.stage()
    await _lose_mount(use, use.staging)
    for _ in range(2):
        await use.unstage()
    await use.detach()
    await lab.delete(use.volume.volume_id)


@rule(
    "node.lost-mount-comes-back",
    section="NodePublishVolume",
    title="repeating the calls brings back a volume whose mounts were lost",
    sends="a published volume with data, unmounted by hand at target and staging path; stage and publish as before",
    demands="OK only when the volume is there again with its data, never from memory",
    needs=(*USE, Facility.ROOT),
    danger=_HARM,
)
async def lost_mount_comes_back(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    await _lose_mount(use, use.target)
    if use.staging:
        await lab.io(ensure_unmounted, use.staging)
    await use.stage()
    await use.publish(target=use.target)
    expect(await lab.io(find_mount, use.target) is not None, f"OK was answered without a mount at {use.target}")
    await use.expect_pattern(pattern, "after the mounts were lost and the calls repeated")
    await use.end()


@rule(
    "node.unpublish-spares-foreign-data",
    section="NodeUnpublishVolume",
    title="files at a target that is no mount point any more are not deleted",
    sends="a published volume, unmounted by hand; a file in the directory that is left; NodeUnpublishVolume",
    demands="whatever is answered, the file is still there; once it is moved away, the target can be unpublished",
    severity=Severity.SHOULD,
    needs=(*MOUNT, Facility.ROOT),
    danger=_HARM,
)
async def unpublish_spares_foreign_data(lab: Lab) -> None:
    capability = lab.capability(block=False)
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    await _lose_mount(use, use.target)
    await lab.io(os.makedirs, use.target, exist_ok=True)
    kept = os.path.join(use.target, "somebody-s-file")
    await lab.io(_touch, kept)
    exchange = await lab.settle(use.unpublish_request())
    there = await lab.io(os.path.lexists, kept)
    expect(there, "a file that was not the volume's was deleted with the target directory", exchange)
    await lab.io(os.unlink, kept)
    await use.end()


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
