"""Asks a driver for the health of many volumes, so that one that is broken, slow or gone spoils nothing.

Volumes are asked a few at a time. One whose answer does not come is told of as inaccessible, and is not asked again
while the question is still open: a dead mount costs one thread, however often its health is asked for. Of one that
cannot be asked, because too many others hang, nothing is claimed but what it answered last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from moorage.base.log import get_logger
from moorage.framework.core import Core
from moorage.framework.values import VolumeRecord
from moorage.spec.errors import CsiError, NotFound, Unavailable
from moorage.spec.messages import ControllerListVolumeHealthResponse
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS
from moorage.spec.shorten import with_short_messages
from moorage.spec.types import HealthEntry, VolumeHealth, VolumeHealthStatus

AT_ONCE: Final = 6
"""How many volumes are asked at a time; fewer than the threads for questions, so that others have some left."""
ASK_S: Final = 5.0
"""How long a volume may take to tell its health before it counts as inaccessible."""
REMEMBERED: Final = 4096
"""Of how many volumes the last answer is kept."""

Entries = tuple[HealthEntry, ...]

log = get_logger(__name__)


class HealthAsks:
    """The questions of one plugin that are open now."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._open: dict[str, asyncio.Task[Entries]] = {}
        self._late: set[str] = set()
        self._last: dict[str, Entries] = {}
        self._ended = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def one(self, record: VolumeRecord) -> Entries:
        """What is wrong with a volume. Raises what the driver raises, and `Unavailable` when too many others hang."""
        question = await self._question(record)
        if question is None:
            raise Unavailable(
                f"volume {record.volume_id!r} cannot be asked for its health: {len(self._open)} others "
                "have not answered; see why, and repeat the call"
            )
        await self._in_time(record, question)
        return await asyncio.shield(question)

    async def all(self, records: Sequence[VolumeRecord]) -> dict[str, Entries | None]:
        """What is wrong with each volume, by id; without those that were deleted meanwhile.

        For a volume that cannot be asked it is the last answer, None if there is none.
        """
        told: dict[str, Entries | None] = {}

        async def tell(record: VolumeRecord) -> None:
            with suppress(_Gone):
                told[record.volume_id] = await self._told(record)

        await asyncio.gather(*(tell(record) for record in records))
        return told

    async def _told(self, record: VolumeRecord) -> Entries | None:
        question = await self._question(record)
        if question is None:
            return self._last.get(record.volume_id)
        if not await self._in_time(record, question):
            return _inaccessible(f"the volume has not told its health within {ASK_S:g} s")
        return await self._judged(record, question)

    async def _question(self, record: VolumeRecord) -> asyncio.Task[Entries] | None:
        """The open question to a volume, or a new one; None when there is no room for it."""
        question = self._open.get(record.volume_id)
        if question is None and await self._have_room():
            question = self._ask(record)
        return question

    async def _in_time(self, record: VolumeRecord, question: asyncio.Task[Entries]) -> bool:
        """Wait for the answer; False when it takes too long, and at once when it is late already."""
        done, _ = await asyncio.wait({question}, timeout=0 if record.volume_id in self._late else ASK_S)
        if not done:
            self._late.add(record.volume_id)
        return bool(done)

    async def _have_room(self) -> bool:
        """Wait for room to ask; False when all of it is taken and no question comes to its end."""
        while len(self._late) < AT_ONCE:
            ended = self._ended
            try:
                async with asyncio.timeout(ASK_S):
                    await self._room.acquire()
                    return True
            except TimeoutError:
                if self._ended == ended:
                    break
        return False

    def _ask(self, record: VolumeRecord) -> asyncio.Task[Entries]:
        """Ask about a volume; the room that was had for it is given back when the question ends."""
        volume_id = record.volume_id
        if volume_id in self._open:  # another list has asked while this one waited
            self._room.release()
            return self._open[volume_id]
        question = asyncio.create_task(self._call(record), name=f"health of {volume_id}")
        self._open[volume_id] = question

        def close(ended: asyncio.Task[Entries]) -> None:
            self._open.pop(volume_id, None)
            self._late.discard(volume_id)
            self._ended += 1
            self._room.release()
            if not ended.cancelled():
                ended.exception()  # who asked may have gone

        question.add_done_callback(close)
        return question

    async def _call(self, record: VolumeRecord) -> Entries:
        return tuple(await self._core.invoke.call("query", "volume_health", record))

    async def _judged(self, record: VolumeRecord, question: asyncio.Task[Entries]) -> Entries:
        """The answer, or what takes its place; raises _Gone for a volume that was deleted meanwhile."""
        try:
            entries = question.result()
        except NotFound as error:
            now = await self._core.store.volume(record.volume_id)
            if now is None or now.deleting:
                self._last.pop(record.volume_id, None)
                raise _Gone from error
            return _inaccessible(error.message)
        except CsiError as error:
            return _inaccessible(f"the volume cannot tell its health: {error.message}")
        except Exception as error:
            log.warning("volume.health_failed", volume=record.volume_id, exc_info=error)
            return _inaccessible("the driver failed to tell the volume's health; its log has the reason")
        if problem := _problem(record, entries):
            log.warning("volume.health_invalid", volume=record.volume_id, problem=problem)
            return _inaccessible("the driver told the volume's health against the specification; its log has more")
        self._remember(record.volume_id, entries)
        return entries

    def _remember(self, volume_id: str, entries: Entries) -> None:
        self._last.pop(volume_id, None)
        self._last[volume_id] = entries
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]


class _Gone(Exception):
    """The volume was deleted while it was asked."""


def _inaccessible(message: str) -> Entries:
    return (HealthEntry(VolumeHealthStatus.INACCESSIBLE, "HealthNotKnown", message),)


def _problem(record: VolumeRecord, entries: Entries) -> str:
    """Why an answer that holds these entries would be refused as a whole; empty when it would not be."""
    if not entries:
        return ""
    answer = with_short_messages(ControllerListVolumeHealthResponse(entries=(VolumeHealth(record.volume_id, entries),)))
    return next(iter(response_problems(RPCS["ControllerListVolumeHealth"], answer)), "")
