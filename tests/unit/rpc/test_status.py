"""What becomes of an error on its way to the wire."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base.log import SecretScrubber
from moorage.rpc.status import GO_NAME, GRPC_STATUS, MAX_MESSAGE_BYTES, clean_message, status_of, where
from moorage.spec.errors import Aborted, Code, CsiError, NotFound


def as_it_is(text: str) -> str:
    return text


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_every_code_has_its_grpc_status() -> None:
    assert {code: status.value[0] for code, status in GRPC_STATUS.items()} == {code: int(code) for code in Code}
    assert set(GRPC_STATUS.values()) == set(grpc.StatusCode)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (Code.OK, "OK"),
        (Code.CANCELLED, "Canceled"),
        (Code.INVALID_ARGUMENT, "InvalidArgument"),
        (Code.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (Code.DATA_LOSS, "DataLoss"),
        (Code.UNAUTHENTICATED, "Unauthenticated"),
    ],
    ids=str,
)
def test_codes_are_spelled_as_go_spells_them(code: Code, name: str) -> None:
    assert GO_NAME[code] == name


def test_a_csi_error_keeps_its_code_and_cleaned_message() -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(["hunter2!"]):
        status = status_of(NotFound("no volume for hunter2!"), request_id="r1", scrub=scrubber)
    assert status == (Code.NOT_FOUND, "no volume for ***stripped***", "")


def test_an_error_that_claims_to_be_ok_is_a_defect() -> None:
    class Nonsense(CsiError):
        code = Code.OK

    status = status_of(raised(Nonsense("fine")), request_id="r1", scrub=as_it_is)
    assert status.code is Code.INTERNAL
    assert "fine" not in status.message


def test_a_defect_names_the_request_and_keeps_its_text_to_itself() -> None:
    status = status_of(raised(ValueError("password=x")), request_id="abc-7", scrub=as_it_is)
    assert status.code is Code.INTERNAL
    assert status.message.endswith("under request id abc-7")
    assert "password" not in status.message
    assert status.defect.startswith("ValueError at test_status.py:")
    assert "password" not in status.defect


def test_where_follows_causes_and_ends_on_a_loop_of_them() -> None:
    inner, outer = raised(OSError("secret")), raised(RuntimeError("secret"))
    outer.__cause__, inner.__context__ = inner, outer
    text = where(outer)
    assert text.count("RuntimeError at ") == 1
    assert text.count("OSError at ") == 1
    assert "; from OSError" in text
    assert "secret" not in text
    assert where(ValueError("never raised")) == "ValueError at an unknown place"


def test_where_shows_only_the_innermost_places() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError
        dive(depth - 1)

    with pytest.raises(ValueError) as caught:
        dive(50)
    assert where(caught.value).count(" in dive") == 8


@pytest.mark.parametrize("text", ["", "   ", "\n"], ids=["empty", "blank", "newline"])
def test_a_message_is_never_empty(text: str) -> None:
    assert clean_message(text, as_it_is, code=Code.ABORTED) == "the driver answered ABORTED and gave no reason"


@given(st.text(alphabet=st.characters(codec=None), min_size=1, max_size=2000))
def test_any_message_fits_into_the_limit_as_valid_utf8(text: str) -> None:
    cleaned = clean_message(text, as_it_is, code=Code.ABORTED)
    raw = cleaned.encode()
    assert 0 < len(raw) <= MAX_MESSAGE_BYTES
    if len(text.encode("utf-8", "replace")) <= MAX_MESSAGE_BYTES and text.strip():
        assert raw == text.strip().encode("utf-8", "replace")


def test_a_secret_at_the_cut_is_stripped_before_the_text_is_cut() -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(["s3cr3t-s3cr3t-s3cr3t"]):
        text = "x" * (MAX_MESSAGE_BYTES - 12) + "s3cr3t-s3cr3t-s3cr3t"
        assert "s3c" not in clean_message(text, scrubber, code=Code.ABORTED)


def test_groups_of_groups_of_one_are_opened() -> None:
    error = ExceptionGroup("a", [ExceptionGroup("b", [Aborted("busy")])])
    assert status_of(error, request_id="r", scrub=as_it_is)[:2] == (Code.ABORTED, "busy")
