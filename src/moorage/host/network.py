"""Which server a network file system comes from, and whether a mount shows it: by the mount table alone.

Nothing here looks at a mounted path, which may wait for a dead server. Pure.
"""

from __future__ import annotations

from typing import Final

from moorage.host.mountinfo import MountEntry

_SAME_TYPE: Final = {"nfs4": "nfs", "smb3": "cifs"}


def server_of(source: str) -> str:
    """What sources that fail together have in common: the server of `host:/path` or `//host/path`, else all of it."""
    if source.startswith("//"):
        return source[2:].partition("/")[0].lower()
    server, colon, _ = source.partition(":/")
    return server.lower() if colon else source


def shows_source(entry: MountEntry, source: str, *, fs_type: str) -> bool:
    """Whether this is a mount of `source`.

    A type may appear under another name than it was mounted by (nfs as nfs4, a FUSE type as fuse.TYPE), and a
    source without its last slash.
    """
    return _type(entry.fs_type) == _type(fs_type) and _trimmed(entry.source) == _trimmed(source)


def _type(fs_type: str) -> str:
    bare = fs_type.removeprefix("fuse.")
    return _SAME_TYPE.get(bare, bare)


def _trimmed(source: str) -> str:
    return source.rstrip("/")
