"""Which test tiers this machine can run, and the account of them at the end of a run.

A tier is told by a test's markers: `cluster` needs a Kubernetes and is asked for by CLUSTER=1, `contract`
needs csi-sanity, `root` (the host tier) needs root, mounts and loop devices; every other test needs Python only.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import peers
from tests.support.cluster.cluster import NEEDED, find_binaries

CAP_SYS_ADMIN = 21
CSI_SANITY = Path("moorage", "csi-sanity-5.6.0", "csi-sanity")
CLUSTER_OFF = "runs a Kubernetes on this machine only with CLUSTER=1"
MAY_SKIP = frozenset({peers.MISSING["rust"], CLUSTER_OFF})
"""Reasons for which a test may be skipped even where skipping is forbidden, because the machine cannot be helped."""
TIERS = ("unit", "contract", "host", "cluster")


def tier_of(markers: Iterable[str]) -> str:
    """The tier of a test with these markers."""
    names = set(markers)
    if "cluster" in names:
        return "cluster"
    if "contract" in names:
        return "contract"
    return "host" if "root" in names else "unit"


def csi_sanity_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `tools/csi_sanity.sh` leaves csi-sanity; whether it is there is for the caller to see."""
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ["HOME"], ".cache")) / CSI_SANITY


def may_mount(status: str) -> bool:
    """Whether /proc/self/status grants CAP_SYS_ADMIN, which root in a plain container lacks."""
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> CAP_SYS_ADMIN & 1)


def missing_for(marker: str) -> str | None:
    """Why tests with this marker cannot run here; None when they can."""
    if marker == "root":
        if os.geteuid() != 0:
            return "needs root (run it with sudo)"
        if not may_mount(Path("/proc/self/status").read_text()):
            return "needs CAP_SYS_ADMIN to mount (run it outside the container, or in a privileged one)"
        if not Path("/dev/loop-control").exists():
            return "needs loop devices (modprobe loop)"
    if marker == "cluster":
        return _no_cluster()
    if marker == "browser" and shutil.which("chromium") is None:
        return "needs Chromium (apt-get install chromium)"
    if marker == "contract" and not os.access(csi_sanity_path(), os.X_OK):
        return "needs csi-sanity (tools/csi_sanity.sh builds it, with Go >= 1.26)"
    return None


def _no_cluster() -> str | None:
    if os.environ.get("CLUSTER") != "1":
        return CLUSTER_OFF
    if find_binaries() is None:
        return "needs Kubernetes' programs (tools/kubernetes.sh builds them, with Go >= 1.26)"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs {', '.join(missing)} (tools/deps.sh cluster installs them)"
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended: "passed", "failed" or "skipped"; `reason` of a skip."""

    tier: str
    kind: str
    reason: str = ""


@dataclass(slots=True)
class Account:
    """How the tests of one tier ended."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def account_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per tier: what ran, and what was skipped for which reason."""
    accounts = {tier: Account() for tier in TIERS}
    for outcome in outcomes:
        account = accounts[outcome.tier]
        account.counts[outcome.kind] += 1
        if outcome.kind == "skipped":
            account.reasons[outcome.reason] += 1
    lines = []
    for tier, account in accounts.items():
        ran = ", ".join(f"{account.counts[kind]} {kind}" for kind in ("passed", "failed") if account.counts[kind])
        skipped = "; ".join(f"{count} skipped: {reason}" for reason, count in sorted(account.reasons.items()))
        lines.append(f"{tier:9} " + ("; ".join(part for part in (ran, skipped) if part) or "no test selected"))
    return lines
