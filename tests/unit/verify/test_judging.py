from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import Struct
from tests.support.exchanges import exchange

from moorage.spec import messages as m
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code
from moorage.spec.types import Snapshot, Topology, Volume
from moorage.verify.exchange import Exchange
from moorage.verify.judging import (
    MESSAGE_LIMIT_BYTES,
    ProblemKind,
    answer_problems,
    fail_with_first,
    has_details,
    is_unlisted,
    message_size_problem,
    refusals,
    unreadable,
)
from moorage.verify.rule import Failed

DELETE = m.DeleteVolumeRequest("v")
CREATE = m.CreateVolumeRequest(name="v", volume_capabilities=())


def refused(code: Code, message: str = "no") -> Exchange:
    return exchange(DELETE, code=code, message=message)


def test_only_the_drivers_own_refusals_count() -> None:
    own = refused(Code.NOT_FOUND)
    others = [refused(code) for code in (Code.UNIMPLEMENTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED)]
    assert refusals([*others, own, exchange(DELETE, m.DeleteVolumeResponse())]) == [own]


@pytest.mark.parametrize(
    ("details", "has"),
    [
        pytest.param(b"", False, id="none"),
        pytest.param(b"\x08\x05\x12\x02no", False, id="a-status-with-code-and-message"),
        pytest.param(b"\x08\x05\x1a\x00", True, id="a-status-with-details"),
        pytest.param(b"\xff\xff", True, id="something-else"),
    ],
)
def test_details(details: bytes, has: bool) -> None:
    assert has_details(details) is has


def test_a_long_message_is_a_problem_by_its_bytes() -> None:
    assert message_size_problem(refused(Code.NOT_FOUND, "é" * (MESSAGE_LIMIT_BYTES // 2))) is None
    assert message_size_problem(refused(Code.NOT_FOUND, "é" * MESSAGE_LIMIT_BYTES)) is not None


def test_a_message_that_did_not_arrive_is_a_problem() -> None:
    text = "Received trailing metadata size exceeds hard limit: value length 20000 vs. 16384"
    assert message_size_problem(refused(Code.RESOURCE_EXHAUSTED, text)) is not None
    assert message_size_problem(refused(Code.RESOURCE_EXHAUSTED, "the pool is full")) is None


@pytest.mark.parametrize(
    ("code", "unlisted"),
    [
        pytest.param(Code.FAILED_PRECONDITION, False, id="its-own"),
        pytest.param(Code.UNAUTHENTICATED, False, id="everybodys"),
        pytest.param(Code.UNAVAILABLE, False, id="not-final"),
        pytest.param(Code.INTERNAL, True, id="internal"),
        pytest.param(Code.OUT_OF_RANGE, True, id="another-rpcs"),
    ],
)
def test_listed_codes(code: Code, unlisted: bool) -> None:
    assert is_unlisted(refused(code)) is unlisted


def test_an_answer_with_too_many_messages_or_noise_cannot_be_read() -> None:
    assert unreadable(exchange(DELETE, m.DeleteVolumeResponse())) is None
    assert unreadable(exchange(DELETE, bodies=(b"", b""))) == "DeleteVolume answered OK with 2 messages"
    assert "no such message" in str(unreadable(exchange(CREATE, bodies=(b"\xff\xff",))))


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("request_", "response", "kind"),
    [
        pytest.param(CREATE, m.CreateVolumeResponse(Volume("")), ProblemKind.REQUIRED, id="no-id"),
        pytest.param(CREATE, m.CreateVolumeResponse(Volume("v" * 129)), ProblemKind.SIZE, id="long-id"),
        pytest.param(
            CREATE,
            m.CreateVolumeResponse(Volume("v", volume_context={"k": "x" * 5000})),
            ProblemKind.SIZE,
            id="big-map",
        ),
        pytest.param(CREATE, m.CreateVolumeResponse(Volume("v", -1)), ProblemKind.OTHER, id="negative"),
        pytest.param(
            CREATE,
            m.CreateVolumeResponse(Volume("v", accessible_topology=(Topology({"zone": "a"}),))),
            ProblemKind.OTHER,
            id="undeclared-topology",
        ),
        pytest.param(
            m.CreateSnapshotRequest("v", "s"),
            m.CreateSnapshotResponse(Snapshot("", "v", NOW)),
            ProblemKind.REQUIRED,
            id="no-snapshot-id",
        ),
    ],
)
def test_defects_of_responses_are_told_apart(request_: Struct, response: Struct, kind: ProblemKind) -> None:
    found = list(answer_problems(exchange(request_, response), Declared()))
    assert [of for of, _ in found] == [kind]


def test_a_sound_response_has_no_defects() -> None:
    assert list(answer_problems(exchange(CREATE, m.CreateVolumeResponse(Volume("v", 1))), Declared())) == []


def test_the_failure_names_the_first_and_counts_all() -> None:
    answers = [refused(Code.INTERNAL), refused(Code.NOT_FOUND), refused(Code.NOT_FOUND)]
    with pytest.raises(Failed, match="2 of 3 errors to the suite's calls: lost") as caught:
        fail_with_first(answers, lambda e: "lost" if e.code is Code.NOT_FOUND else None, what="errors")
    assert caught.value.exchange is answers[1]


def test_nothing_wrong_is_no_failure() -> None:
    fail_with_first([refused(Code.INTERNAL)], lambda e: None)
