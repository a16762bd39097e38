"""Drivers that are wrong about robustness_races."""

from __future__ import annotations
