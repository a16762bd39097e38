"""What whoever runs the suite decides: sizes, parameters, secrets, limits of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from moorage.spec.rules import RPCS
from moorage.spec.types import AccessMode, Secrets

__all__ = ["Settings", "secrets_for"]

GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one run; sizes in bytes, times in seconds.

    `work_dir` must be the same directory for this process and for the driver. `secrets` is one map for all RPCs,
    or maps by RPC name. `patience_s` is how long an operation that goes on in the background, such as a snapshot,
    may take. `rounds` is how often the rules that rely on chance try. `access` and `access_mode` are how volumes
    are used where a rule does not say; a driver without them is used in another way.
    """

    work_dir: Path
    seed: int = 0
    size_bytes: int = GIB
    expanded_bytes: int = 2 * GIB
    access: Literal["mount", "block"] = "mount"
    fs_type: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    snapshot_parameters: Mapping[str, str] = field(default_factory=dict)
    mutable_parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    access_mode: AccessMode = AccessMode.SINGLE_NODE_WRITER
    other_node: str = ""
    log_file: Path | None = None
    call_timeout_s: float = 60.0
    rule_timeout_s: float = 120.0
    patience_s: float = 60.0
    run_timeout_s: float = 1800.0
    rounds: int = 3
    all_crash_points: bool = False


def secrets_for(rpc_name: str, secrets: Mapping[str, str | Mapping[str, str]]) -> Secrets:
    """The secrets to send with this RPC: those under its name, else those that stand for all.

    csi-sanity's keys (`CreateVolumeSecret`, `NodeStageVolumeSecret`, ...) are understood. Empty for RPCs that
    take none.
    """
    if not RPCS[rpc_name].secret_fields:
        return Secrets()
    for key in (rpc_name, f"{rpc_name}Secret", f"{rpc_name}Secrets"):
        own = secrets.get(key)
        if isinstance(own, Mapping):
            return Secrets(own)
    return Secrets({key: value for key, value in secrets.items() if isinstance(value, str)})
