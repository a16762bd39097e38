"""Decides what becomes of an event: a new object, a higher count of an earlier one, or nothing. Pure.

The three steps are client-go's, with its numbers: from the tenth different message of one reason about one
object within ten minutes on, they become one combined event; an event that was written before has its count
raised; and each object has 25 events from one source, regained at one in five minutes. The newest 4096 of each
are remembered.

Source: client-go's event correlator, whose results users and dashboards know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from moorage.kube.limiter import TokenBucket

__all__ = ["Correlator", "EventType", "Note", "Subject", "Written"]

V = TypeVar("V")
EventType: TypeAlias = Literal["Normal", "Warning"]

REMEMBERED: Final = 4096
SIMILAR_MAX: Final = 10
SIMILAR_WITHIN_S: Final = 600.0
SPAM_BURST: Final = 25
SPAM_QPS: Final = 1 / 300
COMBINED: Final = "(combined from similar events): "


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""

    def as_json(self) -> dict[str, str]:
        """The subject as ObjectReference; what is empty is left out."""
        found = {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "apiVersion": self.api_version,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of an event object on the server."""

    name: str
    first: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Note:
    """An event to be written: with `earlier`, by raising the count of that one to `count`."""

    subject: Subject
    type: EventType
    reason: str
    message: str
    component: str
    host: str
    time: datetime
    key: Hashable = None
    earlier: Written | None = None

    @property
    def count(self) -> int:
        return self.earlier.count + 1 if self.earlier else 1

    @property
    def namespace(self) -> str:
        """Where the event is written: events about cluster-wide objects go to `default`."""
        return self.subject.namespace or "default"

    def as_json(self, name: str) -> dict[str, Any]:
        """The event as a new object."""
        now = wire_time(self.time)
        source = {"component": self.component} | ({"host": self.host} if self.host else {})
        found: dict[str, Any] = {
            "metadata": {"name": name, "namespace": self.namespace},
            "involvedObject": self.subject.as_json(),
            "reason": self.reason,
            "message": self.message,
            "source": source,
            "firstTimestamp": wire_time(self.earlier.first) if self.earlier else now,
            "lastTimestamp": now,
            "count": self.count,
            "type": self.type,
            "eventTime": None,
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        }
        return found

    def as_patch(self) -> dict[str, Any]:
        """What changes in the earlier object."""
        return {"count": self.count, "lastTimestamp": wire_time(self.time), "message": self.message}


def wire_time(moment: datetime) -> str:
    """A moment as Kubernetes' Time: `2026-01-02T03:04:05Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class _Similar:
    last_s: float
    messages: set[str] = field(default_factory=set)


class Correlator:
    """The memory of one recorder; `now_s` is any clock that does not go back."""

    def __init__(self) -> None:
        self._similar: _Recent[_Similar] = _Recent()
        self._written: _Recent[Written] = _Recent()
        self._spam: _Recent[TokenBucket] = _Recent()

    def correlate(self, note: Note, now_s: float) -> Note | None:
        """What to write for `note`; None when its object has had too many events."""
        note = self._aggregate(note, now_s)
        note = replace(note, earlier=self._written.get(note.key))
        return None if self._is_spam(note, now_s) else note

    def remember(self, note: Note, written: Written) -> None:
        """The server has taken `note`."""
        self._written.put(note.key, written)

    def forget(self, note: Note) -> None:
        """The server no longer has the event that `note` raises."""
        self._written.drop(note.key)

    def _aggregate(self, note: Note, now_s: float) -> Note:
        about = (note.component, note.host, replace(note.subject, resource_version="", field_path=""))
        group = (*about, note.type, note.reason)
        similar = self._similar.get(group)
        if similar is None or now_s - similar.last_s > SIMILAR_WITHIN_S:
            similar = _Similar(now_s)
        similar.messages.add(note.message)
        similar.last_s = now_s
        self._similar.put(group, similar)
        if len(similar.messages) < SIMILAR_MAX:
            return replace(note, key=(*group, note.subject.field_path, note.message))
        similar.messages.pop()
        return replace(note, key=group, message=COMBINED + note.message)

    def _is_spam(self, note: Note, now_s: float) -> bool:
        source = (note.component, note.host, replace(note.subject, resource_version="", field_path=""))
        bucket = self._spam.get(source)
        if bucket is None:
            bucket = TokenBucket(SPAM_QPS, SPAM_BURST, now_s=now_s)
            self._spam.put(source, bucket)
        if bucket.wait_s(now_s) > 0:
            return True
        bucket.take(now_s)
        return False


class _Recent(Generic[V]):
    """The values that were used last."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > REMEMBERED:
            self._values.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)
