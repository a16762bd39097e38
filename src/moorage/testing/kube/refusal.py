"""How the API server says no: metav1.Status bodies with the codes, reasons and texts of the real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from moorage.kube.resource import Resource
from moorage.kube.transport import Response

__all__ = [
    "Refusal",
    "bad_request",
    "conflict",
    "expired",
    "forbidden_field",
    "invalid",
    "method_not_allowed",
    "not_found",
    "status_response",
]

_MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"
_EXPIRED_PAGE: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_encoder: Final = msgspec.json.Encoder()


class Refusal(Exception):
    """A request that is not carried out; becomes the response, or the event that ends a watch."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        continue_token: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": continue_token} if continue_token else {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details is not None else {}),
            "code": code,
        }

    def response(self) -> Response:
        """The answer to the request."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return status_response(self.code, self.status, **headers)


def status_response(code: int, body: object, **headers: str) -> Response:
    """A response with JSON; underscores in header names become dashes."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    encoded = body if isinstance(body, bytes) else _encoder.encode(body)
    return Response(code, {"content-type": "application/json", **names}, encoded)


def not_found(resource: Resource, name: str) -> Refusal:
    """There is no such object."""
    message = f'{resource.group_resource} "{name}" not found'
    return Refusal(404, "NotFound", message, details=_about(resource, name))


def already_exists(resource: Resource, name: str) -> Refusal:
    """There is such an object."""
    message = f'{resource.group_resource} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, details=_about(resource, name))


def conflict(resource: Resource, name: str, why: str = _MODIFIED) -> Refusal:
    """The object is not the one, or not in the state, that the request is about."""
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return Refusal(409, "Conflict", message, details=_about(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[tuple[str, str, str]]) -> Refusal:
    """The object breaks rules; each cause is field, reason and text."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    texts = [f"{field}: {text}" for field, _, text in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _about(resource, name, kind=resource.kind)
    details["causes"] = [{"reason": reason, "message": text, "field": field} for field, reason, text in causes]
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details=details)


def invalid_options(kind: str, field: str, text: str, *, reason: str = "FieldValueForbidden") -> Refusal:
    """The query of the request breaks a rule."""
    details = {
        "group": "meta.k8s.io",
        "kind": kind,
        "causes": [{"reason": reason, "message": text, "field": field}],
    }
    return Refusal(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {field}: {text}', details=details)


def forbidden_field(field: str, text: str) -> tuple[str, str, str]:
    """A cause: this may not be changed or set."""
    return field, "FieldValueForbidden", f"Forbidden: {text}"


def invalid_field(field: str, value: str, text: str) -> tuple[str, str, str]:
    """A cause: the value is not one that the field takes; `value` is shown as JSON."""
    return field, "FieldValueInvalid", f"Invalid value: {_encoder.encode(value).decode()}: {text}"


def required_field(field: str, text: str = "") -> tuple[str, str, str]:
    """A cause: the field must be set."""
    return field, "FieldValueRequired", f"Required value: {text}" if text else "Required value"


def bad_request(message: str) -> Refusal:
    """The request cannot be understood."""
    return Refusal(400, "BadRequest", message)


def no_such_path() -> Refusal:
    """The server serves nothing at this path."""
    return Refusal(404, "NotFound", "the server could not find the requested resource", details={})


def method_not_allowed() -> Refusal:
    """The path is served, but not with this method."""
    return Refusal(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def forbidden(resource: Resource, *, user: str, verb: str, subresource: str, namespace: str, name: str) -> Refusal:
    """No role of `user` allows this."""
    plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    named = f' "{name}"' if name else ""
    message = (
        f'{resource.group_resource}{named} is forbidden: User "{user}" cannot {verb} resource "{plural}" '
        f'in API group "{resource.group}" {where}'
    )
    return Refusal(403, "Forbidden", message, details=_about(resource, name))


def expired(message: str) -> Refusal:
    """What was asked for is no longer kept."""
    return Refusal(410, "Expired", message)


def expired_page(continue_token: str) -> Refusal:
    """The pages of this moment are no longer kept; the token goes on with what there is now."""
    return Refusal(410, "Expired", _EXPIRED_PAGE, continue_token=continue_token)


def too_large_resource_version(asked: int, current: int) -> Refusal:
    """The server has not seen this moment yet."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return Refusal(504, "Timeout", message, details=details, retry_after_s=1)


def _about(resource: Resource, name: str, *, kind: str = "") -> dict[str, Any]:
    group = {"group": resource.group} if resource.group else {}
    return {**({"name": name} if name else {}), **group, "kind": kind or resource.plural}
