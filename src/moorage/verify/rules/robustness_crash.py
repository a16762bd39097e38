"""A driver killed with SIGKILL and started again: nothing is lost, and every interrupted call can be repeated."""

from __future__ import annotations

import time
from typing import Final

from moorage.spec import messages as m
from moorage.spec.types import CapacityRange, ControllerCapability, Volume
from moorage.verify.content import Pattern
from moorage.verify.copies import restore
from moorage.verify.crashes import KillPoint, kill_at, read_trace, revived, survive, trace_faults
from moorage.verify.differences import difference
from moorage.verify.lab import Lab
from moorage.verify.leftovers import expect_unlisted, leaves_nothing
from moorage.verify.listings import SNAPSHOTS, VOLUMES, walk
from moorage.verify.rule import Danger, Facility, Failed, Severity, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
_USED: Final = ("Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)
_KILLS: Final = (Danger.CREATES, Danger.RESTARTS)
_POINTS_PER_ROUND: Final = 1
_AFTER: Final = "after the driver was killed and started again"


async def _usable(lab: Lab, volume: Volume, pattern: Pattern | None = None) -> None:
    """Use a volume where there is a node to use it on; it must hold the pattern, if one is given."""
    if "Node" not in lab.declared.services:
        return
    use = await lab.use(volume)
    if pattern is not None:
        await use.expect_pattern(pattern, _AFTER)
    await use.end()


async def _filled(lab: Lab, **fields: object) -> tuple[Use, Pattern]:
    """A new volume in use, with data on it."""
    use = await lab.use(await lab.create(**fields))
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    return use, pattern


@rule(
    "robustness.state-survives-restart",
    section="CreateVolume",
    title="volumes and snapshots are known after a restart",
    sends="a volume and a snapshot; SIGKILL and a new start; the same requests again, lists, deletion",
    demands="the same ids, sizes and times as before, in answers and lists; and both can be deleted",
    needs=(CREATE, Facility.RESTART),
    danger=_KILLS,
)
async def state_survives_restart(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    name = lab.name("snap")
    snapshot = await lab.snapshot(volume.volume_id, name=name) if lab.has(SNAPSHOT) else None
    await lab.peer.restart()
    again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    changed = difference(volume, again)
    expect(not changed, f"the same request for a volume gives {changed}, {_AFTER}", lab.last)
    if lab.has(ControllerCapability.LIST_VOLUMES):
        expect(volume.volume_id in (await walk(lab, VOLUMES)).ids, f"ListVolumes lacks the volume {_AFTER}", lab.last)
    if snapshot is not None:
        later = await lab.snapshot(volume.volume_id, name=name)
        changed = difference(snapshot, later)
        expect(not changed, f"the same request for a snapshot gives {changed}, {_AFTER}", lab.last)
        if lab.has(ControllerCapability.LIST_SNAPSHOTS):
            listed = (await walk(lab, SNAPSHOTS)).ids
            expect(snapshot.snapshot_id in listed, f"ListSnapshots lacks the snapshot {_AFTER}", lab.last)
        await lab.delete_snapshot(snapshot.snapshot_id)
    await lab.delete(volume.volume_id)


@rule(
    "robustness.mounts-survive-restart",
    section="NodePublishVolume",
    title="who uses a volume does not notice that the driver died",
    sends="a published volume with data; SIGKILL; reads and writes; a new start; NodePublishVolume again",
    demands="a volume that can be read and written all the time, and OK with one mount for the repeated call",
    severity=Severity.SHOULD,
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def mounts_survive_restart(lab: Lab) -> None:
    use, pattern = await _filled(lab)
    await lab.peer.restart()
    await use.expect_pattern(pattern, _AFTER)
    later = Pattern(seed=pattern.seed + 1, offset=pattern.size_bytes)
    await use.write(later)
    await use.stage()
    await use.publish(target=use.target)
    count = len(await use.mounts())
    expect(count < 2, f"{count} mounts are stacked at {use.target} {_AFTER}", lab.last)
    await use.expect_pattern(later, _AFTER)
    await use.end()


@rule(
    "robustness.unpublish-after-restart",
    section="NodeUnpublishVolume",
    title="a volume that was published before a restart can be taken away after it",
    sends="a published volume with data; SIGKILL and a new start; unpublish, unstage, detach; the way back",
    demands="OK each time, no mount and no target path left, and the data when the volume comes back",
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def unpublish_after_restart(lab: Lab) -> None:
    use, pattern = await _filled(lab)
    await lab.peer.restart()
    await use.unpublish()
    expect(not await use.mounts(), f"{use.target} is still mounted after NodeUnpublishVolume", lab.last)
    await use.unstage()
    await use.detach()
    await _usable(lab, use.volume, pattern)


@rule(
    "robustness.killed-create",
    section="Timeouts",
    title="a volume whose making was interrupted by SIGKILL gets made",
    sends="CreateVolume, with the driver killed at a random moment of it and started again; then the same request",
    demands="one volume that can be used and deleted, and no second one in the list",
    needs=(CREATE, Facility.RESTART),
    danger=_KILLS,
)
async def killed_create(lab: Lab) -> None:
    began_s = time.monotonic()
    volume = await lab.create()
    usual_s = time.monotonic() - began_s
    await lab.delete(volume.volume_id)

    async def series() -> None:
        for _ in range(lab.settings.rounds):
            request = lab.create_request()
            made = (await survive(lab, request, usual_s=usual_s)).response(m.CreateVolumeResponse).volume
            again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
            changed = difference(made, again)
            expect(not changed, f"one name gives a volume with {changed}", lab.last)
            await _usable(lab, made)
            await lab.delete(made.volume_id)

    if lab.has(ControllerCapability.LIST_VOLUMES):
        await leaves_nothing(lab, series, VOLUMES)
    else:
        await series()


@rule(
    "robustness.killed-delete",
    section="Timeouts",
    title="a volume whose deletion was interrupted by SIGKILL gets deleted",
    sends="DeleteVolume, with the driver killed at a random moment of it and started again; then the same request; "
    "CreateVolume with the name that is free again",
    demands="OK each time, a volume that is not listed any more, and a new one that can be used",
    needs=(CREATE, Facility.RESTART),
    danger=_KILLS,
)
async def killed_delete(lab: Lab) -> None:
    began_s = time.monotonic()
    await lab.delete((await lab.create()).volume_id)
    usual_s = time.monotonic() - began_s
    for _ in range(lab.settings.rounds):
        name = lab.name()
        volume = await lab.create(name=name)
        request = m.DeleteVolumeRequest(volume.volume_id)
        (await survive(lab, request, usual_s=usual_s)).response(m.DeleteVolumeResponse)
        if lab.has(ControllerCapability.LIST_VOLUMES):
            await expect_unlisted(lab, VOLUMES, {volume.volume_id})
        again = await lab.create(name=name)
        await _usable(lab, again)
        await lab.delete(again.volume_id)


@rule(
    "robustness.killed-attach",
    section="Timeouts",
    title="attaching and detaching that was interrupted by SIGKILL gets done",
    sends="ControllerPublishVolume or ControllerUnpublishVolume, with the driver killed at a random moment of it and "
    "started again; then the same request",
    demands="OK; the same publish_context when asked once more; and a volume that can be deleted when it is detached",
    needs=(CREATE, ControllerCapability.PUBLISH_UNPUBLISH_VOLUME, "Node", Facility.RESTART),
    danger=_KILLS,
)
async def killed_attach(lab: Lab) -> None:
    for _ in range(lab.settings.rounds):
        volume = await lab.create()
        node_id, capability = lab.peer.node.node_id, lab.capability()
        attach = m.ControllerPublishVolumeRequest(
            volume.volume_id, node_id, capability, volume_context=volume.volume_context
        )
        detach = m.ControllerUnpublishVolumeRequest(volume.volume_id, node_id)
        began_s = time.monotonic()
        context = (await lab.settle(attach)).response(m.ControllerPublishVolumeResponse).publish_context
        usual_s = time.monotonic() - began_s
        if lab.random.getrandbits(1):
            (await survive(lab, detach, usual_s=usual_s)).response(m.ControllerUnpublishVolumeResponse)
        else:
            (await lab.settle(detach)).response(m.ControllerUnpublishVolumeResponse)
            (await survive(lab, attach, usual_s=usual_s)).response(m.ControllerPublishVolumeResponse)
        again = (await lab.settle(attach)).response(m.ControllerPublishVolumeResponse).publish_context
        expect(again == context, f"publish_context is {dict(again)} and was {dict(context)}", lab.last)
        (await lab.settle(detach)).response(m.ControllerUnpublishVolumeResponse)
        await lab.delete(volume.volume_id)


@rule(
    "robustness.killed-publish",
    section="Timeouts",
    title="publishing that was interrupted by SIGKILL gets done",
    sends="NodeStageVolume or NodePublishVolume for a volume with data, with the driver killed at a random moment of "
    "it and started again; then the same request",
    demands="OK, one mount, and the data",
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def killed_publish(lab: Lab) -> None:
    began_s = time.monotonic()
    use, pattern = await _filled(lab)
    usual_s = (time.monotonic() - began_s) / 2
    for _ in range(lab.settings.rounds):
        await use.unpublish()
        await use.unstage()
        if use.staging and lab.random.getrandbits(1):
            (await survive(lab, use.stage_request(), usual_s=usual_s)).response(m.NodeStageVolumeResponse)
            await use.publish(target=use.target)
        else:
            await use.stage()
            request = use.publish_request(use.target)
            (await survive(lab, request, usual_s=usual_s)).response(m.NodePublishVolumeResponse)
        count = len(await use.mounts())
        expect(count < 2, f"{count} mounts are stacked at {use.target} {_AFTER}", lab.last)
        await use.expect_pattern(pattern, _AFTER)
    await use.end()


@rule(
    "robustness.killed-unpublish",
    section="Timeouts",
    title="unpublishing that was interrupted by SIGKILL gets done",
    sends="NodeUnpublishVolume or NodeUnstageVolume for a volume with data, with the driver killed at a random moment "
    "of it and started again; then the same request; stage and publish",
    demands="OK, no mount left at the target, and the data when the volume is published again",
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def killed_unpublish(lab: Lab) -> None:
    began_s = time.monotonic()
    use, pattern = await _filled(lab)
    usual_s = (time.monotonic() - began_s) / 2
    for _ in range(lab.settings.rounds):
        if use.staging and lab.random.getrandbits(1):
            await use.unpublish()
            (await survive(lab, use.unstage_request(), usual_s=usual_s)).response(m.NodeUnstageVolumeResponse)
        else:
            (await survive(lab, use.unpublish_request(), usual_s=usual_s)).response(m.NodeUnpublishVolumeResponse)
            await use.unstage()
        expect(not await use.mounts(), f"{use.target} is still mounted after NodeUnpublishVolume", lab.last)
        await use.stage()
        await use.publish(target=use.target)
        await use.expect_pattern(pattern, _AFTER)
    await use.end()


@rule(
    "robustness.killed-snapshot",
    section="Timeouts",
    title="a snapshot whose cutting was interrupted by SIGKILL gets cut",
    sends="CreateSnapshot, with the driver killed at a random moment of it and started again; then the same request; "
    "a restore",
    demands="one snapshot with one creation time, and a restored volume with the data",
    needs=(CREATE, SNAPSHOT, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def killed_snapshot(lab: Lab) -> None:
    use, pattern = await _filled(lab)
    await use.end()
    volume = use.volume
    began_s = time.monotonic()
    await lab.snapshot(volume.volume_id)
    usual_s = time.monotonic() - began_s
    for _ in range(lab.settings.rounds):
        name = lab.name("snap")
        request = m.CreateSnapshotRequest(volume.volume_id, name, parameters=lab.settings.snapshot_parameters)
        first = (await survive(lab, request, usual_s=usual_s)).response(m.CreateSnapshotResponse).snapshot
        ready = await lab.snapshot(volume.volume_id, name=name)
        changed = difference(first, ready, fields=("snapshot_id", "creation_time"))
        expect(not changed, f"one name gives a snapshot with {changed}", lab.last)
        copy = await restore(lab, ready, volume)
        await _usable(lab, copy, pattern)
        await lab.delete(copy.volume_id)
        await lab.delete_snapshot(ready.snapshot_id)


@rule(
    "robustness.killed-expand",
    section="Timeouts",
    title="growth that was interrupted by SIGKILL gets done",
    sends="ControllerExpandVolume for a volume with data, with the driver killed at a random moment of it and started "
    "again; then the same request",
    demands="OK with the size asked for, also when asked once more, and the data",
    needs=(CREATE, ControllerCapability.EXPAND_VOLUME, *_USED, Facility.RESTART),
    danger=_KILLS,
)
async def killed_expand(lab: Lab) -> None:
    for _ in range(lab.settings.rounds):
        use, pattern = await _filled(lab)
        await use.end()
        volume = use.volume
        larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes))
        request = m.ControllerExpandVolumeRequest(volume.volume_id, larger, volume_capability=use.capability)
        for exchange in (await survive(lab, request, usual_s=0.05), await lab.settle(request)):
            size = exchange.response(m.ControllerExpandVolumeResponse).capacity_bytes
            expect(
                size >= larger.required_bytes,
                f"the volume has {size} bytes and {larger.required_bytes} were asked for, {_AFTER}",
                exchange,
            )
        await _usable(lab, volume, pattern)
        await lab.delete(volume.volume_id)


@rule(
    "robustness.crash-points",
    section="Timeouts",
    title="no durable step of the driver is one at which it must not die",
    sends="the whole life of a volume, with the driver killed right before or after one of the steps that make "
    "something durable, for a sample of these steps (all with --all-crash-points)",
    demands="calls that can be repeated until they are OK, and the data at the end; for drivers built on moorage, "
    "whose fault injector names the steps",
    needs=(CREATE, *_USED, Facility.RESTART),
    danger=_KILLS,
    timeout_s=1800.0,
)
async def crash_points(lab: Lab) -> None:
    trace = lab.directory / "trace"
    try:
        await trace_faults(lab, trace)
        starting = len(await lab.io(read_trace, trace))
        await _life(lab)
        points = (await lab.io(read_trace, trace))[starting:]
        if not points:
            raise Skipped("the driver has no fault injector of moorage, so its durable steps have no names")
        if not lab.settings.all_crash_points:
            points = lab.random.sample(points, min(len(points), _POINTS_PER_ROUND * lab.settings.rounds))
        for point in points:
            await _life_with_death(lab, point)
    finally:
        await lab.peer.restart()


async def _life_with_death(lab: Lab, point: KillPoint) -> None:
    await kill_at(lab, point)
    try:
        async with revived(lab):
            await _life(lab)
    except Failed as failed:
        raise Failed(f"killed at {point}: {failed.message}", failed.exchange) from None


async def _life(lab: Lab) -> None:
    """Everything that makes something durable, once; the data is checked on the way."""
    use, pattern = await _filled(lab)
    volume = use.volume
    await use.end()
    if lab.has(SNAPSHOT):
        snapshot = await lab.snapshot(volume.volume_id)
        await lab.delete_snapshot(snapshot.snapshot_id)
    if lab.has(ControllerCapability.EXPAND_VOLUME):
        larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes))
        request = m.ControllerExpandVolumeRequest(volume.volume_id, larger, volume_capability=use.capability)
        (await lab.settle(request)).response(m.ControllerExpandVolumeResponse)
    await _usable(lab, volume, pattern)
    await lab.delete(volume.volume_id)
