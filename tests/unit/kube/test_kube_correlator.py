"""Events are combined, counted and limited with client-go's numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from moorage.kube.correlator import Correlator, Note, Subject, Written

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CLAIM = Subject("v1", "PersistentVolumeClaim", "data", "shop", "u-1", "17")


def note(message: str = "m", *, at_s: float = 0, subject: Subject = CLAIM, reason: str = "Provisioning") -> Note:
    return Note(
        subject=subject,
        type="Warning",
        reason=reason,
        message=message,
        component="driver_host_id",
        host="",
        time=START + timedelta(seconds=at_s),
    )


class Server:
    """Takes every event that comes through."""

    def __init__(self) -> None:
        self.correlator = Correlator()
        self.made = 0

    def see(self, event: Note, at_s: float = 0) -> Note | None:
        found = self.correlator.correlate(event, at_s)
        if found is not None:
            if found.earlier is None:
                self.made += 1
            first = found.earlier.first if found.earlier else found.time
            self.correlator.remember(found, Written(f"event-{self.made}", first, found.count))
        return found


def counts(found: Note | None) -> tuple[int, bool]:
    assert found is not None
    return found.count, found.earlier is not None


def test_a_repeated_event_raises_the_count_of_the_first() -> None:
    server = Server()
    assert counts(server.see(note())) == (1, False)
    assert counts(server.see(note(at_s=60), 60)) == (2, True)
    third = server.see(note(at_s=90), 90)
    assert third is not None
    assert third.as_patch() == {"count": 3, "lastTimestamp": "2026-01-02T03:05:35Z", "message": "m"}
    assert third.earlier == Written("event-1", START, 2)
    assert server.made == 1


def test_other_messages_reasons_and_objects_are_other_events() -> None:
    server = Server()
    others = [note(), note("n"), note(reason="Other"), note(subject=replace(CLAIM, uid="u-2"))]
    assert [counts(server.see(other))[0] for other in others] == [1, 1, 1, 1]


def test_a_new_resource_version_is_the_same_object() -> None:
    server = Server()
    server.see(note())
    assert counts(server.see(note(subject=replace(CLAIM, resource_version="18")))) == (2, True)


def test_the_tenth_message_of_a_reason_is_combined() -> None:
    server = Server()
    found = [server.see(note(f"message {number}")) for number in range(12)]
    texts = [event.message for event in found if event]
    assert texts[8] == "message 8"
    assert texts[9:] == [f"(combined from similar events): message {number}" for number in range(9, 12)]
    assert [counts(event)[0] for event in found[9:]] == [1, 2, 3]
    assert server.made == 10


def test_similar_events_far_apart_are_not_combined() -> None:
    server = Server()
    for number in range(9):
        server.see(note(f"message {number}"))
    late = server.see(note("message 9"), 601)
    assert late is not None
    assert late.message == "message 9"


def test_an_object_has_25_events_and_then_one_in_five_minutes() -> None:
    server = Server()
    taken = [server.see(note()) is not None for _ in range(30)]
    assert taken == [True] * 25 + [False] * 5
    assert server.see(note(), 299) is None
    assert server.see(note(), 301) is not None
    assert server.see(note(), 302) is None
    assert server.see(note(subject=replace(CLAIM, uid="u-2")), 302) is not None


def test_an_event_that_the_server_lost_begins_anew() -> None:
    server = Server()
    server.see(note())
    second = server.see(note())
    assert second is not None
    server.correlator.forget(second)
    assert counts(server.see(note())) == (1, False)


def test_the_memory_is_bounded() -> None:
    server = Server()
    server.see(note())
    for number in range(4096):
        server.see(note(subject=replace(CLAIM, uid=f"other-{number}")))
    assert counts(server.see(note())) == (1, False)


def test_the_object_is_the_one_that_client_go_writes() -> None:
    found = Server().see(note("because"))
    assert found is not None
    assert found.as_json("data.18a1") == {
        "metadata": {"name": "data.18a1", "namespace": "shop"},
        "involvedObject": {
            "kind": "PersistentVolumeClaim",
            "namespace": "shop",
            "name": "data",
            "uid": "u-1",
            "apiVersion": "v1",
            "resourceVersion": "17",
        },
        "reason": "Provisioning",
        "message": "because",
        "source": {"component": "driver_host_id"},
        "firstTimestamp": "2026-01-02T03:04:05Z",
        "lastTimestamp": "2026-01-02T03:04:05Z",
        "count": 1,
        "type": "Warning",
        "eventTime": None,
        "reportingComponent": "driver_host_id",
        "reportingInstance": "",
    }


def test_events_about_cluster_wide_objects_go_to_default() -> None:
    event = note(subject=Subject("v1", "PersistentVolume", "pv-1"))
    assert event.as_json("n")["metadata"]["namespace"] == "default"
    assert "namespace" not in event.as_json("n")["involvedObject"]
