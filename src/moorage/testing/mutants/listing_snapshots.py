"""Drivers that are wrong about listing_snapshots."""

from __future__ import annotations
