"""Watches: what one client is told of the changes to a resource, as lines of JSON.

A watch is driven from outside: `take` gives what there is to tell, `wake` is called when there may be more.
It knows no time and no event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from moorage.kube.resource import Resource
from moorage.testing.kube.call import Call
from moorage.testing.kube.reading import condition_of, rendered, requested_revision
from moorage.testing.kube.refusal import Refusal, expired, invalid_options
from moorage.testing.kube.selectors import Condition
from moorage.testing.kube.store import Change, Store, Stored
from moorage.testing.kube.tree import encode

__all__ = ["Watch"]

_NO_STREAMING = (
    "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"
)
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    """One watch that is open. `broken` is set when its connection is to be cut, not ended."""

    def __init__(self, store: Store, call: Call, *, streaming_lists: bool = True) -> None:
        """`streaming_lists` says whether a watch can begin with all objects and tell when they were all.

        Raises Refusal for a query that cannot be carried out.
        """
        self.call = call
        self.wake: Callable[[], None] = lambda: None
        self.broken = False
        self.ended = False
        self._store = store
        self._condition = condition_of(call)
        self._bookmarks = call.flag("allowWatchBookmarks")
        self._streaming_lists = streaming_lists
        self._lines: deque[bytes] = deque()
        self._revision = store.revision
        self._unlisten: Callable[[], None] = lambda: None
        self._begin()
        if not self.ended:
            self._unlisten = store.listen(self._changed)

    def take(self) -> list[bytes]:
        """The lines that have come up since the last time."""
        taken = list(self._lines)
        self._lines.clear()
        return taken

    def bookmark(self) -> None:
        """Tell the client up to which revision it has seen everything, if it wants to hear that."""
        if self._bookmarks and not self.ended:
            self._tell(_bookmark_line(self.call, self._revision))

    def expire(self) -> None:
        """End the watch with the error that sends the client back to listing."""
        self.fail(expired(f"too old resource version: {self._revision} ({self._store.revision})"))

    def fail(self, refusal: Refusal) -> None:
        """Send an event of type ERROR, and end."""
        if not self.ended:
            self._tell(_line("ERROR", encode(refusal.status)))
            self.end()

    def end(self, *, broken: bool = False) -> None:
        """End the watch, as if the server ended it or, with `broken`, as if the connection broke."""
        if not self.ended:
            self.ended, self.broken = True, broken
            self._unlisten()
            self.wake()

    def _begin(self) -> None:
        """What is told at once: the present state, or the changes since the client's revision."""
        call, store = self.call, self._store
        revision = requested_revision(call)
        initial = call.query.get("sendInitialEvents", "")
        if initial:
            _check_initial(call)
        from_now = not revision or call.flag("sendInitialEvents")
        if from_now and initial != "false" and self._bookmarks and not self._streaming_lists:
            self._begin_with_error(Refusal(500, "InternalError", _NO_STREAMING))
        elif from_now and initial != "false":
            for _, stored in store.objects(call.kind.resource, call.namespace):
                if self._condition is None or self._condition(stored.tree):
                    self._lines.append(_line("ADDED", rendered(call, stored)))
            if call.flag("sendInitialEvents"):
                self._lines.append(_bookmark_line(call, store.revision, initial_events_end=True))
        elif revision and revision < (oldest := store.oldest(call.kind.resource)):
            self._begin_with_error(expired(f"too old resource version: {revision} ({oldest})"))
        elif revision:
            for change in store.changes_after(call.kind.resource, revision):
                self._consider(change)
            self._revision = max(revision, store.revision)

    def _begin_with_error(self, refusal: Refusal) -> None:
        """The server has opened the watch already when it finds that it cannot be."""
        self._lines.append(_line("ERROR", encode(refusal.status)))
        self.ended = True

    def _changed(self, resource: Resource, change: Change) -> None:
        if self.ended:
            return
        if resource == self.call.kind.resource and change.revision > self._revision:
            self._consider(change)
        self._revision = max(self._revision, change.revision)
        if self._lines:
            self.wake()

    def _consider(self, change: Change) -> None:
        """Tell of a change if it concerns what is selected; coming into the selection is ADDED, leaving it DELETED."""
        if self.call.namespace and change.key[0] != self.call.namespace:
            return
        seen_before = change.before is not None and _holds(self._condition, change.before)
        seen_now = change.type != "DELETED" and _holds(self._condition, change.after)
        if seen_now:
            kind = "MODIFIED" if seen_before else "ADDED"
            self._lines.append(_line(kind, rendered(self.call, change.after)))
        elif seen_before:
            self._lines.append(_line("DELETED", rendered(self.call, self._last(change))))

    def _last(self, change: Change) -> Stored:
        """The last state that the client may see, with the revision of its going."""
        if change.type == "DELETED" or change.before is None:
            return change.after
        tree = change.before.tree
        tree = {**tree, "metadata": {**tree["metadata"], "resourceVersion": str(change.revision)}}
        return Stored(tree, change.revision)

    def _tell(self, line: bytes) -> None:
        self._lines.append(line)
        self.wake()


def _holds(condition: Condition | None, stored: Stored) -> bool:
    return condition is None or condition(stored.tree)


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


def _bookmark_line(call: Call, revision: int, *, initial_events_end: bool = False) -> bytes:
    resource = call.resource
    metadata: dict[str, object] = {"resourceVersion": str(revision)}
    if initial_events_end:
        metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
    body = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return _line("BOOKMARK", encode(body))


def _check_initial(call: Call) -> None:
    match_ = call.query.get("resourceVersionMatch", "")
    if match_ != "NotOlderThan":
        text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise invalid_options("ListOptions", "resourceVersionMatch", text)
