"""What the server was asked, so that tests can count it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["RequestLog", "RequestRecord"]


@dataclass(slots=True)
class RequestRecord:
    """One request. `status` is 0 while it is under way, and stays 0 when no answer was given.

    For a watch it is the status that it was opened with. `time_s` is that of the event loop.
    """

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    time_s: float
    content_type: str = ""
    body: bytes = b""
    query: tuple[tuple[str, str], ...] = ()
    status: int = 0

    @property
    def target(self) -> str:
        """The resource with its subresource, as roles name it: `volumeattachments/status`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class RequestLog:
    """All requests since the start or the last `clear`, in the order in which they came."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self.records)

    def clear(self) -> None:
        """Forget what came so far."""
        self.records.clear()

    def select(
        self, *, verb: str = "", resource: str = "", name: str = "", namespace: str = "", user: str = ""
    ) -> list[RequestRecord]:
        """The requests that are all of that; `resource` may have a subresource, as in `pods/status`."""
        wanted = {"verb": verb, "target": resource, "name": name, "namespace": namespace, "user": user}
        given = [(key, value) for key, value in wanted.items() if value]
        return [record for record in self.records if all(getattr(record, key) == value for key, value in given)]

    def count(self, *, verb: str = "", resource: str = "", name: str = "", user: str = "") -> int:
        """How many requests were all of that."""
        return len(self.select(verb=verb, resource=resource, name=name, user=user))

    def counts(self, *, user: str = "") -> Counter[tuple[str, str]]:
        """The number of requests by verb and resource, the resource with its subresource."""
        return Counter((record.verb, record.target) for record in self.records if not user or record.user == user)
