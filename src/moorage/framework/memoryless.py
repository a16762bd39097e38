"""What stores without a memory of their own have in common: ids from names, and nothing to write down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.framework.invoke import Invoker
from moorage.framework.store import Intent, Record
from moorage.framework.tags import derived_id
from moorage.framework.values import Attachment


class Memoryless:
    """The half of a `Store` that is the same wherever the truth is not ours: an intent is the derived id."""

    def __init__(self, invoke: Invoker) -> None:
        self._invoke = invoke

    async def attachments(self, *, volume_id: str = "") -> Sequence[Attachment]:
        """What the driver says is attached; all of it, or one volume's."""
        if not self._invoke.offers("list_attachments"):
            return ()
        found: Iterable[Attachment] = await self._invoke.call("controller", "list_attachments")
        return [attachment for attachment in found if volume_id in ("", attachment.volume_id)]

    async def intent(self, kind: str, name: str) -> Intent | None:
        """None: a replay derives the same id and needs no row."""
        del kind, name
        return None

    async def intents(self) -> Sequence[Intent]:
        """None, see `intent`."""
        return ()

    async def begin(self, intent: Intent) -> None:
        """Nothing to do."""

    async def settle(
        self, intent: Intent | None = None, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()
    ) -> None:
        """Nothing to do: the storage system has the result already."""

    def new_id(self, kind: str, name: str) -> str:
        """The id derived from the name."""
        return derived_id(kind, name)
