"""Rules of area robustness_races."""

from __future__ import annotations
