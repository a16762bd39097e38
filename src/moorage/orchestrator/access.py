"""How a user names an access mode, and which CSI mode that is for a driver. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moorage.orchestrator.model import OrchestratorError
from moorage.spec.capabilities import Declared
from moorage.spec.types import AccessMode, ControllerCapability, NodeCapability

SHORT_NAMES: Final[Mapping[str, AccessMode]] = {
    "rwo": AccessMode.SINGLE_NODE_WRITER,
    "rwop": AccessMode.SINGLE_NODE_WRITER,
    "rox": AccessMode.MULTI_NODE_READER_ONLY,
    "rwx": AccessMode.MULTI_NODE_MULTI_WRITER,
}
_FINER: Final[Mapping[str, AccessMode]] = {
    "rwo": AccessMode.SINGLE_NODE_MULTI_WRITER,
    "rwop": AccessMode.SINGLE_NODE_SINGLE_WRITER,
}


def access_mode(text: str, declared: Declared) -> AccessMode:
    """The mode for `rwo`, `rwop`, `rox`, `rwx` or a name of the specification in any spelling.

    As Kubernetes does it, `rwo` and `rwop` become the finer modes where the driver declares
    SINGLE_NODE_MULTI_WRITER. Raises OrchestratorError for any other text.
    """
    word = text.strip().lower()
    finer = declared.has(ControllerCapability.SINGLE_NODE_MULTI_WRITER) or declared.has(
        NodeCapability.SINGLE_NODE_MULTI_WRITER
    )
    if word in SHORT_NAMES:
        return _FINER.get(word, SHORT_NAMES[word]) if finer else SHORT_NAMES[word]
    try:
        mode = AccessMode[word.upper().replace("-", "_")]
    except KeyError:
        mode = AccessMode.UNKNOWN
    if mode is AccessMode.UNKNOWN:
        names = ", ".join([*SHORT_NAMES, *(m.name.lower().replace("_", "-") for m in AccessMode if m)])
        raise OrchestratorError(f"access mode {text!r} does not exist; use one of {names}")
    return mode
