"""Where a driver's truth lives: each driver chooses one.

LocalJournal   SQLite in the state directory: one node, local disk
BackendTags    the storage system itself: names and tags; any number of replicas, no local state
Stateless      nothing: the driver answers every question itself
"""

from __future__ import annotations

from msgspec import Struct


class LocalJournal(Struct, frozen=True):
    """Intent and result are rows of a journal in the state directory.

    Refused for a controller that may move between machines, and on network file systems.
    """


class BackendTags(Struct, frozen=True):
    """Intent and result are tags that the driver stores with each volume and snapshot.

    The driver must set `NewVolume.tags` (`NewSnapshot.tags`) in the same backend call that creates
    the object, and implement `list_tagged_volumes`, `list_tagged_snapshots` and `list_attachments`,
    which give them back at once (a list that lags behind makes a second volume) and leave out what is
    being deleted.
    """


class Stateless(Struct, frozen=True):
    """No record at all: every create is handed to the driver, which must be idempotent itself.

    The driver implements `find_volume` (and `list_attachments` if it attaches), answers `AlreadyExists`
    itself, and cleans up after its own failures. It can have no snapshots, and its volumes cannot be listed.
    """


State = LocalJournal | BackendTags | Stateless
