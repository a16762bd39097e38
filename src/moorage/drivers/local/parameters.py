"""The parameters that a volume of this driver takes, read once and refused with a sentence.

Pure: whether the pool can do what is asked is decided by `placement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from msgspec import Struct

from moorage.drivers.local.config import Allocation, BackendName
from moorage.framework.source import RootOwnership
from moorage.spec.errors import InvalidArgument

POOL: Final = "pool"
BACKEND: Final = "backend"
ALLOCATION: Final = "allocation"
READ_AHEAD: Final = "readAheadKiB"
COMPRESSION: Final = "compression"
UID: Final = "uid"
GID: Final = "gid"
MODE: Final = "mode"

MUTABLE: Final = frozenset({ALLOCATION, READ_AHEAD, COMPRESSION})
KNOWN: Final = MUTABLE | {POOL, BACKEND, UID, GID, MODE}
COMPRESSIONS: Final = ("none", "lzo", "zstd")
BACKENDS: Final[tuple[str, ...]] = get_args(BackendName)
ALLOCATIONS: Final[tuple[str, ...]] = get_args(Allocation)
MAX_READ_AHEAD_KIB: Final = 1 << 20
_MAX_ID: Final = (1 << 32) - 2


class Wanted(Struct, frozen=True, kw_only=True):
    """Parameters as typed values; None where nothing was said."""

    pool: str | None = None
    backend: BackendName | None = None
    allocation: Allocation | None = None
    read_ahead_kib: int | None = None
    compression: str | None = None
    root: RootOwnership = RootOwnership()


def parse(parameters: Mapping[str, str]) -> Wanted:
    """Read the parameters of CreateVolume; raises `InvalidArgument` naming the first that is wrong."""
    _check_known(parameters, KNOWN)
    return Wanted(
        pool=parameters.get(POOL),
        backend=_backend(parameters),
        allocation=_allocation(parameters),
        read_ahead_kib=_number(parameters, READ_AHEAD, maximum=MAX_READ_AHEAD_KIB),
        compression=_choice(parameters, COMPRESSION, COMPRESSIONS),
        root=RootOwnership(
            uid=_number(parameters, UID, maximum=_MAX_ID),
            gid=_number(parameters, GID, maximum=_MAX_ID),
            mode=_mode(parameters),
        ),
    )


def parse_mutable(parameters: Mapping[str, str]) -> Wanted:
    """Read the parameters of ControllerModifyVolume; raises `InvalidArgument`."""
    _check_known(parameters, MUTABLE)
    return parse(parameters)


def _check_known(parameters: Mapping[str, str], known: Iterable[str]) -> None:
    names = sorted(known)
    for name in parameters:
        if name not in names:
            raise InvalidArgument(f"parameter {name!r} is not one of {', '.join(names)}")


def _choice(parameters: Mapping[str, str], name: str, accepted: tuple[str, ...]) -> str | None:
    value = parameters.get(name)
    if value is not None and value not in accepted:
        raise InvalidArgument(f"parameter {name} is {value!r}; use {' or '.join(accepted)}")
    return value


def _backend(parameters: Mapping[str, str]) -> BackendName | None:
    match _choice(parameters, BACKEND, BACKENDS):
        case "image":
            return "image"
        case "subvolume":
            return "subvolume"
        case "directory":
            return "directory"
        case _:
            return None


def _allocation(parameters: Mapping[str, str]) -> Allocation | None:
    match _choice(parameters, ALLOCATION, ALLOCATIONS):
        case "thin":
            return "thin"
        case "reserved":
            return "reserved"
        case _:
            return None


def _number(parameters: Mapping[str, str], name: str, *, maximum: int) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= maximum):
        raise InvalidArgument(f"parameter {name} is {text!r}; use a whole number from 0 to {maximum}")
    return int(text)


def _mode(parameters: Mapping[str, str]) -> int | None:
    text = parameters.get(MODE)
    if text is None:
        return None
    if not (1 <= len(text) <= 5 and set(text) <= set("01234567") and int(text, 8) <= 0o7777):
        raise InvalidArgument(f"parameter {MODE} is {text!r}; use an octal mode such as 0750")
    return int(text, 8)
