"""Calls cut off by their deadline, and what is left on the machine and in the lists when all is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.types import CapacityRange, ControllerCapability, NodeCapability
from moorage.verify.content import Pattern
from moorage.verify.differences import difference
from moorage.verify.lab import Lab
from moorage.verify.leftovers import expect_unlisted, leaves_nothing
from moorage.verify.listings import SNAPSHOTS, VOLUMES
from moorage.verify.processes import descriptors_of, family_of, loop_devices, mounts_of
from moorage.verify.rule import Danger, Facility, expect, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
_LIVES: Final = 4
_CUT_OFF_PER_ROUND: Final = 4
_SHORTEST_S: Final = 0.001


async def _cut_off(lab: Lab, request: Struct, usual_s: float) -> None:
    """Make a call whose deadline ends somewhere in the time that such a call takes."""
    share = 10 ** lab.random.uniform(-1.5, 0.0)
    await lab.call(request, timeout_s=max(_SHORTEST_S, usual_s * share))


async def _timed(lab: Lab, request: Struct) -> float:
    began_s = time.monotonic()
    exchange = await lab.settle(request)
    exchange.response(exchange.rpc.response)
    return time.monotonic() - began_s


@rule(
    "robustness.cancelled-create",
    section="Timeouts",
    title="creating a volume goes on where it was cut off",
    sends="CreateVolume with deadlines that pass while it works, then the same request until the outcome is final; "
    "DeleteVolume; ListVolumes before and after",
    demands="one volume each time, the same whenever it is asked for again, and none that nobody knows of",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def cancelled_create(lab: Lab) -> None:
    usual_s = min([await _timed(lab, lab.create_request()) for _ in range(2)])

    async def series() -> None:
        for _ in range(_CUT_OFF_PER_ROUND * lab.settings.rounds):
            await _cut_off_create(lab, usual_s)

    if not lab.has(ControllerCapability.LIST_VOLUMES):
        await series()
    else:
        await leaves_nothing(lab, series, VOLUMES)


async def _cut_off_create(lab: Lab, usual_s: float) -> None:
    request = lab.create_request()
    await _cut_off(lab, request, usual_s)
    ids = [(await lab.settle(request)).response(m.CreateVolumeResponse).volume.volume_id for _ in range(2)]
    expect(ids[0] == ids[1], f"after a call that was cut off, one name gives {ids[0]!r} and then {ids[1]!r}", lab.last)
    await lab.delete(ids[0])


@rule(
    "robustness.cancelled-snapshot",
    section="Timeouts",
    title="cutting a snapshot goes on where the call was cut off",
    sends="CreateSnapshot with deadlines that pass while it works, then the same request until it is ready, twice",
    demands="one snapshot each time, with one id and one creation time",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def cancelled_snapshot(lab: Lab) -> None:
    volume = await lab.create()
    began_s = time.monotonic()
    await lab.snapshot(volume.volume_id)
    usual_s = time.monotonic() - began_s
    for _ in range(_CUT_OFF_PER_ROUND * lab.settings.rounds):
        name = lab.name("snap")
        request = m.CreateSnapshotRequest(volume.volume_id, name, parameters=lab.settings.snapshot_parameters)
        await _cut_off(lab, request, usual_s)
        first, again = [await lab.snapshot(volume.volume_id, name=name) for _ in range(2)]
        changed = difference(first, again, fields=("snapshot_id", "creation_time"))
        expect(not changed, f"after a call that was cut off, one name gives a snapshot with {changed}", lab.last)
        await lab.delete_snapshot(first.snapshot_id)


@rule(
    "robustness.cancelled-node-calls",
    section="Timeouts",
    title="calls to the node go on where they were cut off",
    sends="NodeStageVolume, NodePublishVolume, NodeUnpublishVolume and NodeUnstageVolume with deadlines that pass "
    "while they work, each followed by the same request until the outcome is final",
    demands="OK in the end, the data written before, one mount while it is published and none afterwards",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def cancelled_node_calls(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    use.target = lab.path()
    into = [use.stage_request(), use.publish_request(use.target)] if use.staging else [use.publish_request(use.target)]
    out = [use.unpublish_request(), use.unstage_request()] if use.staging else [use.unpublish_request()]
    usual_s = {type(request): await _timed(lab, request) for request in into}
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    usual_s |= {type(request): await _timed(lab, request) for request in out}
    for _ in range(2 * lab.settings.rounds):
        for request in (*into, *out):
            await _cut_off(lab, request, usual_s[type(request)])
            exchange = await lab.settle(request)
            exchange.response(exchange.rpc.response)
            count = len(await use.mounts())
            if request is into[-1]:
                expect(count < 2, f"{count} mounts are stacked at {use.target}: one call made another", exchange)
                await use.expect_pattern(pattern, "after calls that were cut off and repeated")
            if request is out[0]:
                expect(not count, f"{use.target} is still mounted after NodeUnpublishVolume", exchange)
    await use.detach()


async def _life(lab: Lab) -> None:
    """One volume with all that can be done with it, made, used and deleted."""
    volume = await lab.create()
    if lab.has(SNAPSHOT):
        await lab.delete_snapshot((await lab.snapshot(volume.volume_id)).snapshot_id)
    if "Node" in lab.declared.services:
        use = await lab.use(volume)
        if lab.has(NodeCapability.GET_VOLUME_STATS):
            await lab.call(m.NodeGetVolumeStatsRequest(volume.volume_id, use.target, use.staging))
        if lab.has(ControllerCapability.EXPAND_VOLUME):
            larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes))
            await lab.call(m.ControllerExpandVolumeRequest(volume.volume_id, larger, volume_capability=use.capability))
        await use.end()
    await lab.delete(volume.volume_id)


async def _grown(lab: Lab, counts: Mapping[str, Callable[[], int]]) -> str:
    """What there is more of after every life of a volume, in words; empty when nothing grows with each.

    Growth counts when it is seen twice: others use the machine, and pools of threads and connections fill at first.
    """
    more: dict[str, int] = {}
    for attempt in range(2):
        before = {what: await lab.io(count) for what, count in counts.items()}
        for _ in range(_LIVES):
            await _life(lab)
        more = {what: (await lab.io(count) - before[what]) // _LIVES for what, count in counts.items()}
        counts = {what: counts[what] for what, number in more.items() if number > 0}
        if not counts or attempt:
            break
    return " and ".join(f"{more[what]} {what}" for what in counts)


_A_LIFE: Final = f"{_LIVES} times the whole life of a volume: made, snapshotted, used, grown, deleted"


@rule(
    "robustness.leaked-descriptors",
    section="Volume Lifecycle",
    title="the driver's process does not grow with every volume",
    sends=_A_LIFE,
    demands="no more open files and no more child processes after each life; zombies count",
    needs=(CREATE, Facility.PROCESS),
    danger=(Danger.CREATES,),
)
async def leaked_descriptors(lab: Lab) -> None:
    pids = lab.peer.pids()
    counts = {
        "open descriptors": lambda: descriptors_of(pids),
        "child processes": lambda: len(family_of(pids)),
    }
    grown = await _grown(lab, counts)
    expect(not grown, f"the driver has {grown} more after every life of a volume, and never gives them back")


@rule(
    "robustness.leaked-mounts",
    section="Volume Lifecycle",
    title="no mounts and loop devices are left over",
    sends=_A_LIFE,
    demands="no more mounts in the driver's mount namespace or ours, and no more loop devices, after each life",
    needs=(CREATE, "Node", Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def leaked_mounts(lab: Lab) -> None:
    pids = lab.peer.pids()
    grown = await _grown(lab, {"mounts": lambda: mounts_of(pids), "loop devices": loop_devices})
    expect(not grown, f"every life of a volume leaves {grown} behind; look at the driver's mountinfo and at losetup")


@rule(
    "robustness.listed-volumes-left",
    section="ListVolumes",
    title="no deleted volume stays in the list",
    sends="a volume made and deleted; ListVolumes",
    demands="none of the volumes that the suite deleted, in this rule or before",
    needs=(CREATE, ControllerCapability.LIST_VOLUMES),
    danger=(Danger.CREATES,),
)
async def listed_volumes_left(lab: Lab) -> None:
    await lab.delete((await lab.create()).volume_id)
    gone = {e.request.volume_id for e in lab.peer.exchanges if e.ok and isinstance(e.request, m.DeleteVolumeRequest)}
    await expect_unlisted(lab, VOLUMES, gone)


@rule(
    "robustness.listed-snapshots-left",
    section="ListSnapshots",
    title="no deleted snapshot stays in the list",
    sends="a snapshot made and deleted; ListSnapshots",
    demands="none of the snapshots that the suite deleted, in this rule or before",
    needs=(CREATE, SNAPSHOT, ControllerCapability.LIST_SNAPSHOTS),
    danger=(Danger.CREATES,),
)
async def listed_snapshots_left(lab: Lab) -> None:
    volume = await lab.create()
    await lab.delete_snapshot((await lab.snapshot(volume.volume_id)).snapshot_id)
    gone = {
        e.request.snapshot_id for e in lab.peer.exchanges if e.ok and isinstance(e.request, m.DeleteSnapshotRequest)
    }
    await expect_unlisted(lab, SNAPSHOTS, gone)
