"""A refusal becomes the exception that its Status describes, and a proxy's page an understandable one."""

from __future__ import annotations

import json

import pytest

from moorage.kube import errors
from moorage.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    InternalError,
    Invalid,
    NotFound,
    ServerTimeout,
    ServiceUnavailable,
    Status,
    Timeout,
    TooManyRequests,
    error_from_response,
    error_from_status,
)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        pytest.param(404, "NotFound", NotFound, id="not-found"),
        pytest.param(409, "AlreadyExists", AlreadyExists, id="409-exists"),
        pytest.param(409, "Conflict", Conflict, id="409-conflict"),
        pytest.param(409, "", Conflict, id="409-without-reason"),
        pytest.param(410, "Expired", Gone, id="410-expired"),
        pytest.param(410, "Gone", Gone, id="410-gone"),
        pytest.param(403, "Forbidden", Forbidden, id="forbidden"),
        pytest.param(422, "Invalid", Invalid, id="invalid"),
        pytest.param(429, "TooManyRequests", TooManyRequests, id="too-many"),
        pytest.param(500, "InternalError", InternalError, id="internal"),
        pytest.param(500, "ServerTimeout", ServerTimeout, id="500-server-timeout"),
        pytest.param(503, "ServiceUnavailable", ServiceUnavailable, id="unavailable"),
        pytest.param(504, "Timeout", Timeout, id="timeout"),
        pytest.param(404, "SomethingNew", NotFound, id="unknown-reason-falls-back-to-code"),
        pytest.param(418, "", ApiError, id="unknown-code"),
    ],
)
def test_status_chooses_the_exception(code: int, reason: str, expected: type[ApiError]) -> None:
    body = json.dumps({"kind": "Status", "reason": reason, "message": "no", "code": code}).encode()
    error = error_from_response(code, {}, body)
    assert type(error) is expected
    assert (error.code, error.reason, error.message) == (code, reason, "no")


def test_details_and_causes_are_kept() -> None:
    cause = {"reason": "FieldValueForbidden", "message": "is immutable", "field": "spec.source"}
    status = {
        "reason": "Invalid",
        "message": "m",
        "details": {"name": "s", "kind": "VolumeSnapshot", "causes": [cause]},
    }
    error = error_from_response(422, {}, json.dumps(status).encode())
    assert error.details.name == "s"
    assert error.has_cause("FieldValueForbidden")
    assert not error.has_cause("FieldValueInvalid")
    assert "m (Invalid, 422)" in str(error)


def test_a_status_with_null_causes_is_understood() -> None:
    error = error_from_response(404, {}, b'{"reason":"NotFound","message":"m","details":{"causes":null}}')
    assert not error.has_cause("x")


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        pytest.param({"retry-after": "7"}, {}, 7.0, id="header"),
        pytest.param({}, {"retryAfterSeconds": 3}, 3.0, id="details"),
        pytest.param({"retry-after": "7"}, {"retryAfterSeconds": 3}, 7.0, id="header-wins"),
        pytest.param({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None, id="date-is-no-number"),
        pytest.param({}, {}, None, id="none"),
    ],
)
def test_retry_after(headers: dict[str, str], details: dict[str, int], expected: float | None) -> None:
    body = json.dumps({"reason": "TooManyRequests", "message": "busy", "details": details}).encode()
    assert error_from_response(429, headers, body).retry_after_s == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"<html>\n Bad   Gateway</html>", "<html> Bad Gateway</html>", id="html"),
        pytest.param(b"", "the API server answered 502 without saying why", id="empty"),
        pytest.param(b"\xff\xfe", "��", id="not-text"),
        pytest.param(b'{"message": 5}', '{"message": 5}', id="other-json"),
        pytest.param(b"x" * 10_000, "x" * errors.MAX_MESSAGE_CHARS, id="long"),
    ],
)
def test_an_answer_that_is_no_status(body: bytes, message: str) -> None:
    error = error_from_response(502, {}, body)
    assert type(error) is ApiError
    assert error.message == message


def test_an_expired_page_tells_how_to_go_on() -> None:
    body = b'{"reason":"Expired","message":"old","metadata":{"continue":"abc"}}'
    error = error_from_response(410, {}, body)
    assert isinstance(error, Gone)
    assert error.continue_token == "abc"


def test_a_resource_version_from_the_future_is_told_apart() -> None:
    body = b'{"reason":"Timeout","message":"m","details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}}'
    error = error_from_response(504, {}, body)
    assert isinstance(error, Timeout)
    assert error.resource_version_too_large


def test_an_error_event_of_a_watch_is_the_same_exception() -> None:
    assert isinstance(error_from_status(Status(code=410, reason="Expired", message="too old")), Gone)
