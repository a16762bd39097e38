"""What can go wrong between a client and the API server, as exceptions.

    KubeError
    ├── Unreachable           no answer, or half of one; `sent` says whether the server may have acted on it
    ├── Undecodable           an answer that is not what its type promises
    └── ApiError              the server answered with a metav1.Status: code, reason, message, details
        ├── BadRequest 400    ├── Unauthorized 401      ├── Forbidden 403         ├── NotFound 404
        ├── MethodNotAllowed 405                        ├── NotAcceptable 406     ├── AlreadyExists 409
        ├── Conflict 409      ├── Gone 410              ├── RequestTooLarge 413   ├── UnsupportedMediaType 415
        ├── Invalid 422       ├── TooManyRequests 429   ├── InternalError 500     ├── ServerTimeout 500
        └── ServiceUnavailable 503                      └── Timeout 504

Source: the API conventions of Kubernetes, "Response Status Kind". This module knows no transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

__all__ = [
    "AlreadyExists",
    "ApiError",
    "BadRequest",
    "Cause",
    "Conflict",
    "Details",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "KubeError",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "RequestTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Status",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "Undecodable",
    "Unreachable",
    "UnsupportedMediaType",
    "error_from_response",
    "error_from_status",
]

MAX_MESSAGE_CHARS: Final = 2000

UnreachableKind: TypeAlias = Literal["refused", "reset", "timeout", "name", "tls", "throttled", "credentials", "other"]


class Cause(Struct, frozen=True, kw_only=True):
    """One reason for a refusal; for Invalid, `field` is the path of the field that is wrong."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which object an error is about, and why."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] | None = ()
    retry_after_seconds: int = 0


class ListContinuation(Struct, frozen=True, kw_only=True, rename={"continue_token": "continue"}):
    """The metadata of a Status: after an expired page it may hold a token to go on with, less consistently."""

    continue_token: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """metav1.Status, the body of every refusal and of watch events of type ERROR."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None
    metadata: ListContinuation | None = None


class KubeError(Exception):
    """Anything that went wrong with a request to the API server."""


class Unreachable(KubeError):
    """There was no whole answer. `kind` tells how it failed, the text says why.

    `sent` is False only when the server certainly has not seen the request. When it is True, a write may have
    happened.
    """

    def __init__(self, message: str, *, kind: UnreachableKind = "other", sent: bool = True) -> None:
        super().__init__(message)
        self.kind: UnreachableKind = kind
        self.sent = sent


class Undecodable(KubeError):
    """The server's answer does not have the form that its type promises; asking again will not help."""


class ApiError(KubeError):
    """The server refused. `retry_after_s` is the pause that it asked for, None when it named none."""

    reasons: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Details | None = None,
        *,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, reason, message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or Details()
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} ({self.reason or 'no reason given'}, {self.code})"

    def has_cause(self, reason: str) -> bool:
        """Whether one of the causes has this reason, such as `FieldValueForbidden`."""
        return any(cause.reason == reason for cause in self.details.causes or ())


class BadRequest(ApiError):
    """The request itself is malformed."""

    reasons = ("BadRequest",)


class Unauthorized(ApiError):
    """The server does not know who asks: the credentials are missing, wrong or expired."""

    reasons = ("Unauthorized",)


class Forbidden(ApiError):
    """RBAC or an admission plugin does not allow it."""

    reasons = ("Forbidden",)


class NotFound(ApiError):
    """The object, or the whole resource, does not exist."""

    reasons = ("NotFound",)


class MethodNotAllowed(ApiError):
    """The resource does not support this verb."""

    reasons = ("MethodNotAllowed",)


class NotAcceptable(ApiError):
    """The server cannot answer in the format asked for."""

    reasons = ("NotAcceptable",)


class AlreadyExists(ApiError):
    """An object of this name exists."""

    reasons = ("AlreadyExists",)


class Conflict(ApiError):
    """The object changed since it was read, or a uid or resourceVersion given as a condition does not match."""

    reasons = ("Conflict",)


class Gone(ApiError):
    """The resourceVersion or page is too old: list anew. `continue_token` may go on at another moment in time."""

    reasons = ("Expired", "Gone")
    continue_token: str = ""


class RequestTooLarge(ApiError):
    """The object is larger than the server takes."""

    reasons = ("RequestEntityTooLarge",)


class UnsupportedMediaType(ApiError):
    """The resource does not support this kind of patch."""

    reasons = ("UnsupportedMediaType",)


class Invalid(ApiError):
    """The object breaks a rule, or a JSON patch does not fit the object; `details.causes` names the fields."""

    reasons = ("Invalid",)


class TooManyRequests(ApiError):
    """The server sheds load, or an eviction would break a budget."""

    reasons = ("TooManyRequests",)


class InternalError(ApiError):
    """The server, or a webhook that it asked, failed."""

    reasons = ("InternalError",)


class ServerTimeout(ApiError):
    """The server could not finish in time; whether it acted is unknown."""

    reasons = ("ServerTimeout",)


class ServiceUnavailable(ApiError):
    """The server is starting, stopping, or has lost its storage."""

    reasons = ("ServiceUnavailable",)


class Timeout(ApiError):
    """The server gave up waiting; a read may have asked for a resourceVersion from the future."""

    reasons = ("Timeout",)

    @property
    def resource_version_too_large(self) -> bool:
        """Whether the server has not yet seen the resourceVersion that was asked for."""
        return self.has_cause("ResourceVersionTooLarge")


_TYPES: Final[tuple[type[ApiError], ...]] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
    RequestTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServerTimeout,
    ServiceUnavailable, Timeout,
)  # fmt: skip
_BY_REASON: Final = {reason: kind for kind in _TYPES for reason in kind.reasons}
_BY_CODE: Final[Mapping[int, type[ApiError]]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed, 406: NotAcceptable,
    409: Conflict, 410: Gone, 413: RequestTooLarge, 415: UnsupportedMediaType, 422: Invalid, 429: TooManyRequests,
    500: InternalError, 503: ServiceUnavailable, 504: Timeout,
}  # fmt: skip
_status_decoder: Final = msgspec.json.Decoder(Status)


def error_from_status(status: Status, *, retry_after_s: float | None = None) -> ApiError:
    """The exception for a Status, chosen by its reason and, when that is unknown, by its code."""
    kind = _BY_REASON.get(status.reason) or _BY_CODE.get(status.code, ApiError)
    if retry_after_s is None and status.details and status.details.retry_after_seconds > 0:
        retry_after_s = float(status.details.retry_after_seconds)
    message = status.message or f"the API server answered {status.code} without saying why"
    error = kind(status.code, status.reason, message, status.details, retry_after_s=retry_after_s)
    if isinstance(error, Gone) and status.metadata:
        error.continue_token = status.metadata.continue_token
    return error


def error_from_response(code: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception for a response that is not 2xx, also when it is not from an API server but a proxy.

    `headers` have lower-case names. Only a Retry-After in whole seconds counts, as in client-go.
    """
    pause = headers.get("retry-after", "")
    retry_after_s = float(pause) if pause.isascii() and pause.isdigit() else None
    try:
        status = _status_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    if not (status.reason or status.message):
        status = Status(message=_plain_text(body))
    return error_from_status(msgspec.structs.replace(status, code=code), retry_after_s=retry_after_s)


def _plain_text(body: bytes) -> str:
    return " ".join(body[:MAX_MESSAGE_CHARS].decode("utf-8", "replace").split())
