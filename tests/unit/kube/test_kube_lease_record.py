"""Records of leases are what client-go writes and reads, and edits lose nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from moorage.kube.lease_record import LeaseRecord, LeaseTimes, micro_time

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
GO_LEASE: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {
        "name": "d",
        "namespace": "n",
        "resourceVersion": "12",
        "labels": {"theirs": "1"},
        "managedFields": [{"manager": "csi-provisioner"}],
    },
    "spec": {
        "acquireTime": "2026-01-01T00:00:00.123456Z",
        "holderIdentity": "go-pod",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 3,
        "renewTime": "2026-01-01T00:01:00.000000Z",
        "strategy": "OldestEmulationVersion",
    },
}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(NOW, "2026-01-02T03:04:05.000006Z", id="microseconds-are-padded"),
        pytest.param(NOW.replace(microsecond=0), "2026-01-02T03:04:05.000000Z", id="zero-is-written"),
        pytest.param(NOW.astimezone(timezone(timedelta(hours=5))), "2026-01-02T03:04:05.000006Z", id="always-utc"),
    ],
)
def test_times(moment: datetime, text: str) -> None:
    assert micro_time(moment) == text


def test_a_lease_of_a_go_process_is_understood() -> None:
    record = LeaseRecord.of(json.dumps(GO_LEASE).encode())
    assert record == LeaseRecord(
        "go-pod", 15, "2026-01-01T00:00:00.123456Z", "2026-01-01T00:01:00.000000Z", transitions=3
    )


@pytest.mark.parametrize(
    "lease",
    [
        pytest.param({}, id="empty"),
        pytest.param({"spec": {}}, id="empty-spec"),
        pytest.param({"spec": {"holderIdentity": None, "leaseDurationSeconds": None}}, id="nulls"),
    ],
)
def test_a_lease_that_says_nothing_is_free(lease: dict[str, Any]) -> None:
    assert LeaseRecord.of(json.dumps(lease).encode()) == LeaseRecord()


def test_taking_over_counts_a_transition_and_starts_anew() -> None:
    taken = LeaseRecord("go-pod", 30, "old", "old", 3).taken("me", 15.0, NOW)
    assert taken == LeaseRecord("me", 15, micro_time(NOW), micro_time(NOW), 4)


def test_renewing_changes_only_the_time_of_renewal() -> None:
    renewed = LeaseRecord("me", 15, "2026-01-01T00:00:00.123456Z", "old", 3).taken("me", 15.0, NOW)
    assert renewed == LeaseRecord("me", 15, "2026-01-01T00:00:00.123456Z", micro_time(NOW), 3)


def test_a_release_leaves_no_holder_and_one_second() -> None:
    assert LeaseRecord("me", 15, "a", "b", 3).released(NOW).spec() == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": micro_time(NOW),
        "renewTime": micro_time(NOW),
        "leaseTransitions": 3,
    }


def test_an_edit_keeps_everything_else() -> None:
    edited = json.loads(LeaseRecord("me", 15, "a", "b", 4).into(json.dumps(GO_LEASE).encode(), {"ours": "2"}))
    assert edited["metadata"] == {**GO_LEASE["metadata"], "labels": {"theirs": "1", "ours": "2"}}
    assert edited["spec"]["strategy"] == "OldestEmulationVersion"
    assert (edited["spec"]["holderIdentity"], edited["spec"]["leaseTransitions"]) == ("me", 4)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        pytest.param({"lease_s": 10, "renew_s": 10}, "longer than the 10 s", id="lease-not-longer"),
        pytest.param({"lease_s": 0.5, "renew_s": 0.1, "retry_s": 0.01}, "must be 1 s or more", id="lease-too-short"),
        pytest.param({"renew_s": 6, "retry_s": 5}, "1.2 times the 5 s", id="renew-too-short"),
    ],
)
def test_times_that_cannot_work(times: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LeaseTimes(**times)
