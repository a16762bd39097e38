"""What can be wrong with a pool, as values and sentences; how names that somebody else chose are shown.

This module does no I/O.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from msgspec import Struct

from moorage.drivers.local.layout import Kind, build_identity

Problem = Literal["damaged", "unknown", "missing", "unfinished", "loop", "foreign"]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be; `repair` removes what is `repairable`.

    damaged: content or description is not what it was, or cannot be read. unknown: an object that the journal has
    no row of. missing: a row without an object. unfinished: half made or half removed. loop: a device nobody uses.
    foreign: a name that is none of ours.
    """

    problem: Problem
    object_id: str
    path: str
    text: str
    repairable: bool = False


def shown(name: str | Path) -> str:
    """A name as it can be printed: bytes that are no UTF-8, and what would steer a terminal, are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def damaged(place: Path, object_id: str, text: str) -> Finding:
    """An object that is not what it was."""
    return Finding(problem="damaged", object_id=object_id, path=shown(place), text=text)


def unreadable(place: Path, error: OSError, *, object_id: str = "") -> Finding:
    """A place that the kernel does not let us see."""
    return damaged(place, object_id, f"{shown(place)} cannot be read ({error.strerror}); mend that and check again")


def foreign(place: Path, what: str) -> Finding:
    """A name that this driver does not give; `what` reads like "no volume"."""
    text = f"{shown(place)} is {what} of this driver; move it away"
    return Finding(problem="foreign", object_id="", path=shown(place), text=text)


def unknown(place: Path, kind: Kind, object_id: str) -> Finding:
    """An object that the journal has no row of."""
    text = f"{kind} {object_id!r} is not in the journal; import it with `moorage local import`"
    return Finding(problem="unknown", object_id=object_id, path=shown(place), text=text)


def missing(kind: Kind, object_id: str) -> Finding:
    """A row of the journal without an object."""
    text = f"{kind} {object_id!r} is in the journal and in none of these pools; delete it or find its pool"
    return Finding(problem="missing", object_id=object_id, path="", text=text)


def unfinished(leftover: Path) -> Finding:
    """What is in `tmp` and nobody works on."""
    identity = build_identity(leftover)
    if identity is None:
        object_id, text = "", f"{leftover.name} is on its way out and was not removed to the end"
    else:
        kind, object_id = identity
        text = f"{kind} {object_id!r} was begun and never finished; a repeated call goes on with it or starts again"
    return Finding(problem="unfinished", object_id=object_id, path=str(leftover), text=text, repairable=True)
