"""Tells users in Events what is being done for their objects, without ever holding up the work.

`record` only puts a note into a bounded buffer; one task writes them in order. What the server refuses is
dropped, what does not reach it is tried again for two minutes, and when the buffer is full, new notes are
dropped and counted. The objects are core/v1 Events, as client-go writes them.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from moorage.base.clock import Clock, SystemClock
from moorage.base.log import get_logger
from moorage.kube.api import Api
from moorage.kube.cache import KubeObject
from moorage.kube.correlator import Correlator, EventType, Note, Subject, Written
from moorage.kube.errors import AlreadyExists, ApiError, KubeError, NotFound, TooManyRequests
from moorage.kube.leader import Announce, Candidate
from moorage.kube.objects.meta import PartialObject
from moorage.kube.resource import EVENTS, LEASES, Resource

__all__ = ["MESSAGE_MAX_BYTES", "Recorder", "announcer", "subject_of"]

QUEUED_MAX: Final = 1000
MESSAGE_MAX_BYTES: Final = 1024
ATTEMPTS_MAX: Final = 12
RETRY_S: Final = 10.0
NAME_MAX_CHARS: Final = 253
_CUT: Final = "..."

_log = get_logger(__name__)


def subject_of(resource: Resource, item: KubeObject) -> Subject:
    """The reference to an object that an event is about."""
    metadata = item.metadata
    return Subject(
        api_version=resource.api_version,
        kind=resource.kind,
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )


def announcer(recorder: Recorder) -> Announce:
    """Has elections told as events about the lease, as Kubernetes' CSI sidecars tell them."""

    def announce(candidate: Candidate, lease: PartialObject, what: str) -> None:
        component = f"{candidate.name}/{candidate.identity}"
        message = f"{candidate.identity} {what}"
        recorder.record(subject_of(LEASES, lease), "Normal", "LeaderElection", message, component=component)

    return announce


class Recorder:
    """Writes events as `component`; `run` must run for them to be written.

    `dropped` counts notes that were lost because the buffer was full or the server refused them.
    """

    def __init__(
        self,
        api: Api,
        component: str,
        *,
        host: str = "",
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.dropped = 0
        self._api = api
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._chance = chance
        self._correlator = Correlator()
        self._notes: asyncio.Queue[Note] = asyncio.Queue(QUEUED_MAX)

    def record(
        self, subject: Subject, type_: EventType, reason: str, message: str, *, component: str | None = None
    ) -> None:
        """Have an event written; never waits and never raises. Long messages are cut to what the server takes.

        `component` is who reports it, when it is not the component of the recorder.
        """
        note = Note(
            subject=subject,
            type=type_,
            reason=reason,
            message=_cut(message),
            component=self._component if component is None else component,
            host=self._host,
            time=self._clock.wall_time(),
        )
        try:
            self._notes.put_nowait(note)
        except asyncio.QueueFull:
            self.dropped += 1
            _log.warning("event.dropped", name=subject.name, reason=reason, waiting=QUEUED_MAX)

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            note = await self._notes.get()
            try:
                await self._write(note)
            finally:
                self._notes.task_done()

    async def flush(self, *, timeout_s: float) -> bool:
        """Wait until what was recorded so far is written; False when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._notes.join()
        except TimeoutError:
            return False
        return True

    async def _write(self, recorded: Note) -> None:
        note = self._correlator.correlate(recorded, asyncio.get_running_loop().time())
        if note is None:
            self.dropped += 1
            return
        name = _event_name(note.subject.name, note.time)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                self._correlator.remember(note, await self._send(note, name))
                return
            except AlreadyExists:
                # Under a name of our own: an earlier attempt got through and only its answer was lost.
                self._correlator.remember(note, _written(note, name))
                return
            except TooManyRequests as error:
                reason = str(error)
            except ApiError as error:
                self._drop(note, str(error))
                return
            except KubeError as error:
                reason = str(error)
            except Exception as error:
                _log.exception("event.defect", name=note.subject.name)
                self._drop(note, str(error))
                return
            if attempt < ATTEMPTS_MAX:
                await asyncio.sleep(RETRY_S * (self._chance() if attempt == 1 else 1.0))
            else:
                self._drop(note, reason)

    async def _send(self, note: Note, name: str) -> Written:
        if note.earlier is not None:
            try:
                await self._api.patch_strategic(
                    EVENTS, bytes, note.as_patch(), name=note.earlier.name, namespace=note.namespace
                )
                return _written(note, note.earlier.name)
            except NotFound:
                self._correlator.forget(note)
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "Event"} | note.as_json(name)
        await self._api.create(EVENTS, bytes, body, namespace=note.namespace)
        return _written(note, name)

    def _drop(self, note: Note, why: str) -> None:
        self.dropped += 1
        _log.warning("event.not_written", name=note.subject.name, event_reason=note.reason, why=why)


def _written(note: Note, name: str) -> Written:
    return Written(name, note.earlier.first if note.earlier is not None else note.time, note.count)


def _event_name(subject: str, time: datetime) -> str:
    """NAME.NANOSECONDS in hexadecimal; something unique when that would be too long for a name."""
    microseconds = int(time.timestamp()) * 1_000_000 + time.microsecond
    name = f"{subject}.{microseconds * 1000 + random.randrange(1000):x}"
    return name if len(name) <= NAME_MAX_CHARS else str(uuid.uuid4())


def _cut(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= MESSAGE_MAX_BYTES:
        return message
    return encoded[: MESSAGE_MAX_BYTES - len(_CUT)].decode("utf-8", "ignore") + _CUT
