"""Rules of area robustness."""

from __future__ import annotations
