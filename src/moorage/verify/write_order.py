"""Records written to several volumes in one order, and what a cut through all of them at one instant must hold.

Record n goes to file n modulo the number of files and is forced to storage before record n + 1 is written. So a
cut at one instant holds every record up to some number and none beyond it: a record that is missing while a
later one is there proves that the files were cut at different instants. This module makes no calls.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Recorder", "order_problem", "read_records"]

_DIGITS: Final = 15
_RECORD_BYTES: Final = _DIGITS + 1
_LONGEST_S: Final = 25.0


@dataclass(slots=True)
class Recorder:
    """Writes records until it is told to stop, 25 s are over, or there are `most`; `written` are on storage."""

    paths: Sequence[str]
    most: int = 20_000
    written: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Write, in the calling thread. Raises OSError."""
        give_up_s = time.monotonic() + _LONGEST_S
        fds: list[int] = []
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            fds.extend(os.open(path, flags, 0o600) for path in self.paths)
            while not self.stop.is_set() and self.written < self.most and time.monotonic() < give_up_s:
                fd = fds[self.written % len(fds)]
                os.write(fd, f"{self.written:0{_DIGITS}d}\n".encode())
                os.fsync(fd)
                self.written += 1
        finally:
            for fd in fds:
                os.close(fd)


def read_records(path: str) -> list[int]:
    """The whole records in a file, up to the first that is not whole; none when it is missing. Raises OSError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    found = []
    for start in range(0, len(data) - _RECORD_BYTES + 1, _RECORD_BYTES):
        text = data[start : start + _DIGITS]
        if not text.isdigit() or data[start + _DIGITS : start + _RECORD_BYTES] != b"\n":
            break
        found.append(int(text))
    return found


def order_problem(found: Sequence[Sequence[int]], *, at_least: int) -> str | None:
    """What is wrong with the records found in the files of one cut, as a sentence; None when nothing is.

    `at_least` is how many were on storage before the cut was asked for.
    """
    count = len(found)
    places = {record: index for index, records in enumerate(found) for record in records}
    for record, index in sorted(places.items()):
        if record % count != index:
            return f"volume {index + 1} holds record {record}, which was written to volume {record % count + 1}"
    last = max(places, default=-1)
    missing = next((record for record in range(last) if record not in places), None)
    if missing is not None:
        later = next(record for record in sorted(places) if record > missing)
        return (
            f"record {missing} is missing in volume {missing % count + 1} although record {later}, written after it, "
            f"is in volume {later % count + 1}: the volumes were not cut at one instant"
        )
    if last + 1 < at_least:
        return f"{at_least} records were on storage when the snapshot was asked for, and {last + 1} are in it"
    return None
