"""Between errors and gRPC statuses; the one place where an error becomes text on the wire.

An exception that is no CsiError is a defect, and its text may quote a secret, a path or a query: it never
leaves the process, and the log gets only its type and place. Messages are cut to 1 KiB because a long one
makes the client see RESOURCE_EXHAUSTED instead of the real code (spec, "gRPC traps in Python").
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

import grpc

from moorage.base.logformat import escaped
from moorage.spec.errors import Code, CsiError

MAX_MESSAGE_BYTES: Final = 1024
_ELLIPSIS: Final = " …"
_MAX_FRAMES: Final = 8

GRPC_STATUS: Final[dict[Code, grpc.StatusCode]] = {Code(status.value[0]): status for status in grpc.StatusCode}

GO_NAME: Final[dict[Code, str]] = {
    code: {Code.OK: "OK", Code.CANCELLED: "Canceled"}.get(code, code.name.title().replace("_", "")) for code in Code
}
"""How Go spells the codes; dashboards of the upstream sidecars select by these (`grpc_status_code`)."""


class Status(NamedTuple):
    """What goes over the wire instead of an answer; `defect` is for the log, and empty for a CsiError."""

    code: Code
    message: str
    defect: str = ""


def status_of(error: Exception, *, request_id: str, scrub: Callable[[str], str]) -> Status:
    """The status for whatever a handler raised; a group with one member counts as that member."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, CsiError) and error.code in GRPC_STATUS and error.code is not Code.OK:
        # One line, whatever was quoted in it: it goes into events and logs that go by lines.
        return Status(error.code, clean_message(error.message, lambda text: escaped(scrub(text)), code=error.code))
    return Status(
        Code.INTERNAL,
        f"the driver failed in a way that it did not foresee; its log has the details under request id {request_id}",
        where(error),
    )


def clean_message(text: object, scrub: Callable[[str], str], *, code: Code) -> str:
    """`text` without secrets, never empty, at most 1 KiB of UTF-8 cut between characters."""
    # Scrubbed first: a secret that is cut in two would no longer be found.
    cleaned = scrub(str(text)).strip() or f"the driver answered {code.name} and gave no reason"
    raw = cleaned.encode("utf-8", "replace")
    if len(raw) <= MAX_MESSAGE_BYTES:
        return raw.decode()
    kept = raw[: MAX_MESSAGE_BYTES - len(_ELLIPSIS.encode())]
    return kept.decode("utf-8", "ignore") + _ELLIPSIS


def where(error: BaseException) -> str:
    """An exception as its type and the places it passed, innermost first, without its text.

    Example: `KeyError at backend.py:41 in find < driver.py:12 in create_volume; from OSError at …`
    """
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)[-_MAX_FRAMES:]
        places = " < ".join(
            f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}" for frame in reversed(frames)
        )
        parts.append(f"{type(current).__qualname__} at {places or 'an unknown place'}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "; from ".join(parts)
