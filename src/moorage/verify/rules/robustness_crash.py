"""Rules of area robustness_crash."""

from __future__ import annotations
