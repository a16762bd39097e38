"""Drivers that are wrong about snapshots_data."""

from __future__ import annotations
