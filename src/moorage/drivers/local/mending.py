"""Clears away what is unfinished or idle beyond doubt. Nothing that may be somebody's data is ever removed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from moorage.base.run import CommandError
from moorage.drivers.local.inspection import DELETED, idle_loops
from moorage.drivers.local.layout import locked
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.removal import destroy
from moorage.host.loop import detach
from moorage.spec.errors import CsiError


class Repair(Struct, frozen=True):
    """What `repair` did, in one sentence, or (`done` False) could not do, and at which `path` that is left."""

    text: str
    done: bool = True
    path: str = ""


def repair(pools: Sequence[Pool]) -> tuple[Repair, ...]:
    """Remove what was begun and never finished, and loop devices on files that are gone. Raises OSError.

    What another process works on is left alone: a build that it holds, with the loop device on it. What cannot be
    removed is told of, and does not stop the rest; `check` tells afterwards what is left.
    """
    found: list[Repair] = []
    for pool in pools:
        found += [repaired for leftover in pool.layout.leftovers() if (repaired := _remove(leftover)) is not None]
        for device, _ in idle_loops(pool):
            if device.backing_path.endswith(DELETED):
                try:
                    detach(device.path, expected_backing=device.backing)
                    found.append(Repair(f"detached {device.path}"))
                except OSError as error:
                    found.append(_left(device.path, error.strerror or "it cannot be detached"))
    return tuple(found)


def _remove(leftover: Path) -> Repair | None:
    try:
        with locked(leftover):
            destroy(leftover)
    except FileNotFoundError:  # a running driver was faster
        return None
    except CsiError as error:
        return _left(str(leftover), error.message)
    except (OSError, CommandError) as error:
        return _left(str(leftover), str(error))
    return Repair(f"removed {leftover}")


def _left(path: str, reason: str) -> Repair:
    return Repair(f"left {path} alone: {reason}", done=False, path=path)
