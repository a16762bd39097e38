from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import Struct
from tests.support.exchanges import exchange

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, Snapshot, Volume, VolumeCapability, VolumeGroupSnapshot
from moorage.verify.exchange import Exchange
from moorage.verify.ledger import Ledger

CAPABILITY = VolumeCapability(access_mode=AccessMode.SINGLE_NODE_WRITER)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def create(name: str) -> m.CreateVolumeRequest:
    return m.CreateVolumeRequest(name=name, volume_capabilities=(CAPABILITY,))


def created(volume_id: str) -> m.CreateVolumeResponse:
    return m.CreateVolumeResponse(volume=Volume(volume_id=volume_id))


def snapshot(snapshot_id: str) -> Snapshot:
    return Snapshot(snapshot_id=snapshot_id, source_volume_id="v", creation_time=NOW)


class Answering:
    """Answers every call with OK, except those named in `codes` by volume or snapshot id, once each."""

    def __init__(self, ledger: Ledger, codes: dict[str, Code] | None = None) -> None:
        self.ledger = ledger
        self.codes = codes or {}
        self.calls: list[str] = []

    async def __call__(self, request: Struct) -> Exchange:
        subject = next(
            str(getattr(request, name))
            for name in ("target_path", "staging_target_path", "snapshot_id", "group_snapshot_id", "volume_id", "name")
            if hasattr(request, name)
        )
        self.calls.append(f"{type(request).__name__.removesuffix('Request')} {subject}")
        code = self.codes.pop(subject, Code.OK)
        responses = (created("late"),) if isinstance(request, m.CreateVolumeRequest) and code is Code.OK else ()
        done = exchange(request, *responses, code=code)
        self.ledger.record(done)
        return done


async def test_everything_is_taken_back_in_the_order_of_the_specification() -> None:
    ledger = Ledger()
    group = VolumeGroupSnapshot(group_snapshot_id="g", snapshots=(snapshot("g1"),), creation_time=NOW)
    for done in (
        exchange(create("a"), created("v")),
        exchange(m.CreateSnapshotRequest(source_volume_id="v", name="s"), m.CreateSnapshotResponse(snapshot("s"))),
        exchange(
            m.CreateVolumeGroupSnapshotRequest(name="g", source_volume_ids=("v",)),
            m.CreateVolumeGroupSnapshotResponse(group_snapshot=group),
        ),
        exchange(m.ControllerPublishVolumeRequest("v", "n", CAPABILITY), m.ControllerPublishVolumeResponse()),
        exchange(m.NodeStageVolumeRequest("v", "/stage", CAPABILITY), m.NodeStageVolumeResponse()),
        exchange(m.NodePublishVolumeRequest("v", "/target", CAPABILITY), m.NodePublishVolumeResponse()),
    ):
        ledger.record(done)
    answering = Answering(ledger)
    assert await ledger.clean(answering) == []
    assert answering.calls == [
        "NodeUnpublishVolume /target",
        "NodeUnstageVolume /stage",
        "ControllerUnpublishVolume v",
        "DeleteVolumeGroupSnapshot g",
        "DeleteSnapshot s",
        "DeleteVolume v",
    ]
    assert ledger == Ledger()


async def test_a_create_of_unknown_outcome_is_settled_and_deleted() -> None:
    ledger = Ledger()
    ledger.record(exchange(create("a"), code=Code.DEADLINE_EXCEEDED, answered=False))
    answering = Answering(ledger)
    assert await ledger.clean(answering) == []
    assert answering.calls == ["CreateVolume a", "DeleteVolume late"]


async def test_a_volume_that_depends_on_another_is_tried_again() -> None:
    ledger = Ledger()
    for name in ("source", "clone"):
        ledger.record(exchange(create(name), created(name)))
    answering = Answering(ledger, {"clone": Code.FAILED_PRECONDITION})
    assert await ledger.clean(answering) == []
    assert answering.calls == ["DeleteVolume clone", "DeleteVolume source", "DeleteVolume clone"]


async def test_what_cannot_be_deleted_is_told_and_not_tried_for_ever() -> None:
    ledger = Ledger()
    ledger.record(exchange(create("a"), created("v")))

    async def refuse(request: Struct) -> Exchange:
        return exchange(request, code=Code.INTERNAL, message="no")

    (failed,) = await ledger.clean(refuse)
    assert failed.rpc.name == "DeleteVolume"
    assert failed.code is Code.INTERNAL


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        pytest.param(Code.OK, True, id="published"),
        pytest.param(Code.ABORTED, True, id="may-be-published"),
        pytest.param(Code.INTERNAL, False, id="refused-for-good"),
    ],
)
def test_a_publish_is_kept_unless_it_was_refused_for_good(code: Code, kept: bool) -> None:
    ledger = Ledger()
    ledger.record(exchange(m.NodePublishVolumeRequest("v", "/t", CAPABILITY), code=code))
    assert bool(ledger.targets) is kept


def test_unpublishing_from_all_nodes_clears_every_attachment_of_the_volume() -> None:
    ledger = Ledger()
    for volume, node in (("v", "a"), ("v", "b"), ("w", "a")):
        request = m.ControllerPublishVolumeRequest(volume, node, CAPABILITY)
        ledger.record(exchange(request, m.ControllerPublishVolumeResponse()))
    ledger.record(exchange(m.ControllerUnpublishVolumeRequest("v"), m.ControllerUnpublishVolumeResponse()))
    assert list(ledger.attachments) == [("w", "a")]


async def test_calls_whose_end_nobody_heard_are_taken_back() -> None:
    ledger = Ledger()
    for request in (
        create("a"),
        m.NodePublishVolumeRequest("v", "/target", CAPABILITY),
        m.NodeStageVolumeRequest("v", "/stage", CAPABILITY),
    ):
        ledger.begin(request)
    answering = Answering(ledger)
    assert await ledger.clean(answering) == []
    assert answering.calls == [
        "CreateVolume a",
        "NodeUnpublishVolume /target",
        "NodeUnstageVolume /stage",
        "DeleteVolume late",
    ]


def test_a_call_whose_end_was_heard_is_not_running_any_more() -> None:
    ledger = Ledger()
    request = create("a")
    ledger.begin(request)
    ledger.record(exchange(request, code=Code.INVALID_ARGUMENT))
    assert ledger == Ledger()
