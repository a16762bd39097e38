"""Conformance that looks at the data: rules for any CSI driver, in any language, behind a socket.

The suite is a black box test: it knows the specification and the kernel's tables, and nothing of how a driver
is made. Public API; `moorage verify` and the pytest plugin are built on it.
"""

from __future__ import annotations

from moorage.verify.peer import Peer, PeerError
from moorage.verify.report import Evidence, Report, Result, Tally, Verdict
from moorage.verify.rule import Area, Danger, Facility, Failed, Rule, Severity, Skipped, rule
from moorage.verify.rules import ALL_RULES
from moorage.verify.runner import Observer, Run, run_rules
from moorage.verify.selection import SelectionError, select
from moorage.verify.settings import Settings

__all__ = [
    "ALL_RULES",
    "Area",
    "Danger",
    "Evidence",
    "Facility",
    "Failed",
    "Observer",
    "Peer",
    "PeerError",
    "Report",
    "Result",
    "Rule",
    "Run",
    "SelectionError",
    "Settings",
    "Severity",
    "Skipped",
    "Tally",
    "Verdict",
    "rule",
    "run_rules",
    "select",
]
