"""Drivers that are wrong about robustness_crash."""

from __future__ import annotations
