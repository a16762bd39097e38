"""Asks a driver for the health of many volumes, so that one that is broken, slow or gone spoils nothing.

Volumes are asked a few at a time. One whose answer does not come is told of as inaccessible, and is not asked again
while the question is still open: a dead mount costs one thread, however often its health is listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from moorage.base.log import get_logger
from moorage.framework.core import Core
from moorage.framework.values import VolumeRecord
from moorage.spec.errors import CsiError, NotFound
from moorage.spec.messages import ControllerListVolumeHealthResponse
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS
from moorage.spec.shorten import with_short_messages
from moorage.spec.types import HealthEntry, VolumeHealth, VolumeHealthStatus

AT_ONCE: Final = 6
"""How many volumes are asked at a time; fewer than the threads for questions, so that others have some left."""
ASK_S: Final = 5.0
"""How long a volume may take to tell its health before it counts as inaccessible."""

Entries = tuple[HealthEntry, ...]

log = get_logger(__name__)


class HealthAsks:
    """The questions of one plugin that are open now."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._open: dict[str, asyncio.Task[Entries]] = {}
        self._late: set[str] = set()
        self._ended = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def one(self, record: VolumeRecord) -> Entries:
        """What is wrong with a volume. Raises what the driver raises."""
        return tuple(await self._core.invoke.call("query", "volume_health", record))

    async def all(self, records: Sequence[VolumeRecord]) -> list[Entries | None]:
        """What is wrong with each volume, in their order; None for one that was deleted meanwhile."""
        return list(await asyncio.gather(*(self._told(record) for record in records)))

    async def _told(self, record: VolumeRecord) -> Entries | None:
        question = self._open.get(record.volume_id)
        if question is None:
            if not await self._have_room():
                return _inaccessible("not asked, because too many volumes have not answered")
            question = self._ask(record)
        done, _ = await asyncio.wait({question}, timeout=0 if record.volume_id in self._late else ASK_S)
        if not done:
            self._late.add(record.volume_id)
            return _inaccessible(f"the volume has not told its health within {ASK_S:g} s")
        return await self._judged(record, question)

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
        question = asyncio.create_task(self.one(record), name=f"health of {volume_id}")
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

    async def _judged(self, record: VolumeRecord, question: asyncio.Task[Entries]) -> Entries | None:
        """The answer, or what takes its place."""
        try:
            entries = question.result()
        except NotFound as error:
            now = await self._core.store.volume(record.volume_id)
            return None if now is None or now.deleting else _inaccessible(error.message)
        except CsiError as error:
            return _inaccessible(f"the volume cannot tell its health: {error.message}")
        except Exception as error:
            log.warning("volume.health_failed", volume=record.volume_id, exc_info=error)
            return _inaccessible("the driver failed to tell the volume's health; its log has the reason")
        if problem := _problem(record, entries):
            log.warning("volume.health_invalid", volume=record.volume_id, problem=problem)
            return _inaccessible("the driver told the volume's health against the specification; its log has more")
        return entries


def _inaccessible(message: str) -> Entries:
    return (HealthEntry(VolumeHealthStatus.INACCESSIBLE, "HealthNotKnown", message),)


def _problem(record: VolumeRecord, entries: Entries) -> str:
    """Why an answer that holds these entries would be refused as a whole; empty when it would not be."""
    if not entries:
        return ""
    answer = with_short_messages(ControllerListVolumeHealthResponse(entries=(VolumeHealth(record.volume_id, entries),)))
    return next(iter(response_problems(RPCS["ControllerListVolumeHealth"], answer)), "")
