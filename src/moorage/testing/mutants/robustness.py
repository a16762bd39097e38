"""Drivers that are wrong about robustness."""

from __future__ import annotations
