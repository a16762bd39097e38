"""Calls at the same time: for one thing, which must stay one, and for many, which must not hinder each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.capabilities import gate_open
from moorage.spec.errors import NOT_FINAL, Code
from moorage.spec.rules import RPCS
from moorage.spec.types import ControllerCapability, Volume
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Severity, expect, rule
from moorage.verify.together import together
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
_AT_ONCE: Final = 6
_LIVES: Final = 3
_STORM_PER_ROUND: Final = 16
_IN_ORDER: Final = (Code.OK, Code.FAILED_PRECONDITION, Code.RESOURCE_EXHAUSTED)
"""What may be said beyond the error tables: it is the suite that keeps to no order here."""
_PENDING: Final = "a call for the same thing was pending"


async def _at_once(lab: Lab, requests: Sequence[Struct]) -> list[Exchange]:
    return await together(lab.call(request) for request in requests)


def _expect_ok_or_pending(exchanges: Sequence[Exchange]) -> None:
    for exchange in exchanges:
        if not exchange.ok:
            exchange.refused(Code.ABORTED, why=_PENDING)


@rule(
    "robustness.parallel-distinct-creates",
    section="Concurrency",
    title="volumes that are made at the same time are volumes of their own",
    sends=f"CreateVolume for {_AT_ONCE} names at once; DeleteVolume for all at once",
    demands="as many volumes as names; all of them can be deleted",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def parallel_distinct_creates(lab: Lab) -> None:
    volumes = await together(lab.create() for _ in range(_AT_ONCE))
    ids = {volume.volume_id for volume in volumes}
    expect(len(ids) == _AT_ONCE, f"{_AT_ONCE} names that were asked for at once gave {len(ids)} volumes", lab.last)
    await together(lab.delete(volume_id) for volume_id in ids)


@rule(
    "robustness.parallel-deletes",
    section="Concurrency",
    title="deleting one volume several times at once is deleting it",
    sends=f"DeleteVolume for one volume {_AT_ONCE} times at once, and once more",
    demands="OK or ABORTED each time, and OK at last",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def parallel_deletes(lab: Lab) -> None:
    volume = await lab.create()
    request = m.DeleteVolumeRequest(volume.volume_id)
    _expect_ok_or_pending(await _at_once(lab, [request] * _AT_ONCE))
    await lab.delete(volume.volume_id)


@rule(
    "robustness.parallel-same-snapshot",
    section="Concurrency",
    title="equal requests for a snapshot at the same time give one snapshot",
    sends=f"CreateSnapshot with equal fields {_AT_ONCE} times at once",
    demands="OK or ABORTED each time, and one id and one creation time in all that are OK",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def parallel_same_snapshot(lab: Lab) -> None:
    volume = await lab.create()
    name = lab.name("snap")
    request = m.CreateSnapshotRequest(volume.volume_id, name, parameters=lab.settings.snapshot_parameters)
    exchanges = await _at_once(lab, [request] * _AT_ONCE)
    _expect_ok_or_pending(exchanges)
    snapshots = [e.response(m.CreateSnapshotResponse).snapshot for e in exchanges if e.ok]
    snapshots.append(await lab.snapshot(volume.volume_id, name=name))
    found = {(snapshot.snapshot_id, snapshot.creation_time) for snapshot in snapshots}
    expect(len(found) == 1, f"one name gave {len(found)} snapshots when asked for at once", lab.last)


@rule(
    "robustness.parallel-same-publish",
    section="Concurrency",
    title="equal calls to the node at the same time do the work once",
    sends=f"NodeStageVolume, then NodePublishVolume, then NodeUnpublishVolume, each {_AT_ONCE} times at once",
    demands="OK or ABORTED each time; one mount while published, and neither mount nor target afterwards",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def parallel_same_publish(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    if use.staging:
        _expect_ok_or_pending(await _at_once(lab, [use.stage_request()] * _AT_ONCE))
        await use.stage()
    use.target = lab.path()
    _expect_ok_or_pending(await _at_once(lab, [use.publish_request(use.target)] * _AT_ONCE))
    await use.publish(target=use.target)
    count = len(await use.mounts())
    expect(count < 2, f"{count} mounts are stacked at {use.target}: each call made one", lab.last)
    _expect_ok_or_pending(await _at_once(lab, [use.unpublish_request()] * _AT_ONCE))
    await use.unpublish()
    expect(not await use.mounts(), f"{use.target} is still mounted after NodeUnpublishVolume", lab.last)
    await use.unstage()


@rule(
    "robustness.parallel-lives",
    section="Concurrency",
    title="volumes that are used at the same time do not get mixed up",
    sends=f"the whole lives of {_LIVES} volumes at once: made, used, written, brought back, read, deleted",
    demands="every step OK, and in every volume the data that was written to it",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def parallel_lives(lab: Lab) -> None:
    patterns = [Pattern(seed=seed) for seed in range(_LIVES)]
    uses = await together(_written(lab, pattern) for pattern in patterns)
    await together(use.end() for use in uses)
    await together(_read_again(lab, use, pattern) for use, pattern in zip(uses, patterns, strict=True))


async def _written(lab: Lab, pattern: Pattern) -> Use:
    use = await lab.use(await lab.create())
    await use.write(pattern)
    return use


async def _read_again(lab: Lab, use: Use, pattern: Pattern) -> None:
    again = await lab.use(use.volume)
    await again.expect_pattern(pattern, "when several volumes were in use at once")
    await again.end()
    await lab.delete(use.volume.volume_id)


async def _storm(lab: Lab) -> tuple[Use, Pattern, list[Exchange]]:
    """Everything at once to one volume that holds data; its use, the data and all that was answered."""
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    use = await lab.use(volume)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    await use.unpublish()
    calls = _storm_requests(lab, volume, use)
    waves = [lab.random.choices([request, *calls], k=_STORM_PER_ROUND) for _ in range(lab.settings.rounds)]
    answers = [exchange for wave in waves for exchange in await _at_once(lab, wave)]
    await use.unpublish()
    await use.unstage()
    return use, pattern, answers


def _storm_requests(lab: Lab, volume: Volume, use: Use) -> list[Struct]:
    """What an orchestrator that has lost its memory may send for a volume; nothing that destroys data."""
    requests: list[Struct] = [
        use.publish_request(use.target),
        use.unpublish_request(),
        m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (use.capability,)),
        m.NodeGetVolumeStatsRequest(volume.volume_id, use.target, use.staging),
        m.ControllerGetVolumeRequest(volume.volume_id),
        m.CreateSnapshotRequest(volume.volume_id, lab.name("snap"), parameters=lab.settings.snapshot_parameters),
        m.ListVolumesRequest(10),
    ]
    if use.staging:
        requests += [use.stage_request(), use.unstage_request()]
    names = {kind.request: name for name, kind in RPCS.items()}
    return [request for request in requests if gate_open(RPCS[names[type(request)]], lab.declared)]


@rule(
    "robustness.storm-data",
    section="Concurrency",
    title="whatever is called at the same time, the data stays",
    sends="to a volume with data, in waves of 16 calls at once: create, validate, stage, unstage, publish, unpublish, "
    "stats, snapshot; then all taken back, staged and published again",
    demands="the volume can be used again, and the data is there",
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def storm_data(lab: Lab) -> None:
    use, pattern, _ = await _storm(lab)
    await use.stage()
    await use.publish(target=use.target)
    await use.expect_pattern(pattern, "after many calls at the same time")
    await use.end()


@rule(
    "robustness.storm-codes",
    section="Concurrency",
    title="calls that meet each other are done or refused in order",
    sends="the calls of robustness.storm-data",
    demands="OK, ABORTED, FAILED_PRECONDITION or a code of the RPC's error table; INTERNAL says that something broke",
    severity=Severity.SHOULD,
    needs=(CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def storm_codes(lab: Lab) -> None:
    _, _, answers = await _storm(lab)
    for exchange in answers:
        allowed = exchange.code in (*_IN_ORDER, *NOT_FINAL, *exchange.rpc.listed_codes)
        expect(allowed, f"among other calls for the volume, {exchange.rpc.name} is {exchange.described()}", exchange)
