"""Events reach the server when they can, in order, and never hold up whoever records them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.kube_client import in_no_time

from moorage.kube.api import Api
from moorage.kube.correlator import Subject
from moorage.kube.events import Recorder, announcer, subject_of
from moorage.kube.leader import Candidate
from moorage.kube.limiter import Limiter
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.objects.meta import ObjectMeta, PartialObject
from moorage.kube.resource import EVENTS, PERSISTENT_VOLUME_CLAIMS
from moorage.testing.kube.faults import LoseReply, LoseRequest, Refuse
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

CLAIM = Subject("v1", "PersistentVolumeClaim", "data", "default", "u-1", "17")


def play(work: Callable[[FakeApiServer, Recorder], Awaitable[None]]) -> float:
    async def run() -> None:
        server = FakeApiServer()
        recorder = Recorder(Api(FakeTransport(server), limiter=Limiter(-1)), "driver_host_id", chance=lambda: 0.5)
        running = asyncio.ensure_future(recorder.run())
        try:
            await work(server, recorder)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    return in_no_time(run())[1]


def events(server: FakeApiServer) -> list[dict[str, Any]]:
    return [dict(tree) for tree in server.objects(EVENTS)]


def test_an_event_is_written_as_an_object_named_after_its_subject() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        recorder.record(CLAIM, "Normal", "Provisioning", "working on it")
        assert await recorder.flush(timeout_s=5)
        (event,) = events(server)
        assert re.fullmatch(r"data\.[0-9a-f]{15,16}", event["metadata"]["name"])
        assert (event["type"], event["reason"], event["message"]) == ("Normal", "Provisioning", "working on it")
        assert event["source"] == {"component": "driver_host_id"}
        assert event["involvedObject"]["uid"] == "u-1"

    assert play(work) == 0


def test_a_repetition_is_one_patch_of_the_count() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        for _ in range(5):
            recorder.record(CLAIM, "Warning", "ProvisioningFailed", "no room")
        await recorder.flush(timeout_s=5)
        (event,) = events(server)
        assert event["count"] == 5
        assert server.log.counts() == {("create", "events"): 1, ("patch", "events"): 4}

    play(work)


def test_an_event_that_expired_on_the_server_is_written_anew_with_its_count() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        for _ in range(2):
            recorder.record(CLAIM, "Normal", "R", "m")
        await recorder.flush(timeout_s=5)
        (event,) = events(server)
        server.remove(EVENTS, event["metadata"]["name"], "default")
        recorder.record(CLAIM, "Normal", "R", "m")
        await recorder.flush(timeout_s=5)
        recorder.record(CLAIM, "Normal", "R", "m")
        await recorder.flush(timeout_s=5)
        (again,) = events(server)
        assert again["count"] == 4
        assert again["firstTimestamp"] == event["firstTimestamp"]
        assert again["metadata"]["name"] != event["metadata"]["name"]

    play(work)


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        pytest.param(Refuse(403), 0, id="forbidden-is-dropped"),
        pytest.param(Refuse(404), 0, id="no-namespace-is-dropped"),
        pytest.param(Refuse(409, reason="AlreadyExists"), 0, id="there-already"),
        pytest.param(LoseRequest(), 1, id="unreachable-is-repeated"),
        pytest.param(LoseReply(), 1, id="lost-reply-makes-no-second"),
        pytest.param(Refuse(429), 1, id="shed-load-is-repeated"),
    ],
)
def test_failures(fault: Any, written: int) -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        server.faults.add(fault, verb="create", resource="events")
        recorder.record(CLAIM, "Normal", "First", "m")
        recorder.record(CLAIM, "Normal", "Second", "m")
        await recorder.flush(timeout_s=60)
        assert [event["reason"] for event in events(server)].count("First") == written
        assert [event["reason"] for event in events(server)].count("Second") == 1

    play(work)


def test_an_outage_of_more_than_two_minutes_costs_events_and_no_more() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        server.go_down()
        recorder.record(CLAIM, "Normal", "Lost", "m")
        recorder.record(CLAIM, "Normal", "Kept", "m")
        assert not await recorder.flush(timeout_s=130)
        server.come_back()
        await recorder.flush(timeout_s=60)
        assert [event["reason"] for event in events(server)] == ["Kept"]
        assert recorder.dropped == 1

    play(work)


def test_recording_never_waits_also_when_the_buffer_is_full() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        server.go_down()
        for number in range(1500):
            recorder.record(Subject("v1", "Pod", f"p{number}", "default", f"u{number}"), "Normal", "R", "m")
        assert recorder.dropped == 500

    assert play(work) == 0


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        pytest.param("x" * 1024, "x" * 1024, id="fits"),
        pytest.param("x" * 1025, "x" * 1021 + "...", id="too-long"),
        pytest.param("ü" * 600, "ü" * 510 + "...", id="cut-between-characters"),
    ],
)
def test_messages_fit_the_server(message: str, kept: str) -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        recorder.record(CLAIM, "Normal", "R", message)
        await recorder.flush(timeout_s=5)
        assert [event["message"] for event in events(server)] == [kept]
        assert len(kept.encode()) <= 1024

    play(work)


def test_a_subject_with_a_very_long_name_still_has_events() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        recorder.record(Subject("v1", "PersistentVolumeClaim", "n" * 250, "default"), "Normal", "R", "m")
        await recorder.flush(timeout_s=5)
        (event,) = events(server)
        assert len(event["metadata"]["name"]) == 36

    play(work)


def test_elections_are_told_as_the_sidecars_of_kubernetes_do() -> None:
    async def work(server: FakeApiServer, recorder: Recorder) -> None:
        lease = PartialObject(metadata=ObjectMeta(name="d-example-com", namespace="kube-system", uid="u-9"))
        announcer(recorder)(Candidate("kube-system", "d-example-com", "pod-1"), lease, "became leader")
        await recorder.flush(timeout_s=5)
        (event,) = events(server)
        assert event["source"] == {"component": "d-example-com/pod-1"}
        assert (event["reason"], event["message"]) == ("LeaderElection", "pod-1 became leader")
        subject = {key: event["involvedObject"][key] for key in ("apiVersion", "kind", "namespace", "uid")}
        assert subject == {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "namespace": "kube-system",
            "uid": "u-9",
        }

    play(work)


def test_subjects_come_from_objects() -> None:
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name="data", namespace="default", uid="u-1", resource_version="17")
    )
    assert subject_of(PERSISTENT_VOLUME_CLAIMS, claim) == CLAIM
