"""Rules of area robustness_orders."""

from __future__ import annotations
