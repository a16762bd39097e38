"""Drivers that are wrong about snapshots."""

from __future__ import annotations
