"""Names that orchestrators give, and safe names made of them.

A volume's name may be any Unicode: `../../etc`, `-rf`, a single space. It must never be used as it is for a
directory, a logical volume or a tag; `encode_name` makes a safe name of it. Driver names are domain names.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from typing import Final

from moorage.spec.rules import DRIVER_NAME_LIMIT, STRING_LIMIT_BYTES

_BANNED: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SAFE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_UNSAFE_RUN: Final = re.compile(r"[^A-Za-z0-9]+")
_DIGEST_CHARS: Final = 26
_ENCODED: Final = re.compile(rf"(?:.*\.)?x[A-Za-z2-7]{{{_DIGEST_CHARS}}}")
_DRIVER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_SANITY_DRIVER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,61}[A-Za-z]")

LEAST_LIMIT: Final = _DIGEST_CHARS + 1
"""The shortest limit that `encode_name` can keep."""


def banned_characters(name: str) -> str:
    """The distinct characters of `name` that no name may have: control characters but tab, LF and CR."""
    return "".join(sorted(set(_BANNED.findall(name))))


def name_problem(name: str) -> str | None:
    """Why the specification does not allow `name`, as a clause; None when it does."""
    if not name:
        return "is empty"
    if banned := banned_characters(name):
        return f"has control characters ({', '.join(f'U+{ord(char):04X}' for char in banned)})"
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > STRING_LIMIT_BYTES:
        return f"has {size} bytes, and {STRING_LIMIT_BYTES} are allowed"
    return None


def encode_name(name: str, *, limit: int = 63, lower: bool = False) -> str:
    """A name for directories, logical volumes and tags that no other `name` has.

    It has at most `limit` characters out of letters, digits, '.' and '-', with a letter or digit at both
    ends. With `lower` it has no capital letters, for systems that do not tell case apart; names that differ
    only in case still differ. A name that is safe already, like `pvc-<uuid>`, is kept; any other becomes a
    readable part and 130 bits of its SHA-256, in a form that is never kept, so that the two kinds cannot
    meet.

    Raises ValueError when `limit` is below `LEAST_LIMIT`.
    """
    if limit < LEAST_LIMIT:
        raise ValueError(f"a safe name needs room for {LEAST_LIMIT} characters, not {limit}")
    fits = len(name) <= limit and _SAFE.fullmatch(name) and not _ENCODED.fullmatch(name)
    if fits and ".." not in name and not (lower and name != name.lower()):
        return name
    digest = b32encode(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    mark = f"x{digest[:_DIGEST_CHARS].decode().lower()}"
    readable = _UNSAFE_RUN.sub("-", name).strip("-")[: max(0, limit - len(mark) - 1)].rstrip("-")
    readable = readable.lower() if lower else readable
    return f"{readable}.{mark}" if readable else mark


def driver_name_problem(name: str) -> str | None:
    """Why `name` cannot be a plugin's name, as a clause; None when it can. Source: spec, GetPluginInfo."""
    if not name:
        return "is empty"
    if len(name) > DRIVER_NAME_LIMIT:
        return f"has {len(name)} characters, and {DRIVER_NAME_LIMIT} are allowed"
    if not _DRIVER_NAME.fullmatch(name):
        return "is no domain name: use letters, digits, '-' and '.', with a letter or digit at both ends"
    return None


def driver_name_warning(name: str) -> str | None:
    """Why csi-sanity refuses a legal plugin name, as a clause: it wants a letter at both ends."""
    if driver_name_problem(name) is None and not _SANITY_DRIVER_NAME.fullmatch(name):
        return "is legal, but csi-sanity refuses it: start and end it with a letter"
    return None
